/* random.c: hashes, and numbers that are the same on every machine. */
#include "base/base.h"

uint64_t cg_hash(const void *data, size_t size, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = seed ? seed : 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

uint64_t cg_random(uint64_t *state)
{
    return cg_mix(*state += 0x9e3779b97f4a7c15u);
}

double cg_uniform(uint64_t *state)
{
    return (double)(cg_random(state) >> 11) * 0x1p-52 - 1.0;
}

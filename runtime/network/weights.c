/* weights.c: the file of weights beside a network's: read whole, of the size and with the hash that the network says.
 *
 * Nothing of it is executed, and nothing is believed before both are right. It is read, not mapped: a file that another program cuts
 * while it is mapped would end the host. */
#include "network/network.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- zlib's CRC-32, eight bytes a step ---- */

enum { WAYS = 8 };

static void make_table(uint32_t table[WAYS][256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c >> 1 ^ (c & 1 ? 0xEDB88320u : 0);
        table[0][i] = c;
    }
    for (int way = 1; way < WAYS; way++)
        for (int i = 0; i < 256; i++) table[way][i] = table[way - 1][i] >> 8 ^ table[0][table[way - 1][i] & 255];
}

static uint32_t word_at(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

uint32_t cg_crc32(const void *data, size_t size)
{
    uint32_t table[WAYS][256], c = ~0u;
    const unsigned char *at = data;
    make_table(table);
    for (; size >= WAYS; at += WAYS, size -= WAYS) {
        uint32_t low = word_at(at) ^ c, high = word_at(at + 4);
        c = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24]
          ^ table[3][high & 255] ^ table[2][high >> 8 & 255] ^ table[1][high >> 16 & 255] ^ table[0][high >> 24];
    }
    for (; size; at++, size--) c = c >> 8 ^ table[0][(c ^ *at) & 255];
    return ~c;
}

/* ---- the file ---- */

/* Its path: beside the network's. The name has no slash: the generator says so, and it is looked at here too. */
static cg_status path_of(const char *network, const char *name, cg_buffer *path)
{
    const char *slash = strrchr(network, '/');
    if (strchr(name, '/')) return cg_fail(CONVGEN_BAD_PROBLEM, "%s: weights %s: the file lies beside this one, so a name without / is needed", network, name);
    cg_buffer_add(path, network, slash ? (size_t)(slash - network) + 1 : 0);
    cg_buffer_printf(path, "%s", name);
    return path->failed ? cg_fail(CONVGEN_NO_MEMORY, "no memory for a path") : CONVGEN_OK;
}

static cg_status check_size(FILE *file, const char *path, const char *network, int64_t bytes)
{
    struct stat s;
    if (fstat(fileno(file), &s)) return cg_fail(CONVGEN_STORE, "cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(s.st_mode)) return cg_fail(CONVGEN_STORE, "cannot read %s: it is not a file", path);
    if (s.st_size != bytes)
        return cg_fail(CONVGEN_BAD_PROBLEM, "%s has %lld bytes; %s says %lld", path, (long long)s.st_size, network, (long long)bytes);
    return CONVGEN_OK;
}

static cg_status check_hash(const void *data, const char *path, const char *network, const cg_network_plan *plan)
{
    uint32_t has = cg_crc32(data, (size_t)plan->weights_bytes), told = (uint32_t)strtoul(plan->hash, NULL, 16);
    if (!plan->hash[0] || has == told) return CONVGEN_OK;
    return cg_fail(CONVGEN_BAD_PROBLEM, "%s has the hash %08x; %s says %08x: these are other weights", path, has, network, told);
}

static cg_status read_file(FILE *file, const char *path, const char *network, const cg_network_plan *plan, void **out)
{
    size_t size = (size_t)plan->weights_bytes;
    cg_status status = check_size(file, path, network, plan->weights_bytes);
    if (status) return status;
    if (!(*out = cg_aligned(size))) return cg_fail(CONVGEN_NO_MEMORY, "no memory for the %zu bytes of %s", size, path);
    if (fread(*out, 1, size, file) != size) return cg_fail(CONVGEN_STORE, "cannot read %s: it ends early", path);
    return check_hash(*out, path, network, plan);
}

cg_status cg_weights_read(const char *network, const cg_network_plan *plan, void **out)
{
    cg_buffer path = {0};
    *out = NULL;
    if (!plan->weights) return CONVGEN_OK;
    cg_status status = path_of(network, plan->weights, &path);
    FILE *file = status ? NULL : fopen(path.text, "rbe");
    if (!status && !file) status = cg_fail(CONVGEN_STORE, "cannot read %s: %s", path.text, strerror(errno));
    if (!status) {
        setvbuf(file, NULL, _IONBF, 0);
        status = read_file(file, path.text, network, plan, out);
    }
    if (file) fclose(file);
    cg_buffer_free(&path);
    if (status) cg_free(*out), *out = NULL;
    return status;
}

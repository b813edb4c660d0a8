/* example_benchmark.c: the time of every layer.
 *
 *   example_benchmark [TARGET [SECONDS]]
 *
 * The layers take turns in rounds; shown are the least and the median time of a call, GFLOP/s by the least, and the sum over
 * the layers, each as often as the network has it. SECONDS for each layer (default 0.2). Layers whose weights change pack them in
 * every call, the others once. Made by convgen 0.1.0. */
#define _ISOC11_SOURCE 1 /* timespec_get, where the compiler calls itself older */
#include "example_layers.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5, SAMPLES = 4096 };

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static long volume(const long size[3]) { return size[0] * size[1] * size[2]; }

static void get_operands(const layer *l, void *t[OPERANDS])
{
    const size_t e = l->f64 ? 8 : 4, src = (size_t)(l->batch * l->ic * volume(l->in)), dst = (size_t)(l->batch * l->oc * volume(l->out));
    const size_t weights = (size_t)(l->oc * (l->ic / l->groups) * volume(l->kernel));
    const size_t channels = (size_t)(l->transposed ? l->ic : l->oc), out = l->transposed ? src : dst;
    const size_t bytes[OPERANDS] = { src * e, weights * e, channels * e, dst * e, out * e, channels * e, l->packed, l->workspace };
    for (int slot = 0; slot < OPERANDS; slot++) {
        char *base = calloc(bytes[slot] + 64, 1); /* kept until the end */
        if (!base) exit((fprintf(stderr, "no memory for %zu bytes\n", bytes[slot]), 1));
        t[slot] = base + (64 - (uintptr_t)base % 64) % 64;
        for (size_t i = 0; slot < PACKED && i < bytes[slot] / e; i++) {
            const double x = (double)((i * 2654435761u >> 7) % 2001) / 1000 - 1;
            if (l->f64) ((double *)t[slot])[i] = x;
            else ((float *)t[slot])[i] = (float)x;
        }
    }
    if (l->fixed) l->run(t, PACK, THREADS);
}

static int order(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct times {
    double least, median[ROUNDS];
} times;

static void measure(const layer *l, void *const t[OPERANDS], double seconds, times *out, int round)
{
    static double sample[SAMPLES];
    const int how = l->fixed ? WITH_PACKED : WHOLE;
    const double begin = now();
    int n = 0;
    l->run(t, how, THREADS);
    do {
        const double start = now();
        l->run(t, how, THREADS);
        sample[n++] = now() - start;
    } while (n < SAMPLES && now() - begin < seconds);
    qsort(sample, (size_t)n, sizeof sample[0], order);
    if (!round || sample[0] < out->least) out->least = sample[0];
    out->median[round] = sample[n / 2];
}

int main(int argc, char **argv)
{
    static void *operands[LAYERS][OPERANDS];
    static times all[LAYERS];
    const double seconds = argc > 2 ? atof(argv[2]) : 0.2;
    double least = 0, median = 0, flops = 0;
    if (argc > 1 && example_choose(argv[1])) {
        fprintf(stderr, "%s does not run here\n", argv[1]);
        return 1;
    }
    for (int i = 0; i < LAYERS; i++) get_operands(&layers[i], operands[i]);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < LAYERS; i++) measure(&layers[i], operands[i], seconds / ROUNDS, &all[i], round);
    printf("%-28s %10s %10s %9s %5s   (%s)\n", "layer", "least us", "median us", "GFLOP/s", "count", example_target());
    for (int i = 0; i < LAYERS; i++) {
        const layer *l = &layers[i];
        const double work = 2.0 * (double)(l->batch * l->oc * volume(l->out)) * (double)(l->ic / l->groups * volume(l->kernel));
        qsort(all[i].median, ROUNDS, sizeof(double), order);
        printf("%-28s %10.1f %10.1f %9.1f %5ld\n", l->name, 1e6 * all[i].least, 1e6 * all[i].median[ROUNDS / 2],
               1e-9 * work / all[i].least, l->multiplicity);
        least += (double)l->multiplicity * all[i].least;
        median += (double)l->multiplicity * all[i].median[ROUNDS / 2];
        flops += (double)l->multiplicity * work;
    }
    printf("%-28s %10.1f %10.1f %9.1f\n", "sum", 1e6 * least, 1e6 * median, 1e-9 * flops / least);
    return 0;
}

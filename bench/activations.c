/* activations.c: what an activation costs where it is fused, beside what it must cost and beside a pass of its own.
 *
 *     activations [--target=T] [--seconds=S] [ACTIVATION...]          (silu hardswish leaky:0.1)
 *
 * For each layer five plans take turns: the layer without and with the activation; a copy within the first cache without and with it
 * (a depthwise 1x1), whose difference is the activation's own cost of a vector; and that copy over the layer's whole output, which is what a
 * separate pass would take. Measured once, then recalled ($CONVGEN_STORE). Printed, by minima and by medians: fused over (without + vectors written times the own cost), and
 * (without + separate pass) over fused. f32, `proven`, one thread: pin it. */
#define _GNU_SOURCE
#include "convgen.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PLAIN, FUSED, COPY, COPY_WITH, PASS, PLANS, SAMPLES = 4096 };
static const double turn_seconds = 4e-3, measurable = 20e-6;

typedef struct runner {
    convgen_plan *plan;
    convgen_tensors tensors;
    long repeats;
    int count;
    double samples[SAMPLES], min, median; /* seconds */
} runner;

static const struct layer {
    const char *name, *text;
    int channels, pixels; /* of its output */
} layers[] = {
    {"3x3 64-64 56x56", "mb1ic64ih56oc64kh3ph1", 64, 56},
    {"1x1 64-64 56x56", "mb1ic64ih56oc64kh1", 64, 56},
    {"depthwise 3x3 64 56x56", "mb1g64ic64ih56oc64kh3ph1", 64, 56},
};
static const char copy_text[] = "mb1g64ic64ih4oc64kh1"; /* 8 KB */
static const double copy_elements = 64 * 4 * 4;

static void die(const char *what)
{
    fprintf(stderr, "activations: %s: %s\n", what, convgen_error(NULL));
    exit(2);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A tensor of values that an activation meets, at the start of a page; kept until the end. */
static float *tensor(size_t n)
{
    float *t = aligned_alloc(4096, (n * sizeof *t + 4095) / 4096 * 4096);
    if (!t) die("no memory");
    for (size_t i = 0; i < n; i++) t[i] = (float)((double)(i * 2654435761u >> 7 & 2047) / 256 - 4);
    return t;
}

static void *packed_weights(convgen_plan *plan, const float *weights)
{
    size_t bytes = convgen_plan_packed(plan);
    void *packed = bytes ? aligned_alloc(4096, (bytes + 4095) / 4096 * 4096) : NULL;
    if (bytes && (!packed || convgen_pack(plan, weights, packed))) die("packing");
    return packed;
}

static void prepare(convgen_context *context, runner *r, const char *activation, const char *layer)
{
    char text[256];
    convgen_problem p;
    snprintf(text, sizeof text, "--dir=FWD_B --dt=f32 --accuracy=proven --weights=fixed --epilogue=%s %s", activation, layer);
    if (convgen_problem_parse(text, &p) || convgen_plan_create(context, &p, CONVGEN_MEASURE, 0, &r->plan)) die(text);
    size_t src = (size_t)(p.in_channels * p.in[1] * p.in[2]), dst = (size_t)(p.out_channels * p.out[1] * p.out[2]);
    float *weights = tensor((size_t)(p.in_channels / p.groups * p.out_channels * p.kernel[1] * p.kernel[2]));
    r->tensors = (convgen_tensors){.src = tensor(src), .weights = weights, .bias = tensor((size_t)p.out_channels), .dst = tensor(dst)};
    r->tensors.packed = packed_weights(r->plan, weights);
    size_t workspace = convgen_plan_workspace(r->plan);
    if (workspace) r->tensors.workspace = tensor(workspace / sizeof(float) + 1);
    r->repeats = 1, r->count = 0;
}

static void turn(runner *r)
{
    for (double until = now() + turn_seconds; now() < until;) {
        double start = now();
        for (long i = 0; i < r->repeats; i++)
            if (convgen_run(r->plan, &r->tensors)) die("a run");
        double seconds = now() - start;
        if (seconds < measurable) r->repeats *= 2;
        else if (r->count < SAMPLES) r->samples[r->count++] = seconds / (double)r->repeats;
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_all(runner *all, double seconds)
{
    for (double until = now() + PLANS * seconds; now() < until;)
        for (int i = 0; i < PLANS; i++) turn(&all[i]);
    for (int i = 0; i < PLANS; i++) {
        runner *r = &all[i];
        if (!r->count) die("nothing was measured");
        qsort(r->samples, (size_t)r->count, sizeof *r->samples, ascending);
        r->min = r->samples[0], r->median = r->samples[r->count / 2];
    }
}

static void compare(convgen_context *context, const struct layer *l, const char *activation, double seconds)
{
    static runner all[PLANS];
    char pass[64];
    double over[2], faster[2];
    snprintf(pass, sizeof pass, "mb1g%dic%dih%doc%dkh1", l->channels, l->channels, l->pixels, l->channels);
    prepare(context, &all[PLAIN], "none", l->text), prepare(context, &all[FUSED], activation, l->text);
    prepare(context, &all[COPY], "none", copy_text), prepare(context, &all[COPY_WITH], activation, copy_text);
    prepare(context, &all[PASS], activation, pass);
    time_all(all, seconds);
    for (int i = 0; i < 2; i++) {
        double t[PLANS];
        for (int j = 0; j < PLANS; j++) t[j] = i ? all[j].median : all[j].min;
        double own = (t[COPY_WITH] - t[COPY]) * l->channels * l->pixels * l->pixels / copy_elements;
        over[i] = t[FUSED] / (t[PLAIN] + own), faster[i] = (t[PLAIN] + t[PASS]) / t[FUSED];
    }
    printf("%-24s %-14s %8.2f %8.2f us   over %.3f / %.3f   pass %.2f / %.2f   %s\n", l->name, activation, 1e6 * all[PLAIN].min,
           1e6 * all[FUSED].min, over[0], over[1], faster[0], faster[1], convgen_plan_info(all[FUSED].plan)->schedule);
    fflush(stdout);
    for (int i = 0; i < PLANS; i++) convgen_plan_free(all[i].plan);
}

int main(int argc, char **argv)
{
    static const char *chosen[64] = {"silu", "hardswish", "leaky:0.1"};
    convgen_options options = {.struct_size = sizeof options, .threads = 1};
    convgen_context *context;
    double seconds = 0.5;
    int given = 0, count = 3;
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--target=", 9) == 0) options.target = argv[i] + 9;
        else if (strncmp(argv[i], "--seconds=", 10) == 0) seconds = atof(argv[i] + 10);
        else if (given < 64) chosen[given++] = argv[i];
    if (given) count = given;
    if (convgen_open(&options, &context)) die("opening");
    printf("layer, activation, time without and fused (minimum), over what it must cost, a separate pass's time over it (minima / medians)\n");
    for (size_t l = 0; l < sizeof layers / sizeof *layers; l++)
        for (int a = 0; a < count; a++) compare(context, &layers[l], chosen[a], seconds);
    convgen_close(context);
    return 0;
}

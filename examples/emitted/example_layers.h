/* example_layers.h: what the self-check and the benchmark know of the layers. */
#ifndef EXAMPLE_LAYERS_H
#define EXAMPLE_LAYERS_H

#include "example.h"
#include <math.h>

enum { THREADS = 1, TARGETS = 2 };
enum { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS };
enum { SRC, WEIGHTS, BIAS, DST, RESIDUAL, SLOPE, PACKED, WORKSPACE, OPERANDS };
enum { WHOLE, PACK, WITH_PACKED };

static const char *const target_names[TARGETS] = { "avx2", "portable" };

typedef struct layer {
    const char *name;
    void (*run)(void *const t[OPERANDS], int how, int threads);
    int pass, transposed, f64, nchw, bias, residual, activation; /* activation: 1 relu, 2 clamp, 4 prelu; transposed: all is as the
                                                                        convolution has it whose src is this layer's dst */
    double lo, hi;
    long batch, groups, ic, oc, in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
    size_t packed, workspace;
    int fixed;              /* weights are packed once */
    long multiplicity;
    double budget[TARGETS]; /* 0: sums; else how much worse than a plain loop a transform's normwise error may be */
} layer;

static void run_conv1(void *const t[OPERANDS], int how, int threads)
{
    (void)threads;
    if (how == WHOLE) example_conv1((const float *)t[SRC], (const float *)t[WEIGHTS], (const float *)t[BIAS], (float *)t[DST], t[WORKSPACE]);
    else if (how == PACK) example_conv1_pack(t[WEIGHTS], t[PACKED], t[WORKSPACE]);
    else example_conv1_packed((const float *)t[SRC], t[PACKED], (const float *)t[BIAS], (float *)t[DST], t[WORKSPACE]);
}

static void run_depthwise(void *const t[OPERANDS], int how, int threads)
{
    (void)threads;
    if (how == WHOLE) example_depthwise((const float *)t[SRC], (const float *)t[WEIGHTS], (const float *)t[BIAS], (float *)t[DST], t[WORKSPACE]);
    else if (how == PACK) example_depthwise_pack(t[WEIGHTS], t[PACKED], t[WORKSPACE]);
    else example_depthwise_packed((const float *)t[SRC], t[PACKED], (const float *)t[BIAS], (float *)t[DST], t[WORKSPACE]);
}

static void run_pointwise(void *const t[OPERANDS], int how, int threads)
{
    (void)threads;
    if (how == WHOLE) example_pointwise((const float *)t[SRC], (const float *)t[WEIGHTS], (const float *)t[BIAS], (float *)t[DST], t[WORKSPACE]);
    else if (how == PACK) example_pointwise_pack(t[WEIGHTS], t[PACKED], t[WORKSPACE]);
    else example_pointwise_packed((const float *)t[SRC], t[PACKED], (const float *)t[BIAS], (float *)t[DST], t[WORKSPACE]);
}

static const layer layers[] = {
    { "conv1", run_conv1, FORWARD, 0, 0, 0, 1, 0, 1, 0.0, 0.0, 1, 1, 3, 8,
      { 1, 32, 32 }, { 1, 16, 16 }, { 1, 3, 3 }, { 1, 2, 2 }, { 1, 1, 1 }, { 0, 1, 1 },
      EXAMPLE_CONV1_PACKED, EXAMPLE_CONV1_WORKSPACE, 0, 1, { 0, 1.25 } },
    { "depthwise", run_depthwise, FORWARD, 0, 0, 0, 1, 0, 1, 0.0, 0.0, 1, 8, 8, 8,
      { 1, 16, 16 }, { 1, 16, 16 }, { 1, 3, 3 }, { 1, 1, 1 }, { 1, 1, 1 }, { 0, 1, 1 },
      EXAMPLE_DEPTHWISE_PACKED, EXAMPLE_DEPTHWISE_WORKSPACE, 0, 2, { 0, 0 } },
    { "pointwise", run_pointwise, FORWARD, 0, 0, 0, 1, 0, 1, 0.0, 0.0, 1, 1, 8, 16,
      { 1, 16, 16 }, { 1, 16, 16 }, { 1, 1, 1 }, { 1, 1, 1 }, { 1, 1, 1 }, { 0, 0, 0 },
      EXAMPLE_POINTWISE_PACKED, EXAMPLE_POINTWISE_WORKSPACE, 0, 2, { 0, 0 } },
};
enum { LAYERS = sizeof layers / sizeof layers[0] };

#endif

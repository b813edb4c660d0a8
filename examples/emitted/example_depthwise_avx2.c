/* example_depthwise_avx2.c: depthwise for avx2.
 *
 *   forward, --epilogue=relu g8mb1ic8ih16iw16oc8oh16ow16kh3kw3ph1pw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh + kh - 1, ow + kw - 1, g] * weights[kh, kw, i, c]
 *     then max(0, .)
 *     with each channel alone: g = c, i = 0
 *
 *   schedule  depthwise.stream.p6, tuned in this form: recorded 276 ns
 *   stages    compute: 16 tasks
 *   error     an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *             the same bits wherever this kernel runs; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 10, u = 2^-24
 *             recorded, on uniform [-1, 1]: normwise 4.9e-08, 0.91 of a plain loop's, 0.28 of the bound at most
 *
 * Made by convgen 0.1.0; belongs to whoever made it. */
#include "example_internal.h"
#if EXAMPLE_X86
#if !defined(CG_BODY) && !(defined(__AVX2__) && defined(__FMA__))
#error "compile this file with -mavx2 -mfma"
#endif
#include "example_vec_f32_avx2.h"

/* Elements from one to the next along an axis; LANES: of a vector. */
enum {
    DST_W = 8,
    SRC_H = 128,
    SRC_W = 8,
    WEIGHTS_I = 8,
    WEIGHTS_KH = 24,
};

/* A row of tiles of 1 x 6 outputs (acc[row][pixel]) of one vector of channels, alone. An input vector is loaded once and
 * used by all outputs that its taps reach; outputs at the borders have only the taps that lie inside. */
static void rows0(const float *src, const float *weights, const float *bias, float *dst, long rows) {
    vec x, acc[6], w0_0;
    unrolled for (int m = 0; m < 6; m++) vzero(acc[m]);
    {
        const float *line = src;
        const float *line_weights = weights;
        for (long l = 0; l < rows; l++) {
            vload(w0_0, line_weights);
            unrolled for (int m = 1; m < 6; m++) vfma(acc[m], w0_0, vmem(line + m * SRC_W - SRC_W));
            vload(w0_0, line_weights + WEIGHTS_I);
            unrolled for (int m = 0; m < 6; m++) vfma(acc[m], w0_0, vmem(line + m * SRC_W));
            vload(w0_0, line_weights + 2 * WEIGHTS_I);
            unrolled for (int m = 0; m < 6; m++) vfma(acc[m], w0_0, vmem(line + m * SRC_W + SRC_W));
            line += SRC_H;
            line_weights += WEIGHTS_KH;
        }
    }
    unrolled for (int m = 0; m < 6; m++) {
        vload(x, bias);
        vadd(acc[m], acc[m], x);
        vzero(x);
        vmax(acc[m], x, acc[m]);
        vstore(dst + m * DST_W, acc[m]);
    }
    unrolled for (int m = 0; m < 5; m++) vzero(acc[m]);
    {
        const float *line = src + 6 * SRC_W;
        const float *line_weights = weights;
        for (long l = 0; l < rows; l++) {
            unrolled for (int n = 0; n < 3; n++) {
                vload(w0_0, line_weights + n * WEIGHTS_I);
                unrolled for (int m = 0; m < 5; m++) vfma(acc[m], w0_0, vmem(line + n * SRC_W + m * SRC_W - SRC_W));
            }
            line += SRC_H;
            line_weights += WEIGHTS_KH;
        }
    }
    unrolled for (int m = 0; m < 5; m++) {
        vload(x, bias);
        vadd(acc[m], acc[m], x);
        vzero(x);
        vmax(acc[m], x, acc[m]);
        vstore(dst + m * DST_W + 6 * DST_W, acc[m]);
    }
    unrolled for (int m = 0; m < 5; m++) vzero(acc[m]);
    {
        const float *line = src + 11 * SRC_W;
        const float *line_weights = weights;
        for (long l = 0; l < rows; l++) {
            vload(w0_0, line_weights);
            unrolled for (int m = 0; m < 5; m++) vfma(acc[m], w0_0, vmem(line + m * SRC_W - SRC_W));
            vload(w0_0, line_weights + WEIGHTS_I);
            unrolled for (int m = 0; m < 5; m++) vfma(acc[m], w0_0, vmem(line + m * SRC_W));
            vload(w0_0, line_weights + 2 * WEIGHTS_I);
            unrolled for (int m = 0; m < 4; m++) vfma(acc[m], w0_0, vmem(line + m * SRC_W + SRC_W));
            line += SRC_H;
            line_weights += WEIGHTS_KH;
        }
    }
    unrolled for (int m = 0; m < 5; m++) {
        vload(x, bias);
        vadd(acc[m], acc[m], x);
        vzero(x);
        vmax(acc[m], x, acc[m]);
        vstore(dst + m * DST_W + 11 * DST_W, acc[m]);
    }
}

static void stage_compute(const cg_call *call, void *scratch_memory, long first, long last)
{
    float *src = call->src;
    float *weights = call->weights;
    float *bias = call->bias;
    float *dst = call->dst;
    (void)scratch_memory;
    for (long task = first; task < last; task++) {
        const long row_first = cg_min(cg_max(0 - (task - 1), 0), 3);
        const long row_count = cg_max(cg_min(16 - (task - 1), 3) - row_first, 0);
        const long with = row_first * 24;
        const long here = (task - 1 + row_first) * 128;
        const long there = task * 128;
        rows0(src + here, weights + with, bias, dst + there, row_count);
    }
}

const example_kernel example_depthwise_avx2 = {
    0, 0, 0, 1, {
        { stage_compute, 16, 0 },
    }
};
#endif

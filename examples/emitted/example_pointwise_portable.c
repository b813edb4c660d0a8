/* example_pointwise_portable.c: pointwise for portable.
 *
 *   forward, --epilogue=relu mb1ic8ih16iw16oc16oh16ow16kh1kw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh, ow, i] * weights[kh, kw, i, c]
 *     then max(0, .)
 *
 *   schedule  direct.p6.v2.rows4, the best estimate: no record
 *             tiles of at most 6 pixels of a row x 2 vectors of 4 channels stay in registers through all taps;
 *             pixels that lie one behind the other are taken as rows of 128;
 *             a task is 4 rows of the output for a panel of weights, which stays in the caches through it
 *   stages    pack: 2 tasks
 *             compute: 2 tasks
 *   error     an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *             the same bits everywhere; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 9, u = 2^-24
 *
 * Made by convgen 0.1.0; belongs to whoever made it. */
#include "example_internal.h"

#include "example_vec_f32_portable.h"

/* Copies the columns of weights that one tile uses into a panel, which it then reads from front to back. */
static void pack0(const float *weights, float *panel, long rows) {
    vec r;
    for (long i = 0; i < rows; i++) {
        vload(r, weights);
        vstore(panel, r);
        vload(r, weights + 4);
        vstore(panel + 4, r);
        weights += 16;
        panel += 8;
    }
}

/* acc[m][v] += x[m] * w[v] for m = 0..5, neighbouring pixels of a row of dst, and v = 0..1, vectors of its channels.
 * `planes` and `rows` of taps lie inside the input along d and h; along w all taps do, for all pixels. */
static void tile1(const float *src, const float *panel, const float *bias, float *dst, long planes, long rows) {
    vec a, acc0_0, acc0_1, acc1_0, acc1_1, acc2_0, acc2_1, acc3_0, acc3_1, acc4_0, acc4_1, acc5_0;
    vec acc5_1, w0, w1;
    vzero(acc0_0);
    vzero(acc0_1);
    vzero(acc1_0);
    vzero(acc1_1);
    vzero(acc2_0);
    vzero(acc2_1);
    vzero(acc3_0);
    vzero(acc3_1);
    vzero(acc4_0);
    vzero(acc4_1);
    vzero(acc5_0);
    vzero(acc5_1);
    for (long i = 0; i < planes; i++) {
        const float *row = src;
        const float *row_weights = panel;
        for (long j = 0; j < rows; j++) {
            const float *x = row;
            const float *w = row_weights;
            for (long l = 0; l < 8; l++) {
                vload(w0, w);
                vload(w1, w + 4);
                vbroadcast(a, x);
                vfma(acc0_0, w0, a);
                vfma(acc0_1, w1, a);
                vbroadcast(a, x + 8);
                vfma(acc1_0, w0, a);
                vfma(acc1_1, w1, a);
                vbroadcast(a, x + 16);
                vfma(acc2_0, w0, a);
                vfma(acc2_1, w1, a);
                vbroadcast(a, x + 24);
                vfma(acc3_0, w0, a);
                vfma(acc3_1, w1, a);
                vbroadcast(a, x + 32);
                vfma(acc4_0, w0, a);
                vfma(acc4_1, w1, a);
                vbroadcast(a, x + 40);
                vfma(acc5_0, w0, a);
                vfma(acc5_1, w1, a);
                x += 1;
                w += 8;
            }
            row += 1024;
            row_weights += 64;
        }
        src += 2048;
        panel += 64;
    }
    vload(w0, bias);
    vadd(acc0_0, acc0_0, w0);
    vzero(w0);
    vmax(acc0_0, w0, acc0_0);
    vstore(dst, acc0_0);
    vload(w1, bias + 4);
    vadd(acc0_1, acc0_1, w1);
    vzero(w1);
    vmax(acc0_1, w1, acc0_1);
    vstore(dst + 4, acc0_1);
    vload(w0, bias);
    vadd(acc1_0, acc1_0, w0);
    vzero(w0);
    vmax(acc1_0, w0, acc1_0);
    vstore(dst + 16, acc1_0);
    vload(w1, bias + 4);
    vadd(acc1_1, acc1_1, w1);
    vzero(w1);
    vmax(acc1_1, w1, acc1_1);
    vstore(dst + 20, acc1_1);
    vload(w0, bias);
    vadd(acc2_0, acc2_0, w0);
    vzero(w0);
    vmax(acc2_0, w0, acc2_0);
    vstore(dst + 32, acc2_0);
    vload(w1, bias + 4);
    vadd(acc2_1, acc2_1, w1);
    vzero(w1);
    vmax(acc2_1, w1, acc2_1);
    vstore(dst + 36, acc2_1);
    vload(w0, bias);
    vadd(acc3_0, acc3_0, w0);
    vzero(w0);
    vmax(acc3_0, w0, acc3_0);
    vstore(dst + 48, acc3_0);
    vload(w1, bias + 4);
    vadd(acc3_1, acc3_1, w1);
    vzero(w1);
    vmax(acc3_1, w1, acc3_1);
    vstore(dst + 52, acc3_1);
    vload(w0, bias);
    vadd(acc4_0, acc4_0, w0);
    vzero(w0);
    vmax(acc4_0, w0, acc4_0);
    vstore(dst + 64, acc4_0);
    vload(w1, bias + 4);
    vadd(acc4_1, acc4_1, w1);
    vzero(w1);
    vmax(acc4_1, w1, acc4_1);
    vstore(dst + 68, acc4_1);
    vload(w0, bias);
    vadd(acc5_0, acc5_0, w0);
    vzero(w0);
    vmax(acc5_0, w0, acc5_0);
    vstore(dst + 80, acc5_0);
    vload(w1, bias + 4);
    vadd(acc5_1, acc5_1, w1);
    vzero(w1);
    vmax(acc5_1, w1, acc5_1);
    vstore(dst + 84, acc5_1);
}

/* acc[m][v] += x[m] * w[v] for m = 0..4, neighbouring pixels of a row of dst, and v = 0..1, vectors of its channels.
 * `planes` and `rows` of taps lie inside the input along d and h; along w all taps do, for all pixels. */
static void tile2(const float *src, const float *panel, const float *bias, float *dst, long planes, long rows) {
    vec a, acc0_0, acc0_1, acc1_0, acc1_1, acc2_0, acc2_1, acc3_0, acc3_1, acc4_0, acc4_1, w0;
    vec w1;
    vzero(acc0_0);
    vzero(acc0_1);
    vzero(acc1_0);
    vzero(acc1_1);
    vzero(acc2_0);
    vzero(acc2_1);
    vzero(acc3_0);
    vzero(acc3_1);
    vzero(acc4_0);
    vzero(acc4_1);
    for (long i = 0; i < planes; i++) {
        const float *row = src;
        const float *row_weights = panel;
        for (long j = 0; j < rows; j++) {
            const float *x = row;
            const float *w = row_weights;
            for (long l = 0; l < 8; l++) {
                vload(w0, w);
                vload(w1, w + 4);
                vbroadcast(a, x);
                vfma(acc0_0, w0, a);
                vfma(acc0_1, w1, a);
                vbroadcast(a, x + 8);
                vfma(acc1_0, w0, a);
                vfma(acc1_1, w1, a);
                vbroadcast(a, x + 16);
                vfma(acc2_0, w0, a);
                vfma(acc2_1, w1, a);
                vbroadcast(a, x + 24);
                vfma(acc3_0, w0, a);
                vfma(acc3_1, w1, a);
                vbroadcast(a, x + 32);
                vfma(acc4_0, w0, a);
                vfma(acc4_1, w1, a);
                x += 1;
                w += 8;
            }
            row += 1024;
            row_weights += 64;
        }
        src += 2048;
        panel += 64;
    }
    vload(w0, bias);
    vadd(acc0_0, acc0_0, w0);
    vzero(w0);
    vmax(acc0_0, w0, acc0_0);
    vstore(dst, acc0_0);
    vload(w1, bias + 4);
    vadd(acc0_1, acc0_1, w1);
    vzero(w1);
    vmax(acc0_1, w1, acc0_1);
    vstore(dst + 4, acc0_1);
    vload(w0, bias);
    vadd(acc1_0, acc1_0, w0);
    vzero(w0);
    vmax(acc1_0, w0, acc1_0);
    vstore(dst + 16, acc1_0);
    vload(w1, bias + 4);
    vadd(acc1_1, acc1_1, w1);
    vzero(w1);
    vmax(acc1_1, w1, acc1_1);
    vstore(dst + 20, acc1_1);
    vload(w0, bias);
    vadd(acc2_0, acc2_0, w0);
    vzero(w0);
    vmax(acc2_0, w0, acc2_0);
    vstore(dst + 32, acc2_0);
    vload(w1, bias + 4);
    vadd(acc2_1, acc2_1, w1);
    vzero(w1);
    vmax(acc2_1, w1, acc2_1);
    vstore(dst + 36, acc2_1);
    vload(w0, bias);
    vadd(acc3_0, acc3_0, w0);
    vzero(w0);
    vmax(acc3_0, w0, acc3_0);
    vstore(dst + 48, acc3_0);
    vload(w1, bias + 4);
    vadd(acc3_1, acc3_1, w1);
    vzero(w1);
    vmax(acc3_1, w1, acc3_1);
    vstore(dst + 52, acc3_1);
    vload(w0, bias);
    vadd(acc4_0, acc4_0, w0);
    vzero(w0);
    vmax(acc4_0, w0, acc4_0);
    vstore(dst + 64, acc4_0);
    vload(w1, bias + 4);
    vadd(acc4_1, acc4_1, w1);
    vzero(w1);
    vmax(acc4_1, w1, acc4_1);
    vstore(dst + 68, acc4_1);
}

static void stage_pack(const cg_call *call, void *scratch_memory, long first, long last)
{
    float *weights = call->weights;
    float *packed = call->packed;
    (void)scratch_memory;
    for (long task = first; task < last; task++) {
        pack0(weights + task * 8, packed + task * 64, 8);
    }
}

static void stage_compute(const cg_call *call, void *scratch_memory, long first, long last)
{
    float *src = call->src;
    float *bias = call->bias;
    float *dst = call->dst;
    float *packed = call->packed;
    (void)scratch_memory;
    for (long task = first; task < last; task++) {
        const long first_2 = task * 8;
        const long panel = task * 64;
        for (long j = 0; j < 2; j++) {
            const long here = j * 1024;
            const long there = j * 2048 + first_2;
            for (long w = 0; w < 108; w += 6) {
                tile1(src + here + w * 8, packed + panel, bias + first_2, dst + there + w * 16, 1, 1);
            }
            for (long w_2 = 108; w_2 < 128; w_2 += 5) {
                tile2(src + here + w_2 * 8, packed + panel, bias + first_2, dst + there + w_2 * 16, 1, 1);
            }
        }
    }
}

const example_kernel example_pointwise_portable = {
    512, 0, 0, 2, {
        { stage_pack, 2, 1 },
        { stage_compute, 2, 0 },
    }
};

/* example_pointwise_avx2.c: pointwise for avx2.
 *
 *   forward, --epilogue=relu mb1ic8ih16iw16oc16oh16ow16kh1kw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh, ow, i] * weights[kh, kw, i, c]
 *     then max(0, .)
 *
 *   schedule  direct.p6.v2.rows1, tuned in this form: recorded 514 ns
 *             tiles of at most 6 pixels of a row x 2 vectors of 8 channels stay in registers through all taps;
 *             pixels that lie one behind the other are taken as rows of 128;
 *             a task is a row of the output for a panel of weights, which stays in the caches through it
 *   stages    pack: 1 task
 *             compute: 2 tasks
 *   error     an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *             the same bits wherever this kernel runs; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 9, u = 2^-24
 *             recorded, on uniform [-1, 1]: normwise 4.8e-08, 0.91 of a plain loop's, 0.26 of the bound at most
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
    DST_W = 16,
    LANES = 8,
    SRC_W = 8,
    WEIGHTS_I = 16,
};

/* Copies the columns of weights that one tile uses into a panel, which it then reads from front to back. */
static void pack0(const float *weights, float *panel) {
    vec r;
    for (long i = 0; i < 8; i++) {
        vload(r, weights);
        vstore(panel, r);
        vload(r, weights + LANES);
        vstore(panel + LANES, r);
        weights += WEIGHTS_I;
        panel += 2 * LANES;
    }
}

/* acc[m][v] += x[m] * w[v] for m = 0..5, neighbouring pixels of a row of dst, and v = 0..1, vectors of its channels. Its
 * caller leaves out taps outside the input along d and h; along w all lie inside, for all pixels. */
static void tile1(const float *src, const float *panel, const float *bias, float *dst) {
    vec a, acc[6][2], wv[2];
    unrolled for (int m = 0; m < 6; m++)
        unrolled for (int v = 0; v < 2; v++) vzero(acc[m][v]);
    const float *row = src;
    const float *row_weights = panel;
    const float *x = row;
    const float *w = row_weights;
    for (long l = 0; l < 8; l++) {
        unrolled for (int v = 0; v < 2; v++) vload(wv[v], w + v * LANES);
        unrolled for (int m = 0; m < 6; m++) {
            vbroadcast(a, x + m * SRC_W);
            unrolled for (int v = 0; v < 2; v++) vfma(acc[m][v], wv[v], a);
        }
        x += 1;
        w += 2 * LANES;
    }
    unrolled for (int m = 0; m < 6; m++)
        unrolled for (int v = 0; v < 2; v++) {
            vload(wv[v], bias + v * LANES);
            vadd(acc[m][v], acc[m][v], wv[v]);
            vzero(wv[v]);
            vmax(acc[m][v], wv[v], acc[m][v]);
            vstore(dst + m * DST_W + v * LANES, acc[m][v]);
        }
}

/* acc[m][v] += x[m] * w[v] for m = 0..4, neighbouring pixels of a row of dst, and v = 0..1, vectors of its channels. Its
 * caller leaves out taps outside the input along d and h; along w all lie inside, for all pixels. */
static void tile2(const float *src, const float *panel, const float *bias, float *dst) {
    vec a, acc[5][2], wv[2];
    unrolled for (int m = 0; m < 5; m++)
        unrolled for (int v = 0; v < 2; v++) vzero(acc[m][v]);
    const float *row = src;
    const float *row_weights = panel;
    const float *x = row;
    const float *w = row_weights;
    for (long l = 0; l < 8; l++) {
        unrolled for (int v = 0; v < 2; v++) vload(wv[v], w + v * LANES);
        unrolled for (int m = 0; m < 5; m++) {
            vbroadcast(a, x + m * SRC_W);
            unrolled for (int v = 0; v < 2; v++) vfma(acc[m][v], wv[v], a);
        }
        x += 1;
        w += 2 * LANES;
    }
    unrolled for (int m = 0; m < 5; m++)
        unrolled for (int v = 0; v < 2; v++) {
            vload(wv[v], bias + v * LANES);
            vadd(acc[m][v], acc[m][v], wv[v]);
            vzero(wv[v]);
            vmax(acc[m][v], wv[v], acc[m][v]);
            vstore(dst + m * DST_W + v * LANES, acc[m][v]);
        }
}

static void stage_pack(const cg_call *call, void *scratch_memory, long first, long last)
{
    float *weights = call->weights;
    float *packed = call->packed;
    (void)scratch_memory;
    for (long task = first; task < last; task++) {
        pack0(weights, packed);
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
        for (long j = task; j < cg_min(task + 1, 2); j++) {
            const long here = j * 1024;
            const long there = j * 2048;
            for (long w = 0; w < 108; w += 6) {
                tile1(src + here + w * 8, packed, bias, dst + there + w * 16);
            }
            for (long w_2 = 108; w_2 < 128; w_2 += 5) {
                tile2(src + here + w_2 * 8, packed, bias, dst + there + w_2 * 16);
            }
        }
    }
}

const example_kernel example_pointwise_avx2 = {
    512, 0, 0, 2, {
        { stage_pack, 1, 1 },
        { stage_compute, 2, 0 },
    }
};
#endif

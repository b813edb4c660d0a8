/* example_conv1_avx2.c: conv1 for avx2.
 *
 *   forward, --epilogue=relu mb1ic3ih32iw32oc8oh16ow16kh3kw3sh2sw2ph1pw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh*2 + kh - 1, ow*2 + kw - 1, i] * weights[kh, kw, i, c]
 *     then max(0, .)
 *
 *   schedule  direct.p8.v1.rows1, tuned in this form: recorded 955 ns
 *             tiles of at most 8 pixels of a row x 1 vector of 8 channels stay in registers through all taps;
 *             a task is a row of the output for a panel of weights, which stays in the caches through it
 *   stages    pack: 1 task
 *             compute: 16 tasks
 *   error     an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *             the same bits wherever this kernel runs; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 28, u = 2^-24
 *             recorded, on uniform [-1, 1]: normwise 8.8e-08, 0.94 of a plain loop's, 0.087 of the bound at most
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
    LANES = 8,
    SRC_H = 96,
    SRC_W = 3,
    WEIGHTS_I = 8,
};

/* Copies the columns of weights that one tile uses into a panel, which it then reads from front to back. */
static void pack0(const float *weights, float *panel) {
    vec r;
    for (long i = 0; i < 27; i++) {
        vload(r, weights);
        vstore(panel, r);
        weights += WEIGHTS_I;
        panel += LANES;
    }
}

/* acc[m][v] += x[m] * w[v] for m = 0..7, neighbouring pixels of a row of dst, and v = 0, vectors of its channels. Its
 * caller leaves out taps outside the input along d and h; along w all lie inside, for all pixels, but at this border: tap 0
 * only for pixels 1..7; the others would read padding. */
static void tile1(const float *src, const float *panel, const float *bias, float *dst, long rows) {
    vec a, acc[8], w0;
    unrolled for (int m = 0; m < 8; m++) vzero(acc[m]);
    const float *row = src;
    const float *row_weights = panel;
    for (long j = 0; j < rows; j++) {
        {
            const float *x = row;
            const float *w = row_weights;
            for (long l = 0; l < 3; l++) {
                vload(w0, w);
                unrolled for (int m = 1; m < 8; m++) {
                    vbroadcast(a, x + m * 2 * SRC_W);
                    vfma(acc[m], w0, a);
                }
                x += 1;
                w += LANES;
            }
        }
        {
            const float *x = row + SRC_W;
            const float *w = row_weights + 3 * LANES;
            for (long l = 0; l < 6; l++) {
                vload(w0, w);
                unrolled for (int m = 0; m < 8; m++) {
                    vbroadcast(a, x + m * 2 * SRC_W);
                    vfma(acc[m], w0, a);
                }
                x += 1;
                w += LANES;
            }
        }
        row += SRC_H;
        row_weights += 9 * LANES;
    }
    unrolled for (int m = 0; m < 8; m++) {
        vload(w0, bias);
        vadd(acc[m], acc[m], w0);
        vzero(w0);
        vmax(acc[m], w0, acc[m]);
        vstore(dst + m * DST_W, acc[m]);
    }
}

/* acc[m][v] += x[m] * w[v] for m = 0..7, neighbouring pixels of a row of dst, and v = 0, vectors of its channels. Its
 * caller leaves out taps outside the input along d and h; along w all lie inside, for all pixels. */
static void tile2(const float *src, const float *panel, const float *bias, float *dst, long rows) {
    vec a, acc[8], w0;
    unrolled for (int m = 0; m < 8; m++) vzero(acc[m]);
    const float *row = src;
    const float *row_weights = panel;
    for (long j = 0; j < rows; j++) {
        const float *x = row;
        const float *w = row_weights;
        for (long l = 0; l < 9; l++) {
            vload(w0, w);
            unrolled for (int m = 0; m < 8; m++) {
                vbroadcast(a, x + m * 2 * SRC_W);
                vfma(acc[m], w0, a);
            }
            x += 1;
            w += LANES;
        }
        row += SRC_H;
        row_weights += 9 * LANES;
    }
    unrolled for (int m = 0; m < 8; m++) {
        vload(w0, bias);
        vadd(acc[m], acc[m], w0);
        vzero(w0);
        vmax(acc[m], w0, acc[m]);
        vstore(dst + m * DST_W, acc[m]);
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
        for (long j = task; j < cg_min(task + 1, 16); j++) {
            const long row_first = cg_min(cg_max(0 - (j * 2 - 1), 0), 3);
            const long row_count = cg_max(cg_min(32 - (j * 2 - 1), 3) - row_first, 0);
            const long with = row_first * 72;
            const long here = (j * 2 - 1 + row_first) * 96 - 3;
            const long there = j * 128;
            tile1(src + here, packed + with, bias, dst + there, row_count);
            tile2(src + here + 48, packed + with, bias, dst + there + 64, row_count);
        }
    }
}

const example_kernel example_conv1_avx2 = {
    896, 0, 0, 2, {
        { stage_pack, 1, 1 },
        { stage_compute, 16, 0 },
    }
};
#endif

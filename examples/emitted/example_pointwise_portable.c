/* example_pointwise_portable.c: pointwise for portable.
 *
 *   forward, --epilogue=relu mb1ic8ih16iw16oc16oh16ow16kh1kw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh, ow, i] * weights[kh, kw, i, c]
 *     then max(0, .)
 *
 *   schedule  planar.c2.v4.rows4, tuned in this form: recorded 39.7 us
 *   stages    pack: 8 tasks
 *             compute: 4 tasks
 *   error     an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *             the same bits wherever this kernel runs; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 9, u = 2^-24
 *             recorded, on uniform [-1, 1]: normwise 4.8e-08, 0.91 of a plain loop's, 0.26 of the bound at most
 *
 * Made by convgen 0.1.0; belongs to whoever made it. */
#include "example_internal.h"

#include "example_vec_f32_portable.h"

/* Elements from one to the next along an axis; LANES: of a vector. */
enum {
    DST_W = 16,
    LANES = 4,
    SRC_W = 8,
    WEIGHTS_I = 16,
};

/* Copies the weights that one tile uses into a panel, which it then reads from front to back. */
static void pack0(const float *weights, float *panel) {
    vec r;
    for (long i = 0; i < 8; i++) {
        vload_range(r, weights, 0, 2);
        vstore_range(panel, r, 0, 2);
        weights += WEIGHTS_I;
        panel += 2;
    }
}

/* Lays pixels out as rows, one for each channel, so that neighbouring pixels stand in the lanes. */
static void move1(const float *from, float *to) {
    vec r[5];
    {
        const float *a = from;
        float *b = to;
        for (long i = 0; i < 4; i++) {
            unrolled for (int n = 1; n < 5; n++) vload(r[n], a + n * SRC_W - SRC_W);
            vtranspose(r[1], r[2], r[3], r[4]);
            unrolled for (int n = 1; n < 5; n++) vstore(b + n * 5 * LANES - 5 * LANES, r[n]);
            a += 4 * SRC_W;
            b += LANES;
        }
    }
    {
        const float *a = from;
        float *b = to;
        for (long i = 0; i < 4; i++) {
            unrolled for (int n = 1; n < 5; n++) vload(r[n], a + n * SRC_W - LANES);
            vtranspose(r[1], r[2], r[3], r[4]);
            unrolled for (int n = 1; n < 5; n++) vstore(b + n * 5 * LANES + 15 * LANES, r[n]);
            a += 4 * SRC_W;
            b += LANES;
        }
    }
}

/* Puts rows of channels back as pixels. */
static void move2(const float *from, float *to) {
    vec r[5];
    {
        const float *a = from;
        float *b = to;
        for (long i = 0; i < 4; i++) {
            unrolled for (int n = 1; n < 5; n++) vload(r[n], a + n * 4 * LANES - 4 * LANES);
            vtranspose(r[1], r[2], r[3], r[4]);
            unrolled for (int n = 1; n < 5; n++) vextract(b + n * DST_W - DST_W, r[n], 0);
            a += LANES;
            b += 4 * DST_W;
        }
    }
    {
        const float *a = from;
        float *b = to;
        for (long i = 0; i < 4; i++) {
            unrolled for (int n = 1; n < 5; n++) vload(r[n], a + n * 4 * LANES + 12 * LANES);
            vtranspose(r[1], r[2], r[3], r[4]);
            unrolled for (int n = 1; n < 5; n++) vextract(b + n * DST_W - (DST_W - LANES), r[n], 0);
            a += LANES;
            b += 4 * DST_W;
        }
    }
    {
        const float *a = from;
        float *b = to;
        for (long i = 0; i < 4; i++) {
            unrolled for (int n = 1; n < 5; n++) vload(r[n], a + n * 4 * LANES + 28 * LANES);
            vtranspose(r[1], r[2], r[3], r[4]);
            unrolled for (int n = 1; n < 5; n++) vextract(b + n * DST_W - 2 * LANES, r[n], 0);
            a += LANES;
            b += 4 * DST_W;
        }
    }
    {
        const float *a = from;
        float *b = to;
        for (long i = 0; i < 4; i++) {
            unrolled for (int n = 1; n < 5; n++) vload(r[n], a + n * 4 * LANES + 44 * LANES);
            vtranspose(r[1], r[2], r[3], r[4]);
            unrolled for (int n = 1; n < 5; n++) vextract(b + n * DST_W - LANES, r[n], 0);
            a += LANES;
            b += 4 * DST_W;
        }
    }
}

/* acc[c][v] += x[v] * w[c]: the lanes are neighbouring pixels of a row, c = 0..1 the output channels whose weights are
 * broadcast. `planes` and `rows` of taps lie inside the input; taps in the padding along w read zeros or fewer lanes. */
static void tile3(const float *input, const float *panel, const float *bias, float *output) {
    vec w, x[4], acc[2][4];
    unrolled for (int v = 0; v < 4; v++) vzero(acc[0][v]);
    unrolled for (int v = 0; v < 4; v++) vzero(acc[1][v]);
    const float *row = input;
    const float *row_weights = panel;
    unrolled for (int n = 0; n < 8; n++) {
        unrolled for (int v = 0; v < 4; v++) vload(x[v], row + n * 5 * LANES + v * LANES);
        vbroadcast(w, row_weights + n * 2);
        unrolled for (int v = 0; v < 4; v++) vfma(acc[0][v], x[v], w);
        vbroadcast(w, row_weights + n * 2 + 1);
        unrolled for (int v = 0; v < 4; v++) vfma(acc[1][v], x[v], w);
    }
    unrolled for (int c = 0; c < 2; c++) {
        vbroadcast(w, bias + c);
        unrolled for (int v = 0; v < 4; v++) {
            vadd(acc[c][v], acc[c][v], w);
            vzero(x[v]);
            vmax(acc[c][v], x[v], acc[c][v]);
            vstore(output + c * 4 * LANES + v * LANES, acc[c][v]);
        }
    }
}

static void stage_pack(const cg_call *call, void *scratch_memory, long first, long last)
{
    float *weights = call->weights;
    float *packed = call->packed;
    (void)scratch_memory;
    for (long task = first; task < last; task++) {
        const long c = task * 2;
        pack0(weights + c, packed + c * 8);
    }
}

static void stage_compute(const cg_call *call, void *scratch_memory, long first, long last)
{
    float *src = call->src;
    float *bias = call->bias;
    float *dst = call->dst;
    float *packed = call->packed;
    float *scratch = scratch_memory;
    for (long task = first; task < last; task++) {
        const long last_2 = cg_min(task * 4 + 4, 16);
        const long low = cg_max(task * 4, 0);
        const long high = cg_min(last_2 - 1 + 1, 16);
        for (long row = low; row < high; row++) {
            const long to = (row - low) * 160;
            move1(src + row * 128, scratch + to);
        }
        for (long j = task * 4; j < last_2; j++) {
            const long here = (j - low) * 160;
            const long there = j * 256;
            for (long c = 0; c < 16; c += 2) {
                tile3(scratch + here, packed + c * 8, bias + c, scratch + c * 16 + 644);
            }
            move2(scratch + 644, dst + there);
        }
    }
}

const example_kernel example_pointwise_portable = {
    512, 0, 3648, 2, {
        { stage_pack, 8, 1 },
        { stage_compute, 4, 0 },
    }
};

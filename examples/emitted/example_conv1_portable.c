/* example_conv1_portable.c: conv1 for portable.
 *
 *   forward, --epilogue=relu mb1ic3ih32iw32oc8oh16ow16kh3kw3sh2sw2ph1pw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh*2 + kh - 1, ow*2 + kw - 1, i] * weights[kh, kw, i, c]
 *     then max(0, .)
 *
 *   schedule  winograd.3+2x1.t56.s1/product.r6.v2.a16, tuned in this form: recorded 54.8 us
 *             Winograd's algorithm: a tile of 3 x 1 outputs Y from a window d of 7 x 3 inputs, by 21 products in place of 27 a channel:
 *               U = G g GT of the weights g,  V = BT d B,  M[f] = sum over input channels of V[f] U[f],  Y = AT M A
 *             with a frequency f = row * 2 + column for each element of V, U and M. The outputs are cut into tiles as 16 = 4 x 3 + 2 x 2 rows,
 *             16 = 16 x 1 columns; about 56 tiles go through V, M and Y before the next, so that V and M stay in the caches.
 *             V and M: [frequency][tile][channel]; U: [tile of channels of Y][frequency][channel of d][channel of Y].
 *             Strides of 2 x 2: taps and inputs that are a stride apart are a phase, which has no stride. Rows have phases of
 *             2, 1 taps, columns of 2, 1; a phase of both is a set of input channels of its own, and M sums over all of them.
 *             Phases with a tap fewer have no frequency at infinity, the last one: their BT and G lack the last row and column.
 *             rows: F(3,2) at the points 0, 1, -1, infinity
 *               BT  -1   0  1  0
 *                    0   1  1  0
 *                    0  -1  1  0
 *                    0  -1  0  1
 *               G    -1     0
 *                   1/2   1/2
 *                   1/2  -1/2
 *                     0     1
 *               AT  1  1   1  0
 *                   0  1  -1  0
 *                   0  1   1  1
 *             smaller tiles, which read the same U, rows: F(2,2) at the points 0, 1, infinity
 *               BT  -1   1  0
 *                    0   2  0
 *                    0  -1  1
 *               AT  1  1  0
 *                   0  1  1
 *             columns: F(1,2) at the points 0, infinity
 *               BT  1  0
 *                   0  1
 *               G   1  0
 *                   0  1
 *               AT  1  1
 *   stages    pack: 1 task (U of a tile of output channels)
 *             compute: 2 tasks (blocks of 1 x 9 x 16 outputs: images, rows, columns; blocks of 1 x 7 x 16 outputs: images, rows, columns)
 *   error     sums are transformed: the normwise error is held to 1.25 times that of a plain loop,
 *             on independent uniform [-1, 1] data (accuracy loop)
 *             recorded, on uniform [-1, 1]: normwise 8.6e-08, 0.87 of a plain loop's
 *
 * Made by convgen 0.1.0; belongs to whoever made it. */
#include "example_internal.h"

#include "example_vec_f32_portable.h"

/* Elements from one to the next along an axis; LANES: of a vector. */
enum {
    DST_H = 128,
    LANES = 4,
    SRC_H = 96,
    SRC_W = 3,
    WEIGHTS_I = 8,
    WEIGHTS_KH = 72,
    WEIGHTS_KW = 24,
};

/* U = G g GT of the 1 x 2 taps g between each input channel (a row) and 8 output channels in the lanes. Frequency f of U
 * stands at f * 112. */
static void pack0(const float *weights, float *u) {
    vec c[2], g[2], x, t[3], gGT0_0, gGT0_1;
    vset(c[0], -1.0);
    vset(c[1], 0.5);
    for (long i = 0; i < 3; i++) {
        /* g GT, row 0 */
        unrolled for (int n = 0; n < 2; n++) vload(g[n], weights + n * 2 * WEIGHTS_KW);
        vmove(gGT0_0, g[0]);
        vmove(gGT0_1, g[1]);
        /* U = G (g GT), column 0 */
        vmove(x, gGT0_0);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmul(t[2], x, c[1]);
        unrolled for (int n = 0; n < 3; n++) vstore(u + n * 56 * LANES, t[n]);
        /* U = G (g GT), column 1 */
        vmove(x, gGT0_1);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmul(t[2], x, c[1]);
        unrolled for (int n = 0; n < 3; n++) vstore(u + n * 56 * LANES + 28 * LANES, t[n]);
        /* g GT, row 0 */
        unrolled for (int n = 0; n < 2; n++) vload(g[n], weights + n * 2 * WEIGHTS_KW + LANES);
        vmove(gGT0_0, g[0]);
        vmove(gGT0_1, g[1]);
        /* U = G (g GT), column 0 */
        vmove(x, gGT0_0);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmul(t[2], x, c[1]);
        unrolled for (int n = 0; n < 3; n++) vstore(u + n * 56 * LANES + LANES, t[n]);
        /* U = G (g GT), column 1 */
        vmove(x, gGT0_1);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmul(t[2], x, c[1]);
        unrolled for (int n = 0; n < 3; n++) vstore(u + n * 56 * LANES + 29 * LANES, t[n]);
        weights += WEIGHTS_I;
        u += 2 * LANES;
    }
}

/* U = G g GT of the 2 x 2 taps g between each input channel (a row) and 8 output channels in the lanes. Frequency f of U
 * stands at f * 112. */
static void pack1(const float *weights, float *u) {
    vec c[2], g[2][2], x, t[3], gGT0_0, gGT0_1, gGT1_0, gGT1_1;
    vset(c[0], -1.0);
    vset(c[1], 0.5);
    for (long i = 0; i < 3; i++) {
        /* g GT, row 0 */
        unrolled for (int n = 0; n < 2; n++) vload(g[0][n], weights + n * 2 * WEIGHTS_KW);
        vmove(gGT0_0, g[0][0]);
        vmove(gGT0_1, g[0][1]);
        /* g GT, row 1 */
        unrolled for (int n = 0; n < 2; n++) vload(g[1][n], weights + n * 2 * WEIGHTS_KW + 2 * WEIGHTS_KH);
        vmove(gGT1_0, g[1][0]);
        vmove(gGT1_1, g[1][1]);
        /* U = G (g GT), column 0 */
        vmove(x, gGT0_0);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmove(x, gGT1_0);
        vmove(t[2], t[1]);
        vfma(t[2], x, c[1]);
        vfnma(t[1], x, c[1]);
        unrolled for (int n = 0; n < 2; n++) vstore(u + n * 56 * LANES, t[n * 2]);
        vstore(u + 112 * LANES, t[1]);
        vstore(u + 168 * LANES, x);
        /* U = G (g GT), column 1 */
        vmove(x, gGT0_1);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmove(x, gGT1_1);
        vmove(t[2], t[1]);
        vfma(t[2], x, c[1]);
        vfnma(t[1], x, c[1]);
        unrolled for (int n = 0; n < 2; n++) vstore(u + n * 56 * LANES + 28 * LANES, t[n * 2]);
        vstore(u + 140 * LANES, t[1]);
        vstore(u + 196 * LANES, x);
        /* g GT, row 0 */
        unrolled for (int n = 0; n < 2; n++) vload(g[0][n], weights + n * 2 * WEIGHTS_KW + LANES);
        vmove(gGT0_0, g[0][0]);
        vmove(gGT0_1, g[0][1]);
        /* g GT, row 1 */
        unrolled for (int n = 0; n < 2; n++) vload(g[1][n], weights + n * 2 * WEIGHTS_KW + 2 * WEIGHTS_KH + LANES);
        vmove(gGT1_0, g[1][0]);
        vmove(gGT1_1, g[1][1]);
        /* U = G (g GT), column 0 */
        vmove(x, gGT0_0);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmove(x, gGT1_0);
        vmove(t[2], t[1]);
        vfma(t[2], x, c[1]);
        vfnma(t[1], x, c[1]);
        unrolled for (int n = 0; n < 2; n++) vstore(u + n * 56 * LANES + LANES, t[n * 2]);
        vstore(u + 113 * LANES, t[1]);
        vstore(u + 169 * LANES, x);
        /* U = G (g GT), column 1 */
        vmove(x, gGT0_1);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmove(x, gGT1_1);
        vmove(t[2], t[1]);
        vfma(t[2], x, c[1]);
        vfnma(t[1], x, c[1]);
        unrolled for (int n = 0; n < 2; n++) vstore(u + n * 56 * LANES + 29 * LANES, t[n * 2]);
        vstore(u + 141 * LANES, t[1]);
        vstore(u + 197 * LANES, x);
        weights += WEIGHTS_I;
        u += 2 * LANES;
    }
}

/* U = G g GT of the 2 x 1 taps g between each input channel (a row) and 8 output channels in the lanes. Frequency f of U
 * stands at f * 112. */
static void pack2(const float *weights, float *u) {
    vec c[2], g0_0, g1_0, x, t[3], gGT0_0, gGT1_0;
    vset(c[0], -1.0);
    vset(c[1], 0.5);
    for (long i = 0; i < 3; i++) {
        /* g GT, row 0 */
        vload(g0_0, weights);
        vmove(gGT0_0, g0_0);
        /* g GT, row 1 */
        vload(g1_0, weights + 2 * WEIGHTS_KH);
        vmove(gGT1_0, g1_0);
        /* U = G (g GT), column 0 */
        vmove(x, gGT0_0);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmove(x, gGT1_0);
        vmove(t[2], t[1]);
        vfma(t[2], x, c[1]);
        vfnma(t[1], x, c[1]);
        unrolled for (int n = 0; n < 2; n++) vstore(u + n * 56 * LANES, t[n * 2]);
        vstore(u + 112 * LANES, t[1]);
        vstore(u + 168 * LANES, x);
        /* g GT, row 0 */
        vload(g0_0, weights + LANES);
        vmove(gGT0_0, g0_0);
        /* g GT, row 1 */
        vload(g1_0, weights + 2 * WEIGHTS_KH + LANES);
        vmove(gGT1_0, g1_0);
        /* U = G (g GT), column 0 */
        vmove(x, gGT0_0);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmove(x, gGT1_0);
        vmove(t[2], t[1]);
        vfma(t[2], x, c[1]);
        vfnma(t[1], x, c[1]);
        unrolled for (int n = 0; n < 2; n++) vstore(u + n * 56 * LANES + LANES, t[n * 2]);
        vstore(u + 113 * LANES, t[1]);
        vstore(u + 169 * LANES, x);
        weights += WEIGHTS_I;
        u += 2 * LANES;
    }
}

/* U = G g GT of the 1 x 1 taps g between each input channel (a row) and 8 output channels in the lanes. Frequency f of U
 * stands at f * 112. */
static void pack3(const float *weights, float *u) {
    vec c[2], g0_0, x, t[3], gGT0_0;
    vset(c[0], -1.0);
    vset(c[1], 0.5);
    for (long i = 0; i < 3; i++) {
        /* g GT, row 0 */
        vload(g0_0, weights);
        vmove(gGT0_0, g0_0);
        /* U = G (g GT), column 0 */
        vmove(x, gGT0_0);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmul(t[2], x, c[1]);
        unrolled for (int n = 0; n < 3; n++) vstore(u + n * 56 * LANES, t[n]);
        /* g GT, row 0 */
        vload(g0_0, weights + LANES);
        vmove(gGT0_0, g0_0);
        /* U = G (g GT), column 0 */
        vmove(x, gGT0_0);
        unrolled for (int n = 0; n < 2; n++) vmul(t[n], x, c[n]);
        vmul(t[2], x, c[1]);
        unrolled for (int n = 0; n < 3; n++) vstore(u + n * 56 * LANES + LANES, t[n]);
        weights += WEIGHTS_I;
        u += 2 * LANES;
    }
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 3 x 2 pixels of one phase, 2 rows and 2
 * columns apart; its columns 1 to 1 are in the tensor, the others are zeros. Frequency f of V stands at f * 784. */
static void input4(const float *window, float *v) {
    vec d0_1, d1_1, d2_1, zero, x, x1, t[3], dB0_1, dB1_1, dB2_1;
    /* d B, row 0 */
    vload_range(d0_1, window + 2 * SRC_W, 0, 3);
    vmove(dB0_1, d0_1);
    /* d B, row 1 */
    vload_range(d1_1, window + 2 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB1_1, d1_1);
    /* d B, row 2 */
    vload_range(d2_1, window + 4 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB2_1, d2_1);
    /* V = BT (d B), column 0 */
    vzero(zero);
    unrolled for (int n = 0; n < 3; n++) vstore(v + n * 392 * LANES, zero);
    /* V = BT (d B), column 1 */
    vmove(x, dB2_1);
    vmove(x1, dB0_1);
    vsub(t[0], x, x1);
    vmove(x1, dB1_1);
    vadd(t[1], x, x1);
    vsub(t[2], x, x1);
    unrolled for (int n = 0; n < 3; n++) vstore(v + n * 392 * LANES + 196 * LANES, t[n]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 4 x 2 pixels of one phase, 2 rows and 2
 * columns apart; its rows 1 to 3 are in the tensor, the others are zeros; its columns 1 to 1 are in the tensor, the others
 * are zeros. Frequency f of V stands at f * 784. */
static void input5(const float *window, float *v) {
    vec d1_1, d2_1, d3_1, zero, x, x1, t[3], x2, dB1_1, dB2_1, dB3_1;
    /* d B, row 1 */
    vload_range(d1_1, window + 2 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB1_1, d1_1);
    /* d B, row 2 */
    vload_range(d2_1, window + 4 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB2_1, d2_1);
    /* d B, row 3 */
    vload_range(d3_1, window + 6 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB3_1, d3_1);
    /* V = BT (d B), column 0 */
    vzero(zero);
    unrolled for (int n = 0; n < 4; n++) vstore(v + n * 392 * LANES, zero);
    /* V = BT (d B), column 1 */
    vmove(x, dB2_1);
    vmove(x1, dB1_1);
    vadd(t[0], x, x1);
    vsub(t[1], x, x1);
    vmove(x2, dB3_1);
    vsub(t[2], x2, x1);
    vstore(v + 196 * LANES, x);
    unrolled for (int n = 0; n < 3; n++) vstore(v + n * 392 * LANES + 588 * LANES, t[n]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 4 x 1 pixels of one phase, 2 rows and 2
 * columns apart; its rows 1 to 3 are in the tensor, the others are zeros. Frequency f of V stands at f * 784. */
static void input6(const float *window, float *v) {
    vec d1_0, d2_0, d3_0, x, x1, t[3], x2, dB1_0, dB2_0, dB3_0;
    /* d B, row 1 */
    vload_range(d1_0, window + 2 * SRC_H, 0, 3);
    vmove(dB1_0, d1_0);
    /* d B, row 2 */
    vload_range(d2_0, window + 4 * SRC_H, 0, 3);
    vmove(dB2_0, d2_0);
    /* d B, row 3 */
    vload_range(d3_0, window + 6 * SRC_H, 0, 3);
    vmove(dB3_0, d3_0);
    /* V = BT (d B), column 0 */
    vmove(x, dB2_0);
    vmove(x1, dB1_0);
    vadd(t[0], x, x1);
    vsub(t[1], x, x1);
    vmove(x2, dB3_0);
    vsub(t[2], x2, x1);
    vstore(v, x);
    unrolled for (int n = 0; n < 3; n++) vstore(v + n * 392 * LANES + 392 * LANES, t[n]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 3 x 1 pixels of one phase, 2 rows and 2
 * columns apart. Frequency f of V stands at f * 784. */
static void input7(const float *window, float *v) {
    vec d0_0, d1_0, d2_0, x, x1, t[3], dB0_0, dB1_0, dB2_0;
    /* d B, row 0 */
    vload_range(d0_0, window, 0, 3);
    vmove(dB0_0, d0_0);
    /* d B, row 1 */
    vload_range(d1_0, window + 2 * SRC_H, 0, 3);
    vmove(dB1_0, d1_0);
    /* d B, row 2 */
    vload_range(d2_0, window + 4 * SRC_H, 0, 3);
    vmove(dB2_0, d2_0);
    /* V = BT (d B), column 0 */
    vmove(x, dB2_0);
    vmove(x1, dB0_0);
    vsub(t[0], x, x1);
    vmove(x1, dB1_0);
    vadd(t[1], x, x1);
    vsub(t[2], x, x1);
    unrolled for (int n = 0; n < 3; n++) vstore(v + n * 392 * LANES, t[n]);
}

/* Y = AT M A of one tile and the bias, 8 channels, 4 at a time: 3 x 1 outputs from 4 x 2 frequencies, of which f stands at
 * f * 400. */
static void output8(const float *m, const float *bias, float *out) {
    vec mv[4][2], t[4], x, x1, e, MA0_0, MA1_0, MA2_0, MA3_0;
    for (long i = 0; i < 2; i++) {
        /* M A, row 0 */
        unrolled for (int n = 0; n < 2; n++) vload(mv[0][n], m + n * 100 * LANES);
        vadd(t[0], mv[0][0], mv[0][1]);
        vmove(MA0_0, t[0]);
        /* M A, row 1 */
        unrolled for (int n = 0; n < 2; n++) vload(mv[1][n], m + n * 100 * LANES + 200 * LANES);
        vadd(t[0], mv[1][0], mv[1][1]);
        vmove(MA1_0, t[0]);
        /* M A, row 2 */
        unrolled for (int n = 0; n < 2; n++) vload(mv[2][n], m + n * 100 * LANES + 400 * LANES);
        vadd(t[0], mv[2][0], mv[2][1]);
        vmove(MA2_0, t[0]);
        /* M A, row 3 */
        unrolled for (int n = 0; n < 2; n++) vload(mv[3][n], m + n * 100 * LANES + 600 * LANES);
        vadd(t[0], mv[3][0], mv[3][1]);
        vmove(MA3_0, t[0]);
        /* Y = AT (M A), column 0 */
        vmove(x, MA1_0);
        vmove(x1, MA2_0);
        vadd(t[0], x, x1);
        vsub(t[1], x, x1);
        vmove(x, MA0_0);
        vadd(t[2], x, t[0]);
        vmove(x, MA3_0);
        vadd(t[3], t[0], x);
        unrolled for (int n = 0; n < 2; n++) {
            vload(e, bias);
            vadd(t[2 - n], t[2 - n], e);
            vzero(e);
            vmax(t[2 - n], e, t[2 - n]);
            vstore(out + n * DST_H, t[2 - n]);
        }
        vload(e, bias);
        vadd(t[3], t[3], e);
        vzero(e);
        vmax(t[3], e, t[3]);
        vstore(out + 2 * DST_H, t[3]);
        m += LANES;
        bias += LANES;
        out += LANES;
    }
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 3 x 2 pixels of one phase, 2 rows and 2
 * columns apart. Frequency f of V stands at f * 784. */
static void input9(const float *window, float *v) {
    vec d[3][2], x, x1, t[3], dB0_0, dB0_1, dB1_0, dB1_1, dB2_0, dB2_1;
    /* d B, row 0 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[0][n], window + n * 2 * SRC_W, 0, 3);
    vmove(dB0_0, d[0][0]);
    vmove(dB0_1, d[0][1]);
    /* d B, row 1 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[1][n], window + n * 2 * SRC_W + 2 * SRC_H, 0, 3);
    vmove(dB1_0, d[1][0]);
    vmove(dB1_1, d[1][1]);
    /* d B, row 2 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[2][n], window + n * 2 * SRC_W + 4 * SRC_H, 0, 3);
    vmove(dB2_0, d[2][0]);
    vmove(dB2_1, d[2][1]);
    /* V = BT (d B), column 0 */
    vmove(x, dB2_0);
    vmove(x1, dB0_0);
    vsub(t[0], x, x1);
    vmove(x1, dB1_0);
    vadd(t[1], x, x1);
    vsub(t[2], x, x1);
    unrolled for (int n = 0; n < 3; n++) vstore(v + n * 392 * LANES, t[n]);
    /* V = BT (d B), column 1 */
    vmove(x, dB2_1);
    vmove(x1, dB0_1);
    vsub(t[0], x, x1);
    vmove(x1, dB1_1);
    vadd(t[1], x, x1);
    vsub(t[2], x, x1);
    unrolled for (int n = 0; n < 3; n++) vstore(v + n * 392 * LANES + 196 * LANES, t[n]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 4 x 2 pixels of one phase, 2 rows and 2
 * columns apart; its rows 1 to 3 are in the tensor, the others are zeros. Frequency f of V stands at f * 784. */
static void input10(const float *window, float *v) {
    vec d[4][2], x, x1, t[3], x2, dB1_0, dB1_1, dB2_0, dB2_1, dB3_0, dB3_1;
    /* d B, row 1 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[1][n], window + n * 2 * SRC_W + 2 * SRC_H, 0, 3);
    vmove(dB1_0, d[1][0]);
    vmove(dB1_1, d[1][1]);
    /* d B, row 2 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[2][n], window + n * 2 * SRC_W + 4 * SRC_H, 0, 3);
    vmove(dB2_0, d[2][0]);
    vmove(dB2_1, d[2][1]);
    /* d B, row 3 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[3][n], window + n * 2 * SRC_W + 6 * SRC_H, 0, 3);
    vmove(dB3_0, d[3][0]);
    vmove(dB3_1, d[3][1]);
    /* V = BT (d B), column 0 */
    vmove(x, dB2_0);
    vmove(x1, dB1_0);
    vadd(t[0], x, x1);
    vsub(t[1], x, x1);
    vmove(x2, dB3_0);
    vsub(t[2], x2, x1);
    vstore(v, x);
    unrolled for (int n = 0; n < 3; n++) vstore(v + n * 392 * LANES + 392 * LANES, t[n]);
    /* V = BT (d B), column 1 */
    vmove(x, dB2_1);
    vmove(x1, dB1_1);
    vadd(t[0], x, x1);
    vsub(t[1], x, x1);
    vmove(x2, dB3_1);
    vsub(t[2], x2, x1);
    vstore(v + 196 * LANES, x);
    unrolled for (int n = 0; n < 3; n++) vstore(v + n * 392 * LANES + 588 * LANES, t[n]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 4 x 2 pixels of one phase, 2 rows and 2
 * columns apart; its columns 1 to 1 are in the tensor, the others are zeros. Frequency f of V stands at f * 784. */
static void input11(const float *window, float *v) {
    vec d0_1, d1_1, d2_1, d3_1, zero, x, x1, t[4], dB0_1, dB1_1, dB2_1, dB3_1;
    /* d B, row 0 */
    vload_range(d0_1, window + 2 * SRC_W, 0, 3);
    vmove(dB0_1, d0_1);
    /* d B, row 1 */
    vload_range(d1_1, window + 2 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB1_1, d1_1);
    /* d B, row 2 */
    vload_range(d2_1, window + 4 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB2_1, d2_1);
    /* d B, row 3 */
    vload_range(d3_1, window + 6 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB3_1, d3_1);
    /* V = BT (d B), column 0 */
    vzero(zero);
    unrolled for (int n = 0; n < 4; n++) vstore(v + n * 392 * LANES, zero);
    /* V = BT (d B), column 1 */
    vmove(x, dB2_1);
    vmove(x1, dB0_1);
    vsub(t[0], x, x1);
    vmove(x1, dB1_1);
    vadd(t[1], x, x1);
    vsub(t[2], x, x1);
    vmove(x, dB3_1);
    vsub(t[3], x, x1);
    unrolled for (int n = 0; n < 4; n++) vstore(v + n * 392 * LANES + 196 * LANES, t[n]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 4 x 1 pixels of one phase, 2 rows and 2
 * columns apart. Frequency f of V stands at f * 784. */
static void input12(const float *window, float *v) {
    vec d0_0, d1_0, d2_0, d3_0, x, x1, t[4], dB0_0, dB1_0, dB2_0, dB3_0;
    /* d B, row 0 */
    vload_range(d0_0, window, 0, 3);
    vmove(dB0_0, d0_0);
    /* d B, row 1 */
    vload_range(d1_0, window + 2 * SRC_H, 0, 3);
    vmove(dB1_0, d1_0);
    /* d B, row 2 */
    vload_range(d2_0, window + 4 * SRC_H, 0, 3);
    vmove(dB2_0, d2_0);
    /* d B, row 3 */
    vload_range(d3_0, window + 6 * SRC_H, 0, 3);
    vmove(dB3_0, d3_0);
    /* V = BT (d B), column 0 */
    vmove(x, dB2_0);
    vmove(x1, dB0_0);
    vsub(t[0], x, x1);
    vmove(x1, dB1_0);
    vadd(t[1], x, x1);
    vsub(t[2], x, x1);
    vmove(x, dB3_0);
    vsub(t[3], x, x1);
    unrolled for (int n = 0; n < 4; n++) vstore(v + n * 392 * LANES, t[n]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 4 x 2 pixels of one phase, 2 rows and 2
 * columns apart. Frequency f of V stands at f * 784. */
static void input13(const float *window, float *v) {
    vec d[4][2], x, x1, t[4], dB0_0, dB0_1, dB1_0, dB1_1, dB2_0, dB2_1, dB3_0, dB3_1;
    /* d B, row 0 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[0][n], window + n * 2 * SRC_W, 0, 3);
    vmove(dB0_0, d[0][0]);
    vmove(dB0_1, d[0][1]);
    /* d B, row 1 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[1][n], window + n * 2 * SRC_W + 2 * SRC_H, 0, 3);
    vmove(dB1_0, d[1][0]);
    vmove(dB1_1, d[1][1]);
    /* d B, row 2 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[2][n], window + n * 2 * SRC_W + 4 * SRC_H, 0, 3);
    vmove(dB2_0, d[2][0]);
    vmove(dB2_1, d[2][1]);
    /* d B, row 3 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[3][n], window + n * 2 * SRC_W + 6 * SRC_H, 0, 3);
    vmove(dB3_0, d[3][0]);
    vmove(dB3_1, d[3][1]);
    /* V = BT (d B), column 0 */
    vmove(x, dB2_0);
    vmove(x1, dB0_0);
    vsub(t[0], x, x1);
    vmove(x1, dB1_0);
    vadd(t[1], x, x1);
    vsub(t[2], x, x1);
    vmove(x, dB3_0);
    vsub(t[3], x, x1);
    unrolled for (int n = 0; n < 4; n++) vstore(v + n * 392 * LANES, t[n]);
    /* V = BT (d B), column 1 */
    vmove(x, dB2_1);
    vmove(x1, dB0_1);
    vsub(t[0], x, x1);
    vmove(x1, dB1_1);
    vadd(t[1], x, x1);
    vsub(t[2], x, x1);
    vmove(x, dB3_1);
    vsub(t[3], x, x1);
    unrolled for (int n = 0; n < 4; n++) vstore(v + n * 392 * LANES + 196 * LANES, t[n]);
}

/* M[t][c] = sum over i of V[t][i] * U[i][c] at one frequency: i is one of 12 input channels, t one of 6 tiles, c a lane of
 * 2 vectors of output channels. acc<t>_<v> stays in registers through the sum. */
static void product14(const float *v, const float *u, float *m) {
    vec a, acc[6][2], uv[2];
    unrolled for (int t = 0; t < 6; t++)
        unrolled for (int n = 0; n < 2; n++) vzero(acc[t][n]);
    for (long i = 0; i < 12; i++) {
        unrolled for (int n = 0; n < 2; n++) vload(uv[n], u + n * LANES);
        unrolled for (int n = 0; n < 2; n++) vprefetch(u + n * LANES + 32 * LANES, 1);
        unrolled for (int t = 0; t < 6; t++) {
            vbroadcast(a, v + t * 4 * LANES);
            unrolled for (int n = 0; n < 2; n++) vfma(acc[t][n], uv[n], a);
        }
        v += 1;
        u += 2 * LANES;
    }
    unrolled for (int t = 0; t < 6; t++)
        unrolled for (int n = 0; n < 2; n++) vstore(m + t * 2 * LANES + n * LANES, acc[t][n]);
}

/* M[t][c] = sum over i of V[t][i] * U[i][c] at one frequency: i is one of 6 input channels, t one of 6 tiles, c a lane of 2
 * vectors of output channels. acc<t>_<v> stays in registers through the sum. */
static void product15(const float *v, const float *u, float *m) {
    vec a, acc[6][2], uv[2];
    unrolled for (int t = 0; t < 6; t++)
        unrolled for (int n = 0; n < 2; n++) vzero(acc[t][n]);
    for (long i = 0; i < 6; i++) {
        unrolled for (int n = 0; n < 2; n++) vload(uv[n], u + n * LANES);
        unrolled for (int n = 0; n < 2; n++) vprefetch(u + n * LANES + 32 * LANES, 1);
        unrolled for (int t = 0; t < 6; t++) {
            vbroadcast(a, v + t * 4 * LANES);
            unrolled for (int n = 0; n < 2; n++) vfma(acc[t][n], uv[n], a);
        }
        v += 1;
        u += 2 * LANES;
    }
    unrolled for (int t = 0; t < 6; t++)
        unrolled for (int n = 0; n < 2; n++) vstore(m + t * 2 * LANES + n * LANES, acc[t][n]);
}

/* M[t][c] = sum over i of V[t][i] * U[i][c] at one frequency: i is one of 3 input channels, t one of 6 tiles, c a lane of 2
 * vectors of output channels. acc<t>_<v> stays in registers through the sum. */
static void product16(const float *v, const float *u, float *m) {
    vec a, acc[6][2], uv[2];
    unrolled for (int t = 0; t < 6; t++)
        unrolled for (int n = 0; n < 2; n++) vzero(acc[t][n]);
    for (long i = 0; i < 3; i++) {
        unrolled for (int n = 0; n < 2; n++) vload(uv[n], u + n * LANES);
        unrolled for (int n = 0; n < 2; n++) vprefetch(u + n * LANES + 32 * LANES, 1);
        unrolled for (int t = 0; t < 6; t++) {
            vbroadcast(a, v + t * 4 * LANES);
            unrolled for (int n = 0; n < 2; n++) vfma(acc[t][n], uv[n], a);
        }
        v += 1;
        u += 2 * LANES;
    }
    unrolled for (int t = 0; t < 6; t++)
        unrolled for (int n = 0; n < 2; n++) vstore(m + t * 2 * LANES + n * LANES, acc[t][n]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 2 x 2 pixels of one phase, 2 rows and 2
 * columns apart; its columns 1 to 1 are in the tensor, the others are zeros. Frequency f of V stands at f * 784. */
static void input17(const float *window, float *v) {
    vec c, d0_1, d1_1, zero, x, x1, t[2], dB0_1, dB1_1;
    vset(c, 2.0);
    /* d B, row 0 */
    vload_range(d0_1, window + 2 * SRC_W, 0, 3);
    vmove(dB0_1, d0_1);
    /* d B, row 1 */
    vload_range(d1_1, window + 2 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB1_1, d1_1);
    /* V = BT (d B), column 0 */
    vzero(zero);
    unrolled for (int n = 0; n < 2; n++) vstore(v + n * 392 * LANES, zero);
    /* V = BT (d B), column 1 */
    vmove(x, dB1_1);
    vmove(x1, dB0_1);
    vsub(t[0], x, x1);
    vmul(t[1], x, c);
    unrolled for (int n = 0; n < 2; n++) vstore(v + n * 392 * LANES + 196 * LANES, t[n]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 3 x 2 pixels of one phase, 2 rows and 2
 * columns apart; its columns 1 to 1 are in the tensor, the others are zeros. Frequency f of V stands at f * 784. */
static void input18(const float *window, float *v) {
    vec c, d0_1, d1_1, d2_1, zero, x, x1, t[3], dB0_1, dB1_1, dB2_1;
    vset(c, 2.0);
    /* d B, row 0 */
    vload_range(d0_1, window + 2 * SRC_W, 0, 3);
    vmove(dB0_1, d0_1);
    /* d B, row 1 */
    vload_range(d1_1, window + 2 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB1_1, d1_1);
    /* d B, row 2 */
    vload_range(d2_1, window + 4 * SRC_H + 2 * SRC_W, 0, 3);
    vmove(dB2_1, d2_1);
    /* V = BT (d B), column 0 */
    vzero(zero);
    unrolled for (int n = 0; n < 2; n++) vstore(v + n * 392 * LANES, zero);
    vstore(v + 1176 * LANES, zero);
    /* V = BT (d B), column 1 */
    vmove(x, dB1_1);
    vmove(x1, dB0_1);
    vsub(t[0], x, x1);
    vmul(t[1], x, c);
    vmove(x1, dB2_1);
    vsub(t[2], x1, x);
    unrolled for (int n = 0; n < 2; n++) vstore(v + n * 392 * LANES + 196 * LANES, t[n]);
    vstore(v + 1372 * LANES, t[2]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 3 x 1 pixels of one phase, 2 rows and 2
 * columns apart. Frequency f of V stands at f * 784. */
static void input19(const float *window, float *v) {
    vec c, d0_0, d1_0, d2_0, x, x1, t[3], dB0_0, dB1_0, dB2_0;
    vset(c, 2.0);
    /* d B, row 0 */
    vload_range(d0_0, window, 0, 3);
    vmove(dB0_0, d0_0);
    /* d B, row 1 */
    vload_range(d1_0, window + 2 * SRC_H, 0, 3);
    vmove(dB1_0, d1_0);
    /* d B, row 2 */
    vload_range(d2_0, window + 4 * SRC_H, 0, 3);
    vmove(dB2_0, d2_0);
    /* V = BT (d B), column 0 */
    vmove(x, dB1_0);
    vmove(x1, dB0_0);
    vsub(t[0], x, x1);
    vmul(t[1], x, c);
    vmove(x1, dB2_0);
    vsub(t[2], x1, x);
    unrolled for (int n = 0; n < 2; n++) vstore(v + n * 392 * LANES, t[n]);
    vstore(v + 1176 * LANES, t[2]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 2 x 1 pixels of one phase, 2 rows and 2
 * columns apart. Frequency f of V stands at f * 784. */
static void input20(const float *window, float *v) {
    vec c, d0_0, d1_0, x, x1, t[2], dB0_0, dB1_0;
    vset(c, 2.0);
    /* d B, row 0 */
    vload_range(d0_0, window, 0, 3);
    vmove(dB0_0, d0_0);
    /* d B, row 1 */
    vload_range(d1_0, window + 2 * SRC_H, 0, 3);
    vmove(dB1_0, d1_0);
    /* V = BT (d B), column 0 */
    vmove(x, dB1_0);
    vmove(x1, dB0_0);
    vsub(t[0], x, x1);
    vmul(t[1], x, c);
    unrolled for (int n = 0; n < 2; n++) vstore(v + n * 392 * LANES, t[n]);
}

/* Y = AT M A of one tile and the bias, 8 channels, 4 at a time: 2 x 1 outputs from 3 x 2 frequencies, of which f stands at
 * f * 400. */
static void output21(const float *m, const float *bias, float *out) {
    vec mv[3][2], t[2], x, x1, e, MA0_0, MA1_0, MA2_0;
    for (long i = 0; i < 2; i++) {
        /* M A, row 0 */
        unrolled for (int n = 0; n < 2; n++) vload(mv[0][n], m + n * 100 * LANES);
        vadd(t[0], mv[0][0], mv[0][1]);
        vmove(MA0_0, t[0]);
        /* M A, row 1 */
        unrolled for (int n = 0; n < 2; n++) vload(mv[1][n], m + n * 100 * LANES + 200 * LANES);
        vadd(t[0], mv[1][0], mv[1][1]);
        vmove(MA1_0, t[0]);
        /* M A, row 2 */
        unrolled for (int n = 0; n < 2; n++) vload(mv[2][n], m + n * 100 * LANES + 600 * LANES);
        vadd(t[0], mv[2][0], mv[2][1]);
        vmove(MA2_0, t[0]);
        /* Y = AT (M A), column 0 */
        vmove(x, MA0_0);
        vmove(x1, MA1_0);
        vadd(t[0], x, x1);
        vmove(x, MA2_0);
        vadd(t[1], x1, x);
        unrolled for (int n = 0; n < 2; n++) {
            vload(e, bias);
            vadd(t[n], t[n], e);
            vzero(e);
            vmax(t[n], e, t[n]);
            vstore(out + n * DST_H, t[n]);
        }
        m += LANES;
        bias += LANES;
        out += LANES;
    }
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 2 x 2 pixels of one phase, 2 rows and 2
 * columns apart. Frequency f of V stands at f * 784. */
static void input22(const float *window, float *v) {
    vec c, d[2][2], x, x1, t[2], dB0_0, dB0_1, dB1_0, dB1_1;
    vset(c, 2.0);
    /* d B, row 0 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[0][n], window + n * 2 * SRC_W, 0, 3);
    vmove(dB0_0, d[0][0]);
    vmove(dB0_1, d[0][1]);
    /* d B, row 1 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[1][n], window + n * 2 * SRC_W + 2 * SRC_H, 0, 3);
    vmove(dB1_0, d[1][0]);
    vmove(dB1_1, d[1][1]);
    /* V = BT (d B), column 0 */
    vmove(x, dB1_0);
    vmove(x1, dB0_0);
    vsub(t[0], x, x1);
    vmul(t[1], x, c);
    unrolled for (int n = 0; n < 2; n++) vstore(v + n * 392 * LANES, t[n]);
    /* V = BT (d B), column 1 */
    vmove(x, dB1_1);
    vmove(x1, dB0_1);
    vsub(t[0], x, x1);
    vmul(t[1], x, c);
    unrolled for (int n = 0; n < 2; n++) vstore(v + n * 392 * LANES + 196 * LANES, t[n]);
}

/* V = BT d B of one tile, 3 channels, 4 at a time and 3 at last: d is a window of 3 x 2 pixels of one phase, 2 rows and 2
 * columns apart. Frequency f of V stands at f * 784. */
static void input23(const float *window, float *v) {
    vec c, d[3][2], x, x1, t[3], dB0_0, dB0_1, dB1_0, dB1_1, dB2_0, dB2_1;
    vset(c, 2.0);
    /* d B, row 0 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[0][n], window + n * 2 * SRC_W, 0, 3);
    vmove(dB0_0, d[0][0]);
    vmove(dB0_1, d[0][1]);
    /* d B, row 1 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[1][n], window + n * 2 * SRC_W + 2 * SRC_H, 0, 3);
    vmove(dB1_0, d[1][0]);
    vmove(dB1_1, d[1][1]);
    /* d B, row 2 */
    unrolled for (int n = 0; n < 2; n++) vload_range(d[2][n], window + n * 2 * SRC_W + 4 * SRC_H, 0, 3);
    vmove(dB2_0, d[2][0]);
    vmove(dB2_1, d[2][1]);
    /* V = BT (d B), column 0 */
    vmove(x, dB1_0);
    vmove(x1, dB0_0);
    vsub(t[0], x, x1);
    vmul(t[1], x, c);
    vmove(x1, dB2_0);
    vsub(t[2], x1, x);
    unrolled for (int n = 0; n < 2; n++) vstore(v + n * 392 * LANES, t[n]);
    vstore(v + 1176 * LANES, t[2]);
    /* V = BT (d B), column 1 */
    vmove(x, dB1_1);
    vmove(x1, dB0_1);
    vsub(t[0], x, x1);
    vmul(t[1], x, c);
    vmove(x1, dB2_1);
    vsub(t[2], x1, x);
    unrolled for (int n = 0; n < 2; n++) vstore(v + n * 392 * LANES + 196 * LANES, t[n]);
    vstore(v + 1372 * LANES, t[2]);
}

/* M[t][c] = sum over i of V[t][i] * U[i][c] at one frequency: i is one of 12 input channels, t one of 5 tiles, c a lane of
 * 2 vectors of output channels. acc<t>_<v> stays in registers through the sum. */
static void product24(const float *v, const float *u, float *m) {
    vec a, acc[5][2], uv[2];
    unrolled for (int t = 0; t < 5; t++)
        unrolled for (int n = 0; n < 2; n++) vzero(acc[t][n]);
    for (long i = 0; i < 12; i++) {
        unrolled for (int n = 0; n < 2; n++) vload(uv[n], u + n * LANES);
        unrolled for (int n = 0; n < 2; n++) vprefetch(u + n * LANES + 32 * LANES, 1);
        unrolled for (int t = 0; t < 5; t++) {
            vbroadcast(a, v + t * 4 * LANES);
            unrolled for (int n = 0; n < 2; n++) vfma(acc[t][n], uv[n], a);
        }
        v += 1;
        u += 2 * LANES;
    }
    unrolled for (int t = 0; t < 5; t++)
        unrolled for (int n = 0; n < 2; n++) vstore(m + t * 2 * LANES + n * LANES, acc[t][n]);
}

/* M[t][c] = sum over i of V[t][i] * U[i][c] at one frequency: i is one of 6 input channels, t one of 5 tiles, c a lane of 2
 * vectors of output channels. acc<t>_<v> stays in registers through the sum. */
static void product25(const float *v, const float *u, float *m) {
    vec a, acc[5][2], uv[2];
    unrolled for (int t = 0; t < 5; t++)
        unrolled for (int n = 0; n < 2; n++) vzero(acc[t][n]);
    for (long i = 0; i < 6; i++) {
        unrolled for (int n = 0; n < 2; n++) vload(uv[n], u + n * LANES);
        unrolled for (int n = 0; n < 2; n++) vprefetch(u + n * LANES + 32 * LANES, 1);
        unrolled for (int t = 0; t < 5; t++) {
            vbroadcast(a, v + t * 4 * LANES);
            unrolled for (int n = 0; n < 2; n++) vfma(acc[t][n], uv[n], a);
        }
        v += 1;
        u += 2 * LANES;
    }
    unrolled for (int t = 0; t < 5; t++)
        unrolled for (int n = 0; n < 2; n++) vstore(m + t * 2 * LANES + n * LANES, acc[t][n]);
}

static void stage_pack(const cg_call *call, void *scratch_memory, long first, long last)
{
    float *weights = call->weights;
    float *packed = call->packed;
    (void)scratch_memory;
    for (long task = first; task < last; task++) {
        pack0(weights + 72, packed);
        pack1(weights, packed + 24);
        pack2(weights + 24, packed + 48);
        pack3(weights + 96, packed + 72);
    }
}

static void stage_compute(const cg_call *call, void *scratch_memory, long first, long last)
{
    float *src = call->src;
    float *bias = call->bias;
    float *dst = call->dst;
    float *packed = call->packed;
    float *scratch = scratch_memory;
    for (long task = first / 2, stop = last / 2; task < stop; task++) { /* blocks of 1 x 9 x 16 outputs: images, rows, columns */
        /* V of each tile: frequency f of tile t at scratch + f * 784 + t * 16 */
        input4(src - 3, scratch);
        input5(src - 99, scratch + 3);
        input6(src - 96, scratch + 6);
        input7(src, scratch + 9);
        for (long column = 0; column < 15; column++) {
            input9(src + ((column + 1) * 2 - 1) * 3, scratch + (column + 1) * 16);
            input10(src + ((column + 1) * 2 - 1 - 32) * 3, scratch + (column + 1) * 16 + 3);
            input6(src + ((column + 1) * 2 - 32) * 3, scratch + (column + 1) * 16 + 6);
            input7(src + (column + 1) * 6, scratch + (column + 1) * 16 + 9);
        }
        for (long row = 0; row < 2; row++) {
            input4(src + ((row * 3 + 3) * 64 - 1) * 3, scratch + (row + 1) * 256);
            input11(src + (((row * 3 + 3) * 2 - 1) * 32 - 1) * 3, scratch + (row + 1) * 256 + 3);
            input12(src + ((row * 3 + 3) * 2 - 1) * 96, scratch + (row + 1) * 256 + 6);
            input7(src + (row * 3 + 3) * 192, scratch + (row + 1) * 256 + 9);
        }
        for (long row_2 = 0; row_2 < 2; row_2++) {
            for (long column_2 = 0; column_2 < 15; column_2++) {
                input9(src + ((row_2 * 3 + 3) * 64 + ((column_2 + 1) * 2 - 1)) * 3, scratch + ((row_2 + 1) * 16 + column_2 + 1) * 16);
                input13(src + (((row_2 * 3 + 3) * 2 - 1) * 32 + ((column_2 + 1) * 2 - 1)) * 3, scratch + ((row_2 + 1) * 16 + column_2 + 1) * 16 + 3);
                input12(src + (((row_2 * 3 + 3) * 2 - 1) * 32 + (column_2 + 1) * 2) * 3, scratch + ((row_2 + 1) * 16 + column_2 + 1) * 16 + 6);
                input7(src + ((row_2 * 3 + 3) * 64 + (column_2 + 1) * 2) * 3, scratch + ((row_2 + 1) * 16 + column_2 + 1) * 16 + 9);
            }
        }
        /* M of 8 output channels: frequency f of tile t at scratch + f * 400 + t * 8 + 6272 */
        for (long fh = 0; fh < 3; fh++) {
            const long f = fh * 2;
            for (long t = 0; t < 48; t += 6) {
                product14(scratch + f * 784 + t * 16, packed + f * 112, scratch + f * 400 + t * 8 + 6272);
            }
            const long f_2 = fh * 2 + 1;
            for (long t_2 = 0; t_2 < 48; t_2 += 6) {
                product15(scratch + f_2 * 784 + t_2 * 16, packed + f_2 * 112, scratch + f_2 * 400 + t_2 * 8 + 6272);
            }
        }
        for (long t_3 = 0; t_3 < 48; t_3 += 6) {
            product15(scratch + t_3 * 16 + 4704 + 3, packed + 696, scratch + t_3 * 8 + 2400 + 6272);
        }
        for (long t_4 = 0; t_4 < 48; t_4 += 6) {
            product16(scratch + t_4 * 16 + 5488 + 3, packed + 808, scratch + t_4 * 8 + 2800 + 6272);
        }
        /* Y of each tile */
        output8(scratch + 6272, bias, dst);
        for (long column_3 = 0; column_3 < 15; column_3++) {
            const long out = (column_3 + 1) * 8;
            output8(scratch + (column_3 + 1) * 8 + 6272, bias, dst + out);
        }
        for (long row_3 = 0; row_3 < 2; row_3++) {
            const long out_2 = (row_3 * 3 + 3) * 128;
            output8(scratch + (row_3 + 1) * 128 + 6272, bias, dst + out_2);
        }
        for (long row_4 = 0; row_4 < 2; row_4++) {
            for (long column_4 = 0; column_4 < 15; column_4++) {
                const long out_3 = ((row_4 * 3 + 3) * 16 + (column_4 + 1)) * 8;
                output8(scratch + ((row_4 + 1) * 16 + column_4 + 1) * 8 + 6272, bias, dst + out_3);
            }
        }
    }
    for (long task = (first + 1) / 2, stop = (last + 1) / 2; task < stop; task++) { /* blocks of 1 x 7 x 16 outputs: images, rows, columns */
        /* V of each tile: frequency f of tile t at scratch + f * 784 + t * 16 */
        input4(src + 1725, scratch);
        input11(src + 1629, scratch + 3);
        input12(src + 1632, scratch + 6);
        input7(src + 1728, scratch + 9);
        for (long column_5 = 0; column_5 < 15; column_5++) {
            input9(src + ((column_5 + 1) * 2 - 1 + 576) * 3, scratch + (column_5 + 1) * 16);
            input13(src + ((column_5 + 1) * 2 - 1 + 544) * 3, scratch + (column_5 + 1) * 16 + 3);
            input12(src + ((column_5 + 1) * 2 + 544) * 3, scratch + (column_5 + 1) * 16 + 6);
            input7(src + ((column_5 + 1) * 2 + 576) * 3, scratch + (column_5 + 1) * 16 + 9);
        }
        for (long row_5 = 0; row_5 < 2; row_5++) {
            input17(src + ((row_5 * 2 + 3 + 9) * 64 - 1) * 3, scratch + (row_5 * 16 + 16) * 16);
            input18(src + (((row_5 * 2 + 3 + 9) * 2 - 1) * 32 - 1) * 3, scratch + (row_5 * 16 + 16) * 16 + 3);
            input19(src + ((row_5 * 2 + 3 + 9) * 2 - 1) * 96, scratch + (row_5 * 16 + 16) * 16 + 6);
            input20(src + (row_5 * 2 + 3 + 9) * 192, scratch + (row_5 * 16 + 16) * 16 + 9);
        }
        for (long row_6 = 0; row_6 < 2; row_6++) {
            for (long column_6 = 0; column_6 < 15; column_6++) {
                input22(src + ((row_6 * 2 + 3 + 9) * 64 + ((column_6 + 1) * 2 - 1)) * 3, scratch + (row_6 * 16 + column_6 + 17) * 16);
                input23(src + (((row_6 * 2 + 3 + 9) * 2 - 1) * 32 + ((column_6 + 1) * 2 - 1)) * 3, scratch + (row_6 * 16 + column_6 + 17) * 16 + 3);
                input19(src + (((row_6 * 2 + 3 + 9) * 2 - 1) * 32 + (column_6 + 1) * 2) * 3, scratch + (row_6 * 16 + column_6 + 17) * 16 + 6);
                input20(src + ((row_6 * 2 + 3 + 9) * 64 + (column_6 + 1) * 2) * 3, scratch + (row_6 * 16 + column_6 + 17) * 16 + 9);
            }
        }
        /* M of 8 output channels: frequency f of tile t at scratch + f * 400 + t * 8 + 6272 */
        for (long fh_2 = 0; fh_2 < 2; fh_2++) {
            const long f_3 = fh_2 * 2;
            for (long t_5 = 0; t_5 < 48; t_5 += 6) {
                product14(scratch + f_3 * 784 + t_5 * 16, packed + f_3 * 112, scratch + f_3 * 400 + t_5 * 8 + 6272);
            }
            const long f_4 = fh_2 * 2 + 1;
            for (long t_6 = 0; t_6 < 48; t_6 += 6) {
                product15(scratch + f_4 * 784 + t_6 * 16, packed + f_4 * 112, scratch + f_4 * 400 + t_6 * 8 + 6272);
            }
        }
        product14(scratch + 3136, packed + 448, scratch + 7872);
        for (long t_7 = 6; t_7 < 16; t_7 += 5) {
            product24(scratch + t_7 * 16 + 3136, packed + 448, scratch + t_7 * 8 + 1600 + 6272);
        }
        product15(scratch + 3920, packed + 560, scratch + 8272);
        for (long t_8 = 6; t_8 < 16; t_8 += 5) {
            product25(scratch + t_8 * 16 + 3920, packed + 560, scratch + t_8 * 8 + 2000 + 6272);
        }
        for (long t_9 = 0; t_9 < 48; t_9 += 6) {
            product15(scratch + t_9 * 16 + 4704 + 3, packed + 696, scratch + t_9 * 8 + 2400 + 6272);
        }
        for (long t_10 = 0; t_10 < 48; t_10 += 6) {
            product16(scratch + t_10 * 16 + 5488 + 3, packed + 808, scratch + t_10 * 8 + 2800 + 6272);
        }
        /* Y of each tile */
        output8(scratch + 6272, bias, dst + 1152);
        for (long column_7 = 0; column_7 < 15; column_7++) {
            const long out_4 = (column_7 + 1 + 144) * 8;
            output8(scratch + (column_7 + 1) * 8 + 6272, bias, dst + out_4);
        }
        for (long row_7 = 0; row_7 < 2; row_7++) {
            const long out_5 = (row_7 * 2 + 3 + 9) * 128;
            output21(scratch + (row_7 * 16 + 16) * 8 + 6272, bias, dst + out_5);
        }
        for (long row_8 = 0; row_8 < 2; row_8++) {
            for (long column_8 = 0; column_8 < 15; column_8++) {
                const long out_6 = ((row_8 * 2 + 3 + 9) * 16 + (column_8 + 1)) * 8;
                output21(scratch + (row_8 * 16 + column_8 + 17) * 8 + 6272, bias, dst + out_6);
            }
        }
    }
}

const example_kernel example_conv1_portable = {
    3584, 0, 37888, 2, {
        { stage_pack, 1, 1 },
        { stage_compute, 2, 0 },
    }
};

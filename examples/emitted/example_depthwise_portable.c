/* example_depthwise_portable.c: depthwise for portable.
 *
 *   forward, --epilogue=relu g8mb1ic8ih16iw16oc8oh16ow16kh3kw3ph1pw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh + kh - 1, ow + kw - 1, g] * weights[kh, kw, i, c]
 *     then max(0, .)
 *     with each channel alone: g = c, i = 0
 *
 *   schedule  depthwise.r3.p2, the best estimate: no record
 *   stages    compute: 6 tasks
 *   error     an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *             the same bits everywhere; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 10, u = 2^-24
 *
 * Made by convgen 0.1.0; belongs to whoever made it. */
#include "example_internal.h"

#include "example_vec_f32_portable.h"

/* Elements from one to the next along an axis; LANES: of a vector. */
enum {
    DST_H = 128,
    DST_W = 8,
    LANES = 4,
    SRC_H = 128,
    SRC_W = 8,
    WEIGHTS_I = 8,
    WEIGHTS_KH = 24,
};

/* A row of tiles of 3 x 2 outputs (acc[row][pixel]) of one vector of channels, for 2 vectors one after another. An input
 * vector is loaded once and used by all outputs that its taps reach; outputs at the borders have only the taps that lie
 * inside. */
static void rows0(const float *src, const float *weights, const float *bias, float *dst) {
    vec x, acc[3][2], w[3][3];
    for (long i = 0; i < 2; i++) {
        unrolled for (int kh = 0; kh < 3; kh++)
            unrolled for (int kw = 0; kw < 3; kw++) vload(w[kh][kw], weights + kh * WEIGHTS_KH + kw * WEIGHTS_I);
        unrolled for (int r = 0; r < 3; r++)
            unrolled for (int m = 0; m < 2; m++) vzero(acc[r][m]);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W - SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[1][kw - m], x);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[0][kw - m], x);
        }
        vload(x, src + 2 * SRC_W);
        unrolled for (int r = 0; r < 2; r++) vfma(acc[r][1], w[1 - r][2], x);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W + SRC_H - SRC_W);
            unrolled for (int r = 0; r < 3; r++)
                unrolled for (int m = 0; m < 2; m++) vfma(acc[r][m], w[2 - r][kw - m], x);
        }
        vload(x, src + SRC_H + 2 * SRC_W);
        unrolled for (int r = 0; r < 3; r++) vfma(acc[r][1], w[2 - r][2], x);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W + 2 * SRC_H - SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][kw - m], x);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[1][kw - m], x);
        }
        vload(x, src + 2 * SRC_H + 2 * SRC_W);
        unrolled for (int r = 1; r < 3; r++) vfma(acc[r][1], w[3 - r][2], x);
        vload(x, src + 3 * SRC_H);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][1 - m], x);
        vload(x, src + 3 * SRC_H + SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][2 - m], x);
        vfma(acc[2][1], w[2][2], vmem(src + 3 * SRC_H + 2 * SRC_W));
        unrolled for (int r = 0; r < 3; r++)
            unrolled for (int m = 0; m < 2; m++) {
                vload(x, bias);
                vadd(acc[r][m], acc[r][m], x);
                vzero(x);
                vmax(acc[r][m], x, acc[r][m]);
                vstore(dst + r * DST_H + m * DST_W, acc[r][m]);
            }
        const float *place = src + 2 * SRC_W;
        float *out = dst + 2 * DST_W;
        for (long j = 0; j < 6; j++) {
            unrolled for (int r = 0; r < 3; r++)
                unrolled for (int m = 0; m < 2; m++) vzero(acc[r][m]);
            vload(x, place - SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r][0], w[1 - r][0], x);
            unrolled for (int kw = 1; kw < 3; kw++) {
                vload(x, place + kw * SRC_W - SRC_W);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[1][kw - m], x);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[0][kw - m], x);
            }
            vload(x, place + 2 * SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r][1], w[1 - r][2], x);
            vload(x, place + SRC_H - SRC_W);
            unrolled for (int r = 0; r < 3; r++) vfma(acc[r][0], w[2 - r][0], x);
            unrolled for (int kw = 1; kw < 3; kw++) {
                vload(x, place + kw * SRC_W + SRC_H - SRC_W);
                unrolled for (int r = 0; r < 3; r++)
                    unrolled for (int m = 0; m < 2; m++) vfma(acc[r][m], w[2 - r][kw - m], x);
            }
            vload(x, place + SRC_H + 2 * SRC_W);
            unrolled for (int r = 0; r < 3; r++) vfma(acc[r][1], w[2 - r][2], x);
            vload(x, place + 2 * SRC_H - SRC_W);
            unrolled for (int r = 1; r < 3; r++) vfma(acc[r][0], w[3 - r][0], x);
            unrolled for (int kw = 1; kw < 3; kw++) {
                vload(x, place + kw * SRC_W + 2 * SRC_H - SRC_W);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][kw - m], x);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[1][kw - m], x);
            }
            vload(x, place + 2 * SRC_H + 2 * SRC_W);
            unrolled for (int r = 1; r < 3; r++) vfma(acc[r][1], w[3 - r][2], x);
            vfma(acc[2][0], w[2][0], vmem(place + 3 * SRC_H - SRC_W));
            vload(x, place + 3 * SRC_H);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][1 - m], x);
            vload(x, place + 3 * SRC_H + SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][2 - m], x);
            vfma(acc[2][1], w[2][2], vmem(place + 3 * SRC_H + 2 * SRC_W));
            unrolled for (int r = 0; r < 3; r++)
                unrolled for (int m = 0; m < 2; m++) {
                    vload(x, bias);
                    vadd(acc[r][m], acc[r][m], x);
                    vzero(x);
                    vmax(acc[r][m], x, acc[r][m]);
                    vstore(out + r * DST_H + m * DST_W, acc[r][m]);
                }
            place += 2 * SRC_W;
            out += 2 * DST_W;
        }
        unrolled for (int r = 0; r < 3; r++)
            unrolled for (int m = 0; m < 2; m++) vzero(acc[r][m]);
        vload(x, src + SRC_H - 3 * SRC_W);
        unrolled for (int r = 0; r < 2; r++) vfma(acc[r][0], w[1 - r][0], x);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W + SRC_H - 3 * SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[1][kw - m], x);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[0][kw - m], x);
        }
        vload(x, src + 2 * SRC_H - 3 * SRC_W);
        unrolled for (int r = 0; r < 3; r++) vfma(acc[r][0], w[2 - r][0], x);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W + 2 * SRC_H - 3 * SRC_W);
            unrolled for (int r = 0; r < 3; r++)
                unrolled for (int m = 0; m < 2; m++) vfma(acc[r][m], w[2 - r][kw - m], x);
        }
        vload(x, src + 3 * SRC_H - 3 * SRC_W);
        unrolled for (int r = 1; r < 3; r++) vfma(acc[r][0], w[3 - r][0], x);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W + 3 * SRC_H - 3 * SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][kw - m], x);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[1][kw - m], x);
        }
        vfma(acc[2][0], w[2][0], vmem(src + 4 * SRC_H - 3 * SRC_W));
        vload(x, src + 4 * SRC_H - 2 * SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][1 - m], x);
        vload(x, src + 4 * SRC_H - SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][2 - m], x);
        unrolled for (int r = 0; r < 3; r++)
            unrolled for (int m = 0; m < 2; m++) {
                vload(x, bias);
                vadd(acc[r][m], acc[r][m], x);
                vzero(x);
                vmax(acc[r][m], x, acc[r][m]);
                vstore(dst + r * DST_H + m * DST_W + DST_H - 2 * DST_W, acc[r][m]);
            }
        src += LANES;
        weights += LANES;
        dst += LANES;
        bias += LANES;
    }
}

/* A row of tiles of 3 x 2 outputs (acc[row][pixel]) of one vector of channels, for 2 vectors one after another. An input
 * vector is loaded once and used by all outputs that its taps reach; outputs at the borders have only the taps that lie
 * inside. */
static void rows1(const float *src, const float *weights, const float *bias, float *dst) {
    vec x, acc[3][2], w[3][3];
    for (long i = 0; i < 2; i++) {
        unrolled for (int kh = 0; kh < 3; kh++)
            unrolled for (int kw = 0; kw < 3; kw++) vload(w[kh][kw], weights + kh * WEIGHTS_KH + kw * WEIGHTS_I);
        unrolled for (int r = 0; r < 3; r++)
            unrolled for (int m = 0; m < 2; m++) vzero(acc[r][m]);
        vload(x, src - SRC_H);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][1 - m], x);
        vload(x, src - (SRC_H - SRC_W));
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][2 - m], x);
        vfma(acc[0][1], w[0][2], vmem(src - (SRC_H - 2 * SRC_W)));
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W - SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[1][kw - m], x);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[0][kw - m], x);
        }
        vload(x, src + 2 * SRC_W);
        unrolled for (int r = 0; r < 2; r++) vfma(acc[r][1], w[1 - r][2], x);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W + SRC_H - SRC_W);
            unrolled for (int r = 0; r < 3; r++)
                unrolled for (int m = 0; m < 2; m++) vfma(acc[r][m], w[2 - r][kw - m], x);
        }
        vload(x, src + SRC_H + 2 * SRC_W);
        unrolled for (int r = 0; r < 3; r++) vfma(acc[r][1], w[2 - r][2], x);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W + 2 * SRC_H - SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][kw - m], x);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[1][kw - m], x);
        }
        vload(x, src + 2 * SRC_H + 2 * SRC_W);
        unrolled for (int r = 1; r < 3; r++) vfma(acc[r][1], w[3 - r][2], x);
        vload(x, src + 3 * SRC_H);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][1 - m], x);
        vload(x, src + 3 * SRC_H + SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][2 - m], x);
        vfma(acc[2][1], w[2][2], vmem(src + 3 * SRC_H + 2 * SRC_W));
        unrolled for (int r = 0; r < 3; r++)
            unrolled for (int m = 0; m < 2; m++) {
                vload(x, bias);
                vadd(acc[r][m], acc[r][m], x);
                vzero(x);
                vmax(acc[r][m], x, acc[r][m]);
                vstore(dst + r * DST_H + m * DST_W, acc[r][m]);
            }
        const float *place = src + 2 * SRC_W;
        float *out = dst + 2 * DST_W;
        for (long j = 0; j < 6; j++) {
            unrolled for (int r = 0; r < 3; r++)
                unrolled for (int m = 0; m < 2; m++) vzero(acc[r][m]);
            vfma(acc[0][0], w[0][0], vmem(place - (SRC_H + SRC_W)));
            vload(x, place - SRC_H);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][1 - m], x);
            vload(x, place - (SRC_H - SRC_W));
            unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][2 - m], x);
            vfma(acc[0][1], w[0][2], vmem(place - (SRC_H - 2 * SRC_W)));
            vload(x, place - SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r][0], w[1 - r][0], x);
            unrolled for (int kw = 1; kw < 3; kw++) {
                vload(x, place + kw * SRC_W - SRC_W);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[1][kw - m], x);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[0][kw - m], x);
            }
            vload(x, place + 2 * SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r][1], w[1 - r][2], x);
            vload(x, place + SRC_H - SRC_W);
            unrolled for (int r = 0; r < 3; r++) vfma(acc[r][0], w[2 - r][0], x);
            unrolled for (int kw = 1; kw < 3; kw++) {
                vload(x, place + kw * SRC_W + SRC_H - SRC_W);
                unrolled for (int r = 0; r < 3; r++)
                    unrolled for (int m = 0; m < 2; m++) vfma(acc[r][m], w[2 - r][kw - m], x);
            }
            vload(x, place + SRC_H + 2 * SRC_W);
            unrolled for (int r = 0; r < 3; r++) vfma(acc[r][1], w[2 - r][2], x);
            vload(x, place + 2 * SRC_H - SRC_W);
            unrolled for (int r = 1; r < 3; r++) vfma(acc[r][0], w[3 - r][0], x);
            unrolled for (int kw = 1; kw < 3; kw++) {
                vload(x, place + kw * SRC_W + 2 * SRC_H - SRC_W);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][kw - m], x);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[1][kw - m], x);
            }
            vload(x, place + 2 * SRC_H + 2 * SRC_W);
            unrolled for (int r = 1; r < 3; r++) vfma(acc[r][1], w[3 - r][2], x);
            vfma(acc[2][0], w[2][0], vmem(place + 3 * SRC_H - SRC_W));
            vload(x, place + 3 * SRC_H);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][1 - m], x);
            vload(x, place + 3 * SRC_H + SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][2 - m], x);
            vfma(acc[2][1], w[2][2], vmem(place + 3 * SRC_H + 2 * SRC_W));
            unrolled for (int r = 0; r < 3; r++)
                unrolled for (int m = 0; m < 2; m++) {
                    vload(x, bias);
                    vadd(acc[r][m], acc[r][m], x);
                    vzero(x);
                    vmax(acc[r][m], x, acc[r][m]);
                    vstore(out + r * DST_H + m * DST_W, acc[r][m]);
                }
            place += 2 * SRC_W;
            out += 2 * DST_W;
        }
        unrolled for (int r = 0; r < 3; r++)
            unrolled for (int m = 0; m < 2; m++) vzero(acc[r][m]);
        vfma(acc[0][0], w[0][0], vmem(src - 3 * SRC_W));
        vload(x, src - 2 * SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][1 - m], x);
        vload(x, src - SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][2 - m], x);
        vload(x, src + SRC_H - 3 * SRC_W);
        unrolled for (int r = 0; r < 2; r++) vfma(acc[r][0], w[1 - r][0], x);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W + SRC_H - 3 * SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[1][kw - m], x);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[0][kw - m], x);
        }
        vload(x, src + 2 * SRC_H - 3 * SRC_W);
        unrolled for (int r = 0; r < 3; r++) vfma(acc[r][0], w[2 - r][0], x);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W + 2 * SRC_H - 3 * SRC_W);
            unrolled for (int r = 0; r < 3; r++)
                unrolled for (int m = 0; m < 2; m++) vfma(acc[r][m], w[2 - r][kw - m], x);
        }
        vload(x, src + 3 * SRC_H - 3 * SRC_W);
        unrolled for (int r = 1; r < 3; r++) vfma(acc[r][0], w[3 - r][0], x);
        unrolled for (int kw = 1; kw < 3; kw++) {
            vload(x, src + kw * SRC_W + 3 * SRC_H - 3 * SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][kw - m], x);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[1][kw - m], x);
        }
        vfma(acc[2][0], w[2][0], vmem(src + 4 * SRC_H - 3 * SRC_W));
        vload(x, src + 4 * SRC_H - 2 * SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][1 - m], x);
        vload(x, src + 4 * SRC_H - SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[2][m], w[2][2 - m], x);
        unrolled for (int r = 0; r < 3; r++)
            unrolled for (int m = 0; m < 2; m++) {
                vload(x, bias);
                vadd(acc[r][m], acc[r][m], x);
                vzero(x);
                vmax(acc[r][m], x, acc[r][m]);
                vstore(dst + r * DST_H + m * DST_W + DST_H - 2 * DST_W, acc[r][m]);
            }
        src += LANES;
        weights += LANES;
        dst += LANES;
        bias += LANES;
    }
}

/* A row of tiles of 2 x 2 outputs (acc[row][pixel]) of one vector of channels, for 2 vectors one after another. An input
 * vector is loaded once and used by all outputs that its taps reach; outputs at the borders have only the taps that lie
 * inside. */
static void rows2(const float *src, const float *weights, const float *bias, float *dst) {
    vec x, acc[2][2], w[3][3];
    for (long i = 0; i < 2; i++) {
        unrolled for (int kh = 0; kh < 3; kh++)
            unrolled for (int kw = 0; kw < 3; kw++) vload(w[kh][kw], weights + kh * WEIGHTS_KH + kw * WEIGHTS_I);
        unrolled for (int m = 0; m < 2; m++) vzero(acc[0][m]);
        unrolled for (int m = 0; m < 2; m++) vzero(acc[1][m]);
        vload(x, src - SRC_H);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][1 - m], x);
        vload(x, src - (SRC_H - SRC_W));
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][2 - m], x);
        vfma(acc[0][1], w[0][2], vmem(src - (SRC_H - 2 * SRC_W)));
        unrolled for (int kh = 1; kh < 3; kh++) {
            unrolled for (int kw = 1; kw < 3; kw++) {
                vload(x, src + kh * SRC_H + kw * SRC_W - (SRC_H + SRC_W));
                unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[kh][kw - m], x);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[kh - 1][kw - m], x);
            }
            vload(x, src + kh * SRC_H - (SRC_H - 2 * SRC_W));
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r][1], w[kh - r][2], x);
        }
        vload(x, src + 2 * SRC_H);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][1 - m], x);
        vload(x, src + 2 * SRC_H + SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][2 - m], x);
        vfma(acc[1][1], w[2][2], vmem(src + 2 * SRC_H + 2 * SRC_W));
        unrolled for (int r = 0; r < 2; r++)
            unrolled for (int m = 0; m < 2; m++) {
                vload(x, bias);
                vadd(acc[r][m], acc[r][m], x);
                vzero(x);
                vmax(acc[r][m], x, acc[r][m]);
                vstore(dst + r * DST_H + m * DST_W, acc[r][m]);
            }
        const float *place = src + 2 * SRC_W;
        float *out = dst + 2 * DST_W;
        for (long j = 0; j < 6; j++) {
            unrolled for (int m = 0; m < 2; m++) vzero(acc[0][m]);
            unrolled for (int m = 0; m < 2; m++) vzero(acc[1][m]);
            vfma(acc[0][0], w[0][0], vmem(place - (SRC_H + SRC_W)));
            vload(x, place - SRC_H);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][1 - m], x);
            vload(x, place - (SRC_H - SRC_W));
            unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][2 - m], x);
            vfma(acc[0][1], w[0][2], vmem(place - (SRC_H - 2 * SRC_W)));
            unrolled for (int kh = 1; kh < 3; kh++) {
                vload(x, place + kh * SRC_H - (SRC_H + SRC_W));
                unrolled for (int r = 0; r < 2; r++) vfma(acc[r][0], w[kh - r][0], x);
                unrolled for (int kw = 1; kw < 3; kw++) {
                    vload(x, place + kh * SRC_H + kw * SRC_W - (SRC_H + SRC_W));
                    unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[kh][kw - m], x);
                    unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[kh - 1][kw - m], x);
                }
                vload(x, place + kh * SRC_H - (SRC_H - 2 * SRC_W));
                unrolled for (int r = 0; r < 2; r++) vfma(acc[r][1], w[kh - r][2], x);
            }
            vfma(acc[1][0], w[2][0], vmem(place + 2 * SRC_H - SRC_W));
            vload(x, place + 2 * SRC_H);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][1 - m], x);
            vload(x, place + 2 * SRC_H + SRC_W);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][2 - m], x);
            vfma(acc[1][1], w[2][2], vmem(place + 2 * SRC_H + 2 * SRC_W));
            unrolled for (int r = 0; r < 2; r++)
                unrolled for (int m = 0; m < 2; m++) {
                    vload(x, bias);
                    vadd(acc[r][m], acc[r][m], x);
                    vzero(x);
                    vmax(acc[r][m], x, acc[r][m]);
                    vstore(out + r * DST_H + m * DST_W, acc[r][m]);
                }
            place += 2 * SRC_W;
            out += 2 * DST_W;
        }
        unrolled for (int m = 0; m < 2; m++) vzero(acc[0][m]);
        unrolled for (int m = 0; m < 2; m++) vzero(acc[1][m]);
        vfma(acc[0][0], w[0][0], vmem(src - 3 * SRC_W));
        vload(x, src - 2 * SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][1 - m], x);
        vload(x, src - SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][2 - m], x);
        unrolled for (int kh = 1; kh < 3; kh++) {
            vload(x, src + kh * SRC_H - 3 * SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r][0], w[kh - r][0], x);
            unrolled for (int kw = 1; kw < 3; kw++) {
                vload(x, src + kh * SRC_H + kw * SRC_W - 3 * SRC_W);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[kh][kw - m], x);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[kh - 1][kw - m], x);
            }
        }
        vfma(acc[1][0], w[2][0], vmem(src + 3 * SRC_H - 3 * SRC_W));
        vload(x, src + 3 * SRC_H - 2 * SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][1 - m], x);
        vload(x, src + 3 * SRC_H - SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[2][2 - m], x);
        unrolled for (int r = 0; r < 2; r++)
            unrolled for (int m = 0; m < 2; m++) {
                vload(x, bias);
                vadd(acc[r][m], acc[r][m], x);
                vzero(x);
                vmax(acc[r][m], x, acc[r][m]);
                vstore(dst + r * DST_H + m * DST_W + DST_H - 2 * DST_W, acc[r][m]);
            }
        src += LANES;
        weights += LANES;
        dst += LANES;
        bias += LANES;
    }
}

/* A row of tiles of 2 x 2 outputs (acc[row][pixel]) of one vector of channels, for 2 vectors one after another. An input
 * vector is loaded once and used by all outputs that its taps reach; outputs at the borders have only the taps that lie
 * inside. */
static void rows3(const float *src, const float *weights, const float *bias, float *dst) {
    vec x, acc[2][2], w[3][3];
    for (long i = 0; i < 2; i++) {
        unrolled for (int kh = 0; kh < 3; kh++)
            unrolled for (int kw = 0; kw < 3; kw++) vload(w[kh][kw], weights + kh * WEIGHTS_KH + kw * WEIGHTS_I);
        unrolled for (int m = 0; m < 2; m++) vzero(acc[0][m]);
        unrolled for (int m = 0; m < 2; m++) vzero(acc[1][m]);
        vload(x, src - SRC_H);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][1 - m], x);
        vload(x, src - (SRC_H - SRC_W));
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][2 - m], x);
        vfma(acc[0][1], w[0][2], vmem(src - (SRC_H - 2 * SRC_W)));
        unrolled for (int kh = 1; kh < 3; kh++) {
            unrolled for (int kw = 1; kw < 3; kw++) {
                vload(x, src + kh * SRC_H + kw * SRC_W - (SRC_H + SRC_W));
                unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[kh][kw - m], x);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[kh - 1][kw - m], x);
            }
            vload(x, src + kh * SRC_H - (SRC_H - 2 * SRC_W));
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r][1], w[kh - r][2], x);
        }
        unrolled for (int r = 0; r < 2; r++)
            unrolled for (int m = 0; m < 2; m++) {
                vload(x, bias);
                vadd(acc[r][m], acc[r][m], x);
                vzero(x);
                vmax(acc[r][m], x, acc[r][m]);
                vstore(dst + r * DST_H + m * DST_W, acc[r][m]);
            }
        const float *place = src + 2 * SRC_W;
        float *out = dst + 2 * DST_W;
        for (long j = 0; j < 6; j++) {
            unrolled for (int m = 0; m < 2; m++) vzero(acc[0][m]);
            unrolled for (int m = 0; m < 2; m++) vzero(acc[1][m]);
            vfma(acc[0][0], w[0][0], vmem(place - (SRC_H + SRC_W)));
            vload(x, place - SRC_H);
            unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][1 - m], x);
            vload(x, place - (SRC_H - SRC_W));
            unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][2 - m], x);
            vfma(acc[0][1], w[0][2], vmem(place - (SRC_H - 2 * SRC_W)));
            unrolled for (int kh = 1; kh < 3; kh++) {
                vload(x, place + kh * SRC_H - (SRC_H + SRC_W));
                unrolled for (int r = 0; r < 2; r++) vfma(acc[r][0], w[kh - r][0], x);
                unrolled for (int kw = 1; kw < 3; kw++) {
                    vload(x, place + kh * SRC_H + kw * SRC_W - (SRC_H + SRC_W));
                    unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[kh][kw - m], x);
                    unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[kh - 1][kw - m], x);
                }
                vload(x, place + kh * SRC_H - (SRC_H - 2 * SRC_W));
                unrolled for (int r = 0; r < 2; r++) vfma(acc[r][1], w[kh - r][2], x);
            }
            unrolled for (int r = 0; r < 2; r++)
                unrolled for (int m = 0; m < 2; m++) {
                    vload(x, bias);
                    vadd(acc[r][m], acc[r][m], x);
                    vzero(x);
                    vmax(acc[r][m], x, acc[r][m]);
                    vstore(out + r * DST_H + m * DST_W, acc[r][m]);
                }
            place += 2 * SRC_W;
            out += 2 * DST_W;
        }
        unrolled for (int m = 0; m < 2; m++) vzero(acc[0][m]);
        unrolled for (int m = 0; m < 2; m++) vzero(acc[1][m]);
        vfma(acc[0][0], w[0][0], vmem(src - 3 * SRC_W));
        vload(x, src - 2 * SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][1 - m], x);
        vload(x, src - SRC_W);
        unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[0][2 - m], x);
        unrolled for (int kh = 1; kh < 3; kh++) {
            vload(x, src + kh * SRC_H - 3 * SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r][0], w[kh - r][0], x);
            unrolled for (int kw = 1; kw < 3; kw++) {
                vload(x, src + kh * SRC_H + kw * SRC_W - 3 * SRC_W);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[0][m], w[kh][kw - m], x);
                unrolled for (int m = 0; m < 2; m++) vfma(acc[1][m], w[kh - 1][kw - m], x);
            }
        }
        unrolled for (int r = 0; r < 2; r++)
            unrolled for (int m = 0; m < 2; m++) {
                vload(x, bias);
                vadd(acc[r][m], acc[r][m], x);
                vzero(x);
                vmax(acc[r][m], x, acc[r][m]);
                vstore(dst + r * DST_H + m * DST_W + DST_H - 2 * DST_W, acc[r][m]);
            }
        src += LANES;
        weights += LANES;
        dst += LANES;
        bias += LANES;
    }
}

static void stage_compute(const cg_call *call, void *scratch_memory, long first, long last)
{
    float *src = call->src;
    float *weights = call->weights;
    float *bias = call->bias;
    float *dst = call->dst;
    (void)scratch_memory;
    for (long task = first / 6, stop = last / 6; task < stop; task++) {
        rows0(src, weights, bias, dst);
    }
    for (long task = (first * 3 + 3) / 6, stop = (last * 3 + 3) / 6; task < stop; task++) {
        const long here = (task * 3 + 3) * 128;
        const long there = (task * 3 + 3) * 128;
        rows1(src + here, weights, bias, dst + there);
    }
    for (long task = first / 6, stop = last / 6; task < stop; task++) {
        rows2(src + 1536, weights, bias, dst + 1536);
    }
    for (long task = (first + 3) / 6, stop = (last + 3) / 6; task < stop; task++) {
        rows3(src + 1792, weights, bias, dst + 1792);
    }
}

const example_kernel example_depthwise_portable = {
    0, 0, 0, 1, {
        { stage_compute, 6, 0 },
    }
};

/* example_depthwise_portable.c: depthwise for portable.
 *
 *   forward, --epilogue=relu g8mb1ic8ih16iw16oc8oh16ow16kh3kw3ph1pw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh + kh - 1, ow + kw - 1, g] * weights[kh, kw, i, c]
 *     then max(0, .)
 *     with each channel alone: g = c, i = 0
 *
 *   schedule  depthwise.r2.p1, tuned in this form: recorded 20.4 us
 *   stages    compute: 8 tasks
 *   error     an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *             the same bits wherever this kernel runs; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 10, u = 2^-24
 *             recorded, on uniform [-1, 1]: normwise 4.9e-08, 0.91 of a plain loop's, 0.28 of the bound at most
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

/* A row of tiles of 2 x 1 outputs (acc[row][pixel]) of one vector of channels, for 2 vectors one after another. An input
 * vector is loaded once and used by all outputs that its taps reach; outputs at the borders have only the taps that lie
 * inside. */
static void rows0(const float *src, const float *weights, const float *bias, float *dst) {
    vec x, acc[2], w[3][3];
    for (long i = 0; i < 2; i++) {
        unrolled for (int kh = 0; kh < 3; kh++)
            unrolled for (int kw = 0; kw < 3; kw++) vload(w[kh][kw], weights + kh * WEIGHTS_KH + kw * WEIGHTS_I);
        unrolled for (int r = 0; r < 2; r++) vzero(acc[r]);
        unrolled for (int kh = 1; kh < 3; kh++) {
            vload(x, src + kh * SRC_H - SRC_H);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][1], x);
            vload(x, src + kh * SRC_H - (SRC_H - SRC_W));
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][2], x);
        }
        unrolled for (int kw = 1; kw < 3; kw++) vfma(acc[1], w[2][kw], vmem(src + kw * SRC_W + 2 * SRC_H - SRC_W));
        unrolled for (int r = 0; r < 2; r++) {
            vload(x, bias);
            vadd(acc[r], acc[r], x);
            vzero(x);
            vmax(acc[r], x, acc[r]);
            vstore(dst + r * DST_H, acc[r]);
        }
        const float *place = src + SRC_W;
        float *out = dst + DST_W;
        for (long j = 0; j < 14; j++) {
            unrolled for (int r = 0; r < 2; r++) vzero(acc[r]);
            unrolled for (int kh = 1; kh < 3; kh++)
                unrolled for (int kw = 0; kw < 3; kw++) {
                    vload(x, place + kh * SRC_H + kw * SRC_W - (SRC_H + SRC_W));
                    unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][kw], x);
                }
            unrolled for (int kw = 0; kw < 3; kw++) {
                vfma(acc[1], w[2][kw], vmem(place + kw * SRC_W + 2 * SRC_H - SRC_W));
            }
            unrolled for (int r = 0; r < 2; r++) {
                vload(x, bias);
                vadd(acc[r], acc[r], x);
                vzero(x);
                vmax(acc[r], x, acc[r]);
                vstore(out + r * DST_H, acc[r]);
            }
            place += SRC_W;
            out += DST_W;
        }
        unrolled for (int r = 0; r < 2; r++) vzero(acc[r]);
        unrolled for (int kh = 1; kh < 3; kh++) {
            vload(x, src + kh * SRC_H - 2 * SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][0], x);
            vload(x, src + kh * SRC_H - SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][1], x);
        }
        unrolled for (int kw = 0; kw < 2; kw++) {
            vfma(acc[1], w[2][kw], vmem(src + kw * SRC_W + 3 * SRC_H - 2 * SRC_W));
        }
        unrolled for (int r = 0; r < 2; r++) {
            vload(x, bias);
            vadd(acc[r], acc[r], x);
            vzero(x);
            vmax(acc[r], x, acc[r]);
            vstore(dst + r * DST_H + DST_H - DST_W, acc[r]);
        }
        src += LANES;
        weights += LANES;
        dst += LANES;
        bias += LANES;
    }
}

/* A row of tiles of 2 x 1 outputs (acc[row][pixel]) of one vector of channels, for 2 vectors one after another. An input
 * vector is loaded once and used by all outputs that its taps reach; outputs at the borders have only the taps that lie
 * inside. */
static void rows1(const float *src, const float *weights, const float *bias, float *dst) {
    vec x, acc[2], w[3][3];
    for (long i = 0; i < 2; i++) {
        unrolled for (int kh = 0; kh < 3; kh++)
            unrolled for (int kw = 0; kw < 3; kw++) vload(w[kh][kw], weights + kh * WEIGHTS_KH + kw * WEIGHTS_I);
        unrolled for (int r = 0; r < 2; r++) vzero(acc[r]);
        unrolled for (int kw = 1; kw < 3; kw++) vfma(acc[0], w[0][kw], vmem(src + kw * SRC_W - (SRC_H + SRC_W)));
        unrolled for (int kh = 1; kh < 3; kh++) {
            vload(x, src + kh * SRC_H - SRC_H);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][1], x);
            vload(x, src + kh * SRC_H - (SRC_H - SRC_W));
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][2], x);
        }
        unrolled for (int kw = 1; kw < 3; kw++) vfma(acc[1], w[2][kw], vmem(src + kw * SRC_W + 2 * SRC_H - SRC_W));
        unrolled for (int r = 0; r < 2; r++) {
            vload(x, bias);
            vadd(acc[r], acc[r], x);
            vzero(x);
            vmax(acc[r], x, acc[r]);
            vstore(dst + r * DST_H, acc[r]);
        }
        const float *place = src + SRC_W;
        float *out = dst + DST_W;
        for (long j = 0; j < 14; j++) {
            unrolled for (int r = 0; r < 2; r++) vzero(acc[r]);
            unrolled for (int kw = 0; kw < 3; kw++) {
                vfma(acc[0], w[0][kw], vmem(place + kw * SRC_W - (SRC_H + SRC_W)));
            }
            unrolled for (int kh = 1; kh < 3; kh++)
                unrolled for (int kw = 0; kw < 3; kw++) {
                    vload(x, place + kh * SRC_H + kw * SRC_W - (SRC_H + SRC_W));
                    unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][kw], x);
                }
            unrolled for (int kw = 0; kw < 3; kw++) {
                vfma(acc[1], w[2][kw], vmem(place + kw * SRC_W + 2 * SRC_H - SRC_W));
            }
            unrolled for (int r = 0; r < 2; r++) {
                vload(x, bias);
                vadd(acc[r], acc[r], x);
                vzero(x);
                vmax(acc[r], x, acc[r]);
                vstore(out + r * DST_H, acc[r]);
            }
            place += SRC_W;
            out += DST_W;
        }
        unrolled for (int r = 0; r < 2; r++) vzero(acc[r]);
        unrolled for (int kw = 0; kw < 2; kw++) vfma(acc[0], w[0][kw], vmem(src + kw * SRC_W - 2 * SRC_W));
        unrolled for (int kh = 1; kh < 3; kh++) {
            vload(x, src + kh * SRC_H - 2 * SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][0], x);
            vload(x, src + kh * SRC_H - SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][1], x);
        }
        unrolled for (int kw = 0; kw < 2; kw++) {
            vfma(acc[1], w[2][kw], vmem(src + kw * SRC_W + 3 * SRC_H - 2 * SRC_W));
        }
        unrolled for (int r = 0; r < 2; r++) {
            vload(x, bias);
            vadd(acc[r], acc[r], x);
            vzero(x);
            vmax(acc[r], x, acc[r]);
            vstore(dst + r * DST_H + DST_H - DST_W, acc[r]);
        }
        src += LANES;
        weights += LANES;
        dst += LANES;
        bias += LANES;
    }
}

/* A row of tiles of 2 x 1 outputs (acc[row][pixel]) of one vector of channels, for 2 vectors one after another. An input
 * vector is loaded once and used by all outputs that its taps reach; outputs at the borders have only the taps that lie
 * inside. */
static void rows2(const float *src, const float *weights, const float *bias, float *dst) {
    vec x, acc[2], w[3][3];
    for (long i = 0; i < 2; i++) {
        unrolled for (int kh = 0; kh < 3; kh++)
            unrolled for (int kw = 0; kw < 3; kw++) vload(w[kh][kw], weights + kh * WEIGHTS_KH + kw * WEIGHTS_I);
        unrolled for (int r = 0; r < 2; r++) vzero(acc[r]);
        unrolled for (int kw = 1; kw < 3; kw++) vfma(acc[0], w[0][kw], vmem(src + kw * SRC_W - (SRC_H + SRC_W)));
        unrolled for (int kh = 1; kh < 3; kh++) {
            vload(x, src + kh * SRC_H - SRC_H);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][1], x);
            vload(x, src + kh * SRC_H - (SRC_H - SRC_W));
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][2], x);
        }
        unrolled for (int r = 0; r < 2; r++) {
            vload(x, bias);
            vadd(acc[r], acc[r], x);
            vzero(x);
            vmax(acc[r], x, acc[r]);
            vstore(dst + r * DST_H, acc[r]);
        }
        const float *place = src + SRC_W;
        float *out = dst + DST_W;
        for (long j = 0; j < 14; j++) {
            unrolled for (int r = 0; r < 2; r++) vzero(acc[r]);
            unrolled for (int kw = 0; kw < 3; kw++) {
                vfma(acc[0], w[0][kw], vmem(place + kw * SRC_W - (SRC_H + SRC_W)));
            }
            unrolled for (int kh = 1; kh < 3; kh++)
                unrolled for (int kw = 0; kw < 3; kw++) {
                    vload(x, place + kh * SRC_H + kw * SRC_W - (SRC_H + SRC_W));
                    unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][kw], x);
                }
            unrolled for (int r = 0; r < 2; r++) {
                vload(x, bias);
                vadd(acc[r], acc[r], x);
                vzero(x);
                vmax(acc[r], x, acc[r]);
                vstore(out + r * DST_H, acc[r]);
            }
            place += SRC_W;
            out += DST_W;
        }
        unrolled for (int r = 0; r < 2; r++) vzero(acc[r]);
        unrolled for (int kw = 0; kw < 2; kw++) vfma(acc[0], w[0][kw], vmem(src + kw * SRC_W - 2 * SRC_W));
        unrolled for (int kh = 1; kh < 3; kh++) {
            vload(x, src + kh * SRC_H - 2 * SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][0], x);
            vload(x, src + kh * SRC_H - SRC_W);
            unrolled for (int r = 0; r < 2; r++) vfma(acc[r], w[kh - r][1], x);
        }
        unrolled for (int r = 0; r < 2; r++) {
            vload(x, bias);
            vadd(acc[r], acc[r], x);
            vzero(x);
            vmax(acc[r], x, acc[r]);
            vstore(dst + r * DST_H + DST_H - DST_W, acc[r]);
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
    for (long task = first / 8, stop = last / 8; task < stop; task++) {
        rows0(src, weights, bias, dst);
    }
    for (long task = (first * 6 + 4) / 8, stop = (last * 6 + 4) / 8; task < stop; task++) {
        const long here = (task * 2 + 2) * 128;
        const long there = (task * 2 + 2) * 128;
        rows1(src + here, weights, bias, dst + there);
    }
    for (long task = (first + 7) / 8, stop = (last + 7) / 8; task < stop; task++) {
        rows2(src + 1792, weights, bias, dst + 1792);
    }
}

const example_kernel example_depthwise_portable = {
    0, 0, 0, 1, {
        { stage_compute, 8, 0 },
    }
};

/* example_depthwise_avx2.c: depthwise for avx2.
 *
 *   forward, --epilogue=relu g8mb1ic8ih16iw16oc8oh16ow16kh3kw3ph1pw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh + kh - 1, ow + kw - 1, g] * weights[kh, kw, i, c]
 *     then max(0, .)
 *     with each channel alone: g = c, i = 0
 *
 *   schedule  depthwise.r4.p1, the best estimate: no record
 *   stages    compute: 4 tasks
 *   error     an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *             the same bits everywhere; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 10, u = 2^-24
 *
 * Made by convgen 0.1.0; belongs to whoever made it. */
#include "example_internal.h"
#if EXAMPLE_X86
#if !defined(CG_BODY) && !(defined(__AVX2__) && defined(__FMA__))
#error "compile this file with -mavx2 -mfma"
#endif
#include "example_vec_f32_avx2.h"

/* A row of tiles of 4 x 1 outputs (acc[row][pixel]) of one vector of channels, alone. An input vector is loaded once and
 * used by all outputs that its taps reach; outputs at the borders have only the taps that lie inside. */
static void rows0(const float *src, const float *weights, const float *bias, float *dst) {
    vec x, acc0_0, acc1_0, acc2_0, acc3_0, w0_0, w0_1, w0_2, w1_0, w1_1, w1_2, w2_0;
    vec w2_1, w2_2;
    for (long i = 0; i < 1; i++) {
        vload(w0_0, weights);
        vload(w0_1, weights + 8);
        vload(w0_2, weights + 16);
        vload(w1_0, weights + 24);
        vload(w1_1, weights + 32);
        vload(w1_2, weights + 40);
        vload(w2_0, weights + 48);
        vload(w2_1, weights + 56);
        vload(w2_2, weights + 64);
        const float *place = src;
        float *out = dst;
        for (long j = 0; j < 1; j++) {
            vzero(acc0_0);
            vzero(acc1_0);
            vzero(acc2_0);
            vzero(acc3_0);
            vload(x, place);
            vfma(acc0_0, w1_1, x);
            vfma(acc1_0, w0_1, x);
            vload(x, place + 8);
            vfma(acc0_0, w1_2, x);
            vfma(acc1_0, w0_2, x);
            vload(x, place + 128);
            vfma(acc0_0, w2_1, x);
            vfma(acc1_0, w1_1, x);
            vfma(acc2_0, w0_1, x);
            vload(x, place + 136);
            vfma(acc0_0, w2_2, x);
            vfma(acc1_0, w1_2, x);
            vfma(acc2_0, w0_2, x);
            vload(x, place + 256);
            vfma(acc1_0, w2_1, x);
            vfma(acc2_0, w1_1, x);
            vfma(acc3_0, w0_1, x);
            vload(x, place + 264);
            vfma(acc1_0, w2_2, x);
            vfma(acc2_0, w1_2, x);
            vfma(acc3_0, w0_2, x);
            vload(x, place + 384);
            vfma(acc2_0, w2_1, x);
            vfma(acc3_0, w1_1, x);
            vload(x, place + 392);
            vfma(acc2_0, w2_2, x);
            vfma(acc3_0, w1_2, x);
            vfma(acc3_0, w2_1, vmem(place + 512));
            vfma(acc3_0, w2_2, vmem(place + 520));
            vload(x, bias);
            vadd(acc0_0, acc0_0, x);
            vzero(x);
            vmax(acc0_0, x, acc0_0);
            vstore(out, acc0_0);
            vload(x, bias);
            vadd(acc1_0, acc1_0, x);
            vzero(x);
            vmax(acc1_0, x, acc1_0);
            vstore(out + 128, acc1_0);
            vload(x, bias);
            vadd(acc2_0, acc2_0, x);
            vzero(x);
            vmax(acc2_0, x, acc2_0);
            vstore(out + 256, acc2_0);
            vload(x, bias);
            vadd(acc3_0, acc3_0, x);
            vzero(x);
            vmax(acc3_0, x, acc3_0);
            vstore(out + 384, acc3_0);
        }
        const float *place_2 = src;
        float *out_2 = dst;
        place_2 += 8;
        out_2 += 8;
        for (long j = 0; j < 14; j++) {
            vzero(acc0_0);
            vzero(acc1_0);
            vzero(acc2_0);
            vzero(acc3_0);
            vload(x, place_2 - 8);
            vfma(acc0_0, w1_0, x);
            vfma(acc1_0, w0_0, x);
            vload(x, place_2);
            vfma(acc0_0, w1_1, x);
            vfma(acc1_0, w0_1, x);
            vload(x, place_2 + 8);
            vfma(acc0_0, w1_2, x);
            vfma(acc1_0, w0_2, x);
            vload(x, place_2 + 120);
            vfma(acc0_0, w2_0, x);
            vfma(acc1_0, w1_0, x);
            vfma(acc2_0, w0_0, x);
            vload(x, place_2 + 128);
            vfma(acc0_0, w2_1, x);
            vfma(acc1_0, w1_1, x);
            vfma(acc2_0, w0_1, x);
            vload(x, place_2 + 136);
            vfma(acc0_0, w2_2, x);
            vfma(acc1_0, w1_2, x);
            vfma(acc2_0, w0_2, x);
            vload(x, place_2 + 248);
            vfma(acc1_0, w2_0, x);
            vfma(acc2_0, w1_0, x);
            vfma(acc3_0, w0_0, x);
            vload(x, place_2 + 256);
            vfma(acc1_0, w2_1, x);
            vfma(acc2_0, w1_1, x);
            vfma(acc3_0, w0_1, x);
            vload(x, place_2 + 264);
            vfma(acc1_0, w2_2, x);
            vfma(acc2_0, w1_2, x);
            vfma(acc3_0, w0_2, x);
            vload(x, place_2 + 376);
            vfma(acc2_0, w2_0, x);
            vfma(acc3_0, w1_0, x);
            vload(x, place_2 + 384);
            vfma(acc2_0, w2_1, x);
            vfma(acc3_0, w1_1, x);
            vload(x, place_2 + 392);
            vfma(acc2_0, w2_2, x);
            vfma(acc3_0, w1_2, x);
            vfma(acc3_0, w2_0, vmem(place_2 + 504));
            vfma(acc3_0, w2_1, vmem(place_2 + 512));
            vfma(acc3_0, w2_2, vmem(place_2 + 520));
            vload(x, bias);
            vadd(acc0_0, acc0_0, x);
            vzero(x);
            vmax(acc0_0, x, acc0_0);
            vstore(out_2, acc0_0);
            vload(x, bias);
            vadd(acc1_0, acc1_0, x);
            vzero(x);
            vmax(acc1_0, x, acc1_0);
            vstore(out_2 + 128, acc1_0);
            vload(x, bias);
            vadd(acc2_0, acc2_0, x);
            vzero(x);
            vmax(acc2_0, x, acc2_0);
            vstore(out_2 + 256, acc2_0);
            vload(x, bias);
            vadd(acc3_0, acc3_0, x);
            vzero(x);
            vmax(acc3_0, x, acc3_0);
            vstore(out_2 + 384, acc3_0);
            place_2 += 8;
            out_2 += 8;
        }
        const float *place_3 = src;
        float *out_3 = dst;
        place_3 += 120;
        out_3 += 120;
        for (long j = 0; j < 1; j++) {
            vzero(acc0_0);
            vzero(acc1_0);
            vzero(acc2_0);
            vzero(acc3_0);
            vload(x, place_3 - 8);
            vfma(acc0_0, w1_0, x);
            vfma(acc1_0, w0_0, x);
            vload(x, place_3);
            vfma(acc0_0, w1_1, x);
            vfma(acc1_0, w0_1, x);
            vload(x, place_3 + 120);
            vfma(acc0_0, w2_0, x);
            vfma(acc1_0, w1_0, x);
            vfma(acc2_0, w0_0, x);
            vload(x, place_3 + 128);
            vfma(acc0_0, w2_1, x);
            vfma(acc1_0, w1_1, x);
            vfma(acc2_0, w0_1, x);
            vload(x, place_3 + 248);
            vfma(acc1_0, w2_0, x);
            vfma(acc2_0, w1_0, x);
            vfma(acc3_0, w0_0, x);
            vload(x, place_3 + 256);
            vfma(acc1_0, w2_1, x);
            vfma(acc2_0, w1_1, x);
            vfma(acc3_0, w0_1, x);
            vload(x, place_3 + 376);
            vfma(acc2_0, w2_0, x);
            vfma(acc3_0, w1_0, x);
            vload(x, place_3 + 384);
            vfma(acc2_0, w2_1, x);
            vfma(acc3_0, w1_1, x);
            vfma(acc3_0, w2_0, vmem(place_3 + 504));
            vfma(acc3_0, w2_1, vmem(place_3 + 512));
            vload(x, bias);
            vadd(acc0_0, acc0_0, x);
            vzero(x);
            vmax(acc0_0, x, acc0_0);
            vstore(out_3, acc0_0);
            vload(x, bias);
            vadd(acc1_0, acc1_0, x);
            vzero(x);
            vmax(acc1_0, x, acc1_0);
            vstore(out_3 + 128, acc1_0);
            vload(x, bias);
            vadd(acc2_0, acc2_0, x);
            vzero(x);
            vmax(acc2_0, x, acc2_0);
            vstore(out_3 + 256, acc2_0);
            vload(x, bias);
            vadd(acc3_0, acc3_0, x);
            vzero(x);
            vmax(acc3_0, x, acc3_0);
            vstore(out_3 + 384, acc3_0);
        }
    }
}

/* A row of tiles of 4 x 1 outputs (acc[row][pixel]) of one vector of channels, alone. An input vector is loaded once and
 * used by all outputs that its taps reach; outputs at the borders have only the taps that lie inside. */
static void rows1(const float *src, const float *weights, const float *bias, float *dst) {
    vec x, acc0_0, acc1_0, acc2_0, acc3_0, w0_0, w0_1, w0_2, w1_0, w1_1, w1_2, w2_0;
    vec w2_1, w2_2;
    for (long i = 0; i < 1; i++) {
        vload(w0_0, weights);
        vload(w0_1, weights + 8);
        vload(w0_2, weights + 16);
        vload(w1_0, weights + 24);
        vload(w1_1, weights + 32);
        vload(w1_2, weights + 40);
        vload(w2_0, weights + 48);
        vload(w2_1, weights + 56);
        vload(w2_2, weights + 64);
        const float *place = src;
        float *out = dst;
        for (long j = 0; j < 1; j++) {
            vzero(acc0_0);
            vzero(acc1_0);
            vzero(acc2_0);
            vzero(acc3_0);
            vfma(acc0_0, w0_1, vmem(place - 128));
            vfma(acc0_0, w0_2, vmem(place - 120));
            vload(x, place);
            vfma(acc0_0, w1_1, x);
            vfma(acc1_0, w0_1, x);
            vload(x, place + 8);
            vfma(acc0_0, w1_2, x);
            vfma(acc1_0, w0_2, x);
            vload(x, place + 128);
            vfma(acc0_0, w2_1, x);
            vfma(acc1_0, w1_1, x);
            vfma(acc2_0, w0_1, x);
            vload(x, place + 136);
            vfma(acc0_0, w2_2, x);
            vfma(acc1_0, w1_2, x);
            vfma(acc2_0, w0_2, x);
            vload(x, place + 256);
            vfma(acc1_0, w2_1, x);
            vfma(acc2_0, w1_1, x);
            vfma(acc3_0, w0_1, x);
            vload(x, place + 264);
            vfma(acc1_0, w2_2, x);
            vfma(acc2_0, w1_2, x);
            vfma(acc3_0, w0_2, x);
            vload(x, place + 384);
            vfma(acc2_0, w2_1, x);
            vfma(acc3_0, w1_1, x);
            vload(x, place + 392);
            vfma(acc2_0, w2_2, x);
            vfma(acc3_0, w1_2, x);
            vfma(acc3_0, w2_1, vmem(place + 512));
            vfma(acc3_0, w2_2, vmem(place + 520));
            vload(x, bias);
            vadd(acc0_0, acc0_0, x);
            vzero(x);
            vmax(acc0_0, x, acc0_0);
            vstore(out, acc0_0);
            vload(x, bias);
            vadd(acc1_0, acc1_0, x);
            vzero(x);
            vmax(acc1_0, x, acc1_0);
            vstore(out + 128, acc1_0);
            vload(x, bias);
            vadd(acc2_0, acc2_0, x);
            vzero(x);
            vmax(acc2_0, x, acc2_0);
            vstore(out + 256, acc2_0);
            vload(x, bias);
            vadd(acc3_0, acc3_0, x);
            vzero(x);
            vmax(acc3_0, x, acc3_0);
            vstore(out + 384, acc3_0);
        }
        const float *place_2 = src;
        float *out_2 = dst;
        place_2 += 8;
        out_2 += 8;
        for (long j = 0; j < 14; j++) {
            vzero(acc0_0);
            vzero(acc1_0);
            vzero(acc2_0);
            vzero(acc3_0);
            vfma(acc0_0, w0_0, vmem(place_2 - 136));
            vfma(acc0_0, w0_1, vmem(place_2 - 128));
            vfma(acc0_0, w0_2, vmem(place_2 - 120));
            vload(x, place_2 - 8);
            vfma(acc0_0, w1_0, x);
            vfma(acc1_0, w0_0, x);
            vload(x, place_2);
            vfma(acc0_0, w1_1, x);
            vfma(acc1_0, w0_1, x);
            vload(x, place_2 + 8);
            vfma(acc0_0, w1_2, x);
            vfma(acc1_0, w0_2, x);
            vload(x, place_2 + 120);
            vfma(acc0_0, w2_0, x);
            vfma(acc1_0, w1_0, x);
            vfma(acc2_0, w0_0, x);
            vload(x, place_2 + 128);
            vfma(acc0_0, w2_1, x);
            vfma(acc1_0, w1_1, x);
            vfma(acc2_0, w0_1, x);
            vload(x, place_2 + 136);
            vfma(acc0_0, w2_2, x);
            vfma(acc1_0, w1_2, x);
            vfma(acc2_0, w0_2, x);
            vload(x, place_2 + 248);
            vfma(acc1_0, w2_0, x);
            vfma(acc2_0, w1_0, x);
            vfma(acc3_0, w0_0, x);
            vload(x, place_2 + 256);
            vfma(acc1_0, w2_1, x);
            vfma(acc2_0, w1_1, x);
            vfma(acc3_0, w0_1, x);
            vload(x, place_2 + 264);
            vfma(acc1_0, w2_2, x);
            vfma(acc2_0, w1_2, x);
            vfma(acc3_0, w0_2, x);
            vload(x, place_2 + 376);
            vfma(acc2_0, w2_0, x);
            vfma(acc3_0, w1_0, x);
            vload(x, place_2 + 384);
            vfma(acc2_0, w2_1, x);
            vfma(acc3_0, w1_1, x);
            vload(x, place_2 + 392);
            vfma(acc2_0, w2_2, x);
            vfma(acc3_0, w1_2, x);
            vfma(acc3_0, w2_0, vmem(place_2 + 504));
            vfma(acc3_0, w2_1, vmem(place_2 + 512));
            vfma(acc3_0, w2_2, vmem(place_2 + 520));
            vload(x, bias);
            vadd(acc0_0, acc0_0, x);
            vzero(x);
            vmax(acc0_0, x, acc0_0);
            vstore(out_2, acc0_0);
            vload(x, bias);
            vadd(acc1_0, acc1_0, x);
            vzero(x);
            vmax(acc1_0, x, acc1_0);
            vstore(out_2 + 128, acc1_0);
            vload(x, bias);
            vadd(acc2_0, acc2_0, x);
            vzero(x);
            vmax(acc2_0, x, acc2_0);
            vstore(out_2 + 256, acc2_0);
            vload(x, bias);
            vadd(acc3_0, acc3_0, x);
            vzero(x);
            vmax(acc3_0, x, acc3_0);
            vstore(out_2 + 384, acc3_0);
            place_2 += 8;
            out_2 += 8;
        }
        const float *place_3 = src;
        float *out_3 = dst;
        place_3 += 120;
        out_3 += 120;
        for (long j = 0; j < 1; j++) {
            vzero(acc0_0);
            vzero(acc1_0);
            vzero(acc2_0);
            vzero(acc3_0);
            vfma(acc0_0, w0_0, vmem(place_3 - 136));
            vfma(acc0_0, w0_1, vmem(place_3 - 128));
            vload(x, place_3 - 8);
            vfma(acc0_0, w1_0, x);
            vfma(acc1_0, w0_0, x);
            vload(x, place_3);
            vfma(acc0_0, w1_1, x);
            vfma(acc1_0, w0_1, x);
            vload(x, place_3 + 120);
            vfma(acc0_0, w2_0, x);
            vfma(acc1_0, w1_0, x);
            vfma(acc2_0, w0_0, x);
            vload(x, place_3 + 128);
            vfma(acc0_0, w2_1, x);
            vfma(acc1_0, w1_1, x);
            vfma(acc2_0, w0_1, x);
            vload(x, place_3 + 248);
            vfma(acc1_0, w2_0, x);
            vfma(acc2_0, w1_0, x);
            vfma(acc3_0, w0_0, x);
            vload(x, place_3 + 256);
            vfma(acc1_0, w2_1, x);
            vfma(acc2_0, w1_1, x);
            vfma(acc3_0, w0_1, x);
            vload(x, place_3 + 376);
            vfma(acc2_0, w2_0, x);
            vfma(acc3_0, w1_0, x);
            vload(x, place_3 + 384);
            vfma(acc2_0, w2_1, x);
            vfma(acc3_0, w1_1, x);
            vfma(acc3_0, w2_0, vmem(place_3 + 504));
            vfma(acc3_0, w2_1, vmem(place_3 + 512));
            vload(x, bias);
            vadd(acc0_0, acc0_0, x);
            vzero(x);
            vmax(acc0_0, x, acc0_0);
            vstore(out_3, acc0_0);
            vload(x, bias);
            vadd(acc1_0, acc1_0, x);
            vzero(x);
            vmax(acc1_0, x, acc1_0);
            vstore(out_3 + 128, acc1_0);
            vload(x, bias);
            vadd(acc2_0, acc2_0, x);
            vzero(x);
            vmax(acc2_0, x, acc2_0);
            vstore(out_3 + 256, acc2_0);
            vload(x, bias);
            vadd(acc3_0, acc3_0, x);
            vzero(x);
            vmax(acc3_0, x, acc3_0);
            vstore(out_3 + 384, acc3_0);
        }
    }
}

/* A row of tiles of 4 x 1 outputs (acc[row][pixel]) of one vector of channels, alone. An input vector is loaded once and
 * used by all outputs that its taps reach; outputs at the borders have only the taps that lie inside. */
static void rows2(const float *src, const float *weights, const float *bias, float *dst) {
    vec x, acc0_0, acc1_0, acc2_0, acc3_0, w0_0, w0_1, w0_2, w1_0, w1_1, w1_2, w2_0;
    vec w2_1, w2_2;
    for (long i = 0; i < 1; i++) {
        vload(w0_0, weights);
        vload(w0_1, weights + 8);
        vload(w0_2, weights + 16);
        vload(w1_0, weights + 24);
        vload(w1_1, weights + 32);
        vload(w1_2, weights + 40);
        vload(w2_0, weights + 48);
        vload(w2_1, weights + 56);
        vload(w2_2, weights + 64);
        const float *place = src;
        float *out = dst;
        for (long j = 0; j < 1; j++) {
            vzero(acc0_0);
            vzero(acc1_0);
            vzero(acc2_0);
            vzero(acc3_0);
            vfma(acc0_0, w0_1, vmem(place - 128));
            vfma(acc0_0, w0_2, vmem(place - 120));
            vload(x, place);
            vfma(acc0_0, w1_1, x);
            vfma(acc1_0, w0_1, x);
            vload(x, place + 8);
            vfma(acc0_0, w1_2, x);
            vfma(acc1_0, w0_2, x);
            vload(x, place + 128);
            vfma(acc0_0, w2_1, x);
            vfma(acc1_0, w1_1, x);
            vfma(acc2_0, w0_1, x);
            vload(x, place + 136);
            vfma(acc0_0, w2_2, x);
            vfma(acc1_0, w1_2, x);
            vfma(acc2_0, w0_2, x);
            vload(x, place + 256);
            vfma(acc1_0, w2_1, x);
            vfma(acc2_0, w1_1, x);
            vfma(acc3_0, w0_1, x);
            vload(x, place + 264);
            vfma(acc1_0, w2_2, x);
            vfma(acc2_0, w1_2, x);
            vfma(acc3_0, w0_2, x);
            vload(x, place + 384);
            vfma(acc2_0, w2_1, x);
            vfma(acc3_0, w1_1, x);
            vload(x, place + 392);
            vfma(acc2_0, w2_2, x);
            vfma(acc3_0, w1_2, x);
            vload(x, bias);
            vadd(acc0_0, acc0_0, x);
            vzero(x);
            vmax(acc0_0, x, acc0_0);
            vstore(out, acc0_0);
            vload(x, bias);
            vadd(acc1_0, acc1_0, x);
            vzero(x);
            vmax(acc1_0, x, acc1_0);
            vstore(out + 128, acc1_0);
            vload(x, bias);
            vadd(acc2_0, acc2_0, x);
            vzero(x);
            vmax(acc2_0, x, acc2_0);
            vstore(out + 256, acc2_0);
            vload(x, bias);
            vadd(acc3_0, acc3_0, x);
            vzero(x);
            vmax(acc3_0, x, acc3_0);
            vstore(out + 384, acc3_0);
        }
        const float *place_2 = src;
        float *out_2 = dst;
        place_2 += 8;
        out_2 += 8;
        for (long j = 0; j < 14; j++) {
            vzero(acc0_0);
            vzero(acc1_0);
            vzero(acc2_0);
            vzero(acc3_0);
            vfma(acc0_0, w0_0, vmem(place_2 - 136));
            vfma(acc0_0, w0_1, vmem(place_2 - 128));
            vfma(acc0_0, w0_2, vmem(place_2 - 120));
            vload(x, place_2 - 8);
            vfma(acc0_0, w1_0, x);
            vfma(acc1_0, w0_0, x);
            vload(x, place_2);
            vfma(acc0_0, w1_1, x);
            vfma(acc1_0, w0_1, x);
            vload(x, place_2 + 8);
            vfma(acc0_0, w1_2, x);
            vfma(acc1_0, w0_2, x);
            vload(x, place_2 + 120);
            vfma(acc0_0, w2_0, x);
            vfma(acc1_0, w1_0, x);
            vfma(acc2_0, w0_0, x);
            vload(x, place_2 + 128);
            vfma(acc0_0, w2_1, x);
            vfma(acc1_0, w1_1, x);
            vfma(acc2_0, w0_1, x);
            vload(x, place_2 + 136);
            vfma(acc0_0, w2_2, x);
            vfma(acc1_0, w1_2, x);
            vfma(acc2_0, w0_2, x);
            vload(x, place_2 + 248);
            vfma(acc1_0, w2_0, x);
            vfma(acc2_0, w1_0, x);
            vfma(acc3_0, w0_0, x);
            vload(x, place_2 + 256);
            vfma(acc1_0, w2_1, x);
            vfma(acc2_0, w1_1, x);
            vfma(acc3_0, w0_1, x);
            vload(x, place_2 + 264);
            vfma(acc1_0, w2_2, x);
            vfma(acc2_0, w1_2, x);
            vfma(acc3_0, w0_2, x);
            vload(x, place_2 + 376);
            vfma(acc2_0, w2_0, x);
            vfma(acc3_0, w1_0, x);
            vload(x, place_2 + 384);
            vfma(acc2_0, w2_1, x);
            vfma(acc3_0, w1_1, x);
            vload(x, place_2 + 392);
            vfma(acc2_0, w2_2, x);
            vfma(acc3_0, w1_2, x);
            vload(x, bias);
            vadd(acc0_0, acc0_0, x);
            vzero(x);
            vmax(acc0_0, x, acc0_0);
            vstore(out_2, acc0_0);
            vload(x, bias);
            vadd(acc1_0, acc1_0, x);
            vzero(x);
            vmax(acc1_0, x, acc1_0);
            vstore(out_2 + 128, acc1_0);
            vload(x, bias);
            vadd(acc2_0, acc2_0, x);
            vzero(x);
            vmax(acc2_0, x, acc2_0);
            vstore(out_2 + 256, acc2_0);
            vload(x, bias);
            vadd(acc3_0, acc3_0, x);
            vzero(x);
            vmax(acc3_0, x, acc3_0);
            vstore(out_2 + 384, acc3_0);
            place_2 += 8;
            out_2 += 8;
        }
        const float *place_3 = src;
        float *out_3 = dst;
        place_3 += 120;
        out_3 += 120;
        for (long j = 0; j < 1; j++) {
            vzero(acc0_0);
            vzero(acc1_0);
            vzero(acc2_0);
            vzero(acc3_0);
            vfma(acc0_0, w0_0, vmem(place_3 - 136));
            vfma(acc0_0, w0_1, vmem(place_3 - 128));
            vload(x, place_3 - 8);
            vfma(acc0_0, w1_0, x);
            vfma(acc1_0, w0_0, x);
            vload(x, place_3);
            vfma(acc0_0, w1_1, x);
            vfma(acc1_0, w0_1, x);
            vload(x, place_3 + 120);
            vfma(acc0_0, w2_0, x);
            vfma(acc1_0, w1_0, x);
            vfma(acc2_0, w0_0, x);
            vload(x, place_3 + 128);
            vfma(acc0_0, w2_1, x);
            vfma(acc1_0, w1_1, x);
            vfma(acc2_0, w0_1, x);
            vload(x, place_3 + 248);
            vfma(acc1_0, w2_0, x);
            vfma(acc2_0, w1_0, x);
            vfma(acc3_0, w0_0, x);
            vload(x, place_3 + 256);
            vfma(acc1_0, w2_1, x);
            vfma(acc2_0, w1_1, x);
            vfma(acc3_0, w0_1, x);
            vload(x, place_3 + 376);
            vfma(acc2_0, w2_0, x);
            vfma(acc3_0, w1_0, x);
            vload(x, place_3 + 384);
            vfma(acc2_0, w2_1, x);
            vfma(acc3_0, w1_1, x);
            vload(x, bias);
            vadd(acc0_0, acc0_0, x);
            vzero(x);
            vmax(acc0_0, x, acc0_0);
            vstore(out_3, acc0_0);
            vload(x, bias);
            vadd(acc1_0, acc1_0, x);
            vzero(x);
            vmax(acc1_0, x, acc1_0);
            vstore(out_3 + 128, acc1_0);
            vload(x, bias);
            vadd(acc2_0, acc2_0, x);
            vzero(x);
            vmax(acc2_0, x, acc2_0);
            vstore(out_3 + 256, acc2_0);
            vload(x, bias);
            vadd(acc3_0, acc3_0, x);
            vzero(x);
            vmax(acc3_0, x, acc3_0);
            vstore(out_3 + 384, acc3_0);
        }
    }
}

static void stage_compute(const cg_call *call, void *scratch_memory, long first, long last)
{
    float *src = call->src;
    float *weights = call->weights;
    float *bias = call->bias;
    float *dst = call->dst;
    (void)scratch_memory;
    for (long task = first / 4, stop = last / 4; task < stop; task++) {
        rows0(src, weights, bias, dst);
    }
    for (long task = (first * 2 + 2) / 4, stop = (last * 2 + 2) / 4; task < stop; task++) {
        const long here = (task * 4 + 4) * 128;
        const long there = (task * 4 + 4) * 128;
        rows1(src + here, weights, bias, dst + there);
    }
    for (long task = (first + 3) / 4, stop = (last + 3) / 4; task < stop; task++) {
        rows2(src + 1536, weights, bias, dst + 1536);
    }
}

const example_kernel example_depthwise_avx2 = {
    0, 0, 0, 1, {
        { stage_compute, 4, 0 },
    }
};
#endif

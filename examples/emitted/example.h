/* example.h: the convolutions of a network, each for its exact shape, in C that needs nothing else.
 *
 *   example_conv1                --epilogue=relu mb1ic3ih32iw32oc8oh16ow16kh3kw3sh2sw2ph1pw1
 *   example_depthwise            --epilogue=relu g8mb1ic8ih16iw16oc8oh16ow16kh3kw3ph1pw1
 *   example_pointwise            --epilogue=relu mb1ic8ih16iw16oc16oh16ow16kh1kw1
 *
 * Made by convgen 0.1.0 from the list example.txt (README.md tells how); belongs to whoever made it.
 *
 * A layer packs its weights in every call, or once: NAME_pack, then NAME_packed in place of NAME. What is packed is for
 * this build on this kind of processor, not for a file. Tensors are dense, in the order of their dimensions here, and need
 * the alignment of their element. `packed` and `workspace` are the caller's, aligned to 64 bytes, of the sizes given here
 * in bytes; of size 0, NULL will do. An output overlaps no other operand. Nothing is allocated; calls may run at the same
 * time when their outputs and workspaces differ.
 *
 * The code for the processor at hand is chosen at the first call. Errors: u is the unit roundoff, sum |a||b| the sum of the
 * magnitudes of the products (and of bias). Where it says "the same bits everywhere", all processors give them. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What runs here: "avx2", "portable". */
const char *example_target(void);
/* For tests: what runs from now on. 0, or -1 when this processor or this build lacks it. Not while others run. */
int example_choose(const char *name);

/* conv1: forward, --epilogue=relu mb1ic3ih32iw32oc8oh16ow16kh3kw3sh2sw2ph1pw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh*2 + kh - 1, ow*2 + kw - 1, i] * weights[kh, kw, i, c]
 *     then max(0, .)
 *
 *   src          float [1][32][32][3]
 *   weights      float [3][3][3][8]
 *   bias         float [8]
 *   dst          float [1][16][16][8]
 *   layout     [n][h][w][channel]; weights [kh][kw][input channel][output channel]
 *   error      an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *              the same bits wherever this kernel runs; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 28, u = 2^-24
 *   avx2       direct.p8.v1.rows1; recorded, on uniform [-1, 1]: normwise 8.8e-08, 0.94 of a plain loop's, 0.087 of the bound at most
 *   error      sums are transformed: the normwise error is held to 1.25 times that of a plain loop,
 *              on independent uniform [-1, 1] data (accuracy loop)
 *   portable   winograd.3+2x1.t56.s1/product.r6.v2.a16; recorded, on uniform [-1, 1]: normwise 8.6e-08, 0.87 of a plain loop's */
#define EXAMPLE_CONV1_WORKSPACE 41472
#define EXAMPLE_CONV1_PACKED 3584
void example_conv1(const float *src, const float *weights, const float *bias, float *dst, void *workspace);
void example_conv1_pack(const float *weights, void *packed, void *workspace);
void example_conv1_packed(const float *src, const void *packed, const float *bias, float *dst, void *workspace);

/* depthwise *2: forward, --epilogue=relu g8mb1ic8ih16iw16oc8oh16ow16kh3kw3ph1pw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh + kh - 1, ow + kw - 1, g] * weights[kh, kw, i, c]
 *     then max(0, .)
 *     with each channel alone: g = c, i = 0
 *
 *   src          float [1][16][16][8]
 *   weights      float [3][3][1][8]
 *   bias         float [8]
 *   dst          float [1][16][16][8]
 *   layout     [n][h][w][channel]; weights [kh][kw][input channel][output channel], input channels of a group
 *   error      an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *              the same bits everywhere; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 10, u = 2^-24
 *   avx2       depthwise.stream.p6; recorded, on uniform [-1, 1]: normwise 4.9e-08, 0.91 of a plain loop's, 0.28 of the bound at most
 *   portable   depthwise.r2.p1; recorded, on uniform [-1, 1]: normwise 4.9e-08, 0.91 of a plain loop's, 0.28 of the bound at most */
#define EXAMPLE_DEPTHWISE_WORKSPACE 0
#define EXAMPLE_DEPTHWISE_PACKED 288
void example_depthwise(const float *src, const float *weights, const float *bias, float *dst, void *workspace);
void example_depthwise_pack(const float *weights, void *packed, void *workspace);
void example_depthwise_packed(const float *src, const void *packed, const float *bias, float *dst, void *workspace);

/* pointwise *2: forward, --epilogue=relu mb1ic8ih16iw16oc16oh16ow16kh1kw1
 *
 *     dst[n, oh, ow, c] = bias[c] + sum over kh,kw,i of
 *         src[n, oh, ow, i] * weights[kh, kw, i, c]
 *     then max(0, .)
 *
 *   src          float [1][16][16][8]
 *   weights      float [1][1][8][16]
 *   bias         float [16]
 *   dst          float [1][16][16][16]
 *   layout     [n][h][w][channel]; weights [kh][kw][input channel][output channel]
 *   error      an output is one chain of fused multiply-adds over taps, then channels, the bias last:
 *              the same bits everywhere; |error| <= g * sum |a||b| with g = K u / (1 - K u), K = 9, u = 2^-24
 *   avx2       direct.p6.v2.rows1; recorded, on uniform [-1, 1]: normwise 4.8e-08, 0.91 of a plain loop's, 0.26 of the bound at most
 *   portable   planar.c2.v4.rows4; recorded, on uniform [-1, 1]: normwise 4.8e-08, 0.91 of a plain loop's, 0.26 of the bound at most */
#define EXAMPLE_POINTWISE_WORKSPACE 4160
#define EXAMPLE_POINTWISE_PACKED 512
void example_pointwise(const float *src, const float *weights, const float *bias, float *dst, void *workspace);
void example_pointwise_pack(const float *weights, void *packed, void *workspace);
void example_pointwise_packed(const float *src, const void *packed, const float *bias, float *dst, void *workspace);

#ifdef __cplusplus
}
#endif
#endif

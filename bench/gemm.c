/* gemm.c: im2col + OpenBLAS as a contestant; the only file that sees cblas.h.
 *
 * As somebody would write it with care: rows of one image at a time, no copy at all for a dense 1x1, bias written first and
 * added to by the product, gradients of weights summed over images by the product itself.
 * Limit: convolutions of one group (a depthwise product is a row at a time: nobody's choice), no clamp, no residual. */
#include "contest.h"
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

typedef struct state {
    const task *t;
    int64_t pixels, taps, depth; /* of the output; of the kernel; taps * channels */
    bool direct;                 /* the image is its own im2col */
    char *columns;
} state;

static int64_t product(const int64_t *v) { return v[0] * v[1] * v[2]; }

static bool dense_pointwise(const convgen_problem *p)
{
    bool dense = product(p->kernel) == 1;
    for (int i = 0; i < 3; i++) dense = dense && p->stride[i] == 1 && p->pad[i] == 0 && p->out[i] == p->in[i];
    return dense;
}

static void gemm_free(void *at)
{
    free(((state *)at)->columns);
    free(at);
}

static void *gemm_make(const task *t, int variant)
{
    (void)variant;
    state *s = calloc(1, sizeof *s);
    if (!s || t->p.op != CONVGEN_CONVOLUTION || t->p.groups > 1 || t->p.epilogue.residual || t->p.epilogue.activation == CONVGEN_CLAMP) return free(s), NULL;
    openblas_set_num_threads(set.threads);
    s->t = t, s->pixels = product(t->p.out), s->taps = product(t->p.kernel), s->depth = s->taps * t->p.in_channels;
    s->direct = dense_pointwise(&t->p);
    size_t bytes = ((size_t)(s->pixels * s->depth) * t->element + 63) / 64 * 64;
    if (!s->direct && !(s->columns = pages(bytes))) return gemm_free(s), NULL;
    return s;
}

static inline __attribute__((always_inline)) void move(char *image, char *column, size_t count, size_t element, bool back)
{
    if (!back) memcpy(column, image, count * element);
    else if (element == 4)
        for (size_t i = 0; i < count; i++) ((float *)image)[i] += ((float *)column)[i];
    else
        for (size_t i = 0; i < count; i++) ((double *)image)[i] += ((double *)column)[i];
}

/* Where tap `k` of output `o` reads along one axis; -1 in the padding. */
static int64_t place(const convgen_problem *p, int axis, int64_t o, int64_t k)
{
    int64_t i = o * p->stride[axis] + k * p->dilation[axis] - p->pad[axis];
    return i < 0 || i >= p->in[axis] ? -1 : i;
}

/* A run of taps along w for one pixel, channels last: one copy where the window is whole. */
static void window_row(const convgen_problem *p, char *row, char *column, int64_t ow, size_t element, bool back)
{
    int64_t kw = p->kernel[2], first = place(p, 2, ow, 0), last = place(p, 2, ow, kw - 1);
    size_t step = (size_t)p->in_channels, bytes = step * element;
    if (first >= 0 && last >= 0 && p->dilation[2] == 1) {
        move(row + (size_t)first * bytes, column, (size_t)kw * step, element, back);
        return;
    }
    for (int64_t k = 0; k < kw; k++, column += bytes) {
        int64_t i = place(p, 2, ow, k);
        if (i >= 0) move(row + (size_t)i * bytes, column, step, element, back);
        else if (!back) memset(column, 0, bytes);
    }
}

static void pixel_row(const state *s, char *image, int64_t pixel, bool back)
{
    const convgen_problem *p = &s->t->p;
    size_t element = s->t->element, run = (size_t)(p->kernel[2] * p->in_channels) * element;
    int64_t ow = pixel % p->out[2], oh = pixel / p->out[2] % p->out[1], od = pixel / p->out[2] / p->out[1];
    char *column = s->columns + (size_t)(pixel * s->depth) * element;
    for (int64_t kd = 0; kd < p->kernel[0]; kd++)
        for (int64_t kh = 0; kh < p->kernel[1]; kh++, column += run) {
            int64_t d = place(p, 0, od, kd), h = place(p, 1, oh, kh);
            if (d >= 0 && h >= 0)
                window_row(p, image + (size_t)((d * p->in[1] + h) * p->in[2] * p->in_channels) * element, column, ow, element, back);
            else if (!back) memset(column, 0, run);
        }
}

/* All pixels of one tap of one channel, channels first. */
static void tap_plane(const state *s, char *plane, char *column, const int64_t *k, bool back)
{
    const convgen_problem *p = &s->t->p;
    size_t e = s->t->element;
    for (int64_t od = 0; od < p->out[0]; od++)
        for (int64_t oh = 0; oh < p->out[1]; oh++) {
            int64_t d = place(p, 0, od, k[0]), h = place(p, 1, oh, k[1]);
            char *row = plane + (size_t)((d * p->in[1] + h) * p->in[2]) * e;
            for (int64_t ow = 0; ow < p->out[2]; ow++, column += e) {
                int64_t w = d < 0 || h < 0 ? -1 : place(p, 2, ow, k[2]);
                if (w < 0 && !back) memset(column, 0, e);
                else if (w >= 0 && e == 4) move(row + w * 4, column, 1, 4, back);
                else if (w >= 0) move(row + w * 8, column, 1, 8, back);
            }
        }
}

static void channel_planes(const state *s, char *image, int64_t c, bool back)
{
    const convgen_problem *p = &s->t->p;
    char *plane = image + (size_t)(c * product(p->in)) * s->t->element;
    for (int64_t tap = 0; tap < s->taps; tap++) {
        int64_t k[3] = {tap / p->kernel[2] / p->kernel[1], tap / p->kernel[2] % p->kernel[1], tap % p->kernel[2]};
        tap_plane(s, plane, s->columns + (size_t)((c * s->taps + tap) * s->pixels) * s->t->element, k, back);
    }
}

/* im2col, or its transpose that adds. Pixels overlap when they are added to, so that loop stays on one thread. */
static void columns(const state *s, char *image, bool back)
{
    if (s->t->p.layout == CONVGEN_NCHW) {
#pragma omp parallel for num_threads(set.threads) if (set.threads > 1)
        for (int64_t c = 0; c < s->t->p.in_channels; c++) channel_planes(s, image, c, back);
    } else if (back) {
        for (int64_t i = 0; i < s->pixels; i++) pixel_row(s, image, i, true);
    } else {
#pragma omp parallel for num_threads(set.threads) if (set.threads > 1)
        for (int64_t i = 0; i < s->pixels; i++) pixel_row(s, image, i, false);
    }
}

/* c[m,n] = a x b + beta c; ta: a is stored [k,m]; tb: b is stored [n,k]. */
static void multiply(const state *s, bool ta, bool tb, int64_t m, int64_t n, int64_t k, const void *a, const void *b, int beta, void *c)
{
    enum CBLAS_TRANSPOSE at = ta ? CblasTrans : CblasNoTrans, bt = tb ? CblasTrans : CblasNoTrans;
    int M = (int)m, N = (int)n, K = (int)k, lda = ta ? M : K, ldb = tb ? K : N;
    if (s->t->p.type == CONVGEN_F32) cblas_sgemm(CblasRowMajor, at, bt, M, N, K, 1, a, lda, b, ldb, (float)beta, c, N);
    else cblas_dgemm(CblasRowMajor, at, bt, M, N, K, 1, a, lda, b, ldb, beta, c, N);
}

#define FOR_OUTPUT(T, ACTION)                                                                   \
    for (int64_t i = 0; i < s->pixels * oc; i++) {                                              \
        T *y = (T *)image + i, *b = (T *)s->t->at[BIAS] + (last ? i % oc : i / s->pixels);      \
        (void)b;                                                                                \
        ACTION;                                                                                 \
    }
enum { WRITE_BIAS, RELU, SUM_BIAS };
static void per_output(const state *s, char *image, int what)
{
    int64_t oc = s->t->p.out_channels;
    bool last = s->t->p.layout == CONVGEN_NHWC, f32 = s->t->p.type == CONVGEN_F32;
    if (what == WRITE_BIAS && f32) FOR_OUTPUT(float, *y = *b)
    else if (what == WRITE_BIAS) FOR_OUTPUT(double, *y = *b)
    else if (what == RELU && f32) FOR_OUTPUT(float, *y = 0 > *y ? 0 : *y)
    else if (what == RELU) FOR_OUTPUT(double, *y = 0 > *y ? 0 : *y)
    else if (f32) FOR_OUTPUT(float, *b += *y)
    else FOR_OUTPUT(double, *b += *y)
}

static void forward(const state *s, char *src, char *dst)
{
    const task *t = s->t;
    int64_t oc = t->p.out_channels;
    int beta = t->count[BIAS] > 0;
    char *from = s->direct ? src : s->columns;
    if (!s->direct) columns(s, src, false);
    if (beta) per_output(s, dst, WRITE_BIAS);
    if (t->p.layout == CONVGEN_NHWC) multiply(s, false, false, s->pixels, oc, s->depth, from, t->at[WEIGHTS], beta, dst);
    else multiply(s, false, false, oc, s->pixels, s->depth, t->at[WEIGHTS], from, beta, dst);
    if (t->p.epilogue.activation == CONVGEN_RELU) per_output(s, dst, RELU);
}

static void backward_data(const state *s, char *src, char *dst)
{
    const task *t = s->t;
    int64_t oc = t->p.out_channels;
    char *to = s->direct ? src : s->columns;
    if (t->p.layout == CONVGEN_NHWC) multiply(s, false, true, s->pixels, s->depth, oc, dst, t->at[WEIGHTS], 0, to);
    else multiply(s, true, false, s->depth, s->pixels, oc, t->at[WEIGHTS], dst, 0, to);
    if (s->direct) return;
    memset(src, 0, (size_t)(product(t->p.in) * t->p.in_channels) * t->element);
    columns(s, src, true);
}

static void backward_weights(const state *s, char *src, char *dst, int64_t image)
{
    const task *t = s->t;
    int64_t oc = t->p.out_channels;
    char *from = s->direct ? src : s->columns;
    if (!s->direct) columns(s, src, false);
    if (t->p.layout == CONVGEN_NHWC) multiply(s, true, false, s->depth, oc, s->pixels, from, dst, image > 0, t->at[WEIGHTS]);
    else multiply(s, false, true, oc, s->depth, s->pixels, dst, from, image > 0, t->at[WEIGHTS]);
    if (!t->count[BIAS]) return;
    if (image == 0) memset(t->at[BIAS], 0, t->count[BIAS] * t->element);
    per_output(s, dst, SUM_BIAS);
}

static void gemm_run(void *at)
{
    state *s = at;
    const convgen_problem *p = &s->t->p;
    size_t in = (size_t)(product(p->in) * p->in_channels) * s->t->element, out = (size_t)(s->pixels * p->out_channels) * s->t->element;
    for (int64_t n = 0; n < p->batch; n++) {
        char *src = (char *)s->t->at[SRC] + (size_t)n * in, *dst = (char *)s->t->at[DST] + (size_t)n * out;
        if (p->pass == CONVGEN_FORWARD) forward(s, src, dst);
        else if (p->pass == CONVGEN_BACKWARD_DATA) backward_data(s, src, dst);
        else backward_weights(s, src, dst, n);
    }
}

static void nothing(void *at) { (void)at; }

static const char *gemm_how(void *at)
{
    (void)at;
    return openblas_get_corename();
}

const contestant gemm = {"gemm", 0, false, gemm_make, nothing, gemm_run, nothing, gemm_how, gemm_free};

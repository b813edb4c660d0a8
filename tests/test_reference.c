/* test_reference.c: the reference against loops written as the formulas stand in convgen.h, numpy's published algorithm, and
 * binary128. Random problems print their seed; $CONVGEN_SEED repeats a run. */
#include "plan.h"
#include "suite.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed, stream;

static int64_t pick(int64_t lo, int64_t hi)
{
    return lo + (int64_t)(cg_random(&stream) % (uint64_t)(hi - lo + 1));
}

static int64_t count3(const int64_t *s)
{
    return s[0] * s[1] * s[2];
}

/* A random small problem, defaults filled in. */
static convgen_problem random_problem(void)
{
    convgen_problem p = {.pass = pick(0, 2), .type = pick(0, 1), .layout = pick(0, 1)};
    p.groups = pick(0, 1) ? 1 : pick(2, 4);
    p.batch = pick(1, 3);
    p.in_channels = p.groups * pick(1, 4);
    p.out_channels = p.groups * (pick(0, 9) ? pick(1, 5) : pick(30, 40));
    int rank = (int)pick(1, 3);
    for (int i = 0; i < 3; i++) {
        p.in[i] = p.out[i] = p.kernel[i] = p.stride[i] = p.dilation[i] = 1;
        if (i < 3 - rank) continue;
        do {
            p.in[i] = pick(1, 7);
            p.kernel[i] = pick(1, 4);
            p.stride[i] = pick(1, 3);
            p.dilation[i] = pick(1, 2);
            p.pad[i] = pick(-1, 5);
            int64_t room = p.in[i] + p.pad[i] + pick(-1, 3) - ((p.kernel[i] - 1) * p.dilation[i] + 1);
            p.out[i] = room < 0 ? 0 : room / p.stride[i] + 1;
        } while (p.out[i] < 1);
    }
    if (!pick(0, 2)) p = cg_dual_of(&p, CONVGEN_TRANSPOSED);
    p.bias = p.pass != CONVGEN_BACKWARD_DATA && pick(0, 1);
    if (p.pass == CONVGEN_FORWARD && pick(0, 1))
        p.epilogue = (convgen_epilogue){.residual = pick(0, 1), .activation = pick(0, 2), .lo = -0.3, .hi = 0.7};
    return p;
}

/* ---- the naive answer ------------------------------------------------------------------------------------------------ */

static int64_t act(const convgen_problem *p, int64_t n, const int64_t *x, int64_t c, int64_t channels, const int64_t *size)
{
    int64_t at = (x[0] * size[1] + x[1]) * size[2] + x[2];
    return p->layout == CONVGEN_NHWC ? (n * count3(size) + at) * channels + c : (n * channels + c) * count3(size) + at;
}

static int64_t wei(const convgen_problem *p, const int64_t *k, int64_t i, int64_t c)
{
    int64_t tap = (k[0] * p->kernel[1] + k[1]) * p->kernel[2] + k[2], in = p->in_channels / p->groups;
    return p->layout == CONVGEN_NHWC ? (tap * in + i) * p->out_channels + c : (c * in + i) * count3(p->kernel) + tap;
}

static double get(const convgen_problem *p, const void *data, int64_t i)
{
    return p->type == CONVGEN_F32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

static void set(const convgen_problem *p, void *data, int64_t i, double x)
{
    if (p->type == CONVGEN_F32) ((float *)data)[i] = (float)x;
    else ((double *)data)[i] = x;
}

typedef enum { FMA_CHAIN, MUL_ADD, QUAD } style;
typedef struct sum {
    double value;
    __float128 exact, magnitude;
    int64_t terms;
} sum;

static void accumulate(const convgen_problem *p, style s, sum *y, double a, double b)
{
    bool f32 = p->type == CONVGEN_F32;
    y->terms++;
    y->magnitude += fabsl((long double)a * (long double)b);
    if (s == QUAD) y->exact += (__float128)a * (__float128)b;
    else if (s == FMA_CHAIN) y->value = f32 ? fmaf((float)a, (float)b, (float)y->value) : fma(a, b, y->value);
    else {
        volatile double product = f32 ? (double)((float)a * (float)b) : a * b;
        y->value = f32 ? (double)((float)y->value + (float)product) : y->value + product;
    }
}

static void add(const convgen_problem *p, style s, sum *y, double a)
{
    y->terms++;
    y->magnitude += fabs(a);
    if (s == QUAD) y->exact += a;
    else y->value = p->type == CONVGEN_F32 ? (double)((float)y->value + (float)a) : y->value + a;
}

static void activate(const convgen_problem *p, sum *y)
{
    double lo = p->epilogue.lo, hi = p->epilogue.hi;
    if (p->type == CONVGEN_F32) lo = (double)(float)lo, hi = (double)(float)hi;
    if (p->epilogue.activation == CONVGEN_RELU) lo = 0, hi = INFINITY;
    if (p->epilogue.activation == CONVGEN_NONE) return;
    y->value = lo > y->value ? lo : y->value;
    y->value = hi < y->value ? hi : y->value;
    y->exact = lo > y->exact ? (__float128)lo : y->exact;
    y->exact = hi < y->exact ? (__float128)hi : y->exact;
}

#define FOR3(x, size)                            \
    for ((x)[0] = 0; (x)[0] < (size)[0]; (x)[0]++) \
        for ((x)[1] = 0; (x)[1] < (size)[1]; (x)[1]++) \
            for ((x)[2] = 0; (x)[2] < (size)[2]; (x)[2]++)

static bool source(const convgen_problem *p, const int64_t *o, const int64_t *k, int64_t *x)
{
    bool in = true;
    for (int i = 0; i < 3; i++) {
        x[i] = o[i] * p->stride[i] + k[i] * p->dilation[i] - p->pad[i];
        in = in && x[i] >= 0 && x[i] < p->in[i];
    }
    return in;
}

static void naive_forward(const convgen_problem *p, const cg_operands *t, style s, sum *out)
{
    int64_t ig = p->in_channels / p->groups, og = p->out_channels / p->groups, o[3], k[3], x[3];
    for (int64_t n = 0; n < p->batch; n++)
        FOR3(o, p->out)
            for (int64_t c = 0; c < p->out_channels; c++) {
                int64_t e = act(p, n, o, c, p->out_channels, p->out);
                sum *y = &out[e];
                FOR3(k, p->kernel)
                    for (int64_t i = 0; i < ig; i++)
                        if (source(p, o, k, x))
                            accumulate(p, s, y, get(p, t->src, act(p, n, x, c / og * ig + i, p->in_channels, p->in)),
                                       get(p, t->weights, wei(p, k, i, c)));
                if (p->bias) add(p, s, y, get(p, t->bias, c));
                if (p->epilogue.residual) add(p, s, y, get(p, t->residual, e));
                activate(p, y);
            }
}

/* The formula: over all taps and outputs that meet x. */
static void naive_backward_data(const convgen_problem *p, const cg_operands *t, style s, sum *out)
{
    int64_t ig = p->in_channels / p->groups, og = p->out_channels / p->groups, o[3], k[3], x[3], y[3];
    for (int64_t n = 0; n < p->batch; n++)
        FOR3(x, p->in)
            for (int64_t i = 0; i < p->in_channels; i++)
                FOR3(k, p->kernel)
                    FOR3(o, p->out) {
                        if (!source(p, o, k, y) || y[0] != x[0] || y[1] != x[1] || y[2] != x[2]) continue;
                        for (int64_t c = i / ig * og; c < (i / ig + 1) * og; c++)
                            accumulate(p, s, &out[act(p, n, x, i, p->in_channels, p->in)],
                                       get(p, t->dst, act(p, n, o, c, p->out_channels, p->out)),
                                       get(p, t->weights, wei(p, k, i % ig, c)));
                    }
}

static void end_block(const convgen_problem *p, style s, sum *y, sum *total)
{
    add(p, s == QUAD ? QUAD : MUL_ADD, total, y->value);
    y->value = 0;
}

/* bias: the gradient of the bias, else of the weights. Small planes: a block is a plane. */
static void naive_backward_weights(const convgen_problem *p, const cg_operands *t, style s, bool bias, sum *out)
{
    int64_t ig = p->in_channels / p->groups, og = p->out_channels / p->groups, o[3], k[3], x[3], one[3] = {1, 1, 1};
    FOR3(k, bias ? one : p->kernel)
        for (int64_t i = 0; i < (bias ? 1 : ig); i++)
            for (int64_t c = 0; c < p->out_channels; c++) {
                sum *total = &out[bias ? c : wei(p, k, i, c)], block = {0};
                for (int64_t n = 0; n < p->batch; n++)
                    FOR3(o, p->out) {
                        double d = get(p, t->dst, act(p, n, o, c, p->out_channels, p->out));
                        if (bias) accumulate(p, s, s == FMA_CHAIN ? &block : total, 1, d);
                        else if (source(p, o, k, x))
                            accumulate(p, s, s == FMA_CHAIN ? &block : total,
                                       get(p, t->src, act(p, n, x, c / og * ig + i, p->in_channels, p->in)), d);
                        if (s == FMA_CHAIN && o[1] == p->out[1] - 1 && o[2] == p->out[2] - 1) end_block(p, s, &block, total);
                    }
            }
}

static void naive(const convgen_problem *p, const cg_operands *t, style s, bool bias, sum *out);

/* dst[n, i*s + k*d - p, c] += src[n,i,b] * weights[k,c,b], then bias and epilogue; a convolution that reads dst and writes src. */
static void naive_transposed(const convgen_problem *p, const cg_operands *t, style s, sum *out)
{
    static const convgen_pass passes[] = {CONVGEN_BACKWARD_DATA, CONVGEN_FORWARD, CONVGEN_BACKWARD_WEIGHTS};
    convgen_problem c = *p;
    cg_operands of = *t;
    int64_t pixels = count3(p->out);
    c.op = CONVGEN_CONVOLUTION, c.pass = passes[p->pass], c.bias = false, c.epilogue = (convgen_epilogue){.activation = CONVGEN_NONE};
    c.in_channels = p->out_channels, c.out_channels = p->in_channels, of.src = t->dst, of.dst = t->src;
    memcpy(c.in, p->out, sizeof c.in), memcpy(c.out, p->in, sizeof c.out);
    naive(&c, &of, s, false, out);
    for (int64_t e = 0; p->pass == CONVGEN_FORWARD && e < p->batch * pixels * p->out_channels; e++) {
        if (p->bias) add(p, s, &out[e], get(p, t->bias, (p->layout == CONVGEN_NHWC ? e : e / pixels) % p->out_channels));
        if (p->epilogue.residual) add(p, s, &out[e], get(p, t->residual, e));
        activate(p, &out[e]);
    }
}

static void naive(const convgen_problem *p, const cg_operands *t, style s, bool bias, sum *out)
{
    if (p->op == CONVGEN_TRANSPOSED && !bias) naive_transposed(p, t, s, out);
    else if (p->pass == CONVGEN_FORWARD) naive_forward(p, t, s, out);
    else if (p->pass == CONVGEN_BACKWARD_DATA) naive_backward_data(p, t, s, out);
    else naive_backward_weights(p, t, s, bias, out);
}

/* ---- random problems -------------------------------------------------------------------------------------------------- */

static void *random_tensor(const convgen_problem *p, int64_t count)
{
    void *data = malloc((size_t)count * 8);
    for (int64_t i = 0; i < count; i++) set(p, data, i, cg_uniform(&stream));
    return data;
}

static cg_operands random_operands(const convgen_problem *p)
{
    int64_t in = p->in_channels / p->groups, dst = p->batch * count3(p->out) * p->out_channels;
    return (cg_operands){.at = {random_tensor(p, p->batch * count3(p->in) * p->in_channels),
                          random_tensor(p, count3(p->kernel) * in * p->out_channels), random_tensor(p, p->out_channels),
                          random_tensor(p, dst), random_tensor(p, dst)}};
}

static void free_operands(cg_operands *t)
{
    free(t->src), free(t->weights), free(t->bias), free(t->dst), free(t->residual);
}

/* All outputs at once, then by ranges: the same. */
static void compare_values(const convgen_problem *p, const cg_operands *t, cg_order order, style s, bool bias)
{
    int64_t count = cg_output_elements(p, bias), first = pick(0, count - 1), part = pick(1, count - first);
    sum *want = calloc((size_t)count, sizeof *want);
    void *got = malloc((size_t)count * 8), *some = malloc((size_t)part * 8);
    naive(p, t, s, bias, want);
    ck_assert_int_eq(cg_reference(p, t, order, 1, (cg_outputs){bias, 0, count}, got), CONVGEN_OK);
    ck_assert_int_eq(cg_reference(p, t, order, 1, (cg_outputs){bias, first, part}, some), CONVGEN_OK);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(get(p, got, i) == want[i].value, "order %d, output %ld: %.17g, naive %.17g, seed %lu", order, (long)i,
                      get(p, got, i), want[i].value, seed);
    for (int64_t i = 0; i < part; i++)
        ck_assert_msg(get(p, some, i) == get(p, got, first + i), "range [%ld, +%ld) at %ld, seed %lu", (long)first, (long)part,
                      (long)i, seed);
    free(want), free(got), free(some);
}

static void compare_exact(const convgen_problem *p, const cg_operands *t, bool bias)
{
    int64_t count = cg_output_elements(p, bias), *terms = malloc((size_t)count * 8);
    sum *want = calloc((size_t)count, sizeof *want);
    double *high = malloc((size_t)count * 8), *low = malloc((size_t)count * 8), *magnitude = malloc((size_t)count * 8);
    void *rounded = malloc((size_t)count * 8);
    naive(p, t, QUAD, bias, want);
    ck_assert_int_eq(cg_reference_exact(p, t, (cg_outputs){bias, 0, count}, (cg_exact_sums){high, low, magnitude, terms}), CONVGEN_OK);
    ck_assert_int_eq(cg_reference(p, t, CG_EXACT, 1, (cg_outputs){bias, 0, count}, rounded), CONVGEN_OK);
    for (int64_t i = 0; i < count; i++) {
        __float128 error = (__float128)high[i] + low[i] - want[i].exact;
        double allowed = (p->type == CONVGEN_F32 ? 1e-14 : 1e-29) * (double)want[i].magnitude;
        ck_assert_msg((double)(error < 0 ? -error : error) <= allowed, "output %ld: off by %g of %g, seed %lu", (long)i,
                      (double)error, (double)want[i].magnitude, seed);
        ck_assert_msg(fabs(magnitude[i] - (double)want[i].magnitude) <= 1e-12 * magnitude[i], "magnitude, seed %lu", seed);
        ck_assert_msg(terms[i] == want[i].terms, "output %ld: %ld terms, naive %ld, seed %lu", (long)i, (long)terms[i],
                      (long)want[i].terms, seed);
        ck_assert_int_le(terms[i], cg_reference_terms(p, bias));
        ck_assert_msg(get(p, rounded, i) == (p->type == CONVGEN_F32 ? (double)(float)high[i] : high[i]), "rounding, seed %lu", seed);
    }
    free(want), free(high), free(low), free(magnitude), free(terms), free(rounded);
}

START_TEST(random_problems)
{
    for (int i = 0; i < 600; i++) {
        seed = stream;
        convgen_problem p = random_problem();
        cg_operands t = random_operands(&p);
        for (int bias = 0; bias <= (p.pass == CONVGEN_BACKWARD_WEIGHTS && p.bias); bias++) {
            compare_values(&p, &t, CG_LOOP, MUL_ADD, bias);
            compare_values(&p, &t, CG_CANONICAL, FMA_CHAIN, bias);
            compare_exact(&p, &t, bias);
        }
        free_operands(&t);
    }
}
END_TEST

/* ---- orders ------------------------------------------------------------------------------------------------------------- */

/* A dot product of n terms as a 1x1 convolution with one output. */
static convgen_problem dot(int64_t n, convgen_type type)
{
    return (convgen_problem){.type = type, .batch = 1, .groups = 1, .in_channels = n, .out_channels = 1, .in = {1, 1, 1},
        .out = {1, 1, 1}, .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
}

/* np.sum of ((i * 2654435761) mod 2^32) / 2^32 * 1000 in float32 (numpy 1.24), bit patterns. */
static const struct {
    int64_t n;
    uint32_t sum;
} numpy_sums[] = {
    {1, 0x00000000}, {7, 0x453a2b6b}, {8, 0x454e8f3a}, {9, 0x4584c9ca},
    {100, 0x4740743c}, {127, 0x4775a9ed}, {128, 0x4777943e}, {129, 0x47780098},
    {136, 0x4783f000}, {255, 0x47f81b55}, {256, 0x47f946aa}, {257, 0x47f9b303},
    {1000, 0x48f4210c}, {1024, 0x48f9b12e}, {3137, 0x49bf7676}, {20000, 0x4b1892a7},
};

START_TEST(course_is_numpys_sum)
{
    for (size_t i = 0; i < sizeof numpy_sums / sizeof *numpy_sums; i++) {
        int64_t n = numpy_sums[i].n;
        convgen_problem p = dot(n, CONVGEN_F32);
        float *data = malloc((size_t)n * 4), *ones = malloc((size_t)n * 4), got, want;
        for (int64_t k = 0; k < n; k++) {
            data[k] = (float)((double)(uint32_t)((uint64_t)k * 2654435761u) / 4294967296.0 * 1000);
            ones[k] = 1;
        }
        memcpy(&want, &numpy_sums[i].sum, 4);
        cg_operands t = {.src = data, .weights = ones};
        ck_assert_int_eq(cg_reference(&p, &t, CG_COURSE, 1, (cg_outputs){false, 0, 1}, &got), CONVGEN_OK);
        ck_assert_msg(got == want, "%ld terms: %.9g, numpy %.9g", (long)n, (double)got, (double)want);
        free(data), free(ones);
    }
}
END_TEST

START_TEST(chains_are_added_pairwise)
{
    convgen_problem p = dot(11, CONVGEN_F64);
    double a[11], b[11], part[4] = {0}, got;
    static const int ends[] = {3, 6, 9, 11};
    for (int i = 0; i < 11; i++) a[i] = cg_uniform(&stream), b[i] = cg_uniform(&stream);
    for (int i = 0, c = 0; i < 11; i++) {
        c += i == ends[c];
        part[c] = fma(a[i], b[i], part[c]);
    }
    cg_operands t = {.src = a, .weights = b};
    ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 4, (cg_outputs){false, 0, 1}, &got), CONVGEN_OK);
    ck_assert(got == (part[0] + part[1]) + (part[2] + part[3]));
    ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 65, (cg_outputs){false, 0, 1}, &got), CONVGEN_BAD_ARGUMENT);
}
END_TEST

/* Cancellation that double cannot see. */
START_TEST(exact_is_more_than_double)
{
    convgen_problem p = dot(4, CONVGEN_F64);
    double a[] = {1e16, 3, -1e16, 0x1p-60}, b[] = {1, 0x1p-55, 1, 1}, high, low, magnitude;
    int64_t terms;
    cg_operands t = {.src = a, .weights = b};
    ck_assert_int_eq(cg_reference_exact(&p, &t, (cg_outputs){false, 0, 1}, (cg_exact_sums){&high, &low, &magnitude, &terms}), CONVGEN_OK);
    ck_assert(high + low == 3 * 0x1p-55 + 0x1p-60);
    ck_assert_int_eq(terms, 4);
}
END_TEST

/* A bound is met exactly only by a pair whose low part does not pass it. */
START_TEST(exact_pairs_are_clamped)
{
    static const struct {
        double from[2], high, low;
    } rows[] = {{{1, 0x1p-60}, 1, 0}, {{-1, -0x1p-60}, -1, 0}, {{1, -0x1p-60}, 1, -0x1p-60}, {{-1, 0x1p-60}, -1, 0x1p-60}, {{2, 0}, 1, 0}};
    convgen_problem p = dot(2, CONVGEN_F64);
    double ones[] = {1, 1}, high, low, magnitude;
    int64_t terms;
    p.epilogue = (convgen_epilogue){.activation = CONVGEN_CLAMP, .lo = -1, .hi = 1};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cg_operands t = {.src = (void *)rows[i].from, .weights = ones};
        ck_assert_int_eq(cg_reference_exact(&p, &t, (cg_outputs){false, 0, 1}, (cg_exact_sums){&high, &low, &magnitude, &terms}), CONVGEN_OK);
        ck_assert_msg(high == rows[i].high && low == rows[i].low, "row %zu: %g + %g", i, high, low);
    }
}
END_TEST

/* Blocks of backward weights: rows * ow of at most 512 pixels, parts of long rows; od > 1. */
static void one_block_sum(int64_t n, int64_t d, int64_t h, int64_t w)
{
    convgen_problem p = {.pass = CONVGEN_BACKWARD_WEIGHTS, .batch = n, .groups = 1, .in_channels = 1, .out_channels = 1,
        .in = {d, h, w}, .out = {d, h, w}, .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}, .bias = true};
    int64_t rows = w >= 512 ? 1 : 512 / w;
    float *a = random_tensor(&p, n * d * h * w), *b = random_tensor(&p, n * d * h * w), got[2], total[2] = {0, 0};
    for (int64_t plane = 0; plane < n * d; plane++)
        for (int64_t y = 0; y < h; y += rows)
            for (int64_t x = 0; x < w; x += 512) {
                float part[2] = {0, 0};
                for (int64_t yy = y; yy < y + rows && yy < h; yy++)
                    for (int64_t xx = x; xx < x + 512 && xx < w; xx++) {
                        int64_t e = (plane * h + yy) * w + xx;
                        part[0] = fmaf(a[e], b[e], part[0]);
                        part[1] += b[e];
                    }
                total[0] += part[0], total[1] += part[1];
            }
    cg_operands t = {.src = a, .dst = b};
    ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 1, (cg_outputs){false, 0, 1}, &got[0]), CONVGEN_OK);
    ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 1, (cg_outputs){true, 0, 1}, &got[1]), CONVGEN_OK);
    ck_assert_msg(got[0] == total[0] && got[1] == total[1], "%ldx%ldx%ld", (long)d, (long)h, (long)w);
    ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 4, (cg_outputs){false, 0, 1}, &got[0]), CONVGEN_OK); /* blocks are its split */
    ck_assert_msg(got[0] == total[0], "%ldx%ldx%ld in 4 chains", (long)d, (long)h, (long)w);
    free(a), free(b);
}

START_TEST(backward_weights_sum_in_blocks)
{
    one_block_sum(1, 1, 20, 25); /* one block: nothing is split */
    one_block_sum(2, 1, 40, 30);
    one_block_sum(2, 3, 2, 512);
    one_block_sum(2, 2, 3, 1100);
    one_block_sum(2, 1, 1, 5000);
}
END_TEST

START_TEST(relu_keeps_nan)
{
    convgen_problem p = dot(1, CONVGEN_F32);
    float a = NAN, b = 1, got;
    cg_operands t = {.src = &a, .weights = &b};
    for (int i = 0; i < 3; i++) {
        p.epilogue = (convgen_epilogue){.activation = i, .lo = -1, .hi = 1};
        ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 1, (cg_outputs){false, 0, 1}, &got), CONVGEN_OK);
        ck_assert(isnan(got));
    }
}
END_TEST

START_TEST(ranges_and_memory)
{
    convgen_problem p = dot(9, CONVGEN_F32);
    float a[9] = {0}, b[9] = {0}, got;
    cg_operands t = {.src = a, .weights = b};
    ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 1, (cg_outputs){false, 0, 2}, &got), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 1, (cg_outputs){false, -1, 1}, &got), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 1, (cg_outputs){true, 0, 1}, &got), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 1, (cg_outputs){false, 1, 0}, &got), CONVGEN_OK);
    for (long n = 1, status = CONVGEN_NO_MEMORY; status; n++) {
        cg_fail_allocation = n;
        status = cg_reference(&p, &t, CG_CANONICAL, 1, (cg_outputs){false, 0, 1}, &got);
        ck_assert_int_eq(status, cg_fail_allocation ? CONVGEN_OK : CONVGEN_NO_MEMORY);
        cg_fail_allocation = 0;
    }
}
END_TEST

static double one_second_each(void)
{
    static double now;
    return now++;
}

/* Past the deadline nothing is summed to its end; before it, and where there is little to sum, nobody looks at the clock. */
START_TEST(a_deadline_ends_it)
{
    static float src[64 * 1024], weights[1024 * 64], dst[64 * 64];
    convgen_problem p;
    cg_operands o = {.src = src, .weights = weights, .dst = dst};
    double high[64], low[64], magnitude[64];
    int64_t terms[64];
    ck_assert_int_eq(convgen_problem_parse("--dir=FWD_D mb1ic1024iw64oc64kw1", &p), CONVGEN_OK);
    cg_clock = one_second_each;
    cg_deadline_set(1e9);
    for (int i = 0; i < 20; i++) ck_assert_int_eq(cg_reference(&p, &o, CG_LOOP, 1, (cg_outputs){false, 0, 64 * 64}, dst), CONVGEN_OK);
    ck_assert(cg_now() < 10);
    cg_deadline_set(0);
    int before = 0;
    while (before < 1000 && !cg_reference_exact(&p, &o, (cg_outputs){false, 0, 64}, (cg_exact_sums){high, low, magnitude, terms})) before++;
    ck_assert_int_lt(before, 1000); /* short calls add up */
    ck_assert_int_gt(before, 1);
    ck_assert_int_eq(cg_reference(&p, &o, CG_LOOP, 1, (cg_outputs){false, 0, 64}, dst), CONVGEN_OK);
    p.layout = CONVGEN_NCHW; /* row by row */
    cg_status status = CONVGEN_OK;
    for (int i = 0; i < 5 && !status; i++) status = cg_reference(&p, &o, CG_CANONICAL, 1, (cg_outputs){false, 0, 64 * 64}, dst);
    ck_assert_int_eq(status, CONVGEN_CANCELLED);
    cg_deadline_set(INFINITY);
    cg_clock = NULL;
}
END_TEST

/* Copies of integers in the other type have the same sums, which come back as they were. */
START_TEST(another_type)
{
    for (int i = 0; i < 200; i++) {
        seed = stream;
        convgen_problem p = random_problem();
        p.epilogue.lo = -3, p.epilogue.hi = 4;
        cg_operands t = random_operands(&p);
        cg_role role[CG_TENSORS];
        size_t bytes[CG_TENSORS];
        cg_tensor_bytes(&p, bytes);
        cg_roles(&p, role);
        for (int j = 0; j < CG_TENSORS; j++)
            for (size_t k = 0; role[j] == CG_INPUT && k < bytes[j] / cg_element(&p, j); k++) cg_put(p.type, t.at[j], (int64_t)k, (double)pick(-4, 4));
        int64_t count = cg_output_elements(&p, false);
        void *want = malloc((size_t)count * 8), *got = malloc((size_t)count * 8), *back = malloc((size_t)count * 8);
        cg_retyped r;
        convgen_type other = p.type == CONVGEN_F32 ? CONVGEN_F64 : CONVGEN_F32;
        ck_assert_int_eq(cg_retyped_new(&p, &t, other, &r), CONVGEN_OK);
        ck_assert_int_eq(cg_reference(&p, &t, CG_CANONICAL, 1, (cg_outputs){false, 0, count}, want), CONVGEN_OK);
        ck_assert_int_eq(cg_reference(&r.p, &r.o, CG_CANONICAL, 1, (cg_outputs){false, 0, count}, got), CONVGEN_OK);
        cg_retype(other, got, p.type, back, count);
        for (int64_t k = 0; k < count; k++)
            ck_assert_msg(get(&p, back, k) == get(&p, want, k), "output %ld: %g and %g, seed %lu", (long)k, get(&p, back, k), get(&p, want, k), seed);
        cg_retyped_free(&r);
        free(want), free(got), free(back);
        free_operands(&t);
    }
}
END_TEST

START_TEST(places)
{
    convgen_problem p = {.batch = 2, .groups = 1, .in_channels = 3, .out_channels = 5, .in = {1, 4, 6}, .out = {1, 4, 6},
        .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
    int64_t at[5];
    cg_output_place(&p, false, ((1 * 4 + 2) * 6 + 3) * 5 + 4, at);
    ck_assert(at[0] == 1 && at[1] == 0 && at[2] == 2 && at[3] == 3 && at[4] == 4);
    p.layout = CONVGEN_NCHW;
    cg_output_place(&p, false, ((1 * 5 + 4) * 4 + 2) * 6 + 3, at);
    ck_assert(at[0] == 1 && at[1] == 0 && at[2] == 2 && at[3] == 3 && at[4] == 4);
}
END_TEST

int main(void)
{
    const char *given = getenv("CONVGEN_SEED");
    stream = given ? strtoull(given, NULL, 0) : (uint64_t)(cg_now() * 1e9);
    Suite *s = suite_create("reference");
    TCase *t = test_case(s, "reference", 120);
    tcase_add_test(t, random_problems);
    tcase_add_test(t, course_is_numpys_sum);
    tcase_add_test(t, chains_are_added_pairwise);
    tcase_add_test(t, exact_is_more_than_double);
    tcase_add_test(t, exact_pairs_are_clamped);
    tcase_add_test(t, backward_weights_sum_in_blocks);
    tcase_add_test(t, relu_keeps_nan);
    tcase_add_test(t, ranges_and_memory);
    tcase_add_test(t, a_deadline_ends_it);
    tcase_add_test(t, another_type);
    tcase_add_test(t, places);
    return test_run(s);
}

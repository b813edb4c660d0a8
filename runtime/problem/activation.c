/* activation.c: the activations: their words, what their parameters may be, their values bit by bit and exactly.
 *
 * Row a is convgen_activation a. gen/activations.lua has the same rows as kernel programs. All keep NaN, and give at an infinity
 * their limit there; -0 is taken as the formula takes it. Within 4 u max(|y|, 2^-20 |x|) of the exact value (u = 2^-24 or 2^-53).
 * Promise: cg_activate gives a kernel's bits on any machine: no contraction, fma only where it is written, no libm but fma. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("O3", "fp-contract=off") /* also set by the build */
#endif
#include "problem/problem.h"
#include <math.h>
#include <string.h>
#include "problem/polynomials.h"

#define INLINE static inline __attribute__((always_inline))

#define T float
#define BITS uint32_t
#define FN(name) name##_f32
#define FMA __builtin_fmaf
#define COPYSIGN __builtin_copysignf
#define MAGIC (0x1.8p23f + 127)
#define FRACTION 23
#include "problem/activation_steps.h"
#undef T
#undef BITS
#undef FN
#undef FMA
#undef COPYSIGN
#undef MAGIC
#undef FRACTION

#define T double
#define BITS uint64_t
#define FN(name) name##_f64
#define FMA __builtin_fma
#define COPYSIGN __builtin_copysign
#define MAGIC (0x1.8p52 + 1023)
#define FRACTION 52
#include "problem/activation_steps.h"

/* ---- exact values ------------------------------------------------------------------------------------------------- */

typedef long double real;

static real exact_relu(real x, real lo, real hi) { return (void)lo, (void)hi, x < 0 ? 0 : x; }
static real exact_clamp(real x, real lo, real hi) { return x < lo ? lo : x > hi ? hi : x; }

static real exact_leaky(real x, real slope, real floor)
{
    real y = x < 0 ? slope * x : x;
    return y < floor ? floor : y;
}

static real exact_hardsigmoid(real x, real alpha, real beta) { return exact_clamp(fmal(alpha, x, beta), 0, 1); }
static real exact_sigmoid(real x, real lo, real hi) { return (void)lo, (void)hi, 1 / (1 + expl(-x)); }
static real exact_tanh(real x, real lo, real hi) { return (void)lo, (void)hi, tanhl(x); }
static real exact_hardswish(real x, real lo, real hi) { return (void)lo, (void)hi, x <= -3 ? 0 : x * exact_clamp(x + 3, 0, 6) / 6; }
static real exact_silu(real x, real lo, real hi) { return x < -11000 ? 0 : x * exact_sigmoid(x, lo, hi); }

static real exact_gelu(real x, real lo, real hi)
{
    return (void)lo, (void)hi, x < -150 ? 0 : x * erfcl(-x * 0.707106781186547524400844362104849039L) / 2;
}

/* ---- what parameters may be ----------------------------------------------------------------------------------------- */

static cg_status check_clamp(const convgen_epilogue *e)
{
    if (e->lo <= e->hi) return CONVGEN_OK;
    return cg_fail(CONVGEN_BAD_PROBLEM, "clamp from %g to %g: the lower bound must not be above the upper one, nor NaN", e->lo, e->hi);
}

static cg_status check_leaky(const convgen_epilogue *e)
{
    if (!isfinite(e->lo)) return cg_fail(CONVGEN_BAD_PROBLEM, "leaky with the slope %g: it must be a finite number", e->lo);
    if (e->hi < INFINITY) return CONVGEN_OK;
    return cg_fail(CONVGEN_BAD_PROBLEM, "leaky with the floor %g: it must be a number, or -infinity for none", e->hi);
}

static cg_status check_hardsigmoid(const convgen_epilogue *e)
{
    if (isfinite(e->lo) && isfinite(e->hi)) return CONVGEN_OK;
    return cg_fail(CONVGEN_BAD_PROBLEM, "hardsigmoid with %g and %g: both must be finite numbers", e->lo, e->hi);
}

/* ---- the table -------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *word;
    int least, most; /* parameters: lo, then hi, which is `absent` when it is not given */
    double absent;
    cg_status (*check)(const convgen_epilogue *e);
    void (*f32)(float lo, float hi, const float *slope, int64_t n, float *y);
    void (*f64)(double lo, double hi, const double *slope, int64_t n, double *y);
    real (*exact)(real x, real lo, real hi);
    double steepest; /* of the formula where parameters do not say: |f(x) - f(y)| <= steepest * |x - y| */
    bool rounds;     /* its value needs rounding */
} rows[CG_ACTIVATIONS] = {
    [CONVGEN_NONE] = {"none", .steepest = 1},
    [CONVGEN_RELU] = {"relu", 0, 0, 0, NULL, relu_f32, relu_f64, exact_relu, 1, false},
    [CONVGEN_CLAMP] = {"clamp", 2, 2, 0, check_clamp, clamp_f32, clamp_f64, exact_clamp, 1, false},
    [CONVGEN_LEAKY] = {"leaky", 1, 2, -INFINITY, check_leaky, leaky_f32, leaky_f64, exact_leaky, 1, true},
    [CONVGEN_PRELU] = {"prelu", 0, 0, 0, NULL, prelu_f32, prelu_f64, exact_leaky, 1, true},
    [CONVGEN_SIGMOID] = {"sigmoid", 0, 0, 0, NULL, sigmoid_f32, sigmoid_f64, exact_sigmoid, 0.25, true},
    [CONVGEN_TANH] = {"tanh", 0, 0, 0, NULL, tanh_f32, tanh_f64, exact_tanh, 1, true},
    [CONVGEN_HARDSIGMOID] = {"hardsigmoid", 2, 2, 0, check_hardsigmoid, hardsigmoid_f32, hardsigmoid_f64,
                             exact_hardsigmoid, 0, true},
    [CONVGEN_HARDSWISH] = {"hardswish", 0, 0, 0, NULL, hardswish_f32, hardswish_f64, exact_hardswish, 1.5, true},
    [CONVGEN_SILU] = {"silu", 0, 0, 0, NULL, silu_f32, silu_f64, exact_silu, 1.1, true},
    [CONVGEN_GELU] = {"gelu", 0, 0, 0, NULL, gelu_f32, gelu_f64, exact_gelu, 1.13, true},
};

const char *cg_activation_word(convgen_activation a)
{
    return rows[a].word;
}

/* ---- text --------------------------------------------------------------------------------------------------------------- */

/* ":NUMBER" at *text, which moves behind it. */
static bool read_parameter(const char **text, double *out)
{
    char *end;
    if (**text != ':') return false;
    *out = cg_read_real(*text + 1, &end);
    bool read = end != *text + 1;
    *text = end;
    return read;
}

static const char *read_parameters(const char *text, convgen_activation a, convgen_epilogue *e)
{
    double *const parameter[] = {&e->lo, &e->hi};
    *parameter[0] = 0, *parameter[1] = rows[a].absent;
    for (int i = 0; i < rows[a].most; i++)
        if (!read_parameter(&text, parameter[i]) && i < rows[a].least) return NULL;
    e->activation = a;
    return rows[a].check && rows[a].check(e) ? NULL : text;
}

/* The activation that `text` begins with, up to the end or a '+'. NULL: none. */
static const char *read_activation(const char *text, convgen_epilogue *e)
{
    size_t length = strcspn(text, ":+");
    for (int a = CONVGEN_NONE + 1; a < CG_ACTIVATIONS; a++)
        if (strlen(rows[a].word) == length && !strncmp(rows[a].word, text, length)) return read_parameters(text + length, (convgen_activation)a, e);
    return NULL;
}

static bool read_residual(const char **text, convgen_epilogue *e)
{
    size_t length = strlen("residual");
    if (e->residual || strncmp(*text, "residual", length)) return false;
    e->residual = true, e->residual_last = e->activation != CONVGEN_NONE;
    *text += length;
    return true;
}

bool cg_epilogue_read(const char *text, convgen_epilogue *out)
{
    convgen_epilogue e = {0};
    *out = e;
    if (!strcmp(text, rows[CONVGEN_NONE].word)) return true;
    for (;; text++) {
        if (!read_residual(&text, &e) && (e.activation || !(text = read_activation(text, &e)))) return false;
        if (*text != '+') break;
    }
    *out = e;
    return !*text;
}

void cg_epilogue_write(const convgen_epilogue *e, char text[CG_EPILOGUE])
{
    const double parameter[] = {e->lo, e->hi};
    char number[40];
    int at = 0, most = rows[e->activation].most;
    if (most > rows[e->activation].least && e->hi == rows[e->activation].absent) most--;
    const char *word = e->activation ? rows[e->activation].word : "";
    at += snprintf(text, CG_EPILOGUE, "%s%s%s", e->residual && !e->residual_last ? "residual" : "",
                   e->residual && !e->residual_last && *word ? "+" : "", word);
    for (int i = 0; i < most; i++) {
        cg_write_real(parameter[i], number);
        at += snprintf(text + at, CG_EPILOGUE - (size_t)at, ":%s", number);
    }
    if (e->residual_last) snprintf(text + at, CG_EPILOGUE - (size_t)at, "+residual");
}

cg_status cg_epilogue_check(convgen_epilogue *e)
{
    if (!rows[e->activation].most) e->lo = e->hi = 0;
    if (e->residual_last && !e->residual)
        return cg_fail(CONVGEN_BAD_PROBLEM, "residual_last says when a residual is added, and there is none: residual must be true with it");
    if (!e->activation) e->residual_last = false; /* first and last are the same */
    cg_status status = rows[e->activation].check ? rows[e->activation].check(e) : CONVGEN_OK;
    if (!status) e->lo += 0.0, e->hi += 0.0; /* -0 and 0 are one problem */
    return status;
}

bool cg_epilogue_same(const convgen_epilogue *a, const convgen_epilogue *b)
{
    return a->residual == b->residual && a->residual_last == b->residual_last && a->activation == b->activation && a->lo == b->lo
           && a->hi == b->hi;
}

/* ---- values ------------------------------------------------------------------------------------------------------------- */

void cg_activate(const convgen_epilogue *e, convgen_type type, const void *slope, int64_t n, void *y)
{
    if (!e->activation) return;
    if (type == CONVGEN_F32) rows[e->activation].f32((float)e->lo, (float)e->hi, slope, n, y);
    else rows[e->activation].f64(e->lo, e->hi, slope, n, y);
}

long double cg_activation_exact(const convgen_epilogue *e, convgen_type type, double slope, long double x)
{
    bool f32 = type == CONVGEN_F32;
    double lo = f32 ? (double)(float)e->lo : e->lo, hi = f32 ? (double)(float)e->hi : e->hi;
    if (e->activation == CONVGEN_PRELU) lo = slope, hi = -INFINITY;
    return e->activation && !isnan(x) ? rows[e->activation].exact(x, lo, hi) : x;
}

double cg_activation_steepest(const convgen_epilogue *e, double slope)
{
    double own = e->activation == CONVGEN_PRELU ? slope : e->activation == CONVGEN_CLAMP ? 0 : e->lo;
    return fmax(rows[e->activation].steepest, fabs(own));
}

bool cg_activation_rounds(convgen_activation a)
{
    return rows[a].rounds;
}

/* Activations and functions: their error over the range of the type, what they do to special values, their words. CONVGEN_EVERY=1 goes over
 * all numbers of f32 and 10^8 of f64 (hours; CK_FORK=no, or it is taken for hanging); the usual step is a prime number. CONVGEN_WORD=silu:
 * that alone. */
#include "problem/problem.h"
#include "suite.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const words[] = {"relu", "clamp:-0.5:6", "leaky:0.1", "leaky:0.2:-0.4", "leaky:-0.3", "prelu", "sigmoid", "tanh",
                                    "hardsigmoid:0.2:0.5", "hardsigmoid:-0.17:0.4", "hardswish", "silu", "gelu"};
enum { WORDS = sizeof words / sizeof words[0] };

static convgen_epilogue epilogue_of(const char *text)
{
    convgen_epilogue e;
    ck_assert_msg(cg_epilogue_read(text, &e), "%s", text);
    return e;
}

/* What is tried: an activation, or a function. */
typedef struct subject {
    const char *name;
    convgen_epilogue e;
    const cg_math_row *function; /* NULL: an activation */
    double slope, most_ulps;     /* of functions and tanh, what is promised */
} subject;

static subject subject_of(int i)
{
    if (i >= WORDS) return (subject){cg_math[i - WORDS].name, {0}, &cg_math[i - WORDS], 0, 2};
    return (subject){words[i], epilogue_of(words[i]), NULL, (double)0.3f, strcmp(words[i], "tanh") ? INFINITY : 2};
}

static double value(const subject *s, convgen_type type, double x)
{
    double slope = 0, y = 0;
    cg_put(type, &slope, 0, s->slope);
    cg_put(type, &y, 0, x);
    if (s->function) s->function->of[type](1, &y);
    else cg_activate(&s->e, type, &slope, 1, &y);
    return cg_get(type, &y, 0);
}

static long double exactly(const subject *s, convgen_type type, double x)
{
    return s->function ? s->function->exact(x) : cg_activation_exact(&s->e, type, s->slope, x);
}

/* The error's share of what is allowed, and in units in the last place of normal numbers. (An assertion that holds leaves a mark in a file:
 * of all numbers of f32 that would be a hundred gigabytes.) */
typedef struct worst {
    double share, ulps, share_at, ulps_at;
} worst;

static void judge(const subject *s, convgen_type type, double x, worst *w)
{
    bool f32 = type == CONVGEN_F32;
    double got = value(s, type, x), most = f32 ? (double)3.40282347e38f : 1.79769313486231571e308;
    long double y = exactly(s, type, x), size = fmaxl(fabsl(y), s->function ? 0 : ldexpl(fabsl((long double)x), -20));
    if (isnan(x) || isnan(y)) {
        if (!isnan(got)) ck_abort_msg("%s of %a is %a, and not NaN", s->name, x, got);
        return;
    }
    if (isinf(x) || isinf(y) || fabsl(y) > most) { /* where rounding decides, either */
        bool right = got == (f32 ? (double)(float)y : (double)y) || (s->function && isfinite(y) && fabs(got) >= most);
        if (!right) ck_abort_msg("%s of %a is %a, not %La", s->name, x, got, y);
        return;
    }
    int exponent;
    long double error = fabsl((long double)got - y), u = f32 ? 0x1p-24L : 0x1p-53L, least = f32 ? 0x1p-149L : 0x1p-1074L;
    (void)frexpl(y, &exponent);
    double share = error <= least ? 0 : (double)(error / (4 * u * size));
    double ulps = fabsl(y) < (f32 ? 0x1p-126L : 0x1p-1022L) ? 0 : (double)(error / ldexpl(2 * u, exponent - 1));
    if (!(share <= w->share)) w->share = share, w->share_at = x;
    if (!(ulps <= w->ulps)) w->ulps = ulps, w->ulps_at = x;
}

static bool every(void) { return getenv("CONVGEN_EVERY") != NULL; }
static uint64_t step(void) { return every() ? strtoull(getenv("CONVGEN_EVERY"), NULL, 10) : 40009; }

static bool wanted(const subject *s) { return !getenv("CONVGEN_WORD") || !strcmp(getenv("CONVGEN_WORD"), s->name); }

static void report(const subject *s, convgen_type type, const worst *w)
{
    if (every())
        printf("%-22s %s  %.3f of what is allowed at %.9g, %.3f ulp at %.9g\n", s->name, cg_type_name(type), w->share, w->share_at, w->ulps, w->ulps_at);
    ck_assert_msg(w->share <= 1, "%s, %s: %g times what is allowed at %a", s->name, cg_type_name(type), w->share, w->share_at);
    ck_assert_msg(w->ulps <= s->most_ulps, "%s, %s: %g ulp at %a", s->name, cg_type_name(type), w->ulps, w->ulps_at);
}

START_TEST(test_every_f32)
{
    subject s = subject_of(_i);
    worst w = {0};
    if (!wanted(&s)) return;
    for (uint64_t bits = 0, by = step(); bits < (uint64_t)1 << 32; bits += by) {
        uint32_t low = (uint32_t)bits;
        float x;
        memcpy(&x, &low, sizeof x);
        judge(&s, CONVGEN_F32, (double)x, &w);
    }
    report(&s, CONVGEN_F32, &w);
}
END_TEST

/* Random numbers around one, and all exponents. */
START_TEST(test_random_f64)
{
    subject s = subject_of(_i);
    const char *given = getenv("CONVGEN_SEED");
    uint64_t state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL), points = every() ? 100000000 / step() : 400000;
    worst w = {0};
    if (!wanted(&s)) return;
    printf("seed %llu\n", (unsigned long long)state);
    for (uint64_t i = 0; i < points; i++) {
        uint64_t bits = cg_random(&state);
        double x;
        if (i & 1) bits = (bits & 0x800FFFFFFFFFFFFFu) | (uint64_t)(1023 - 12 + bits % 20) << 52;
        memcpy(&x, &bits, sizeof x);
        judge(&s, CONVGEN_F64, x, &w);
    }
    report(&s, CONVGEN_F64, &w);
}
END_TEST

/* Where steps change: zero, the ends of the normal numbers, where functions are kept in range, where exp takes the next power of two, where
 * log does, where gelu was once beyond its bound. Numbers beside them, and some further ones. */
START_TEST(test_hard)
{
    static const double around[] = {0, 0x1p-126, 0x1p-149, 0x1p-1022, 0x1p-1074, 0x1p-100, 0x1p-1000, 1, 2, 3, 6, 13.25, 37.66, 88, 89, 88.72283905206835,
                                    87.33654475055310, 103.97207708399179, 104, 709, 709.782712893384, 710, 708.396418532264, 744.440071921381,
                                    746, 3.9375, 5.9375, 0.70710678118654752, 1.4142135623730951, 4.47285175, 16.635704, 3.40282347e38, 1.7976931348623157e308};
    subject s = subject_of(_i);
    for (int type = 0; type < CG_TYPES; type++) {
        worst w = {0};
        for (int k = -1100; k < (int)(sizeof around / sizeof around[0]); k++) {
            double x = k < 0 ? (k + 550.5) * 0.69314718055994531 : around[k]; /* halfway between powers of two of exp */
            for (int i = -200; i <= 200; i++) {
                double near = cg_rounded((convgen_type)type, x);
                near = type == CONVGEN_F32 ? (double)(float)(near * (1 + i * 0x1p-24)) : near * (1 + i * 0x1p-53);
                judge(&s, (convgen_type)type, near, &w), judge(&s, (convgen_type)type, -near, &w);
            }
        }
        report(&s, (convgen_type)type, &w);
    }
}
END_TEST

/* What stands in convgen.h: limits at infinities, NaN, the signs of zeros. */
static const struct { const char *word; double x, y; } special[] = {
    {"relu", -INFINITY, 0}, {"relu", INFINITY, INFINITY}, {"relu", -0.0, -0.0}, {"clamp:-1:6", INFINITY, 6}, {"clamp:-1:6", -INFINITY, -1},
    {"leaky:0.5", -INFINITY, -INFINITY}, {"leaky:0.5", INFINITY, INFINITY}, {"leaky:0.5", -0.0, -0.0}, {"leaky:0.5:-2", -INFINITY, -2},
    {"leaky:0.5:0", -8, 0.0}, {"prelu", -8, -2.4f}, {"sigmoid", -INFINITY, 0}, {"sigmoid", INFINITY, 1}, {"sigmoid", -0.0, 0.5},
    {"tanh", -INFINITY, -1}, {"tanh", INFINITY, 1}, {"tanh", -0.0, -0.0}, {"tanh", 0.0, 0.0}, {"hardsigmoid:0.25:0.5", -INFINITY, 0},
    {"hardsigmoid:0.25:0.5", INFINITY, 1}, {"hardswish", -INFINITY, -0.0}, {"hardswish", INFINITY, INFINITY}, {"hardswish", -0.0, -0.0},
    {"hardswish", -3, -0.0}, {"silu", -INFINITY, -0.0}, {"silu", INFINITY, INFINITY}, {"silu", -0.0, -0.0}, {"gelu", -INFINITY, 0.0},
    {"gelu", INFINITY, INFINITY}, {"gelu", -0.0, -0.0}, {"gelu", 0.0, 0.0},
};

START_TEST(test_special)
{
    convgen_epilogue e = epilogue_of(special[_i].word);
    float slope = 0.3f, x = (float)special[_i].x;
    double wide_slope = (double)slope, wide = special[_i].x;
    cg_activate(&e, CONVGEN_F32, &slope, 1, &x);
    cg_activate(&e, CONVGEN_F64, &wide_slope, 1, &wide);
    ck_assert_msg((double)x == special[_i].y && !signbit(x) == !signbit(special[_i].y), "%s of %g is %g", special[_i].word, special[_i].x, (double)x);
    ck_assert_msg(fabs(wide - special[_i].y) <= 1e-6 || wide == special[_i].y, "%s of %g is %g", special[_i].word, special[_i].x, wide);
    ck_assert_msg(!signbit(wide) == !signbit(special[_i].y), "%s of %g is %g", special[_i].word, special[_i].x, wide);
}
END_TEST

/* What stands in gen/functions.lua. */
static const struct { const char *name; double x, y; } special_functions[] = {
    {"exp", -INFINITY, 0}, {"exp", INFINITY, INFINITY}, {"exp", 0, 1}, {"exp", -0.0, 1}, {"exp", 1e30, INFINITY}, {"exp", -1e30, 0}, {"exp", NAN, NAN},
    {"log", 0, -INFINITY}, {"log", -0.0, -INFINITY}, {"log", INFINITY, INFINITY}, {"log", -INFINITY, NAN}, {"log", -1, NAN}, {"log", -1e-40, NAN},
    {"log", NAN, NAN}, {"log", 1, 0}, {"erf", -INFINITY, -1}, {"erf", INFINITY, 1}, {"erf", 0, 0}, {"erf", -0.0, -0.0}, {"erf", NAN, NAN}, {"erf", 9, 1},
};

START_TEST(test_special_functions)
{
    for (int i = 0; i < CG_FUNCTION_COUNT; i++)
        for (int type = 0; type < CG_TYPES && !strcmp(cg_math[i].name, special_functions[_i].name); type++) {
            subject s = subject_of(WORDS + i);
            double x = special_functions[_i].x, y = special_functions[_i].y, got = value(&s, (convgen_type)type, x);
            ck_assert_msg(isnan(y) ? isnan(got) : got == y && !signbit(got) == !signbit(y), "%s of %g is %g", s.name, x, got);
        }
}
END_TEST

START_TEST(test_spellings)
{
    static const char *const same[] = {"residual", "residual+relu", "clamp:-1:6+residual", "residual+leaky:0.1", "leaky:0.1:0+residual",
                                       "hardsigmoid:0.2:0.5", "silu+residual", "residual+gelu", "prelu"};
    static const char *const wrong[] = {"silu+", "+silu", "silu+relu", "residual+silu+residual", "leaky", "leaky:", "leaky:nan", "leaky:1:2:3",
                                        "leaky:inf", "hardsigmoid:0.2", "hardsigmoid:nan:1", "clamp:2:1", "relu:1", "elu", "swish", "", "none+relu"};
    char text[CG_EPILOGUE];
    convgen_epilogue e;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        ck_assert_msg(cg_epilogue_read(same[i], &e), "%s", same[i]);
        ck_assert_int_eq(cg_epilogue_check(&e), CONVGEN_OK);
        cg_epilogue_write(&e, text);
        ck_assert_str_eq(text, same[i]);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) ck_assert_msg(!cg_epilogue_read(wrong[i], &e), "%s", wrong[i]);
}
END_TEST

START_TEST(test_bad_parameters)
{
    static const struct { convgen_epilogue e; const char *says; } bad[] = {
        {{.activation = CONVGEN_LEAKY, .lo = NAN}, "leaky with the slope"},
        {{.activation = CONVGEN_LEAKY, .lo = 0.1, .hi = NAN}, "leaky with the floor"},
        {{.activation = CONVGEN_LEAKY, .lo = 0.1, .hi = INFINITY}, "leaky with the floor"},
        {{.activation = CONVGEN_CLAMP, .lo = 1, .hi = 0}, "lower bound"},
        {{.activation = CONVGEN_HARDSIGMOID, .lo = INFINITY, .hi = 0}, "hardsigmoid with"},
        {{.residual_last = true, .activation = CONVGEN_SILU}, "residual_last"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        convgen_epilogue e = bad[i].e;
        ck_assert_int_eq(cg_epilogue_check(&e), CONVGEN_BAD_PROBLEM);
        ck_assert_msg(strstr(cg_error_text(), bad[i].says) != NULL, "%s", cg_error_text());
    }
    convgen_epilogue e = {.residual = true, .residual_last = true}, silu = {.activation = CONVGEN_SILU, .lo = 1, .hi = NAN};
    ck_assert_int_eq(cg_epilogue_check(&e), CONVGEN_OK);
    ck_assert(!e.residual_last);
    ck_assert_int_eq(cg_epilogue_check(&silu), CONVGEN_OK);
    ck_assert(silu.lo == 0 && silu.hi == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("activation");
    TCase *f32 = test_case(suite, "f32", 20), *f64 = test_case(suite, "f64", 20), *values = test_case(suite, "values", 20);
    tcase_add_loop_test(f32, test_every_f32, 0, WORDS + CG_FUNCTION_COUNT);
    tcase_add_loop_test(f64, test_random_f64, 0, WORDS + CG_FUNCTION_COUNT);
    tcase_add_loop_test(values, test_hard, 0, WORDS + CG_FUNCTION_COUNT);
    tcase_add_loop_test(values, test_special_functions, 0, sizeof special_functions / sizeof special_functions[0]);
    tcase_add_loop_test(values, test_special, 0, sizeof special / sizeof special[0]);
    TCase *texts = test_case(suite, "words", 1);
    tcase_add_test(texts, test_spellings);
    tcase_add_test(texts, test_bad_parameters);
    return test_run(suite);
}

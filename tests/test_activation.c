/* Activations: their error over the range of the type, what they do to special values, their words. CONVGEN_EVERY=1 goes over all numbers
 * of f32 and as many of f64 (hours); the usual step is a prime number. */
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

/* The error's share of what is allowed, and in units in the last place of normal numbers. */
typedef struct worst {
    double share, ulps, share_at, ulps_at;
} worst;

static void judge(const convgen_epilogue *e, convgen_type type, double slope, double x, double got, worst *w)
{
    bool f32 = type == CONVGEN_F32;
    long double y = cg_activation_exact(e, type, slope, x), size = fmaxl(fabsl(y), ldexpl(fabsl((long double)x), -20));
    double most = f32 ? (double)3.40282347e38f : 1.79769313486231571e308;
    if (isinf(x) || fabsl(y) > most) {
        ck_assert_msg(got == (f32 ? (double)(float)y : (double)y), "%d of %a is %a, not %La", e->activation, x, got, y);
        return;
    }
    int exponent;
    long double error = fabsl((long double)got - y), u = f32 ? 0x1p-24L : 0x1p-53L, least = f32 ? 0x1p-149L : 0x1p-1074L;
    (void)frexpl(y, &exponent);
    double share = error <= least ? 0 : (double)(error / (4 * u * size));
    double ulps = fabsl(y) < (f32 ? 0x1p-126L : 0x1p-1022L) ? 0 : (double)(error / ldexpl(u, exponent));
    if (!(share <= w->share)) w->share = share, w->share_at = x;
    if (!(ulps <= w->ulps)) w->ulps = ulps, w->ulps_at = x;
}

static uint64_t step(void)
{
    const char *every = getenv("CONVGEN_EVERY");
    return every ? strtoull(every, NULL, 10) : 40009;
}

static void report(const char *word, convgen_type type, const worst *w, bool tanh)
{
    if (getenv("CONVGEN_EVERY"))
        printf("%-22s %s  %.3f of what is allowed at %.9g, %.3f ulp at %.9g\n", word, cg_type_name(type), w->share, w->share_at, w->ulps, w->ulps_at);
    ck_assert_msg(w->share <= 1, "%s, %s: %g times what is allowed at %a", word, cg_type_name(type), w->share, w->share_at);
    ck_assert_msg(!tanh || w->ulps <= 2, "%s, %s: %g ulp at %a", word, cg_type_name(type), w->ulps, w->ulps_at);
}

START_TEST(test_every_f32)
{
    convgen_epilogue e = epilogue_of(words[_i]);
    float slope = 0.3f;
    worst w = {0};
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += step()) {
        uint32_t low = (uint32_t)bits;
        float x, y;
        memcpy(&x, &low, sizeof x);
        y = x;
        cg_activate(&e, CONVGEN_F32, &slope, 1, &y);
        if (isnan(x)) ck_assert(isnan(y));
        else judge(&e, CONVGEN_F32, (double)slope, (double)x, (double)y, &w);
    }
    report(words[_i], CONVGEN_F32, &w, e.activation == CONVGEN_TANH);
}
END_TEST

/* Random numbers around one, and all exponents. */
START_TEST(test_random_f64)
{
    convgen_epilogue e = epilogue_of(words[_i]);
    double slope = 0.3;
    const char *given = getenv("CONVGEN_SEED");
    uint64_t state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("seed %llu\n", (unsigned long long)state);
    worst w = {0};
    for (uint64_t i = 0; i < (uint64_t)1 << 32; i += step() / 4 + 1) {
        uint64_t bits = cg_random(&state);
        double x, y;
        if (i & 1) bits = (bits & 0x800FFFFFFFFFFFFFu) | (uint64_t)(1023 - 12 + bits % 20) << 52;
        memcpy(&x, &bits, sizeof x);
        y = x;
        cg_activate(&e, CONVGEN_F64, &slope, 1, &y);
        if (isnan(x)) ck_assert(isnan(y));
        else judge(&e, CONVGEN_F64, slope, x, y, &w);
    }
    report(words[_i], CONVGEN_F64, &w, e.activation == CONVGEN_TANH);
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
    TCase *values = test_case(suite, "values", 20);
    tcase_add_loop_test(values, test_every_f32, 0, WORDS);
    tcase_add_loop_test(values, test_random_f64, 0, WORDS);
    tcase_add_loop_test(values, test_special, 0, sizeof special / sizeof special[0]);
    TCase *texts = test_case(suite, "words", 1);
    tcase_add_test(texts, test_spellings);
    tcase_add_test(texts, test_bad_parameters);
    return test_run(suite);
}

/* activation.c: the activations: their words, what their parameters may be, their values bit by bit and exactly.
 *
 * All that is said of one stands in gen/activations.lua; the build makes activations.h of it: its program as a function of one number, in
 * each type, its exact value, the check of its parameters and its row here.
 * Beside them stand the functions of gen/functions.lua, made in the same way.
 * Promise: cg_activate gives a kernel's bits on any machine: no contraction, fma only where it is written, no libm but fma. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("O3", "fp-contract=off") /* also set by the build */
#endif
#include "problem/problem.h"
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* Exact values are C expressions of the rows. */
typedef long double real;
#define LIKE(f) f##l
#include "activations.h"

/* ---- the table -------------------------------------------------------------------------------------------------------- */

#define OF_TYPE(name, type, T, slopes)                                                                                 \
    CLONES static void name##_all_##type(const convgen_epilogue *e, const void *slope, int64_t n, void *values)        \
    {                                                                                                                  \
        T lo = (T)e->lo, hi = (T)e->hi, *y = values;                                                                   \
        for (int64_t i = 0; i < n; i++) y[i] = name##_##type(y[i], lo, hi, slopes ? ((const T *)slope)[i] : 0);        \
    }
#define OF_TYPES(NAME, name, least, most, absent, steepest, rounds, slopes)                                            \
    OF_TYPE(name, f32, float, slopes)                                                                                  \
    OF_TYPE(name, f64, double, slopes)                                                                                 \
    static double steepest_##name(double lo) { return (void)lo, steepest; }
ACTIVATIONS(OF_TYPES)

#define ROW(NAME, name, least, most, absent, steepest, rounds, slopes)                                                 \
    [CONVGEN_##NAME] = {#name, least, most, absent, check_##name, {name##_all_f32, name##_all_f64}, exact_##name,      \
                        steepest_##name, rounds, slopes},

static const struct row {
    const char *word;
    int least, most; /* parameters: lo, then hi, which is `absent` when it is not given */
    double absent;
    cg_status (*check)(const convgen_epilogue *e);
    void (*all[CG_TYPES])(const convgen_epilogue *e, const void *slope, int64_t n, void *y); /* by convgen_type */
    real (*exact)(real x, real lo, real hi);
    double (*steepest)(double lo); /* |f(x) - f(y)| <= steepest * |x - y| */
    bool rounds;                   /* its value needs rounding */
    bool slopes;                   /* lo is a channel's slope */
} rows[CG_ACTIVATION_COUNT] = {[CONVGEN_NONE] = {"none"}, ACTIVATIONS(ROW)};

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
    for (int a = CONVGEN_NONE + 1; a < CG_ACTIVATION_COUNT; a++)
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
    if (e->activation) rows[e->activation].all[type](e, slope, n, y);
}

long double cg_activation_exact(const convgen_epilogue *e, convgen_type type, double slope, long double x)
{
    const struct row *row = &rows[e->activation];
    double lo = row->slopes ? slope : cg_rounded(type, e->lo), hi = cg_rounded(type, e->hi);
    return e->activation && !isnan(x) ? row->exact(x, lo, hi) : x;
}

double cg_activation_steepest(const convgen_epilogue *e, double slope)
{
    const struct row *row = &rows[e->activation];
    return e->activation ? row->steepest(row->slopes ? slope : e->lo) : 1;
}

bool cg_activation_rounds(convgen_activation a)
{
    return rows[a].rounds;
}

/* ---- functions ---------------------------------------------------------------------------------------------------------- */

#define FUNCTION_OF(name)                                                                                              \
    static void name##_of_f32(int64_t n, void *values)                                                                 \
    {                                                                                                                  \
        float *y = values;                                                                                             \
        for (int64_t i = 0; i < n; i++) y[i] = name##_f32(y[i], 0, 0, 0);                                              \
    }                                                                                                                  \
    static void name##_of_f64(int64_t n, void *values)                                                                 \
    {                                                                                                                  \
        double *y = values;                                                                                            \
        for (int64_t i = 0; i < n; i++) y[i] = name##_f64(y[i], 0, 0, 0);                                              \
    }                                                                                                                  \
    static long double name##_exactly(long double x) { return exact_##name(x, 0, 0); }
FUNCTIONS(FUNCTION_OF)

#define FUNCTION(name) {#name, {name##_of_f32, name##_of_f64}, name##_exactly},
const cg_math_row cg_math[CG_FUNCTION_COUNT] = {FUNCTIONS(FUNCTION)};

/* certificate.c: how far answers are from the exact result: in ulps, normwise, as a share of the a-priori bound.
 *
 * Measures beside them what the plain loop and numpy's order of summing would give on the same data. Where all outputs would
 * take too long a spread of them is measured, the first and the last among them. */
#include "check/check.h"
#include <math.h>
#include <string.h>

/* ---- figures ------------------------------------------------------------------------------------------------------ */

enum { RANGES = 16 }; /* at least, where as many outputs are affordable */

cg_spread cg_spread_over(int64_t total, int64_t terms, double budget, double most)
{
    double affordable = fmax(fmin(budget / (double)(terms > 0 ? terms : 1), most), 2);
    if ((double)total <= affordable) return (cg_spread){total, 1 << 16, (total + 65535) >> 16, true};
    /* Some of one row share their list of terms. The first and the last range are at corners, whose sums are short: they are a few of many. */
    int64_t length = (int64_t)fmin(fmax(affordable / RANGES, 1), 32);
    return (cg_spread){total, length, (int64_t)affordable / length, false};
}

int64_t cg_spread_range(const cg_spread *s, int64_t i, int64_t *first)
{
    if (s->whole) {
        *first = i * s->length;
        return s->total - *first < s->length ? s->total - *first : s->length;
    }
    int64_t each = s->total / s->ranges, slack = each > s->length ? each - s->length : 0;
    uint64_t seed = (uint64_t)i;
    *first = i == 0 ? 0 : i == s->ranges - 1 ? s->total - s->length : i * each + (int64_t)(cg_random(&seed) % (uint64_t)(slack + 1));
    return s->length;
}

/* Of the exact value rounded to the type; below the normal numbers (and for 0) that of the smallest normal one. */
static double ulp_of(convgen_type type, double exact)
{
    const cg_type_row *t = &cg_types[type];
    int e = t->lowest;
    double rounded = fabs(cg_rounded(type, exact));
    if (rounded > 0) frexp(rounded, &e);
    return ldexp(1, (e < t->lowest ? t->lowest : e) - t->digits);
}

/* An exact output, with what bounds its error. */
typedef struct truth {
    double high, low, magnitude;
    int64_t terms;
} truth;

static void meter_add(cg_meter *m, convgen_type type, double got, const truth *exact)
{
    double u = ldexp(1, -cg_types[type].digits), terms = (double)exact->terms, error = fabs((got - exact->high) - exact->low);
    double bound = terms * u / (1 - terms * u) * exact->magnitude;
    if (isnan(error)) error = INFINITY;
    double part = error == 0 ? 0 : bound > 0 ? error / bound : INFINITY, ulps = error / ulp_of(type, exact->high);
    m->error2 += error * error;
    m->exact2 += exact->high * exact->high;
    m->ulp_sum += ulps;
    m->ulp_max = fmax(m->ulp_max, ulps);
    m->of_bound = fmax(m->of_bound, part);
    m->n++;
}

convgen_figures cg_meter_read(const cg_meter *m)
{
    double normwise = m->error2 == 0 ? 0 : sqrt(m->error2 / m->exact2);
    return (convgen_figures){m->ulp_max, m->n ? m->ulp_sum / (double)m->n : 0, normwise, m->of_bound};
}

typedef struct room {
    double *high, *low, *magnitude;
    int64_t *terms;
    void *loop, *course;
} room;

static cg_status room_new(room *r, size_t count)
{
    void **const part[] = {(void **)&r->high, (void **)&r->low, (void **)&r->magnitude, (void **)&r->terms, &r->loop, &r->course};
    bool ok = true;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) ok = (*part[i] = cg_malloc(count * 8)) && ok;
    return ok ? CONVGEN_OK : cg_fail(CONVGEN_NO_MEMORY, "no memory to measure %zu outputs", count);
}

static void room_free(room *r)
{
    cg_free(r->high), cg_free(r->low), cg_free(r->magnitude), cg_free(r->terms), cg_free(r->loop), cg_free(r->course);
}

static void measure_range(cg_measure *m, convgen_type type, const room *r, const void *got, int64_t first, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        truth exact = {r->high[i], r->low[i], r->magnitude[i], r->terms[i]};
        if (got) meter_add(&m->got, type, cg_get(type, got, first + i), &exact);
        meter_add(&m->loop, type, cg_get(type, r->loop, i), &exact);
        meter_add(&m->course, type, cg_get(type, r->course, i), &exact);
        if (exact.terms > m->terms) m->terms = exact.terms;
    }
    m->outputs += n;
}

cg_status cg_measure_outputs(const convgen_problem *p, const cg_operands *o, bool bias, const cg_spread *s, const void *got,
                             cg_measure *m)
{
    room r = {0};
    memset(m, 0, sizeof *m);
    cg_status status = room_new(&r, (size_t)(s->length < s->total ? s->length : s->total));
    for (int64_t i = 0; i < s->ranges && !status; i++) {
        cg_outputs some = {.bias = bias};
        some.count = cg_spread_range(s, i, &some.first);
        status = cg_reference_exact(p, o, some, (cg_exact_sums){r.high, r.low, r.magnitude, r.terms});
        if (!status) status = cg_reference(p, o, CG_LOOP, 1, some, r.loop);
        if (!status) status = cg_reference(p, o, CG_COURSE, 1, some, r.course);
        if (!status) measure_range(m, cg_output_type(p, bias), &r, got, some.first, some.count);
    }
    room_free(&r);
    return status;
}

/* ---- the certificate ---------------------------------------------------------------------------------------------- */

static const convgen_figures unknown = {NAN, NAN, NAN, NAN};

/* Of one output tensor. k NULL: the plan's figures stay unknown. */
static cg_status certify(const convgen_problem *p, const cg_kernel *k, const cg_operands *o, bool bias, cg_measure *m,
                         convgen_figures out[3])
{
    const void *got = k ? o->at[cg_output_tensor(p, bias)] : NULL;
    cg_spread s = cg_spread_over(cg_output_elements(p, bias), cg_reference_terms(p, bias), 2e8, 0x1p40);
    cg_status status = cg_measure_outputs(p, o, bias, &s, got, m);
    if (status) return status;
    out[0] = k ? cg_meter_read(&m->got) : unknown;
    if (k && !k->source.chains) out[0].of_bound = NAN;
    out[1] = cg_meter_read(&m->loop);
    out[2] = cg_meter_read(&m->course);
    return CONVGEN_OK;
}

/* Every kind of data; a kind that would take too long stays NaN. */
static cg_status compare_kinds(const convgen_problem *p, const cg_kernel *k, const cg_parallel *par, const cg_room *room, convgen_errors *out)
{
    cg_pool *pool = NULL;
    cg_ratio r;
    cg_status status = cg_pool_new(p, &pool);
    for (int kind = 0; kind < CONVGEN_DATA_KINDS && !status; kind++) {
        status = cg_pool_measure(pool, kind, k, par, room, &r);
        if (!status) out->vs_loop[kind] = r.vs_loop;
        if (status == CONVGEN_UNSUPPORTED) status = CONVGEN_OK;
    }
    cg_pool_free(pool);
    return status;
}

cg_status cg_certificate(const convgen_problem *p, const cg_kernel *k, const cg_parallel *par, convgen_errors *out)
{
    cg_trial *t = NULL;
    cg_room room = {0};
    cg_measure m;
    cg_operands data;
    convgen_figures f[3];
    memset(out, 0, sizeof *out);
    out->bias_plan = out->bias_loop = out->bias_course = unknown;
    out->budget = k && !k->source.chains ? cg_budget(p->accuracy) : NAN;
    for (int i = 0; i < CONVGEN_DATA_KINDS; i++) out->vs_loop[i] = NAN;
    cg_status status = cg_trial_new(p, false, &t);
    if (!status && k && !(status = cg_room_fit(k, par, p, &room))) cg_room_poison(k, par, &room);
    if (!status) status = cg_trial_answer(t, k, par, &room, &data);
    if (status || (status = certify(p, k, &data, false, &m, f))) goto done;
    out->outputs = m.outputs, out->terms = m.terms;
    out->plan = f[0], out->loop = f[1], out->course = f[2];
    if (k && (status = compare_kinds(p, k, par, &room, out))) goto done;
    if (cg_output_count(p) == 1 || (status = certify(p, k, &data, true, &m, f))) goto done;
    out->has_bias_gradient = true;
    out->bias_outputs = m.outputs, out->bias_terms = m.terms;
    out->bias_plan = f[0], out->bias_loop = f[1], out->bias_course = f[2];
done:
    cg_room_free(&room);
    cg_trial_free(t);
    return status;
}

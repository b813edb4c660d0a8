/* budget.c: how far a transforming family is from the plain loop: its normwise error over the loop's, on each kind of data.
 *
 * A pool holds outputs spread over a problem, at least 4,096 on uniform data (the normative set) and 1,024 on the others, with
 * their exact values and the loop's error: made once, so that a candidate costs a run on each kind. A problem of fewer outputs is
 * run several times on other numbers.
 *
 * Groups of channels are judged beside the whole, so that a fault of one channel cannot hide in the sum. A group has 32 outputs
 * or so, of which the error is known to some 12 %: hence its limit is twice the budget, more than five deviations away. */
#include "check/check.h"
#include <math.h>
#include <string.h>

enum { NORMATIVE = 4096, OTHERS = 1024, GROUP = 32, FEWEST = 16 };
static const double most_terms = 1e10; /* about ten seconds */

double cg_budget(convgen_accuracy a)
{
    static const double of_tier[CG_ACCURACIES] = CG_BUDGETS;
    return of_tier[a];
}

const convgen_accuracy cg_loosest_first[CG_ACCURACIES] = {CONVGEN_8X, CONVGEN_2X, CONVGEN_LOOP, CONVGEN_PROVEN};

const char *cg_data_name(convgen_data kind)
{
    static const char *const names[] = {"uniform", "normal", "rectified", "positive", "badly scaled"};
    return names[kind];
}

/* Of some channels: squared norms of the exact values and of the loop's error. */
typedef struct sums {
    double exact2, loop2;
    int64_t outputs;
} sums;

typedef struct sample {
    double high, low; /* the exact value */
    int group;
} sample;

/* What one kind of data gives. */
typedef struct answers {
    sample *at;
    sums *group; /* the last one is of all channels */
    int64_t count, runs;
    int groups;
    cg_spread spread;
} answers;

struct cg_pool {
    convgen_problem p, asked; /* dense; as kernels have it */
    cg_role role_of[CG_TENSORS];
    size_t bytes[CG_TENSORS];
    convgen_type type; /* of outputs */
    cg_operands o, given;
    int64_t filled; /* kind and run that the tensors hold; -1: none */
    answers of[CONVGEN_DATA_KINDS];
};

cg_status cg_pool_new(const convgen_problem *p, cg_pool **out)
{
    cg_pool *pool = *out = cg_calloc(1, sizeof *pool);
    if (!pool) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a pool of outputs");
    pool->p = cg_problem_dense(p);
    pool->asked = *p;
    pool->filled = -1;
    pool->type = cg_output_type(p, false);
    cg_roles(p, pool->role_of);
    cg_tensor_bytes(&pool->p, pool->bytes);
    return CONVGEN_OK;
}

void cg_pool_free(cg_pool *pool)
{
    if (!pool) return;
    for (int i = 0; i < CG_TENSORS; i++) {
        if (pool->given.at[i] != pool->o.at[i]) cg_free(pool->given.at[i]);
        cg_free(pool->o.at[i]);
    }
    cg_free((void *)pool->o.old[0]);
    for (int i = 0; i < CONVGEN_DATA_KINDS; i++) {
        cg_free(pool->of[i].at);
        cg_free(pool->of[i].group);
    }
    cg_free(pool);
}

/* ---- data -------------------------------------------------------------------------------------------------------------- */

static cg_status make_tensor(size_t bytes, void **at)
{
    if (!*at) *at = cg_aligned(bytes);
    return *at ? CONVGEN_OK : cg_fail(CONVGEN_NO_MEMORY, "no memory for an operand of %zu bytes", bytes);
}

static cg_status make_tensors(cg_pool *pool)
{
    size_t wide[CG_TENSORS];
    void *old = (void *)pool->o.old[0]; /* of no bias: its gradient is no transform's */
    cg_status status = CONVGEN_OK;
    cg_tensor_bytes(&pool->asked, wide);
    for (int i = 0; i < CG_TENSORS && !status; i++) {
        if (pool->role_of[i] == CG_ABSENT) continue;
        status = make_tensor(pool->bytes[i], &pool->o.at[i]);
        if (cg_is_slice(&pool->asked, i)) status = status ? status : make_tensor(wide[i], &pool->given.at[i]);
        else pool->given.at[i] = pool->o.at[i];
    }
    if (!status && pool->p.accumulate) status = make_tensor(pool->bytes[cg_output_tensor(&pool->p, false)], &old);
    pool->o.old[0] = old;
    return status;
}

/* The kernel's answer on the data that are there. */
static cg_status answer(cg_pool *pool, const cg_kernel *k, const cg_parallel *par, const cg_room *room)
{
    static const uint32_t between = 0x7FF4D4D4;
    int output = cg_output_tensor(&pool->p, false);
    if (pool->p.accumulate) memcpy(pool->o.at[output], pool->o.old[0], pool->bytes[output]);
    cg_slices_put(&pool->asked, &pool->o, &pool->given, between);
    cg_status status = cg_kernel_answer(k, par, &pool->given, room);
    if (!status) (void)cg_slices_take(&pool->asked, &pool->given, &pool->o, between);
    return status;
}

static cg_status fill(cg_pool *pool, convgen_data kind, int64_t run)
{
    int64_t wanted = run * CONVGEN_DATA_KINDS + kind;
    if (pool->filled == wanted) return CONVGEN_OK;
    for (int i = 0; i < CG_TENSORS; i++)
        if (pool->role_of[i] == CG_INPUT) cg_fill(&pool->p, kind, i, pool->o.at[i], pool->bytes[i], (uint64_t)run);
    int output = cg_output_tensor(&pool->p, false);
    if (pool->p.accumulate) cg_fill(&pool->p, kind, output, (void *)pool->o.old[0], pool->bytes[output], (uint64_t)run);
    cg_status status = cg_in_time();
    pool->filled = status ? -1 : wanted;
    return status;
}

/* ---- exact values and the loop's error, once --------------------------------------------------------------------------- */

static double square(double x)
{
    return x * x;
}

/* Of the place that cg_output_place tells. */
static int64_t channels_of(const convgen_problem *p)
{
    convgen_problem c = cg_dual(p);
    return c.pass == CONVGEN_BACKWARD_DATA ? c.in_channels : c.out_channels;
}

static void add(sums *s, double exact, double loop_error)
{
    s->exact2 += square(exact);
    s->loop2 += square(loop_error);
    s->outputs++;
}

enum { RANGE = 512 }; /* outputs that are computed at once */

static cg_status take_range(cg_pool *pool, answers *a, int64_t first, int64_t n)
{
    const convgen_problem *p = &pool->p;
    double high[RANGE], low[RANGE], magnitude[RANGE], loop[RANGE];
    int64_t terms[RANGE], place[5];
    cg_outputs some = {false, first, n};
    cg_status status = cg_reference_exact(p, &pool->o, some, (cg_exact_sums){high, low, magnitude, terms});
    if (!status) status = cg_reference(p, &pool->o, CG_LOOP, 1, some, loop);
    for (int64_t i = 0; i < n && !status; i++) {
        cg_output_place(p, false, first + i, place);
        int group = (int)(place[4] * a->groups / channels_of(p));
        double error = (cg_get(pool->type, loop, i) - high[i]) - low[i];
        a->at[a->count++] = (sample){high[i], low[i], group};
        add(&a->group[group], high[i], error);
        add(&a->group[a->groups], high[i], error);
    }
    return status;
}

/* Calls visit for pieces of at most RANGE outputs. */
typedef cg_status piece_fn(cg_pool *pool, answers *a, int64_t first, int64_t n);

static cg_status each_piece(cg_pool *pool, answers *a, piece_fn *visit)
{
    cg_status status = CONVGEN_OK;
    for (int64_t i = 0; i < a->spread.ranges && !status; i++) {
        int64_t first, n = cg_spread_range(&a->spread, i, &first);
        for (; n > 0 && !status; first += RANGE, n -= RANGE) status = visit(pool, a, first, n < RANGE ? n : RANGE);
    }
    return status;
}

static cg_status make_answers(cg_pool *pool, convgen_data kind)
{
    answers *a = &pool->of[kind];
    int64_t total = cg_output_elements(&pool->p, false), wanted = kind == CONVGEN_UNIFORM ? NORMATIVE : OTHERS;
    if (a->at) return CONVGEN_OK;
    if ((double)wanted * (double)cg_reference_terms(&pool->p, false) > most_terms)
        return cg_fail(CONVGEN_UNSUPPORTED, "%lld outputs of %lld terms take too long to compare with the loop's", (long long)wanted,
                       (long long)cg_reference_terms(&pool->p, false));
    a->runs = (wanted + total - 1) / total;
    a->spread = cg_spread_over(total, 1, (double)wanted, (double)wanted);
    int64_t count = a->runs > 1 ? a->runs * total : wanted;
    a->groups = (int)(channels_of(&pool->p) < count / GROUP ? channels_of(&pool->p) : count / GROUP);
    a->at = cg_malloc((size_t)count * sizeof *a->at);
    a->group = cg_calloc((size_t)a->groups + 1, sizeof *a->group);
    cg_status status = a->at && a->group ? CONVGEN_OK : cg_fail(CONVGEN_NO_MEMORY, "no memory for %lld outputs", (long long)count);
    for (int64_t run = 0; run < a->runs && !status; run++) {
        status = fill(pool, kind, run);
        if (!status) status = each_piece(pool, a, take_range);
    }
    if (status) {
        cg_free(a->at);
        cg_free(a->group);
        *a = (answers){0};
    }
    return status;
}

/* ---- a kernel's error --------------------------------------------------------------------------------------------------- */

static double ratio(double error2, double loop2)
{
    return error2 == loop2 ? 1 : sqrt(error2 / loop2);
}

/* A group's error over the loop's, its own or that of all channels in proportion, whichever is greater. */
static double group_ratio(const answers *a, int group, double error2)
{
    const sums *g = &a->group[group], *all = &a->group[a->groups];
    double usual = all->exact2 > 0 ? all->loop2 / all->exact2 * g->exact2 : 0;
    return error2 > 0 ? sqrt(error2 / fmax(g->loop2, usual)) : 0;
}

static void read_ratio(const cg_pool *pool, const answers *a, const double *error2, cg_ratio *out)
{
    const sums *all = &a->group[a->groups];
    double mine = error2[a->groups];
    *out = (cg_ratio){.normwise = mine == 0 ? 0 : sqrt(mine / all->exact2), .vs_loop = ratio(mine, all->loop2), .outputs = a->count};
    for (int g = 0; g < a->groups; g++) {
        double r = a->group[g].outputs >= FEWEST ? group_ratio(a, g, error2[g]) : 0;
        if (!(r > out->channel_vs_loop)) continue;
        out->channel_vs_loop = r;
        out->channel = (g * channels_of(&pool->p) + a->groups - 1) / a->groups;
    }
}

/* The squared errors of the kernel's answers on one run's data are added to those of each group; `from` counts samples. */
static void add_errors(const cg_pool *pool, const answers *a, double *error2, int64_t *from)
{
    const void *got = pool->o.at[cg_output_tensor(&pool->p, false)];
    for (int64_t i = 0; i < a->spread.ranges; i++) {
        int64_t first, n = cg_spread_range(&a->spread, i, &first);
        for (int64_t e = first; e < first + n; e++) {
            const sample *s = &a->at[(*from)++];
            double error = square((cg_get(pool->type, got, e) - s->high) - s->low);
            if (isnan(error)) error = INFINITY;
            error2[s->group] += error;
            error2[a->groups] += error;
        }
    }
}

cg_status cg_pool_measure(cg_pool *pool, convgen_data kind, const cg_kernel *k, const cg_parallel *par, const cg_room *room,
                          cg_ratio *out)
{
    cg_status status = make_tensors(pool);
    if (!status) status = make_answers(pool, kind);
    if (status) return status;
    const answers *a = &pool->of[kind];
    double *error2 = cg_calloc((size_t)a->groups + 1, sizeof *error2);
    int64_t from = 0;
    if (!error2) status = cg_fail(CONVGEN_NO_MEMORY, "no memory for the errors of %d groups of channels", a->groups);
    for (int64_t run = 0; run < a->runs && !status; run++) {
        status = fill(pool, kind, run);
        if (!status) status = answer(pool, k, par, room);
        if (!status) add_errors(pool, a, error2, &from);
    }
    if (!status) read_ratio(pool, a, error2, out);
    cg_free(error2);
    return status;
}

/* ---- judging ------------------------------------------------------------------------------------------------------------ */

static bool within(const cg_pool *pool, convgen_data kind, const cg_ratio *r, cg_verdict *v)
{
    const char *tier = cg_accuracy_name(pool->p.accuracy), *data = cg_data_name(kind);
    double budget = cg_budget(pool->p.accuracy), twice = 2 * budget, allowed = kind == CONVGEN_UNIFORM ? budget : twice;
    if (!(r->vs_loop <= allowed))
        snprintf(v->why, sizeof v->why, "the error on %s data is %.3g times the loop's, %s allows %.3g", data, r->vs_loop, tier,
                 allowed);
    else if (kind == CONVGEN_UNIFORM && !(r->channel_vs_loop <= twice))
        snprintf(v->why, sizeof v->why, "the error of channels from %lld on is %.3g times the loop's on %s data, %s allows %.3g",
                 (long long)r->channel, r->channel_vs_loop, data, tier, twice);
    else
        return true;
    v->inexact = true;
    return false;
}

cg_status cg_pool_judge(cg_pool *pool, const cg_kernel *k, const cg_parallel *par, const cg_room *room, cg_verdict *v)
{
    cg_room_poison(k, par, room);
    for (int kind = 0; kind < CONVGEN_DATA_KINDS && v->ok; kind++) {
        cg_ratio r;
        cg_status status = cg_pool_measure(pool, kind, k, par, room, &r);
        if (status == CONVGEN_UNSUPPORTED) {
            snprintf(v->why, sizeof v->why, "%s", cg_error_text());
            v->ok = false;
            return CONVGEN_OK;
        }
        if (status) return status;
        v->vs_loop[kind] = r.vs_loop;
        if (kind == CONVGEN_UNIFORM) v->error_normwise = r.normwise, v->error_vs_loop = r.vs_loop;
        v->ok = within(pool, kind, &r, v);
    }
    return CONVGEN_OK;
}

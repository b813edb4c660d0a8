/* candidates.c: problem -> schedules worth a try, in the order in which they are tried.
 *
 * Best estimates first; what won elsewhere before them, and what estimates cannot tell apart (families, ways, sums in order) behind them.
 * Nothing here is built or run. */
#include "tuner.h"
#include <math.h>
#include <string.h>

enum { TRIES = 12, RIVALS = 3, OF_WAY = 2 };
static const double way_within = 1.5; /* an estimate this much above the best's is not tried for its way alone */
static const double hopeless = 8;     /* an estimate this much above the best's is not tried when there are others */

static void lead(cg_tuner *u, int from, int to)
{
    cg_schedule found = u->list.at[from];
    memmove(&u->list.at[to + 1], &u->list.at[to], (size_t)(from - to) * sizeof found);
    u->list.at[to] = found;
}

/* What won elsewhere is tried first: a good time early drops the rest sooner. Without a clock what has its arithmetic follows it, or
 * it would depend on the number of threads which arithmetic a refused one leaves. */
static void to_front(cg_tuner *u, const char *name)
{
    int i = 0, first = 1;
    while (i < u->list.count && !u->list.at[i].why[0] && strcmp(u->list.at[i].name, name) != 0) i++;
    if (i == u->list.count || u->list.at[i].why[0]) return;
    lead(u, i, 0);
    for (i = 1; i < u->list.count && u->tuning->effort == CONVGEN_ESTIMATE; i++)
        if (!strcmp(u->list.at[i].arithmetic, u->list.at[0].arithmetic)) lead(u, i, first++);
}

static int of_family(const cg_tuner *u, const char *family, int count)
{
    int n = 0;
    for (int i = 0; i < count; i++) n += !strcmp(u->list.at[i].family, family);
    return n;
}

static int of_way(const cg_tuner *u, const char *way, int count)
{
    int n = 0;
    for (int i = 0; i < count; i++) n += !strcmp(u->list.at[i].way, way);
    return n;
}

/* Whether `count` before it leave room for one more of its family; or of its way, since what a machine makes of stores past the
 * caches, say, is wrong by the same factor in the estimates of all that do it. */
static bool is_rival(const cg_tuner *u, const cg_schedule *s, int count, double best)
{
    bool near = s->cycles <= way_within * best;
    return of_family(u, s->family, count) < RIVALS || (near && of_way(u, s->way, count) < OF_WAY);
}

/* Estimates of different families and ways are less alike than those of one: the best of each follow the first `count`. */
static int with_rivals(cg_tuner *u, int count, int legal, double best)
{
    for (int i = count; i < legal; i++) {
        const cg_schedule *rival = &u->list.at[i];
        if (rival->cycles <= hopeless * best && is_rival(u, rival, count, best)) lead(u, i, count++);
    }
    return count;
}

static bool is_canonical(const cg_schedule *s) { return !strcmp(s->arithmetic, "canonical"); }

/* The best of those whose sums are in order is tried too: tighter accuracies find it. */
static int with_canonical(cg_tuner *u, int count, int legal)
{
    int i = 0;
    while (i < legal && !is_canonical(&u->list.at[i])) i++;
    if (i < count || i == legal) return count;
    lead(u, i, count);
    return count + 1;
}

/* How many of the list are worth a try. Scalar lanes (C through libtcc) turn the estimates over: there none is hopeless. */
static int worth_trying(cg_tuner *u, int legal)
{
    if (u->tuning->effort != CONVGEN_MEASURE) return legal;
    double best = INFINITY;
    for (int i = 0; i < legal; i++) best = fmin(best, u->list.at[i].cycles);
    int count = legal < TRIES ? legal : TRIES;
    bool estimates_hold = strcmp(u->key.compiler, "tcc") != 0 || strcmp(u->key.form, "c") != 0;
    while (estimates_hold && count > 3 && u->list.at[count - 1].cycles > hopeless * best) count--;
    if (estimates_hold) count = with_rivals(u, count, legal, best);
    return with_canonical(u, count, legal);
}

/* A search that goes on begins with what won, and leaves out the others that were tried. Where all were, the last rounds were cut short:
 * it is made again. */
static void leave_those_behind(cg_tuner *u)
{
    int tried = u->behind - 1;
    if (tried <= 0) return;
    if (u->behind >= u->count) {
        u->behind = 0;
        return;
    }
    u->count -= tried;
    memmove(&u->list.at[1], &u->list.at[1 + tried], (size_t)(u->count - 1) * sizeof *u->list.at);
}

cg_status cg_candidates_list(cg_tuner *u)
{
    cg_record hint = {0};
    cg_machine machine = u->context->machine;
    if (u->store == CONVGEN_OK) {
        (void)cg_store_hint(u->context->store, &u->key, &hint); /* a help, not a need; so are these */
        (void)cg_rates_recall(u->context->store, &machine);
    }
    cg_request request = {.problem = &u->problem, .machine = &machine, .target = u->key.target, .form = u->key.form,
                          .threads = u->key.threads, .asked = u->incumbent[0] ? u->incumbent : hint.schedule[0] ? hint.schedule : NULL,
                          .steady = u->tuning->effort == CONVGEN_ESTIMATE};
    cg_status status = cg_script_schedules(u->context->script, &request, &u->list);
    if (status != CONVGEN_OK) return status;
    int legal = 0;
    while (legal < u->list.count && !u->list.at[legal].why[0]) legal++;
    if (hint.schedule[0]) to_front(u, hint.schedule);
    u->hinted = !u->incumbent[0] && legal && !strcmp(u->list.at[0].name, hint.schedule);
    if (u->incumbent[0]) to_front(u, u->incumbent);
    u->count = worth_trying(u, legal);
    leave_those_behind(u);
    u->at = cg_calloc((size_t)u->count + 1, sizeof *u->at);
    u->ranked = cg_calloc((size_t)u->count + 1, sizeof *u->ranked);
    if (!u->at || !u->ranked) return cg_fail(CONVGEN_NO_MEMORY, "no memory for %d candidates", u->count);
    for (int i = 0; i < u->count; i++) u->at[i].schedule = &u->list.at[i];
    return CONVGEN_OK;
}

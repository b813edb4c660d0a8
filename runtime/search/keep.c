/* keep.c: chosen -> remembered.
 *
 * The winner is remembered for its problem, and what was seen of tighter accuracies for theirs. What was not verified in full, or not
 * searched to the caller's end, is not. */
#include "tuner.h"
#include <stdlib.h>
#include <string.h>

void cg_record_of(const cg_record *key, const cg_candidate *k, cg_record *r)
{
    *r = *key;
    memcpy(r->schedule, k->schedule->name, sizeof r->schedule);
    memcpy(r->family, k->schedule->family, sizeof r->family);
    r->version = k->schedule->version;
    r->ns_min = k->timing.ns_min;
    r->ns_median = k->timing.ns_median;
    r->error_normwise = k->verdict.error_normwise;
    r->error_vs_loop = k->verdict.error_vs_loop;
    r->error_vs_bound = k->verdict.error_vs_bound;
}

/* The record that a candidate would be for another key; false: it is not admitted there. */
static bool serves(cg_tuner *u, const cg_request *request, const cg_record *key, const cg_candidate *k, cg_record *out)
{
    bool stale;
    char why[CG_WHY];
    cg_record_of(key, k, out);
    return cg_record_judge(u->context, request, out, &stale, why) == CONVGEN_OK && !why[0];
}

/* The fastest of those that were timed and serve; false: none. */
static bool fastest_serving(cg_tuner *u, const cg_request *request, const cg_record *key, cg_record *out)
{
    int n = 0;
    for (int i = 0; i < u->count; i++)
        if (u->at[i].survived && u->at[i].timing.ns_min > 0) u->ranked[n++] = &u->at[i];
    qsort(u->ranked, (size_t)n, sizeof *u->ranked, cg_by_time);
    for (int i = 0; i < n; i++)
        if (serves(u, request, key, u->ranked[i], out) && cg_race_in_full(u, u->ranked[i])) return serves(u, request, key, u->ranked[i], out);
    return false;
}

/* What a search for this accuracy saw of a tighter one's: used until that is searched itself. Where the winner serves that too, it
 * is found there. */
static cg_status remember_for(cg_tuner *u, convgen_accuracy tighter, const cg_candidate *best)
{
    convgen_problem p = u->problem;
    cg_record key = u->key, seen;
    cg_recalled known;
    p.accuracy = tighter;
    cg_request request = {.problem = &p, .machine = &u->context->machine, .target = key.target, .form = key.form, .threads = key.threads};
    cg_status status = convgen_problem_format(&p, key.problem, sizeof key.problem);
    if (status || serves(u, &request, &key, best, &seen) || !fastest_serving(u, &request, &key, &seen)) return status;
    seen.partial = true;
    status = cg_recall(u->context, &p, &key, &known);
    if (!status && (!known.record.partial || known.record.ns_median <= seen.ns_median)) return CONVGEN_OK;
    return !status || status == CONVGEN_NO_RECORD ? cg_store_put(u->context->store, &seen) : status;
}

/* The time was up before anything but the remembered one was tried again: what is remembered of it is worth more. */
static bool nothing_learnt(const cg_tuner *u, const cg_candidate *best)
{
    return u->known && !u->out->complete && u->out->candidates <= 1 && cg_is_incumbent(u, best);
}

/* A cancelled search is used but not remembered, nor is what nobody verified: what is remembered is never searched again, but by who
 * wants to finish what time cut short. */
cg_status cg_keep(cg_tuner *u, const cg_candidate *best)
{
    if (u->tuning->effort == CONVGEN_ESTIMATE || u->cancelled || u->out->sampled || nothing_learnt(u, best)) return CONVGEN_OK;
    cg_status status = u->store != CONVGEN_OK ? u->store : cg_store_put(u->context->store, &u->out->record);
    int i = 0;
    while (cg_loosest_first[i] != u->problem.accuracy) i++;
    for (i++; i < CG_ACCURACIES && !status; i++) status = remember_for(u, cg_loosest_first[i], best);
    if (status == CONVGEN_STORE && !u->out->warning[0]) snprintf(u->out->warning, sizeof u->out->warning, "%s", cg_error_text());
    return status;
}

/* tune.c: the search: problem -> record, or schedules -> judged -> raced -> remembered.
 *
 * This file tells the story; candidates.c, race.c and keep.c are its parts. A candidate that is refused keeps its reason and the search goes
 * on; only "nothing survived" is an error. What can be cut (time, a stop from the caller) keeps the best so far; a record of what time cut
 * short says how far the search came. Where candidates run, here (judge.c) or in a worker (worker.c), is the judge's business.
 * Nothing here knows what a schedule means, beyond its estimate. */
#include "tuner.h"
#include <math.h>
#include <string.h>

/* ---- problem -> key ---- */

static cg_status key_of(cg_tuner *u, const char *wanted_target)
{
    convgen_context *c = u->context;
    const char *compiler = u->tuning->compiler ? u->tuning->compiler : "tcc";
    cg_target target = c->target;
    cg_status status = CONVGEN_OK;
    if (strlen(compiler) >= CG_NAME)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "the compiler's name has %zu characters, at most %d are allowed", strlen(compiler),
                       CG_NAME - 1);
    if (wanted_target) status = cg_script_target(c->script, &c->machine, wanted_target, &target);
    if (status != CONVGEN_OK) return status;
    cg_record *k = &u->key;
    snprintf(k->machine, sizeof k->machine, "%s", c->machine.key);
    snprintf(k->target, sizeof k->target, "%s", target.name);
    snprintf(k->form, sizeof k->form, "%s", cg_form(&target, compiler));
    snprintf(k->compiler, sizeof k->compiler, "%s", compiler);
    snprintf(k->generator, sizeof k->generator, "%s", c->generator);
    k->network = u->tuning->network;
    k->threads = u->tuning->threads ? u->tuning->threads : c->parallel.threads;
    k->error_normwise = k->error_vs_loop = k->error_vs_bound = NAN;
    return convgen_problem_format(&u->problem, k->problem, sizeof k->problem);
}

static void job_of(cg_tuner *u)
{
    cg_job *j = &u->job;
    j->problem = u->problem;
    memcpy(j->target, u->key.target, sizeof j->target);
    memcpy(j->form, u->key.form, sizeof j->form);
    memcpy(j->compiler, u->key.compiler, sizeof j->compiler);
    j->threads = u->key.threads;
    j->network = u->key.network;
}

static cg_status begin(cg_tuner *u, convgen_context *c, const cg_judge *judge, const cg_tuning *t, cg_outcome *out)
{
    memset(u, 0, sizeof *u);
    memset(out, 0, sizeof *out);
    out->because = "";
    *u = (cg_tuner){.context = c, .judge = judge, .tuning = t, .out = out, .problem = *t->problem, .start = cg_now(),
                    .best_ns = INFINITY, .best_first = INFINITY};
    cg_status status = cg_problem_normalise(&u->problem);
    if (status == CONVGEN_OK) status = key_of(u, t->target);
    if (status == CONVGEN_OK) job_of(u);
    return status;
}

/* ---- key -> record ---- */

/* MEASURE is content with what a whole search for this very accuracy found; the others with all that serves. */
static bool content(const cg_tuner *u, const cg_recalled *r)
{
    if (u->tuning->effort == CONVGEN_RECALL) return true;
    if (u->tuning->again || (u->tuning->finish && r->record.cut_after)) return false;
    return u->tuning->effort == CONVGEN_ESTIMATE || (!r->other_accuracy && !r->other_conditions && !r->record.partial);
}

static void take_recalled(cg_tuner *u, const cg_record *r)
{
    cg_outcome *o = u->out;
    o->record = *r;
    o->recalled = o->complete = true;
    o->chosen.version = r->version;
    memcpy(o->chosen.name, r->schedule, sizeof o->chosen.name);
    memcpy(o->chosen.family, r->family, sizeof o->chosen.family);
}

static cg_status no_record(const cg_tuner *u, const char *why)
{
    const cg_record *k = &u->key;
    if (why[0])
        return cg_fail(CONVGEN_NO_RECORD, "what is remembered for \"%s\" is not used: %s; tune it again", k->problem, why);
    return cg_fail(CONVGEN_NO_RECORD,
                   "nothing is remembered for \"%s\" on this machine with target %s and %d thread%s; tune it first", k->problem,
                   k->target, k->threads, k->threads == 1 ? "" : "s");
}

/* How many of this generator's list a search that was cut short has tried: another generator's list may be another, so is not counted. */
static int tried_by(const cg_tuner *u, const cg_record *r)
{
    bool ours = !r->merged && !r->shipped && !strcmp(r->generator, u->key.generator);
    return ours ? r->cut_after : 0;
}

/* OK: remembered and trusted. NO_RECORD: search. A record that is there and not taken becomes the incumbent; it is kept unless it
 * is clearly slower when it won such a search before. */
static cg_status recall(cg_tuner *u)
{
    cg_recalled r;
    cg_status status = cg_recall(u->context, &u->problem, &u->key, &r);
    if (status == CONVGEN_STORE && u->tuning->effort != CONVGEN_RECALL) { /* searching needs no store; the caller hears of it at the end */
        u->store = status;
        snprintf(u->out->warning, sizeof u->out->warning, "%s", cg_error_text());
        return CONVGEN_NO_RECORD;
    }
    if (!status && content(u, &r)) {
        status = cg_recalled_sample(u->judge, &u->problem, &r);
        if (!status) take_recalled(u, &r.record);
        if (status != CONVGEN_NO_RECORD) return status;
    } else if (!status || (status == CONVGEN_NO_RECORD && r.stale)) {
        memcpy(u->incumbent, r.record.schedule, sizeof u->incumbent);
        u->kept = !strcmp(r.record.problem, u->key.problem) && !r.other_accuracy && !r.other_conditions && !r.record.partial;
        u->known = !status && u->kept;
        if (u->known && u->tuning->finish && !u->tuning->again) u->behind = tried_by(u, &r.record);
        if (!status) return CONVGEN_NO_RECORD;
    }
    return status == CONVGEN_NO_RECORD && u->tuning->effort == CONVGEN_RECALL ? no_record(u, r.why) : status;
}

/* ---- problem -> schedules -> trusted -> timed -> remembered ---- */

static cg_status none(cg_tuner *u)
{
    if (u->status != CONVGEN_OK) return u->status;
    if (u->out_of_time && u->count)
        return cg_fail(CONVGEN_NO_CANDIDATE, "%g s are too few for \"%s\": no schedule could be checked in them (%s: %s)", u->tuning->seconds,
                       u->key.problem, u->at[0].schedule->name, u->at[0].verdict.why[0] ? u->at[0].verdict.why : "not done");
    if (u->cancelled) return cg_fail(CONVGEN_CANCELLED, "stopped before any schedule of \"%s\" was usable", u->key.problem);
    char reasons[3 * CG_WHY] = "";
    size_t used = 0;
    int shown = 0;
    for (int i = 0; i < u->list.count && shown < 3; i++) {
        const char *why = i < u->count ? u->at[i].verdict.why : u->list.at[i].why;
        if (!why[0] || used >= sizeof reasons) continue;
        used += (size_t)snprintf(reasons + used, sizeof reasons - used, "%s%s: %s", shown++ ? "; " : "", u->list.at[i].name, why);
    }
    return cg_fail(CONVGEN_NO_CANDIDATE, "no schedule of \"%s\" survived on %s: %s", u->key.problem, u->key.target,
                   shown ? reasons : "the generator lists none");
}

/* How many of the list this search and those that it goes on after have tried; at least one. A hint that did not win will stand in
 * its place again, perhaps behind those: it does not count. */
static int come_to(const cg_tuner *u)
{
    bool out_of_order = u->hinted && strcmp(u->out->chosen.name, u->list.at[0].name) != 0;
    int before = u->behind ? u->behind - 1 : 0, all = before + u->out->candidates - out_of_order;
    return all > 0 ? all : 1;
}

static cg_status search(cg_tuner *u)
{
    cg_status status = cg_candidates_list(u);
    if (status != CONVGEN_OK) return status;
    cg_candidate *best = u->tuning->effort == CONVGEN_ESTIMATE ? cg_race_first_sound(u, true) : cg_race_fastest(u);
    if (u->status != CONVGEN_OK || !best) return none(u);
    u->out->chosen = *best->schedule;
    cg_record_of(&u->key, best, &u->out->record);
    u->out->complete = !u->cancelled && !u->out_of_time && !best->hurried;
    if (!u->out->complete) u->out->record.cut_after = come_to(u);
    return cg_keep(u, best);
}

static void take_kernel(cg_tuner *u)
{
    memcpy(u->job.schedule, u->out->record.schedule, sizeof u->job.schedule);
    u->judge->take(u->judge->self, &u->job, u->tuning->kernel);
}

cg_status cg_tune(convgen_context *c, const cg_judge *judge, const cg_tuning *t, cg_outcome *out)
{
    cg_tuner tuner;
    cg_status status = begin(&tuner, c, judge, t, out);          /* problem -> key */
    if (status == CONVGEN_OK) status = recall(&tuner);           /* key -> record, when there is one to trust */
    if (status == CONVGEN_NO_RECORD && t->effort != CONVGEN_RECALL)
        status = search(&tuner);                                 /* problem -> schedules -> trusted -> timed -> remembered */
    out->seconds = cg_now() - tuner.start;
    if (t->kernel && judge->take && out->record.schedule[0]) take_kernel(&tuner);
    judge->forget(judge->self);
    cg_free(tuner.ranked);
    cg_free(tuner.at);
    cg_free(tuner.list.at);
    return status;
}

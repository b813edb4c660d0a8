/* tune.c: the search: problem -> record, or schedules -> judged -> raced -> remembered.
 *
 * A candidate that is refused keeps its reason and the search goes on; only "nothing survived" is an error. What can be
 * cut (time, a stop from the caller) keeps the best so far; a record of what time cut short says how far the search came.
 * Where candidates run, here or in a worker, is the judge's business; cg_judge_local is the judge of this process.
 * Nothing here knows what a schedule means, beyond its estimate. */
#include "internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The policy of the race, in one place. Times are seconds. */
enum { TRIES = 12, FEW = 3, RIVALS = 3, OF_WAY = 2, SECOND_ROUND = 5, FINALISTS = 3, FEW_ROUNDS = 2, FINAL_ROUNDS = 5, KERNELS_KEPT = 16, CUTS = 16 };
static const double brief = 2e-3, longer = 10e-3, final = 5e-3; /* of timing, per candidate and round */
static const double dropped = 1.5, second_within = 1.3, final_within = 1.05;
static const double slow = CG_SLOW;       /* a run longer than this costs more than it tells: few are enough */
static const double first_run_dropped = 2; /* of slow ones: a first run this much above the best's is the last */
static const double hopeless_run = 2.5; /* two runs this much above the best's are the last */
static const double way_within = 1.5; /* an estimate this much above the best's is not tried for its way alone */
static const double hopeless = 8;     /* an estimate this much above the best's is not tried when there are others */
static const double keep_record = 0.97; /* a new winner must beat the remembered one by 3 % */
static const double tie = 0.005;
static const double leaner_within = 1.05, leaner = 0.9; /* packed weights beyond the second cache: how much slower a kernel with so
                                                           much less of them may be */
static const double long_work = 0x1p28; /* multiply-adds: up to these a check of all outputs takes less than a second or so */
static const double patience = 6, race_patience = 1; /* MEASURE begins no new candidate when the best is slow, the final no new
                                                        round, after these */

typedef struct cg_candidate {
    const cg_schedule *schedule;
    cg_verdict verdict;
    cg_timing timing;
    size_t packed;
    bool survived, checked, racing; /* survived: verified, as far as was asked for; checked: in full */
    bool reported, withdrawn, hurried; /* withdrawn: refused after it was reported; hurried: there was no time to run it again */
    cg_round round;
    double median[FINAL_ROUNDS];
} cg_candidate;

typedef struct cg_tuner {
    convgen_context *context;
    const cg_judge *judge;
    const cg_tuning *tuning;
    cg_outcome *out;
    convgen_problem problem;
    cg_record key;       /* what we look for and will remember */
    char incumbent[CG_NAME]; /* schedule of a record that is there but not taken, or of a tighter budget; "": none */
    cg_schedule_list list;
    cg_candidate *at, **ranked;
    int count;
    cg_job job;
    double start, best_ns, best_first; /* over survivors; INFINITY at first */
    int behind; /* of the list: tried already by the search that is to be finished */
    bool hinted; /* the list begins with what won elsewhere, out of its order */
    bool kept, known; /* the incumbent is of this problem's own record; and that record may be used */
    bool survivor, checked, cancelled, out_of_time; /* one survived, as far as was asked for; one did in full */
    cg_status status, store; /* status: why nothing can go on */
} cg_tuner;

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
    return u->tuning->effort == CONVGEN_ESTIMATE || (!r->other_accuracy && !r->record.partial);
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
        u->kept = !strcmp(r.record.problem, u->key.problem) && !r.other_accuracy && !r.record.partial;
        u->known = !status && u->kept;
        if (u->known && u->tuning->finish && !u->tuning->again) u->behind = tried_by(u, &r.record);
        if (!status) return CONVGEN_NO_RECORD;
    }
    return status == CONVGEN_NO_RECORD && u->tuning->effort == CONVGEN_RECALL ? no_record(u, r.why) : status;
}

/* ---- problem -> schedules ---- */

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

static cg_status list(cg_tuner *u)
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

/* ---- time ---- */

static bool is_long(const cg_tuner *u) { return cg_problem_sizes(&u->problem).macs > long_work; }

/* When all has to end, 0: never. Time binds once something is usable, and a strict search of a long problem from its beginning; the
 * list is always made. A stop from the caller is another thing, and binds at once. */
static double deadline(const cg_tuner *u)
{
    const cg_tuning *t = u->tuning;
    bool binds = t->seconds > 0 && (u->survivor || (t->strict && is_long(u)));
    return binds ? u->start + t->seconds : 0;
}

static bool late(const cg_tuner *u) { return deadline(u) > 0 && cg_now() >= deadline(u); }

static bool go_on(cg_tuner *u)
{
    const cg_tuning *t = u->tuning;
    if (u->status != CONVGEN_OK || u->cancelled) return false;
    if (t->go_on && !t->go_on(t->user)) u->cancelled = true;
    u->out_of_time |= late(u);
    return !u->cancelled && !u->out_of_time;
}

static bool stopped(const cg_tuner *u) { return u->status != CONVGEN_OK || u->cancelled || u->out_of_time; }

/* ---- schedule -> trusted -> timed ---- */

/* Sends one job; false when the candidate is refused (why says it) or nothing can go on (u->status). */
static bool ask(cg_tuner *u, cg_status (*what)(void *, const cg_job *, cg_result *), cg_candidate *k, cg_result *r)
{
    memset(r, 0, sizeof *r);
    memcpy(u->job.schedule, k->schedule->name, sizeof u->job.schedule);
    u->job.deadline = deadline(u);
    cg_status status = what(u->judge->self, &u->job, r);
    if (status == CONVGEN_CANCELLED) *(late(u) ? &u->out_of_time : &u->cancelled) = true;
    else if (status != CONVGEN_OK) u->status = status;
    if (status != CONVGEN_OK) return false;
    if (r->status == CONVGEN_OK) return true;
    k->verdict.ok = k->survived = k->checked = k->racing = false;
    snprintf(k->verdict.why, sizeof k->verdict.why, "%s", r->verdict.why[0] ? r->verdict.why : convgen_status_text(r->status));
    return false;
}

static bool verified(cg_tuner *u, cg_candidate *k, cg_verify_level level)
{
    cg_result r;
    u->job.level = (int)level;
    if (!ask(u, u->judge->verify, k, &r)) return false;
    k->verdict = r.verdict;
    k->survived = k->verdict.ok;
    k->checked = k->survived && level == CG_VERIFY_FULL;
    u->survivor |= k->survived;
    u->checked |= k->checked;
    if (!k->survived && !k->verdict.why[0]) snprintf(k->verdict.why, sizeof k->verdict.why, "failed its verification");
    return k->survived;
}

/* Who was timed on the strength of a sample, before it is chosen. */
static bool in_full(cg_tuner *u, cg_candidate *k)
{
    if (k->checked || verified(u, k, CG_VERIFY_FULL)) return true;
    k->withdrawn = !k->survived;
    return false;
}

/* The first in full. Of others a sample comes before their times, and only who is chosen is checked in full; but where that may come too
 * late, or a sample is no less work. */
static cg_verify_level first_level(const cg_tuner *u)
{
    bool enough = u->checked && u->tuning->seconds == 0 && !cg_cut_needed(&u->problem);
    return enough ? CG_VERIFY_SOME : CG_VERIFY_FULL;
}

/* Seconds of a run, by what is known: its time, the run of its check; of who was run in part, what the best takes. */
static double run_of(const cg_tuner *u, const cg_candidate *k)
{
    if (k->timing.ns_min > 0) return k->timing.ns_min * 1e-9;
    return k->checked || !isfinite(u->best_ns) ? k->verdict.seconds : u->best_ns * 1e-9;
}

/* The run of the verification, where no time is known. */
static bool timed_by_first_run(cg_tuner *u, cg_candidate *k)
{
    double ns = fmax(k->verdict.seconds * 1e9, 1e-3); /* 0 would mean refused */
    if (!k->timing.runs) k->timing = (cg_timing){ns, ns, 1};
    u->best_ns = fmin(u->best_ns, k->timing.ns_min);
    return true;
}

static bool ends_too_late(const cg_tuner *u, double seconds) { return deadline(u) > 0 && cg_now() + seconds >= deadline(u); }

static bool timed(cg_tuner *u, cg_candidate *k, double seconds)
{
    cg_result r;
    u->job.level = -1;
    u->job.seconds = cg_time_enough(run_of(u, k), seconds);
    k->hurried = ends_too_late(u, run_of(u, k));
    if (k->hurried || !ask(u, u->judge->time, k, &r)) {
        u->out_of_time |= k->hurried && !k->checked;
        return (k->hurried || u->out_of_time) && k->checked && timed_by_first_run(u, k);
    }
    k->timing = r.timing;
    k->packed = r.packed;
    k->timing.ns_min = fmax(k->timing.ns_min, 1e-3); /* 0 would mean refused */
    k->timing.ns_median = fmax(k->timing.ns_median, k->timing.ns_min);
    u->best_ns = fmin(u->best_ns, k->timing.ns_min);
    return true;
}

/* Something else may have had the processor: a loser that is quick to time is timed once more. */
static bool second_chance(cg_tuner *u, cg_candidate *k)
{
    cg_timing before = k->timing;
    if (!timed(u, k, brief)) return false;
    if (before.ns_min < k->timing.ns_min) k->timing = before;
    k->racing = k->timing.ns_min <= dropped * u->best_ns;
    return true;
}

/* A slow one whose first run was clearly slower than the best's: that run is its time. */
static bool first_run_tells(cg_tuner *u, const cg_candidate *k)
{
    double first = k->verdict.seconds;
    bool tells = k->checked && first > slow && first > first_run_dropped * u->best_first;
    if (k->checked) u->best_first = fmin(u->best_first, first);
    return tells;
}

/* Round 1. */
static bool timed_briefly(cg_tuner *u, cg_candidate *k)
{
    if (first_run_tells(u, k)) return timed_by_first_run(u, k);
    u->job.hopeless = isfinite(u->best_ns) ? hopeless_run * u->best_ns * 1e-9 : 0;
    bool there = timed(u, k, brief);
    u->job.hopeless = 0;
    if (!there) return false;
    k->racing = k->timing.ns_min <= dropped * u->best_ns;
    bool may_be_noise = k->timing.ns_min <= fmin(slow * 1e9, hopeless_run * u->best_ns);
    return k->racing || !may_be_noise || second_chance(u, k);
}

static void report(cg_tuner *u, cg_candidate *k)
{
    cg_outcome *o = u->out;
    o->candidates += !k->reported;
    o->refused += !k->survived;
    cg_tried tried = {k->schedule, k->survived ? k->timing.ns_min : 0, k->survived ? k->timing.ns_median : 0, k->verdict.why,
                      (double)o->candidates / (u->count ? u->count : 1), k->round, k->reported};
    if (u->tuning->tried) u->tuning->tried(u->tuning->user, &tried);
    k->reported = true;
}

/* The last word on those that were timed again. */
static void report_again(cg_tuner *u)
{
    for (int i = 0; i < u->count; i++)
        if (u->at[i].reported && (u->at[i].round > CG_BRIEF || u->at[i].withdrawn)) report(u, &u->at[i]);
}

/* Time that the caller gave is used up; else MEASURE leaves slow kernels after a while, but not for one bad estimate. */
static bool patient(const cg_tuner *u, int tried)
{
    bool slow_best = isfinite(u->best_ns) && u->best_ns > slow * 1e9;
    return u->tuning->effort != CONVGEN_MEASURE || u->tuning->seconds > 0 || !slow_best || tried < FEW || cg_now() - u->start < patience;
}

static void try_all(cg_tuner *u)
{
    for (int i = 0; i < u->count && patient(u, i) && go_on(u); i++) {
        cg_candidate *k = &u->at[i];
        bool usable = !k->verdict.why[0]
                   && verified(u, k, first_level(u)) /* schedule -> source -> code -> trusted */
                   && timed_briefly(u, k);           /* trusted  -> timed */
        if (!usable && !k->verdict.why[0] && stopped(u)) break;
        report(u, k); /* one line: time, or why it was refused */
    }
}

/* ---- timed -> chosen ---- */

static int by_time(const void *a, const void *b)
{
    const cg_candidate *x = *(cg_candidate *const *)a, *y = *(cg_candidate *const *)b;
    return (x->timing.ns_min > y->timing.ns_min) - (x->timing.ns_min < y->timing.ns_min);
}

static bool is_incumbent(const cg_tuner *u, const cg_candidate *k) { return !strcmp(k->schedule->name, u->incumbent); }

/* The fastest `most` still racing, within `factor` of the first, and the incumbent with them. */
static int rank(cg_tuner *u, double factor, int most)
{
    int racing = 0, kept = 0;
    for (int i = 0; i < u->count; i++)
        if (u->at[i].racing && u->at[i].timing.ns_min > 0) u->ranked[racing++] = &u->at[i];
    qsort(u->ranked, (size_t)racing, sizeof *u->ranked, by_time);
    double limit = racing ? factor * u->ranked[0]->timing.ns_min : 0;
    for (int i = 0; i < racing; i++) {
        cg_candidate *k = u->ranked[i];
        if ((i < most && k->timing.ns_min <= limit) || is_incumbent(u, k)) u->ranked[kept++] = k;
        else k->racing = false;
    }
    return kept;
}

static void second_round(cg_tuner *u)
{
    int n = rank(u, second_within, SECOND_ROUND);
    if (u->best_ns > longer * 1e9) return; /* one run already took longer than this round gives */
    for (int i = 0; i < n && n > 1 && go_on(u); i++) {
        u->ranked[i]->round = CG_LONGER;
        timed(u, u->ranked[i], longer);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct cg_final {
    int runs[FINALISTS + 1];
    double least[FINALISTS + 1], worst[FINALISTS + 1]; /* of its rounds' minima */
} cg_final;

/* Whether the first is ahead by more than it differs from itself. */
static bool settled(const cg_tuner *u, const cg_final *f, int n)
{
    int first = 0;
    for (int i = 1; i < n; i++)
        if (u->ranked[i]->racing && (!u->ranked[first]->racing || f->least[i] < f->least[first])) first = i;
    double limit = fmax(f->worst[first], (1 + tie) * f->least[first]);
    for (int i = 0; i < n; i++)
        if (i != first && u->ranked[i]->racing && f->least[i] <= limit) return false;
    return true;
}

static void one_round(cg_tuner *u, cg_final *f, int n)
{
    for (int i = 0; i < n; i++) {
        cg_candidate *k = u->ranked[i];
        if (k->racing) k->round = CG_FINAL;
        if (!k->racing || !timed(u, k, final)) continue; /* refused in the final: out */
        /* Minimum, not mean: noise only ever adds time. */
        f->least[i] = f->runs[i] ? fmin(f->least[i], k->timing.ns_min) : k->timing.ns_min;
        f->worst[i] = fmax(f->worst[i], k->timing.ns_min);
        k->median[f->runs[i]++] = k->timing.ns_median;
    }
}

/* Interleaved, so that drift of the machine does not choose the winner; stopped between rounds only. */
static void final_rounds(cg_tuner *u)
{
    int n = rank(u, final_within, FINALISTS);
    double start = cg_now();
    cg_final f = {0};
    for (int round = 0; round < FINAL_ROUNDS && (!round || cg_now() - start < race_patience) && go_on(u); round++) {
        if (round >= FEW_ROUNDS && settled(u, &f, n)) break;
        one_round(u, &f, n);
    }
    for (int i = 0; i < n; i++)
        if (f.runs[i]) {
            cg_candidate *k = u->ranked[i];
            qsort(k->median, (size_t)f.runs[i], sizeof *k->median, by_value);
            k->timing = (cg_timing){f.least[i], k->median[f.runs[i] / 2], f.runs[i]};
        }
}

static bool faster(const cg_candidate *a, const cg_candidate *b)
{
    double x = a->timing.ns_min, y = b->timing.ns_min;
    return fabs(x - y) <= tie * fmin(x, y) ? a->timing.ns_median < b->timing.ns_median : x < y;
}

/* Where packed weights are read from the last cache, the clock flatters them: a race leaves them there, and a network's other
 * layers do not. Of kernels that are nearly as fast, the one that reads least. */
static cg_candidate *leanest(cg_tuner *u, cg_candidate *best)
{
    cg_candidate *lean = best;
    if (best->packed <= (size_t)u->context->machine.l2) return best;
    for (int i = 0; i < u->count; i++) {
        cg_candidate *k = &u->at[i];
        bool near = k->survived && k->racing && k->timing.ns_min > 0 && k->timing.ns_min <= leaner_within * best->timing.ns_min;
        if (near && (double)k->packed <= leaner * (double)lean->packed) lean = k;
    }
    return lean;
}

static cg_candidate *winner(cg_tuner *u)
{
    cg_candidate *best = NULL, *incumbent = NULL;
    for (int i = 0; i < u->count; i++) {
        cg_candidate *k = &u->at[i];
        if (!k->survived || !k->racing || k->timing.ns_min <= 0) continue;
        if (!best || faster(k, best)) best = k;
        if (is_incumbent(u, k)) incumbent = k;
    }
    cg_candidate *lean = best ? leanest(u, best) : NULL;
    bool clearly = !incumbent || !u->kept || lean->timing.ns_min <= keep_record * incumbent->timing.ns_min;
    if (lean != best) u->out->because = "of those nearly as fast, it reads the fewest packed weights";
    if (!clearly && incumbent != lean) u->out->because = "it is the remembered one, and none was 3 % faster";
    return clearly ? lean : incumbent;
}

/* Where the chosen one is refused, the next; where there is no time for its check, the fastest of those that were checked. */
static cg_candidate *checked_winner(cg_tuner *u)
{
    cg_candidate *best = winner(u);
    while (best && !in_full(u, best)) {
        bool again = !best->survived && u->status == CONVGEN_OK;
        for (int i = 0; i < u->count; i++) {
            cg_candidate *k = &u->at[i];
            k->racing = k->survived && k->timing.ns_min > 0 && (again || k->checked);
        }
        u->out->because = "";
        best = winner(u);
    }
    return best;
}

/* Whether the same arithmetic was refused before for its error: another schedule of it has the same. */
static bool known_inexact(const cg_tuner *u, int i)
{
    for (int k = 0; k < i; k++)
        if (u->at[k].verdict.inexact && !strcmp(u->at[k].schedule->arithmetic, u->at[i].schedule->arithmetic)) return true;
    return false;
}

/* Chosen without a clock: the first by estimate that gives right answers on a sample. */
static cg_candidate *first_sound(cg_tuner *u, bool say)
{
    for (int i = 0; i < u->count && go_on(u); i++) {
        if (known_inexact(u, i)) continue;
        bool sound = verified(u, &u->at[i], CG_VERIFY_SAMPLE);
        if (!sound && stopped(u)) break;
        if (say) report(u, &u->at[i]);
        if (sound) return &u->at[i];
    }
    return NULL;
}

/* Where the time may end before all outputs of any candidate are checked, one is checked on a sample first. */
static cg_candidate *fastest(cg_tuner *u)
{
    cg_candidate *spare = u->tuning->seconds > 0 && is_long(u) ? first_sound(u, false) : NULL;
    try_all(u);      /* all briefly */
    second_round(u); /* the best few longer */
    final_rounds(u); /* finalists interleaved */
    cg_candidate *best = checked_winner(u);
    report_again(u);
    u->out->sampled = !best && spare && spare->survived;
    return u->out->sampled ? spare : best;
}

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

static void record_of(const cg_record *key, const cg_candidate *k, cg_record *r)
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

/* ---- chosen -> remembered ---- */

/* The record that a candidate would be for another key; false: it is not admitted there. */
static bool serves(cg_tuner *u, const cg_request *request, const cg_record *key, const cg_candidate *k, cg_record *out)
{
    bool stale;
    char why[CG_WHY];
    record_of(key, k, out);
    return cg_record_judge(u->context, request, out, &stale, why) == CONVGEN_OK && !why[0];
}

/* The fastest of those that were timed and serve; false: none. */
static bool fastest_serving(cg_tuner *u, const cg_request *request, const cg_record *key, cg_record *out)
{
    int n = 0;
    for (int i = 0; i < u->count; i++)
        if (u->at[i].survived && u->at[i].timing.ns_min > 0) u->ranked[n++] = &u->at[i];
    qsort(u->ranked, (size_t)n, sizeof *u->ranked, by_time);
    for (int i = 0; i < n; i++)
        if (serves(u, request, key, u->ranked[i], out) && in_full(u, u->ranked[i])) return serves(u, request, key, u->ranked[i], out);
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
    return u->known && !u->out->complete && u->out->candidates <= 1 && is_incumbent(u, best);
}

/* A cancelled search is used but not remembered, nor is what nobody verified: what is remembered is never searched again, but by who
 * wants to finish what time cut short. */
static cg_status remember(cg_tuner *u, const cg_candidate *best)
{
    static const convgen_accuracy loosest_first[] = {CONVGEN_8X, CONVGEN_2X, CONVGEN_LOOP, CONVGEN_PROVEN};
    if (u->tuning->effort == CONVGEN_ESTIMATE || u->cancelled || u->out->sampled || nothing_learnt(u, best)) return CONVGEN_OK;
    cg_status status = u->store != CONVGEN_OK ? u->store : cg_store_put(u->context->store, &u->out->record);
    int i = 0;
    while (loosest_first[i] != u->problem.accuracy) i++;
    for (i++; i < 4 && !status; i++) status = remember_for(u, loosest_first[i], best);
    if (status == CONVGEN_STORE && !u->out->warning[0]) snprintf(u->out->warning, sizeof u->out->warning, "%s", cg_error_text());
    return status;
}

static cg_status search(cg_tuner *u)
{
    cg_status status = list(u);
    if (status != CONVGEN_OK) return status;
    cg_candidate *best = u->tuning->effort == CONVGEN_ESTIMATE ? first_sound(u, true) : fastest(u);
    if (u->status != CONVGEN_OK || !best) return none(u);
    u->out->chosen = *best->schedule;
    record_of(&u->key, best, &u->out->record);
    u->out->complete = !u->cancelled && !u->out_of_time && !best->hurried;
    if (!u->out->complete) u->out->record.cut_after = come_to(u);
    return remember(u, best);
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

/* ---- the judge of this process ---- */

typedef struct cg_built {
    cg_job job;
    cg_kernel kernel;
    unsigned long used;
} cg_built;

typedef struct cg_local {
    convgen_context *context;
    bool guards;
    convgen_problem problem;
    cg_trial *trial; /* of `problem`; NULL: none yet */
    cg_built *built[KERNELS_KEPT];
    unsigned long clock;
} cg_local;

static void drop_kernel(cg_built **slot)
{
    if (!*slot) return;
    cg_kernel_free(&(*slot)->kernel);
    cg_free(*slot);
    *slot = NULL;
}

static void local_forget(void *self)
{
    cg_local *l = self;
    for (int i = 0; i < KERNELS_KEPT; i++) drop_kernel(&l->built[i]);
    cg_trial_free(l->trial);
    l->trial = NULL;
}

static cg_status want_problem(cg_local *l, const convgen_problem *p)
{
    if (l->trial && cg_problem_equal(&l->problem, p)) return CONVGEN_OK;
    local_forget(l);
    l->problem = *p;
    return cg_trial_new(&l->problem, l->guards, &l->trial);
}

static bool same_kernel(const cg_job *a, const cg_job *b)
{
    return !strcmp(a->schedule, b->schedule) && !strcmp(a->target, b->target) && !strcmp(a->form, b->form)
        && !strcmp(a->compiler, b->compiler) && a->threads == b->threads;
}

/* The slot of this job's kernel; NULL: it is not kept. */
static cg_built **kept(cg_local *l, const cg_job *job)
{
    for (int i = 0; i < KERNELS_KEPT; i++)
        if (l->built[i] && same_kernel(&l->built[i]->job, job)) return &l->built[i];
    return NULL;
}

/* The same, or an empty one, or the one unused for longest, emptied. */
static cg_built **slot_of(cg_local *l, const cg_job *job)
{
    cg_built **oldest = &l->built[0], **mine = kept(l, job);
    if (mine) return mine;
    for (int i = 0; i < KERNELS_KEPT && *oldest; i++)
        if (!l->built[i] || l->built[i]->used < (*oldest)->used) oldest = &l->built[i];
    drop_kernel(oldest);
    return oldest;
}

static cg_status build(cg_local *l, const convgen_problem *p, const cg_job *job, cg_built **slot, char why[CG_WHY])
{
    convgen_context *c = l->context;
    cg_target target;
    cg_status status = cg_script_target(c->script, &c->machine, job->target, &target);
    if (status != CONVGEN_OK) return status;
    cg_built *b = cg_calloc(1, sizeof *b);
    if (!b) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a kernel");
    cg_request request = {.problem = p, .machine = &c->machine, .target = job->target, .form = job->form, .threads = job->threads};
    status = cg_kernel_new(c->script, &request, job->schedule, job->compiler, target.flags, &b->kernel, why);
    b->job = *job;
    if (status == CONVGEN_OK) *slot = b;
    else cg_free(b);
    return status;
}

/* Of a candidate, or of everything? These will meet the next candidate too. */
static bool nothing_can_go_on(cg_status s) { return s == CONVGEN_NO_MEMORY || s == CONVGEN_NO_EXEC || s == CONVGEN_CANCELLED; }

/* The kernel of a job, built when it is not kept. NULL with OK: refused, out says why. */
static cg_status want_kernel(cg_local *l, const cg_job *job, cg_result *out, cg_built ***slot)
{
    *slot = NULL;
    memset(out, 0, sizeof *out);
    cg_status status = want_problem(l, &job->problem);
    if (status != CONVGEN_OK) return status;
    cg_built **s = slot_of(l, job);
    if (!*s) status = build(l, &l->problem, job, s, out->verdict.why);
    if (status == CONVGEN_OK) {
        (*s)->used = ++l->clock;
        *slot = s;
        return CONVGEN_OK;
    }
    if (nothing_can_go_on(status)) return status;
    if (!out->verdict.why[0]) snprintf(out->verdict.why, sizeof out->verdict.why, "%s", cg_error_text());
    out->status = status;
    return CONVGEN_OK;
}

static cg_parallel parallel_of(const cg_local *l, const cg_job *job)
{
    cg_parallel par = l->context->parallel;
    par.threads = job->threads;
    return par;
}

/* The number-th smaller problem: one that has room, or one whose tasks are smaller. */
static bool cut_down(const convgen_problem *p, double excess, int number, convgen_problem *cut)
{
    return cg_cut_needed(p) ? cg_cut_down(p, number, cut) : cg_cut_sums(p, excess, number, cut);
}

/* A kernel of the same schedule for a smaller problem. NULL with OK: no cut has the schedule, *why says what the last one lacks. */
static cg_status build_cut(cg_local *l, const cg_job *job, double excess, convgen_problem *cut, cg_built **slot, char why[CG_WHY])
{
    cg_status status = CONVGEN_OK;
    *slot = NULL;
    for (int i = 0; i < CUTS && !*slot && cut_down(&job->problem, excess, i, cut); i++) {
        status = build(l, cut, job, slot, why);
        if (nothing_can_go_on(status)) return status;
    }
    return CONVGEN_OK;
}

/* Some outputs of a problem that is too large to be filled for them. Errors are not those of the problem, and not told. */
static cg_status verify_cut(cg_local *l, const cg_job *job, const cg_kernel *whole, const cg_parallel *par, cg_verdict *v)
{
    convgen_problem cut;
    cg_built *built = NULL;
    cg_trial *trial = NULL;
    char lacks[CG_WHY] = "", said[CG_WHY];
    cg_status status = build_cut(l, job, cg_sample_excess(&job->problem, whole), &cut, &built, lacks);
    if (!status && !built && !cg_cut_needed(&job->problem)) {
        status = cg_verify(l->trial, whole, par, CG_VERIFY_SAMPLE, v);
        snprintf(v->on, sizeof v->on, "%ld of its tasks alone", v->tasks);
        return status;
    }
    if (!status && !built) {
        snprintf(v->why, sizeof v->why, "the problem is too large for a check, and no smaller one has the schedule: %.150s", lacks);
        return CONVGEN_OK;
    }
    if (!status) status = cg_trial_new(&cut, l->guards, &trial);
    if (!status) status = cg_verify(trial, &built->kernel, par, CG_VERIFY_SAMPLE, v);
    if (!status) status = convgen_problem_format(&cut, v->on, sizeof v->on);
    if (!status && !v->ok) {
        memcpy(said, v->why, sizeof said);
        snprintf(v->why, sizeof v->why, "%.150s (checked on %.80s)", said, v->on);
    }
    if (v->ok) v->error_normwise = v->error_vs_loop = v->error_vs_bound = NAN;
    cg_trial_free(trial);
    drop_kernel(&built);
    return status;
}

static cg_status verify_kernel(void *self, const cg_job *job, cg_result *out)
{
    cg_local *l = self;
    cg_built **slot;
    cg_status status = want_kernel(l, job, out, &slot);
    if (status != CONVGEN_OK || !slot || job->level < 0) {
        out->verdict.ok = status == CONVGEN_OK && slot;
        return status;
    }
    cg_parallel par = parallel_of(l, job);
    const cg_kernel *k = &(*slot)->kernel;
    bool beyond = job->level == CG_VERIFY_SAMPLE && (cg_cut_needed(&job->problem) || cg_sample_excess(&job->problem, k) > 1);
    if (beyond) status = verify_cut(l, job, k, &par, &out->verdict);
    else status = cg_verify(l->trial, k, &par, (cg_verify_level)job->level, &out->verdict);
    if (status != CONVGEN_OK || !out->verdict.ok) drop_kernel(slot);
    if (status != CONVGEN_CANCELLED || cg_late()) return status;
    out->status = status; /* a run of this one would end too late: others may be faster */
    out->verdict.ok = false;
    snprintf(out->verdict.why, sizeof out->verdict.why, "%s", cg_error_text());
    return CONVGEN_OK;
}

static cg_status time_kernel(void *self, const cg_job *job, cg_result *out)
{
    cg_local *l = self;
    cg_built **slot;
    cg_status status = want_kernel(l, job, out, &slot);
    if (status != CONVGEN_OK || !slot) return status;
    cg_parallel par = parallel_of(l, job);
    out->packed = (*slot)->kernel.source.packed;
    cg_stint stint = {.seconds = job->seconds, .hopeless = job->hopeless, .cold = job->cold};
    return cg_time(l->trial, &(*slot)->kernel, &par, &stint, &out->timing);
}

static cg_status in_time(cg_status (*what)(void *, const cg_job *, cg_result *), void *self, const cg_job *job, cg_result *out)
{
    double before = cg_deadline_set(job->deadline > 0 ? job->deadline : INFINITY);
    cg_status status = what(self, job, out);
    cg_deadline_set(before);
    return status;
}

static cg_status local_verify(void *self, const cg_job *job, cg_result *out) { return in_time(verify_kernel, self, job, out); }
static cg_status local_time(void *self, const cg_job *job, cg_result *out) { return in_time(time_kernel, self, job, out); }

static bool local_take(void *self, const cg_job *job, cg_kernel *out)
{
    cg_local *l = self;
    cg_built **slot = l->trial && cg_problem_equal(&l->problem, &job->problem) ? kept(l, job) : NULL;
    if (!slot) return false;
    *out = (*slot)->kernel;
    cg_free(*slot);
    *slot = NULL;
    return true;
}

cg_status cg_judge_local(convgen_context *c, bool guards, cg_judge *out)
{
    cg_local *l = cg_calloc(1, sizeof *l);
    if (!l) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a judge");
    l->context = c;
    l->guards = guards;
    *out = (cg_judge){l, local_verify, local_time, local_forget, local_take};
    return CONVGEN_OK;
}

/* race.c: schedules -> trusted -> timed -> chosen.
 *
 * All are verified and timed briefly, the best few longer, the finalists in turns. A candidate that is refused keeps its reason and the
 * race goes on. Whatever time or the caller cuts short keeps the best so far. */
#include "tuner.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The policy of the race, in one place. Times are seconds. */
enum { FEW = 3, SECOND_ROUND = 5, FINALISTS = 3, FEW_ROUNDS = 2 };
static const double brief = 2e-3, longer = 10e-3, final = 5e-3; /* of timing, per candidate and round */
static const double dropped = 1.5, second_within = 1.3, final_within = 1.05;
static const double slow = CG_SLOW;       /* a run longer than this costs more than it tells: few are enough */
static const double first_run_dropped = 2; /* of slow ones: a first run this much above the best's is the last */
static const double hopeless_run = 2.5; /* two runs this much above the best's are the last */
static const double keep_record = 0.97; /* a new winner must beat the remembered one by 3 % */
static const double tie = 0.005;
static const double leaner_within = 1.05, leaner = 0.9; /* packed weights beyond the second cache: how much slower a kernel with so
                                                           much less of them may be */
static const double long_work = 0x1p28; /* multiply-adds: up to these a check of all outputs takes less than a second or so */
static const double patience = 6, race_patience = 1; /* MEASURE begins no new candidate when the best is slow, the final no new
                                                        round, after these */

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
bool cg_race_in_full(cg_tuner *u, cg_candidate *k)
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

int cg_by_time(const void *a, const void *b)
{
    const cg_candidate *x = *(cg_candidate *const *)a, *y = *(cg_candidate *const *)b;
    return (x->timing.ns_min > y->timing.ns_min) - (x->timing.ns_min < y->timing.ns_min);
}

bool cg_is_incumbent(const cg_tuner *u, const cg_candidate *k) { return !strcmp(k->schedule->name, u->incumbent); }

/* The fastest `most` still racing, within `factor` of the first, and the incumbent with them. */
static int rank(cg_tuner *u, double factor, int most)
{
    int racing = 0, kept = 0;
    for (int i = 0; i < u->count; i++)
        if (u->at[i].racing && u->at[i].timing.ns_min > 0) u->ranked[racing++] = &u->at[i];
    qsort(u->ranked, (size_t)racing, sizeof *u->ranked, cg_by_time);
    double limit = racing ? factor * u->ranked[0]->timing.ns_min : 0;
    for (int i = 0; i < racing; i++) {
        cg_candidate *k = u->ranked[i];
        if ((i < most && k->timing.ns_min <= limit) || cg_is_incumbent(u, k)) u->ranked[kept++] = k;
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
    if (u->tuning->network || best->packed <= (size_t)u->context->machine.l2) return best;
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
        if (cg_is_incumbent(u, k)) incumbent = k;
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
    while (best && !cg_race_in_full(u, best)) {
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
cg_candidate *cg_race_first_sound(cg_tuner *u, bool say)
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
cg_candidate *cg_race_fastest(cg_tuner *u)
{
    cg_candidate *spare = u->tuning->seconds > 0 && is_long(u) ? cg_race_first_sound(u, false) : NULL;
    try_all(u);      /* all briefly */
    second_round(u); /* the best few longer */
    final_rounds(u); /* finalists interleaved */
    cg_candidate *best = checked_winner(u);
    report_again(u);
    u->out->sampled = !best && spare && spare->survived;
    return u->out->sampled ? spare : best;
}

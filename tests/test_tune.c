/* test_tune.c: the search, with a judge that knows the times beforehand (nothing is compiled), and once with the real one. */
#include "fake_clock.h"
#include "plan.h"
#include "suite.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = CG_SCHEDULES };

/* What the judge will say of the generator's i-th schedule. */
typedef struct fake {
    char name[MOST][CG_NAME], way[MOST][CG_NAME];
    double cycles[MOST];
    double ns[MOST], first[MOST]; /* first: seconds of the first run */
    const char *why[MOST];        /* NULL: right */
    bool passes_sample[MOST];     /* it is found to be wrong only where all is checked */
    size_t packed[MOST];
    double slower[MOST][8];       /* how often its ns each timing gives in turn; 0: always once */
    double takes[MOST], sample;   /* seconds of the clock that its verification takes; that a check on a sample takes */
    double least_runs;            /* that a time was asked for: seconds over those of a run */
    int count, verified[MOST], in_full[MOST], timed[MOST], order[MOST], asked, forgotten, level;
    double hopeless[MOST], last_hopeless; /* what its first timing was told, in ns; and the last of all */
    cg_status fatal; /* of the next verify */
    bool inexact;    /* what is refused is refused for its error alone */
    bool others;     /* schedules of other problems may be asked for: they are refused */
} fake;

static fake f;
static convgen_context *context;
static cg_judge judge;
static convgen_problem problem;
static char store[64];

static int index_of(const char *name)
{
    for (int i = 0; i < f.count; i++)
        if (!strcmp(f.name[i], name)) return i;
    if (f.others) return -1;
    ck_abort_msg("the judge was asked for %s, which the generator does not list", name);
    return -1;
}

static bool stops_late; /* what takes a minute is ended as if it was interrupted */

/* The clock goes on, to the job's deadline at most. */
static cg_status spend(double seconds, const cg_job *job)
{
    clock_at += seconds;
    if (stops_late && seconds >= 60) return cg_fail(CONVGEN_CANCELLED, "interrupted");
    if (job->deadline == 0 || clock_at < job->deadline) return CONVGEN_OK;
    clock_at = job->deadline;
    return cg_fail(CONVGEN_CANCELLED, "late");
}

static cg_status fake_verify(void *self, const cg_job *job, cg_result *out)
{
    (void)self;
    int i = index_of(job->schedule);
    memset(out, 0, sizeof *out);
    if (i < 0) {
        strcpy(out->verdict.why, "of another problem");
        return CONVGEN_OK;
    }
    f.verified[i]++;
    f.order[f.asked++] = i;
    f.level = job->level;
    f.in_full[i] += job->level == CG_VERIFY_FULL;
    if (f.fatal) return cg_fail(f.fatal, "nothing goes on");
    if (spend(job->level != CG_VERIFY_FULL ? f.sample : f.takes[i], job)) return CONVGEN_CANCELLED;
    bool right = !f.why[i] || (f.passes_sample[i] && job->level != CG_VERIFY_FULL);
    out->verdict = (cg_verdict){.ok = right, .inexact = f.why[i] && f.inexact, .seconds = f.first[i], .error_vs_loop = 0.5};
    if (!right) strcpy(out->verdict.why, f.why[i]);
    return CONVGEN_OK;
}

static cg_status fake_time(void *self, const cg_job *job, cg_result *out)
{
    (void)self;
    int i = index_of(job->schedule);
    memset(out, 0, sizeof *out);
    if (!f.timed[i]++) f.hopeless[i] = 1e9 * job->hopeless;
    f.last_hopeless = job->hopeless;
    f.least_runs = fmin(f.least_runs, job->seconds / (1e-9 * f.ns[i]));
    out->timing = (cg_timing){f.ns[i] * (f.slower[i][0] ? f.slower[i][(f.timed[i] - 1) % 8] : 1), 0, 1};
    out->timing.ns_median = out->timing.ns_min * 1.1;
    out->packed = f.packed[i];
    return CONVGEN_OK;
}

static void fake_forget(void *self) { (void)self, f.forgotten++; }

static void open_with(const char *path)
{
    convgen_options o = {.struct_size = sizeof o, .store = path};
    ck_assert_msg(convgen_open(&o, &context) == CONVGEN_OK, "%s", convgen_error(NULL));
}

static const char *form(void) { return cg_form(&context->target, "tcc"); }

static cg_record key(void)
{
    cg_record k = {.threads = 1};
    strcpy(k.machine, context->machine.key);
    strcpy(k.target, context->target.name);
    strcpy(k.form, form());
    strcpy(k.compiler, "tcc");
    convgen_problem_format(&problem, k.problem, sizeof k.problem);
    return k;
}

/* The generator's schedules of a problem, each slower than the one before it. */
static void choose(const char *text)
{
    ck_assert_int_eq(convgen_problem_parse(text, &problem), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&problem), CONVGEN_OK);
    cg_request request = {.problem = &problem, .machine = &context->machine, .target = context->target.name, .form = form(), .threads = 1};
    cg_schedule_list list;
    ck_assert_msg(cg_script_schedules(context->script, &request, &list) == CONVGEN_OK, "%s", convgen_error(NULL));
    memset(&f, 0, sizeof f);
    f.least_runs = INFINITY;
    for (; f.count < list.count && !list.at[f.count].why[0]; f.count++) {
        strcpy(f.name[f.count], list.at[f.count].name);
        strcpy(f.way[f.count], list.at[f.count].way);
        f.cycles[f.count] = list.at[f.count].cycles;
        f.ns[f.count] = 1e5 * (1 + f.count);
        f.first[f.count] = f.ns[f.count] * 1e-9;
    }
    cg_free(list.at);
    ck_assert_int_ge(f.count, 2); /* these tests need something to choose from */
    judge = (cg_judge){NULL, fake_verify, fake_time, fake_forget, NULL};
}

static void begin(void)
{
    store_begin(store);
    open_with(store);
    choose("mb2ic4ih6oc6kh3ph1");
}

static void end(void)
{
    convgen_close(context);
    store_end(store);
}

static cg_outcome out;
static cg_status tune(convgen_effort effort)
{
    cg_tuning t = {.problem = &problem, .effort = effort};
    return cg_tune(context, &judge, &t, &out);
}

/* A line in the store for one of the schedules, as another generator version or thread count would have left it. */
static void remembered(int schedule, int version_offset, int threads)
{
    cg_record r = key();
    cg_request request = {.problem = &problem, .machine = &context->machine, .target = context->target.name, .form = form(), .threads = 1};
    cg_schedule_list list;
    ck_assert_int_eq(cg_script_schedules(context->script, &request, &list), CONVGEN_OK);
    strcpy(r.schedule, list.at[schedule].name);
    strcpy(r.family, list.at[schedule].family);
    r.version = list.at[schedule].version + version_offset;
    r.threads = threads;
    r.ns_min = r.ns_median = 5;
    r.error_normwise = r.error_vs_loop = r.error_vs_bound = NAN;
    cg_free(list.at);
    ck_assert_int_eq(cg_store_put(context->store, &r), CONVGEN_OK);
}

START_TEST(the_fastest_wins_and_is_remembered)
{
    f.ns[1] = 9e4;
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    ck_assert_str_eq(out.chosen.name, f.name[1]);
    ck_assert(out.complete && !out.recalled);
    ck_assert_int_eq(out.candidates, f.count);
    ck_assert_int_eq(out.refused, 0);
    ck_assert(out.record.ns_min == 9e4 && out.record.error_vs_loop == 0.5);
    ck_assert_int_ge(f.forgotten, 1);
    int asked = f.asked;
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_OK);
    ck_assert(out.recalled && out.complete);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert(out.recalled);
    ck_assert_int_eq(f.asked, asked);
    cg_tuning again = {.problem = &problem, .effort = CONVGEN_MEASURE, .again = true};
    ck_assert_int_eq(cg_tune(context, &judge, &again, &out), CONVGEN_OK);
    ck_assert(!out.recalled);
    ck_assert_int_gt(f.asked, asked);
}
END_TEST

/* Of the i-th's way, those before `end`: listed with an estimate within 1.5 of the best's, or of these only those tried. */
static int count_way(int i, int end, bool tried)
{
    int n = 0;
    for (int j = 0; j < end; j++)
        n += !strcmp(f.way[j], f.way[i]) && (!tried || f.verified[j]) && f.cycles[j] <= 1.5 * f.cycles[0];
    return n;
}

/* Here the first 18 of the list store past the caches, and the estimates of all of these may be wrong. */
START_TEST(of_each_way_some_are_tried)
{
    context->machine.l2 = 1 << 20, context->machine.l3 = 32 << 20;
    choose("mb1ic32ih112oc224oh112kh1");
    int ways = 0;
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    for (int i = 0; i < f.count && !strcmp(form(), "machine"); i++) {
        int listed = count_way(i, f.count, false), tried = count_way(i, f.count, true);
        ck_assert_msg(tried >= (listed < 2 ? listed : 2), "%d of %d like %s are tried", tried, listed, f.name[i]);
        ways += !count_way(i, i, false);
    }
    ck_assert_int_ge(ways, strcmp(form(), "machine") ? 0 : 3);
    ck_assert_int_lt(out.candidates, 25);
}
END_TEST

static char said[MOST][CG_WHY];
static int said_count;
static void listen(void *user, const cg_tried *t)
{
    (void)user;
    ck_assert((t->ns_min == 0) == (t->why[0] != 0));
    ck_assert(!t->again || t->round > CG_BRIEF);
    if (t->again) return; /* its last time */
    ck_assert(t->done > 0 && t->done <= 1);
    snprintf(said[said_count++], CG_WHY, "%s|%s", t->schedule->name, t->why);
}

static double heard[MOST];
static void listen_times(void *user, const cg_tried *t)
{
    (void)user;
    heard[index_of(t->schedule->name)] = t->ns_min;
}

START_TEST(a_refused_candidate_keeps_its_reason)
{
    char expected[CG_WHY];
    f.why[0] = "output 3 is wrong";
    cg_tuning t = {.problem = &problem, .effort = CONVGEN_MEASURE, .tried = listen};
    said_count = 0;
    ck_assert_int_eq(cg_tune(context, &judge, &t, &out), CONVGEN_OK);
    ck_assert_str_ne(out.record.schedule, f.name[0]);
    ck_assert_int_eq(out.refused, 1);
    ck_assert_int_eq(said_count, out.candidates);
    snprintf(expected, sizeof expected, "%s|output 3 is wrong", f.name[0]);
    ck_assert_str_eq(said[0], expected);
    ck_assert_int_eq(f.timed[0], 0);
}
END_TEST

START_TEST(nothing_survived_names_reasons)
{
    for (int i = 0; i < f.count; i++) f.why[i] = "too tall";
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_NO_CANDIDATE);
    ck_assert_ptr_nonnull(strstr(convgen_error(NULL), "too tall"));
    ck_assert_ptr_nonnull(strstr(convgen_error(NULL), f.name[0]));
    ck_assert_int_eq(tune(CONVGEN_ESTIMATE), CONVGEN_NO_CANDIDATE);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_NO_RECORD);
}
END_TEST

START_TEST(what_cannot_go_on_is_an_error)
{
    f.fatal = CONVGEN_NO_MEMORY;
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_NO_MEMORY);
    ck_assert_int_eq(f.asked, 1);
    f.fatal = CONVGEN_CANCELLED; /* an interrupted worker */
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_CANCELLED);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_NO_RECORD);
}
END_TEST

START_TEST(recall_without_a_record)
{
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_NO_RECORD);
    ck_assert_ptr_nonnull(strstr(convgen_error(NULL), key().problem));
    ck_assert_int_eq(f.asked, 0);
}
END_TEST

START_TEST(estimate_takes_the_first_sound_one_untimed)
{
    f.why[0] = "wrong";
    ck_assert_int_eq(tune(CONVGEN_ESTIMATE), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    ck_assert(out.record.ns_min == 0);
    ck_assert_int_eq(f.asked, 2);
    ck_assert_int_eq(f.timed[1], 0);
    ck_assert_int_eq(f.level, CG_VERIFY_SAMPLE);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_NO_RECORD); /* what was never timed is not remembered */
}
END_TEST

/* All are of one arithmetic here. */
START_TEST(estimate_leaves_an_arithmetic_that_is_too_inexact)
{
    problem.accuracy = CONVGEN_PROVEN;
    f.inexact = true;
    for (int i = 0; i < f.count; i++) f.why[i] = "inexact";
    ck_assert_int_eq(tune(CONVGEN_ESTIMATE), CONVGEN_NO_CANDIDATE);
    ck_assert_int_eq(f.asked, 1);
}
END_TEST

static int allowed;
static bool some(void *user) { (void)user; return allowed-- > 0; }

START_TEST(a_stop_keeps_the_best_so_far)
{
    cg_tuning t = {.problem = &problem, .effort = CONVGEN_EXHAUSTIVE, .go_on = some};
    allowed = 0;
    ck_assert_int_eq(cg_tune(context, &judge, &t, &out), CONVGEN_CANCELLED);
    ck_assert_int_eq(f.asked, 0);
    allowed = 1;
    ck_assert_int_eq(cg_tune(context, &judge, &t, &out), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
    ck_assert(!out.complete);
    ck_assert_int_eq(out.candidates, 1);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_NO_RECORD); /* else the rest would never be tried */
}
END_TEST

START_TEST(time_runs_out_after_something_usable)
{
    f.why[0] = "wrong";
    cg_tuning t = {.problem = &problem, .effort = CONVGEN_EXHAUSTIVE, .seconds = 1e-9};
    ck_assert_int_eq(cg_tune(context, &judge, &t, &out), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    ck_assert_int_eq(out.candidates, 2);
    ck_assert(out.complete == false);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_OK);
}
END_TEST

static cg_status tune_within(double seconds, bool strict)
{
    cg_tuning t = {.problem = &problem, .effort = CONVGEN_EXHAUSTIVE, .seconds = seconds, .strict = strict, .finish = true};
    clock_begin(0);
    cg_status status = cg_tune(context, &judge, &t, &out);
    clock_end();
    return status;
}

/* Whatever a candidate takes: after the first usable one nothing goes on beyond the time, nor is anything refused for it. */
START_TEST(time_binds_verification)
{
    for (int i = 1; i < f.count; i++) f.takes[i] = 60;
    f.takes[0] = 4;
    ck_assert_int_eq(tune_within(6, true), CONVGEN_OK);
    ck_assert_msg(clock_at == 1006, "%g", clock_at);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
    ck_assert(!out.complete && out.record.cut_after == 1);
    ck_assert_int_eq(out.candidates, 1);
    ck_assert_int_eq(out.refused, 0);
    end();
    begin();
    f.takes[0] = 60; /* a small problem: the first one is waited for */
    ck_assert_int_eq(tune_within(6, true), CONVGEN_OK);
    ck_assert(clock_at == 1060 && out.record.cut_after == 1 && !out.sampled);
}
END_TEST

/* A run that would end too late is not begun: the one of the verification is its time. */
START_TEST(time_binds_timing)
{
    f.takes[0] = 4;
    f.first[0] = 3;
    ck_assert_int_eq(tune_within(6, true), CONVGEN_OK);
    ck_assert_int_eq(f.timed[0], 0);
    ck_assert_int_gt(f.timed[1], 0); /* that one is quick */
    end();
    begin();
    f.takes[0] = 4;
    for (int i = 0; i < f.count; i++) f.first[i] = 3;
    ck_assert_int_eq(tune_within(6, true), CONVGEN_OK);
    ck_assert(out.record.ns_min == 3e9 && out.record.ns_median == 3e9 && !out.complete);
}
END_TEST

#define LONG "mb16ic64ih56oc64kh3ph1"

/* All outputs of a long problem may take longer than there is time: then a check on a sample is the answer, and is not remembered. */
START_TEST(a_long_problem_has_a_spare)
{
    choose(LONG);
    for (int i = 0; i < f.count; i++) f.takes[i] = 60;
    f.sample = 1;
    f.why[0] = "wrong";
    ck_assert_msg(tune_within(6, true) == CONVGEN_OK, "%s", convgen_error(NULL));
    ck_assert(clock_at == 1006 && out.sampled && !out.complete && out.record.cut_after);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    ck_assert(out.record.ns_min == 0);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_NO_RECORD);
    f.sample = 20; /* the library's caller needs a plan; the command's can give more time */
    ck_assert_int_eq(tune_within(6, false), CONVGEN_OK);
    ck_assert(clock_at == 1040 && out.sampled);
    ck_assert_int_eq(tune_within(6, true), CONVGEN_NO_CANDIDATE);
    ck_assert(clock_at == 1006);
    ck_assert_msg(strstr(convgen_error(NULL), "6 s are too few for") != NULL, "%s", convgen_error(NULL));
    for (int i = 0; i < f.count; i++) f.takes[i] = 0.01; /* time enough: as ever */
    f.sample = 1;
    ck_assert_int_eq(tune_within(600, true), CONVGEN_OK);
    ck_assert(out.complete && !out.sampled && !out.record.cut_after);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    ck_assert_int_eq(out.refused, 1);
    ck_assert_int_eq(out.candidates, f.count);
}
END_TEST

/* A search that time cut short is remembered as such; one that may finish it tries what it had not come to, and ends. */
START_TEST(a_later_search_goes_on)
{
    int last = f.count - 1, searches = 0;
    f.ns[last] = 5e4;
    for (int i = 0; i < f.count; i++) f.takes[i] = 1;
    do {
        ck_assert_int_eq(tune_within(3.5, true), CONVGEN_OK);
        ck_assert_int_lt(++searches, f.count);
        if (searches > 1) continue;
        ck_assert_str_eq(out.record.schedule, f.name[0]);
        ck_assert_int_eq(out.record.cut_after, 3);
        ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK); /* others take what there is */
        ck_assert(out.recalled && out.complete);
        out.complete = false;
    } while (!out.complete);
    ck_assert_str_eq(out.record.schedule, f.name[last]);
    ck_assert_int_eq(out.record.cut_after, 0);
    for (int i = 1; i < f.count; i++) ck_assert_int_ge(f.verified[i], 1);
    ck_assert_int_eq(searches, f.count <= 3 ? 1 : 1 + (f.count - 3 + 1) / 2);
    int asked = f.asked;
    ck_assert_int_eq(tune_within(3.5, true), CONVGEN_OK);
    ck_assert(out.recalled);
    ck_assert_int_eq(f.asked, asked);
}
END_TEST

/* A search that came no further than the remembered one leaves its record as it is: a first run is no better time. */
START_TEST(a_search_that_learns_nothing_changes_nothing)
{
    for (int again = 0; again < 2; again++) {
        for (int i = 0; i < f.count; i++) f.takes[i] = again ? 0 : 1;
        ck_assert_int_eq(tune_within(3.5, true), CONVGEN_OK);
        int cut_after = out.record.cut_after;
        double ns = out.record.ns_min;
        ck_assert_int_eq(cut_after, again ? 0 : 3);
        for (int i = 0; i < f.count; i++) f.takes[i] = 1;
        f.first[0] = 0.5;
        cg_tuning t = {.problem = &problem, .effort = CONVGEN_EXHAUSTIVE, .seconds = 0.5, .strict = true, .finish = true, .again = again};
        clock_begin(0);
        ck_assert_int_eq(cg_tune(context, &judge, &t, &out), CONVGEN_OK);
        clock_end();
        ck_assert(!out.complete && out.candidates == 1 && out.record.ns_min > ns);
        ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_OK);
        ck_assert_int_eq(out.record.cut_after, cut_after);
        ck_assert(out.record.ns_min == ns);
    }
}
END_TEST

/* A hint is tried before its turn: a search that goes on leaves out nothing for it. */
START_TEST(a_hint_does_not_count_as_a_place)
{
    cg_record hint = key();
    hint.threads = 2;
    hint.ns_min = hint.ns_median = 1;
    ck_assert_int_ge(f.count, 4);
    strcpy(hint.schedule, f.name[f.count - 1]);
    strcpy(hint.family, "plain"), hint.version = 1; /* a hint may be of any version */
    ck_assert_int_eq(cg_store_put(context->store, &hint), CONVGEN_OK);
    for (int i = 0; i < f.count; i++) f.takes[i] = 1;
    do ck_assert_int_eq(tune_within(3.5, true), CONVGEN_OK);
    while (!out.complete);
    ck_assert_int_eq(f.order[0], f.count - 1);
    for (int i = 0; i < f.count; i++) ck_assert_msg(f.timed[i] >= 1, "%s was left out", f.name[i]);
}
END_TEST

/* How far a search came counts in its own generator's list alone. */
START_TEST(a_search_of_another_generator_is_begun_again)
{
    for (int i = 0; i < f.count; i++) f.takes[i] = 1;
    ck_assert_int_eq(tune_within(3.5, true), CONVGEN_OK);
    ck_assert_int_eq(out.record.cut_after, 3);
    memcpy(context->generator, "0.0", 4);
    memset(f.verified, 0, sizeof f.verified);
    for (int i = 0; i < f.count; i++) f.takes[i] = 0;
    ck_assert_int_eq(tune_within(3.5, true), CONVGEN_OK);
    ck_assert(out.complete);
    for (int i = 0; i < f.count; i++) ck_assert_int_eq(f.verified[i], 1);
}
END_TEST

/* Of two times of a candidate, the better one is true: noise only ever adds. */
START_TEST(the_lesser_time_counts)
{
    for (int i = 0; i < f.count; i++) f.ns[i] = 1e7, f.first[i] = 1e-3;
    f.ns[0] = 1e5;
    f.ns[1] = 1.6e5;
    f.slower[1][0] = 1, f.slower[1][1] = 2; /* dropped by its first time, and by the second */
    cg_tuning t = {.problem = &problem, .effort = CONVGEN_EXHAUSTIVE, .tried = listen_times, .again = true};
    ck_assert_int_eq(cg_tune(context, &judge, &t, &out), CONVGEN_OK);
    ck_assert_int_eq(f.timed[1], 2);
    ck_assert_msg(heard[1] == 1.6e5, "%g", heard[1]);
    f.slower[1][0] = 0;
    f.ns[1] = 1.001e5;
    memset(f.timed, 0, sizeof f.timed); /* briefly, longer, and in the final: there the third is the best */
    memcpy(f.slower[0], (const double[8]){1, 1, 1, 1, 0.9, 1.2, 1.3, 1}, sizeof f.slower[0]);
    ck_assert_int_eq(cg_tune(context, &judge, &t, &out), CONVGEN_OK);
    ck_assert_msg(fabs(out.record.ns_min - 9e4) < 1, "%g", out.record.ns_min);
    ck_assert_msg(fabs(out.record.ns_median - 1.1e5) < 1, "%g", out.record.ns_median);
}
END_TEST

/* Only who is chosen is checked in full, and the first, beside which others are timed; it is the last check that counts. */
START_TEST(who_is_chosen_is_checked_in_full)
{
    f.ns[1] = 9e4;
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    for (int i = 0; i < f.count; i++) ck_assert_int_eq(f.in_full[i], i < 2);
    ck_assert_int_eq(out.refused, 0);
    end();
    begin();
    f.ns[f.count - 1] = 5e4;
    f.ns[f.count - 2] = 6e4;
    f.why[f.count - 1] = "wrong somewhere";
    f.passes_sample[f.count - 1] = true;
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[f.count > 2 ? f.count - 2 : 0]);
    ck_assert_int_eq(out.refused, 1);
    ck_assert_int_eq(out.candidates, f.count);
}
END_TEST

/* Stopped before the fastest could be checked in full: the fastest of those that were. */
START_TEST(who_is_not_checked_is_not_chosen)
{
    f.ns[1] = 9e4;
    f.takes[1] = 60;
    stops_late = true;
    cg_tuning t = {.problem = &problem, .effort = CONVGEN_EXHAUSTIVE, .again = true};
    ck_assert_int_eq(cg_tune(context, &judge, &t, &out), CONVGEN_OK);
    stops_late = false;
    ck_assert_str_eq(out.record.schedule, f.name[0]);
    ck_assert(!out.complete);
}
END_TEST

/* Where time is limited each is checked in full before it is timed: what is there when it is over can be remembered. */
START_TEST(limited_time_is_for_full_checks)
{
    cg_tuning t = {.problem = &problem, .effort = CONVGEN_EXHAUSTIVE, .seconds = 1e6};
    ck_assert_int_eq(cg_tune(context, &judge, &t, &out), CONVGEN_OK);
    for (int i = 0; i < f.count; i++) ck_assert_int_eq(f.in_full[i], 1);
}
END_TEST

/* In the first round what takes 2.5 times the best is told to stop early; and in the final two rounds are enough where they tell. */
START_TEST(no_time_is_spent_on_who_cannot_win)
{
    for (int i = 1; i < f.count; i++) f.ns[i] = 1e6;
    f.ns[1] = 1.02e5;
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    ck_assert(f.hopeless[0] == 0 && f.last_hopeless == 0);
    for (int i = 1; i < f.count; i++) ck_assert_msg(fabs(f.hopeless[i] - 2.5e5) < 1, "%g", f.hopeless[i]);
    for (int i = 2; i < f.count; i++) ck_assert_int_eq(f.timed[i], 1);
    ck_assert_int_eq(f.timed[0], 4); /* briefly, longer, twice in the final */
    ck_assert_int_eq(f.timed[1], 4);
    end();
    begin();
    for (int i = 1; i < f.count; i++) f.ns[i] = 1e6;
    f.ns[1] = 1.02e5;
    memcpy(f.slower[0], (const double[8]){1, 1, 1, 1.03, 1, 1, 1, 1}, sizeof f.slower[0]); /* it differs from itself by more */
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    ck_assert_int_eq(f.timed[0], 7);
    ck_assert_int_eq(f.timed[1], 7);
}
END_TEST

#define HUGE "mb64ic64ih224oc64kh1" /* a sample of it is one of a smaller problem: each is checked in full at once */

START_TEST(a_clearly_slower_first_run_is_the_last)
{
    choose(HUGE);
    f.first[0] = 0.03; /* short runs are not judged by their first */
    f.first[1] = 2.5 * f.first[0];
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    ck_assert_int_eq(f.timed[1], 0);
    ck_assert_int_eq(f.verified[1], 1);
    ck_assert_int_eq(out.candidates, f.count);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
    ck_assert_int_ge(f.timed[0], 2); /* briefly, and in the final */
}
END_TEST

START_TEST(an_incumbent_goes_only_for_three_percent)
{
    remembered(1, 7, 1); /* of another version: not trusted, but there */
    for (int i = 0; i < f.count; i++) f.ns[i] = 1e6, f.first[i] = 1e-3;
    f.ns[1] = 1e5;
    f.ns[0] = 0.98e5;
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert(!out.recalled);
    ck_assert_int_eq(f.order[0], 1); /* tried first */
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_OK); /* now of this version */
    f.ns[0] = 0.96e5;
    cg_tuning again = {.problem = &problem, .effort = CONVGEN_MEASURE, .again = true};
    ck_assert_int_eq(cg_tune(context, &judge, &again, &out), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
}
END_TEST

/* Beyond the second cache, of kernels nearly as fast the one with clearly less packed weights. */
START_TEST(packed_weights_break_near_ties)
{
    context->machine.l2 = 1 << 20;
    for (int i = 0; i < f.count; i++) f.ns[i] = 1e6, f.first[i] = 1e-3, f.packed[i] = 1 << 21;
    f.ns[0] = 1e5;
    f.ns[1] = 1.04e5;
    f.packed[1] = 1 << 20;
    cg_tuning again = {.problem = &problem, .effort = CONVGEN_MEASURE, .again = true};
    ck_assert_int_eq(cg_tune(context, &judge, &again, &out), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    end();
    begin();
    for (int i = 0; i < f.count; i++) f.ns[i] = 1e6, f.first[i] = 1e-3, f.packed[i] = i == 1 ? 1 << 19 : 1 << 20;
    f.ns[0] = 1e5;
    f.ns[1] = 1.04e5;
    context->machine.l2 = 1 << 20; /* all fit */
    ck_assert_int_eq(cg_tune(context, &judge, &again, &out), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
    context->machine.l2 = 1 << 19; /* they do not, but the lean one is 6 % slower */
    f.ns[1] = 1.06e5;
    ck_assert_int_eq(cg_tune(context, &judge, &again, &out), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
}
END_TEST

/* One run may meet what else the machine does; a run of 25 ms tells enough by itself. */
START_TEST(a_time_is_of_several_runs)
{
    for (int i = 0; i < f.count; i++) f.ns[i] = 5e6, f.first[i] = 5e-3;
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert(f.least_runs >= 3.999 && f.least_runs < 5);
    cg_tuning again = {.problem = &problem, .effort = CONVGEN_MEASURE, .again = true};
    for (int i = 0; i < f.count; i++) f.ns[i] = 25e6, f.first[i] = 25e-3;
    f.least_runs = INFINITY;
    ck_assert_int_eq(cg_tune(context, &judge, &again, &out), CONVGEN_OK);
    ck_assert(f.least_runs < 1);
}
END_TEST

/* What won at a tighter budget is tried, whatever its estimate, and has no other advantage. */
START_TEST(a_tighter_budget_has_an_incumbent)
{
    for (int i = 0; i < f.count; i++) f.ns[i] = 1e6, f.first[i] = 1e-3;
    f.ns[2] = 1e5;
    f.others = true;
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK); /* at the default, loop */
    ck_assert_str_eq(out.record.schedule, f.name[2]);
    f.ns[0] = 0.98e5;
    problem.accuracy = CONVGEN_PROVEN;
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[0]); /* loop's is none of a tighter one's business */
    f.ns[0] = 1.02e5;
    problem.accuracy = CONVGEN_8X;
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert(!out.recalled);
    ck_assert_str_eq(out.record.schedule, f.name[2]);
    f.ns[0] = 0.98e5;
    problem.accuracy = CONVGEN_2X;
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
    problem.accuracy = CONVGEN_LOOP;
}
END_TEST

/* Transforms are fast here, direct kernels half as fast, all others slow. */
static double direct_ns = 2e5;

static cg_status kind_verify(void *self, const cg_job *job, cg_result *result)
{
    (void)self, (void)job;
    *result = (cg_result){.verdict = {.ok = true, .seconds = 1e-3, .error_vs_loop = 1}};
    return CONVGEN_OK;
}

static cg_status kind_time(void *self, const cg_job *job, cg_result *result)
{
    (void)self;
    double ns = !strncmp(job->schedule, "winograd", 8) ? 1e5 : !strncmp(job->schedule, "direct", 6) ? direct_ns : 4e5;
    *result = (cg_result){.timing = {ns, ns, 1}};
    return CONVGEN_OK;
}

static bool is(const char *family) { return !strcmp(out.record.family, family); }

/* A record serves every accuracy that admits its schedule; what a search saw for a tighter one is remembered for that, until it is
 * searched itself. */
START_TEST(records_serve_other_accuracies)
{
    judge = (cg_judge){NULL, kind_verify, kind_time, fake_forget, NULL};
    ck_assert_int_eq(convgen_problem_parse("--accuracy=8x mb1ic16ih12oc16kh3ph1", &problem), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&problem), CONVGEN_OK);
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    if (!is("winograd")) return; /* a target without transforms */
    ck_assert(!out.record.partial);
    static const convgen_accuracy tighter[] = {CONVGEN_2X, CONVGEN_LOOP, CONVGEN_PROVEN};
    for (int i = 0; i < 3; i++) {
        problem.accuracy = tighter[i];
        ck_assert_msg(tune(CONVGEN_RECALL) == CONVGEN_OK, "%s", convgen_error(NULL));
        ck_assert(is(problem.accuracy == CONVGEN_PROVEN ? "direct" : "winograd") && out.record.ns_min == (is("direct") ? 2e5 : 1e5));
        ck_assert_int_eq(tune(CONVGEN_ESTIMATE), CONVGEN_OK);
        ck_assert(out.recalled);
    }
    ck_assert(out.record.partial);
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK); /* not enough for a search of its own */
    ck_assert(!out.recalled && is("direct"));
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_OK);
    ck_assert(!out.record.partial);
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert(out.recalled);
    problem.accuracy = CONVGEN_8X; /* which the search for less did not touch */
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert(out.recalled && is("winograd"));
    unlink(store);
    problem.accuracy = CONVGEN_PROVEN;
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    problem.accuracy = CONVGEN_8X; /* a tighter one's is used, and does not end the search for a faster one */
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_OK);
    ck_assert(is("direct"));
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    ck_assert(!out.recalled && is("winograd"));
}
END_TEST

static cg_status tune_for_network(convgen_effort effort)
{
    cg_tuning t = {.problem = &problem, .effort = effort, .network = true};
    return cg_tune(context, &judge, &t, &out);
}

/* The conditions are of the key: each has its own record. Where a network has none it is content with the warm one, unless it is to be timed; what
 * was timed for a network is no record of the problem alone. */
START_TEST(a_network_has_records_of_its_own)
{
    ck_assert_int_eq(tune_for_network(CONVGEN_RECALL), CONVGEN_NO_RECORD);
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert(!out.record.network);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
    ck_assert_int_eq(tune_for_network(CONVGEN_RECALL), CONVGEN_OK);
    ck_assert(out.recalled && !out.record.network);
    f.ns[1] = 1e4; /* evicted weights turn the times over */
    ck_assert_int_eq(tune_for_network(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert(!out.recalled && out.record.network);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    ck_assert_int_eq(tune_for_network(CONVGEN_RECALL), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
}
END_TEST

START_TEST(a_networks_record_is_not_the_problems)
{
    ck_assert_int_eq(tune_for_network(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_NO_RECORD);
}
END_TEST

/* What a looser search sees does not take the place of what a search for the tighter accuracy found. */
START_TEST(a_whole_search_stays)
{
    judge = (cg_judge){NULL, kind_verify, kind_time, fake_forget, NULL};
    ck_assert_int_eq(convgen_problem_parse("--accuracy=proven mb1ic16ih12oc16kh3ph1", &problem), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&problem), CONVGEN_OK);
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    problem.accuracy = CONVGEN_LOOP;
    ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
    problem.accuracy = CONVGEN_PROVEN;
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_OK);
    ck_assert(!out.record.partial);
}
END_TEST

/* Of what looser searches saw of a tighter accuracy the fastest is used. */
START_TEST(the_faster_of_those_seen_stays)
{
    static const double seen[] = {2e5, 3e5, 1.5e5}, used[] = {2e5, 2e5, 1.5e5};
    static const convgen_accuracy looser[] = {CONVGEN_LOOP, CONVGEN_2X, CONVGEN_8X};
    judge = (cg_judge){NULL, kind_verify, kind_time, fake_forget, NULL};
    ck_assert_int_eq(convgen_problem_parse("mb1ic16ih12oc16kh3ph1", &problem), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&problem), CONVGEN_OK);
    for (int i = 0; i < 3; i++) {
        direct_ns = seen[i];
        problem.accuracy = looser[i];
        ck_assert_int_eq(tune(CONVGEN_EXHAUSTIVE), CONVGEN_OK);
        if (!is("winograd")) return; /* a target without transforms */
        problem.accuracy = CONVGEN_PROVEN;
        ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_OK);
        ck_assert(is("direct") && out.record.partial && out.record.ns_min == used[i]);
    }
}
END_TEST

START_TEST(recall_refuses_another_version)
{
    remembered(0, 1, 1);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_NO_RECORD);
    ck_assert_ptr_nonnull(strstr(convgen_error(NULL), "another version"));
}
END_TEST

/* An own record that is not trusted does not hide a shipped one that is. */
START_TEST(a_stale_record_leaves_the_shipped_one)
{
    char folder[] = "/tmp/convgen-tuned-XXXXXX", file[80], before[4096];
    snprintf(before, sizeof before, "%s", getenv("CONVGEN_TUNED"));
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/a.records", folder);
    remembered(1, 0, 1);
    ck_assert_int_eq(rename(store, file), 0);
    remembered(0, 1, 1);
    setenv("CONVGEN_TUNED", folder, 1);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_OK);
    ck_assert_str_eq(out.record.schedule, f.name[1]);
    setenv("CONVGEN_TUNED", before, 1);
    ck_assert_int_eq(tune(CONVGEN_RECALL), CONVGEN_NO_RECORD);
    ck_assert(unlink(file) == 0 && rmdir(folder) == 0);
}
END_TEST

START_TEST(a_hint_is_tried_first)
{
    int last = f.count - 1;
    remembered(last, 0, 5);
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_OK);
    ck_assert_int_eq(f.order[0], last);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
}
END_TEST

START_TEST(a_store_that_cannot_be_written_still_gives_a_winner)
{
    convgen_close(context);
    open_with("/proc/nowhere/records");
    ck_assert_int_eq(tune(CONVGEN_MEASURE), CONVGEN_STORE);
    ck_assert_str_eq(out.record.schedule, f.name[0]);
    convgen_plan *plan;
    ck_assert_msg(convgen_plan_create(context, &problem, CONVGEN_MEASURE, 0.01, &plan) == CONVGEN_OK, "%s", convgen_error(NULL));
    convgen_plan_free(plan);
}
END_TEST

static cg_status tune_for_real(void)
{
    cg_judge local;
    cg_tuning t = {.problem = &problem, .effort = CONVGEN_MEASURE, .seconds = 1e-9, .again = true};
    cg_status status = cg_judge_local(context, false, &local);
    if (status != CONVGEN_OK) return status;
    status = cg_tune(context, &local, &t, &out);
    cg_free(local.self);
    return status;
}

START_TEST(the_real_judge)
{
    ck_assert_msg(tune_for_real() == CONVGEN_OK, "%s", convgen_error(NULL));
    ck_assert(out.record.ns_min > 0);
}
END_TEST

/* Every allocation fails in turn. A failing store is the one that a search survives: the winner is there all the same. */
START_TEST(every_allocation_may_fail)
{
    convgen_problem_parse("mb1ic1ih2oc1oh2kh1", &problem);
    ck_assert_int_eq(tune_for_real(), CONVGEN_OK); /* what is made once is made */
    for (long n = 1;; n++) {
        cg_fail_allocation = n;
        cg_status status = tune_for_real();
        bool reached = cg_fail_allocation == 0;
        cg_fail_allocation = 0;
        if (!reached) {
            ck_assert_msg(status == CONVGEN_OK, "%s", convgen_error(NULL));
            break;
        }
        ck_assert_msg(status == CONVGEN_NO_MEMORY || status == CONVGEN_STORE || status == CONVGEN_OK, "allocation %ld: status %d, %s",
                      n, (int)status, convgen_error(NULL));
        ck_assert_int_lt(n, 2000000);
    }
}
END_TEST

START_TEST(with_a_worker)
{
    cg_judge worker;
    cg_tuning t = {.problem = &problem, .effort = CONVGEN_EXHAUSTIVE};
    ck_assert_int_eq(cg_worker_start(context, &worker), CONVGEN_OK);
    ck_assert_msg(cg_tune(context, &worker, &t, &out) == CONVGEN_OK, "%s", convgen_error(NULL));
    ck_assert(out.record.ns_min > 0);
    ck_assert_int_eq(out.refused, 0);
    cg_worker_stop(&worker);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tune");
    TCase *t = test_case(s, "tune", 300);
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, the_fastest_wins_and_is_remembered);
    tcase_add_test(t, of_each_way_some_are_tried);
    tcase_add_test(t, a_refused_candidate_keeps_its_reason);
    tcase_add_test(t, nothing_survived_names_reasons);
    tcase_add_test(t, what_cannot_go_on_is_an_error);
    tcase_add_test(t, recall_without_a_record);
    tcase_add_test(t, estimate_takes_the_first_sound_one_untimed);
    tcase_add_test(t, estimate_leaves_an_arithmetic_that_is_too_inexact);
    tcase_add_test(t, a_stop_keeps_the_best_so_far);
    tcase_add_test(t, time_runs_out_after_something_usable);
    tcase_add_test(t, time_binds_verification);
    tcase_add_test(t, time_binds_timing);
    tcase_add_test(t, a_long_problem_has_a_spare);
    tcase_add_test(t, a_later_search_goes_on);
    tcase_add_test(t, a_hint_does_not_count_as_a_place);
    tcase_add_test(t, a_search_that_learns_nothing_changes_nothing);
    tcase_add_test(t, a_search_of_another_generator_is_begun_again);
    tcase_add_test(t, the_lesser_time_counts);
    tcase_add_test(t, a_clearly_slower_first_run_is_the_last);
    tcase_add_test(t, who_is_chosen_is_checked_in_full);
    tcase_add_test(t, who_is_not_checked_is_not_chosen);
    tcase_add_test(t, limited_time_is_for_full_checks);
    tcase_add_test(t, no_time_is_spent_on_who_cannot_win);
    tcase_add_test(t, an_incumbent_goes_only_for_three_percent);
    tcase_add_test(t, a_time_is_of_several_runs);
    tcase_add_test(t, a_tighter_budget_has_an_incumbent);
    tcase_add_test(t, packed_weights_break_near_ties);
    tcase_add_test(t, recall_refuses_another_version);
    tcase_add_test(t, records_serve_other_accuracies);
    tcase_add_test(t, a_whole_search_stays);
    tcase_add_test(t, a_network_has_records_of_its_own);
    tcase_add_test(t, a_networks_record_is_not_the_problems);
    tcase_add_test(t, the_faster_of_those_seen_stays);
    tcase_add_test(t, a_stale_record_leaves_the_shipped_one);
    tcase_add_test(t, a_hint_is_tried_first);
    tcase_add_test(t, a_store_that_cannot_be_written_still_gives_a_winner);
    tcase_add_test(t, the_real_judge);
    tcase_add_test(t, with_a_worker);
    tcase_add_test(t, every_allocation_may_fail);
    return test_run(s);
}

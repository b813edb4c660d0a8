/* test_timer.c: times of kernels that take a known time, by a clock that only they move. */
#include "fake_clock.h"
#include "suite.h"
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static long runs, packs;
static double each, first_more; /* seconds of a run, and what the first takes beyond that */
static int slow_every;          /* 0: none; the n-th run of each n takes ten times as long, as when something else has the processor */

static void timed_stage(const cg_call *call, void *scratch, long first, long last)
{
    (void)call, (void)scratch, (void)first, (void)last;
    runs++;
    clock_at += each * (slow_every && runs % slow_every == 0 ? 10 : 1) + (runs == 1 ? first_more : 0);
}

static void pack_stage(const cg_call *call, void *scratch, long first, long last)
{
    (void)call, (void)scratch, (void)first, (void)last;
    packs++;
}

static const cg_parallel serial = {.threads = 1};

static cg_timing timing(const char *text, double run, double seconds, bool cold)
{
    cg_kernel k = {.source = {.packed = 64, .stage_count = 2, .chains = 1,
                              .stage = {{.tasks = 1, .pack = true}, {.tasks = 1, .scratch = 64}}},
                   .stage = {pack_stage, timed_stage}};
    convgen_problem p;
    cg_trial *t;
    cg_timing out;
    each = run;
    runs = packs = 0;
    ck_assert_int_eq(convgen_problem_parse(text, &p), CONVGEN_OK);
    ck_assert_int_eq(cg_trial_new(&p, false, &t), CONVGEN_OK);
    ck_assert_int_eq(cg_time(t, &k, &serial, &(cg_stint){.seconds = seconds, .cold = cold}, &out), CONVGEN_OK);
    cg_trial_free(t);
    ck_assert_int_eq(out.runs, runs);
    ck_assert(out.ns_min <= out.ns_median);
    return out;
}

static void begin(void)
{
    clock_begin(1e-9);
    first_more = slow_every = 0;
}

/* Of the clock's own steps there is one in a sample. */
static bool is(double ns, double expected) { return ns > expected * 0.999 && ns < expected * 1.001 + 1; }

/* Runs that take the next time of a list, then the last one. */
static const double *takes;

static void moving_stage(const cg_call *call, void *scratch, long first, long last)
{
    (void)call, (void)scratch, (void)first, (void)last;
    clock_at += *takes;
    if (takes[1] > 0) takes++;
    runs++;
}

static double hopeless;

static cg_timing timing_of(const double *list, double seconds, double deadline)
{
    cg_kernel k = {.source = {.stage_count = 1, .chains = 1, .stage = {{.tasks = 1}}}, .stage = {moving_stage}};
    convgen_problem p;
    cg_trial *t;
    cg_timing out;
    runs = 0, takes = list;
    ck_assert_int_eq(convgen_problem_parse("mb1ic1ih8oc1kh3", &p), CONVGEN_OK);
    ck_assert_int_eq(cg_trial_new(&p, false, &t), CONVGEN_OK);
    clock_begin(0);
    double before = cg_deadline_set(deadline);
    cg_status status = cg_time(t, &k, &serial, &(cg_stint){.seconds = seconds, .hopeless = hopeless}, &out);
    cg_deadline_set(before);
    ck_assert_int_eq(status, CONVGEN_OK);
    cg_trial_free(t);
    ck_assert_int_eq(out.runs, runs);
    return out;
}

static bool near(double a, double b) { return a > b * 0.999 && a < b * 1.001; }

START_TEST(exact_times)
{
    static const double quicker_later[] = {15e-6, 6e-6, 6e-6, 0}, quicker_first[] = {6e-6, 15e-6, 15e-6, 0};
    static const double noisy[] = {1e-3, 3e-4, 1e-4, 2e-4, 5e-4, 0}, steady[] = {1e-3, 0};
    cg_timing t = timing_of(quicker_later, 20e-6, INFINITY); /* no time for samples: the lesser of what warmed it */
    ck_assert_int_eq(t.runs, 3);
    ck_assert_msg(near(t.ns_min, 6e3) && t.ns_median == t.ns_min, "%g", t.ns_min);
    t = timing_of(quicker_first, 20e-6, INFINITY);
    ck_assert_msg(near(t.ns_min, 6e3), "%g", t.ns_min);
    t = timing_of(noisy, 1.95e-3, INFINITY); /* the first run only warms */
    ck_assert_int_eq(t.runs, 5);
    ck_assert_msg(near(t.ns_min, 1e5) && near(t.ns_median, 2.5e5), "%g %g", t.ns_min, t.ns_median);
    t = timing_of(steady, 1, 1000.0105); /* the thread's deadline ends it */
    ck_assert_int_eq(t.runs, 11);
}
END_TEST

/* Two runs beyond the limit are all; one alone may be noise. */
START_TEST(a_hopeless_kernel_runs_twice)
{
    static const double slow[] = {5e-3, 4e-3, 0}, once[] = {5e-3, 1e-3, 0}, quick[] = {1e-3, 0};
    hopeless = 3e-3;
    cg_timing t = timing_of(slow, 0.1, INFINITY);
    ck_assert_int_eq(t.runs, 2);
    ck_assert_msg(near(t.ns_min, 4e6), "%g", t.ns_min);
    t = timing_of(once, 0.0995, INFINITY);
    ck_assert_int_eq(t.runs, 96);
    ck_assert_msg(near(t.ns_min, 1e6), "%g", t.ns_min);
    ck_assert_int_eq(timing_of(quick, 0.0995, INFINITY).runs, 100);
    hopeless = 0;
    ck_assert_int_ge(timing_of(slow, 0.1, INFINITY).runs, 20);
}
END_TEST

START_TEST(a_known_time)
{
    cg_timing t = timing("mb1ic1ih8oc1kh3", 1e-4, 0.02, false);
    ck_assert_msg(is(t.ns_min, 1e5) && is(t.ns_median, 1e5), "%g ns, median %g", t.ns_min, t.ns_median);
    ck_assert_int_ge(t.runs, 199); /* what the time is enough for */
    ck_assert_int_le(t.runs, 201);
    ck_assert_int_eq(packs, runs);
}
END_TEST

START_TEST(short_runs_are_repeated)
{
    cg_timing t = timing("mb1ic1ih8oc1kh3", 1e-6, 0.02, false);
    ck_assert_msg(is(t.ns_min, 1e3), "%g ns", t.ns_min);
    ck_assert_int_ge(t.runs, 19000);
    ck_assert_int_le(t.runs, 20100);
}
END_TEST

/* A clock of coarse steps is looked at after enough of them only. */
START_TEST(a_run_below_the_clocks_step)
{
    clock_begin(1e-6);
    cg_timing t = timing("mb1ic1ih8oc1kh3", 1e-8, 0.02, false);
    ck_assert_msg(t.ns_min > 10 && t.ns_min < 11, "%g ns", t.ns_min);
}
END_TEST

START_TEST(what_something_else_takes_is_in_the_median_alone)
{
    slow_every = 3;
    cg_timing t = timing("mb1ic1ih8oc1kh3", 1e-4, 0.02, false);
    ck_assert_msg(is(t.ns_min, 1e5) && is(t.ns_median, 1e5), "%g ns, median %g", t.ns_min, t.ns_median);
    slow_every = 1;
    t = timing("mb1ic1ih8oc1kh3", 1e-4, 0.02, false);
    ck_assert_msg(is(t.ns_min, 1e6), "%g ns", t.ns_min);
}
END_TEST

START_TEST(a_long_run_runs_once)
{
    cg_timing t = timing("mb1ic1ih8oc1kh3", 0.02, 0.005, false);
    ck_assert_int_eq(t.runs, 1);
    ck_assert(is(t.ns_min, 2e7) && t.ns_min == t.ns_median);
    t = timing("mb1ic1ih8oc1kh3", 1e-6, 0, false);
    ck_assert_int_eq(t.runs, 1);
}
END_TEST

/* It warms code and data. */
START_TEST(the_first_run_is_no_sample)
{
    first_more = 5e-3;
    cg_timing t = timing("mb1ic1ih8oc1kh3", 1e-4, 0.02, false);
    ck_assert_msg(is(t.ns_min, 1e5) && is(t.ns_median, 1e5), "%g ns, median %g", t.ns_min, t.ns_median);
}
END_TEST

/* Where warming used up the time, of what was run the least. */
START_TEST(without_a_sample_the_lesser_counts)
{
    first_more = 1e-3;
    cg_timing t = timing("mb1ic1ih8oc1kh3", 1e-6, 1.05e-3, false);
    ck_assert_msg(is(t.ns_min, 1e3) && t.ns_min == t.ns_median, "%g ns", t.ns_min);
}
END_TEST

START_TEST(fixed_weights_are_packed_before)
{
    timing("--weights=fixed mb1ic1ih8oc1kh3", 1e-5, 0.005, false);
    ck_assert_int_eq(packs, 1);
}
END_TEST

/* Each is a sample. */
START_TEST(cold_runs)
{
    cg_timing t = timing("mb1ic1ih8oc1kh3", 1e-5, 1e-4, true);
    ck_assert_msg(is(t.ns_min, 1e4), "%g ns", t.ns_min);
    ck_assert_int_ge(t.runs, 10);
    ck_assert_int_le(t.runs, 12);
    slow_every = 2;
    t = timing("mb1ic1ih8oc1kh3", 1e-6, 1e-4, true); /* short ones too: else all but the first of a sample were warm */
    ck_assert_msg(is(t.ns_min, 1e3), "%g ns", t.ns_min);
}
END_TEST

/* Where memory lies in its pages decides what displaces what: so a race, in whatever process, and a bench have it alike. */
START_TEST(all_that_is_timed_begins_at_a_page)
{
    cg_kernel k = {.source = {.packed = 4160, .shared = 192, .stage_count = 1, .chains = 1, .stage = {{.tasks = 1, .scratch = 64}}}};
    void *between[8]; /* what other allocations leave free moves those that follow */
    for (int i = 0; i < 8; i++) {
        convgen_problem p;
        cg_trial *t;
        cg_operands o;
        cg_room room;
        ck_assert_ptr_nonnull(between[i] = malloc((size_t)i * 1000 + 24));
        ck_assert_int_eq(convgen_problem_parse("--weights=fixed --epilogue=residual mb1ic3ih9oc5kh3ph1", &p), CONVGEN_OK);
        ck_assert_int_eq(cg_trial_new(&p, i % 2, &t), CONVGEN_OK);
        ck_assert_int_eq(cg_trial_data(t, &o), CONVGEN_OK);
        ck_assert_int_eq(cg_trial_room(t, &k, &serial, &room), CONVGEN_OK);
        const void *const all[] = {o.src, o.weights, o.bias, o.dst, o.residual, room.workspace, room.packed};
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++) {
            ck_assert_ptr_nonnull(all[j]);
            ck_assert_msg((uintptr_t)all[j] % (uintptr_t)sysconf(_SC_PAGESIZE) == 0, "memory %zu of trial %d begins at %p", j, i, all[j]);
        }
        cg_trial_free(t);
    }
    for (int i = 0; i < 8; i++) free(between[i]);
}
END_TEST

START_TEST(how_long_is_enough)
{
    ck_assert_double_eq(cg_time_enough(1e-6, 2e-3), 2e-3);
    ck_assert_double_eq(cg_time_enough(0.01, 2e-3), 0.04); /* several runs: the first only warms */
    ck_assert_double_eq(cg_time_enough(1, 2e-3), 2e-3);
}
END_TEST

START_TEST(memory)
{
    cg_kernel k = {.source = {.stage_count = 1, .chains = 1, .stage = {{.tasks = 1}}}, .stage = {timed_stage}};
    cg_status status = CONVGEN_NO_MEMORY;
    each = 1e-5;
    for (long n = 1; status; n++) {
        convgen_problem p;
        cg_trial *t;
        cg_timing out;
        ck_assert_int_lt(n, 100);
        ck_assert_int_eq(convgen_problem_parse("mb1ic1ih8oc1kh3", &p), CONVGEN_OK);
        ck_assert_int_eq(cg_trial_new(&p, false, &t), CONVGEN_OK);
        cg_fail_allocation = n;
        status = cg_time(t, &k, &serial, &(cg_stint){.seconds = 1e-4, .cold = true}, &out);
        ck_assert_int_eq(cg_fail_allocation == 0, status != CONVGEN_OK);
        cg_fail_allocation = 0;
        cg_trial_free(t);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("timer");
    TCase *t = test_case(s, "timer", 60);
    tcase_add_checked_fixture(t, begin, clock_end);
    tcase_add_test(t, exact_times);
    tcase_add_test(t, a_known_time);
    tcase_add_test(t, a_hopeless_kernel_runs_twice);
    tcase_add_test(t, short_runs_are_repeated);
    tcase_add_test(t, a_run_below_the_clocks_step);
    tcase_add_test(t, what_something_else_takes_is_in_the_median_alone);
    tcase_add_test(t, a_long_run_runs_once);
    tcase_add_test(t, the_first_run_is_no_sample);
    tcase_add_test(t, without_a_sample_the_lesser_counts);
    tcase_add_test(t, fixed_weights_are_packed_before);
    tcase_add_test(t, cold_runs);
    tcase_add_test(t, all_that_is_timed_begins_at_a_page);
    tcase_add_test(t, how_long_is_enough);
    tcase_add_test(t, memory);
    return test_run(s);
}

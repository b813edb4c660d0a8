/* test_timer.c: times of kernels that take a known time, by a clock that only they move. */
#include "fake_clock.h"
#include "suite.h"
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
    ck_assert_int_eq(cg_time(t, &k, &serial, seconds, cold, &out), CONVGEN_OK);
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
        status = cg_time(t, &k, &serial, 1e-4, true, &out);
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
    tcase_add_checked_fixture(t, begin, NULL);
    tcase_add_test(t, a_known_time);
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

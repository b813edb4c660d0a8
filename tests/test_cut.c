/* test_cut.c: ESTIMATE of problems that do not fit into the memory: checked on smaller ones with the same schedule. */
#define _GNU_SOURCE
#include "random_problems.h"
#include "suite.h"
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
enum { MOST_MB = 800 }; /* freed memory is kept aside */
#else
enum { MOST_MB = 200 };
#endif

static const char *const large[] = {
    "mb512ic64ih224oc64kh3ph1", /* 13 GB */
    "--accuracy=8x mb512ic64ih224oc64kh3ph1",
    "--dir=BWD_D mb512ic64ih224oc64kh3ph1",
    "--dir=BWD_WB --accuracy=2x mb512ic64ih224oc64kh3ph1",
    "--tag=nchw mb512ic64ih224oc64kh3ph1",
    "--dir=BWD_W --tag=nchw mb512ic64ih224oc64kh3ph1",
    "--dir=FWD_B mb1ic1iw1000000000oc1kw3pw1",
    "mb1ic40000ih1oc40000kh1",
    "--weights=fixed --dir=BWD_D mb1ic40000ih1oc40000kh1",
    "g512mb64ic512ih200oc512kh3ph1",
    "--epilogue=residual+relu mb512ic64ih224oc64kh3ph1",
    "mb64ic512ih112oc512kh3ph1", /* channels are cut, too */
};
enum { LARGE = sizeof large / sizeof *large };

/* In a child, whose largest memory tells: 0, or the status. */
static int plan_in_child(const char *text, long *most_kb, int least_refused, const char *not_family)
{
    struct rusage used;
    int status;
    pid_t child = fork();
    if (!child) {
        convgen_context *c;
        convgen_plan *plan;
        convgen_problem p;
        convgen_options o = {.struct_size = sizeof o, .store = "/tmp/convgen-test-cut-none"};
        int failed = convgen_problem_parse(text, &p) || convgen_open(&o, &c) || convgen_plan_create(c, &p, CONVGEN_ESTIMATE, 0, &plan);
        if (failed) {
            fprintf(stderr, "%s: %s\n", text, convgen_error(NULL));
            _exit(1);
        }
        const convgen_info *info = convgen_plan_info(plan);
        if (info->refused < least_refused || (not_family && !strcmp(info->family, not_family))) {
            fprintf(stderr, "%s: took %s, %d refused\n", text, info->schedule, info->refused);
            _exit(2);
        }
        convgen_plan_free(plan);
        convgen_close(c);
        _exit(0);
    }
    ck_assert_int_eq(wait4(child, &status, 0, &used), child);
    *most_kb = used.ru_maxrss;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(a_plan_needs_little_memory)
{
    long most_kb;
    ck_assert_msg(plan_in_child(large[_i], &most_kb, 0, NULL) == 0, "%s has no plan", large[_i]);
    ck_assert_msg(most_kb < MOST_MB * 1024L, "%s: %ld MB", large[_i], most_kb >> 10);
}
END_TEST

/* A generator whose products are subtracted: what is wrong is refused on the smaller problem too. */
START_TEST(a_wrong_kernel_is_refused)
{
    char folder[] = "/tmp/convgen-test-XXXXXX", command[900];
    long most_kb;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(command, sizeof command,
             "cp -r %s/gen %s/templates %s && sed -i 's/k:fma(/k:fnma(/' %s/gen/rewrite/winograd/*.lua && "
             "sed -i 's/t\\.k:fma(/;(t.k.lanes > 1 and t.k.fnma or t.k.fma)(t.k, /' %s/gen/tile.lua", /* plain's have one lane */
             CONVGEN_SOURCE_DIR, CONVGEN_SOURCE_DIR, folder, folder, folder);
    ck_assert_int_eq(system(command), 0);
    setenv("CONVGEN_GEN_DIR", folder, 1);
    int status = plan_in_child(large[_i], &most_kb, 1, "direct");
    unsetenv("CONVGEN_GEN_DIR");
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
    ck_assert_msg(status == 0, "%s", large[_i]);
    ck_assert_msg(most_kb < MOST_MB * 1024L, "%s: %ld MB", large[_i], most_kb >> 10);
}
END_TEST

/* Fewer channels make a transform's error larger, which is no reason to refuse it. */
START_TEST(nothing_is_refused_for_fewer_channels)
{
    convgen_context *c;
    convgen_plan *plan;
    convgen_problem p;
    convgen_options o = {.struct_size = sizeof o, .store = "/tmp/convgen-test-cut-none"};
    ck_assert_int_eq(convgen_problem_parse("mb64ic512ih112oc512kh3ph1", &p), CONVGEN_OK);
    ck_assert_int_eq(convgen_open(&o, &c), CONVGEN_OK);
    ck_assert_msg(!convgen_plan_create(c, &p, CONVGEN_ESTIMATE, 0, &plan), "%s", convgen_error(NULL));
    const convgen_info *info = convgen_plan_info(plan);
    ck_assert_msg(info->refused == 0, "%d refused before %s", info->refused, info->schedule);
    convgen_plan_free(plan);
    convgen_close(c);
}
END_TEST

static double operand_bytes(const convgen_problem *p)
{
    cg_sizes s = cg_problem_sizes(p);
    return (double)(s.src + s.weights + s.dst) * (double)s.element;
}

/* What a kernel is made for stays: taps, strides, dilations, pads, also those behind; what is cut is legal and small. */
START_TEST(what_is_cut)
{
    uint64_t seed = test_seed(), state = seed;
    for (int i = 0; i < 1000;) {
        convgen_problem p = random_problem(&state, 60e3), wide, cut;
        random_slices(&state, &p);
        wide = cg_dual(&p);
        for (int axis = 0; axis < 3; axis++) {
            if (wide.in[axis] == 1 || random_in(&state, 0, 2) == 0) continue;
            int64_t more = random_in(&state, 1, 3000);
            wide.out[axis] += more, wide.in[axis] += more * wide.stride[axis];
        }
        p = cg_dual_of(&wide, p.op);
        p.batch *= random_in(&state, 1, 2000);
        if (cg_problem_normalise(&p) || !cg_cut_needed(&p)) continue;
        i++;
        char text[CG_TEXT], small[CG_TEXT];
        convgen_problem_format(&p, text, sizeof text);
        for (int number = 0; number < 3 && cg_cut_down(&p, number, &cut); number++) {
            ck_assert_int_eq(convgen_problem_format(&cut, small, sizeof small), CONVGEN_OK);
            ck_assert_msg(operand_bytes(&cut) <= 17e6, "seed %llu: %s is cut to %s, %.0f MB", (unsigned long long)seed, text, small,
                          operand_bytes(&cut) / 1e6);
            const convgen_problem a = cg_dual(&p), b = cg_dual(&cut);
            for (int axis = 0; axis < 3; axis++) {
                int64_t before = (a.out[axis] - 1) * p.stride[axis] - a.in[axis], after = (b.out[axis] - 1) * p.stride[axis] - b.in[axis];
                bool same = p.kernel[axis] == cut.kernel[axis] && p.stride[axis] == cut.stride[axis] && p.dilation[axis] == cut.dilation[axis] &&
                            p.pad[axis] == cut.pad[axis];
                ck_assert_msg(same && (before == after || b.in[axis] == 1), "seed %llu: %s is cut to %s", (unsigned long long)seed, text, small);
            }
        }
        ck_assert_msg(cg_cut_down(&p, 0, &cut), "seed %llu: %s is not cut", (unsigned long long)seed, text);
    }
}
END_TEST

/* Tiles of 2 to 6 outputs of each of a dilation's grids that cover the whole cover the cut: or it would not have the schedule. */
START_TEST(tiles_stay_whole)
{
    for (int dilation = 0; dilation < 5; dilation++) {
        char text[CG_TEXT];
        convgen_problem p, cut;
        snprintf(text, sizeof text, "mb3ic16ih4003iw3989oc16kh3ph1dh%dkw3pw1dw%d", dilation, dilation);
        ck_assert(!convgen_problem_parse(text, &p) && !cg_problem_normalise(&p) && cg_cut_down(&p, 0, &cut));
        for (int axis = 1; axis < 3; axis++) {
            int64_t gone = p.out[axis] - cut.out[axis];
            ck_assert_msg(gone > 0 && gone % (60 * p.dilation[axis]) == 0, "%s: %lld shorter", text, (long long)gone);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cut");
    TCase *c = test_case(suite, "cut", 600);
    tcase_add_test(test_case(suite, "what", 600), what_is_cut);
    tcase_add_test(test_case(suite, "tiles", 600), tiles_stay_whole);
    tcase_add_loop_test(c, a_plan_needs_little_memory, 0, LARGE);
    tcase_add_loop_test(c, a_wrong_kernel_is_refused, 0, 2);
    tcase_add_test(c, nothing_is_refused_for_fewer_channels);
    return test_run(suite);
}

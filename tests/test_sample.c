/* test_sample.c: what ESTIMATE checks: real kernels of problems that are too large to run whole, right ones and such that are wrong in one place.
 *
 * Work is counted: tasks, multiply-adds, bytes. A wrong kernel is a right one whose compute stage then damages what it wrote. */
#include "plan.h"
#include "suite.h"
#include <math.h>
#include <string.h>

enum { POISON = 0x7FF5A5A5 };
static const cg_parallel serial = {.threads = 1};

typedef enum { NOTHING, FIRST_OUTPUT, LAST_OUTPUT, FIRST_ROW, LAST_ROW, LAST_COLUMN, LAST_CHANNELS, LAST_NOT_WRITTEN, FAULTS } fault;

static struct {
    cg_stage_fn *right;
    convgen_problem p;
    fault is;
} kernel;

/* ---- a kernel that is wrong in one place -------------------------------------------------------------------------------------------- */

static bool is_place(const int64_t at[5], int64_t element, int64_t all)
{
    const convgen_problem *p = &kernel.p;
    bool weights = p->pass == CONVGEN_BACKWARD_WEIGHTS;
    const int64_t *size = weights ? p->kernel : p->pass == CONVGEN_FORWARD ? p->out : p->in;
    int64_t channels = p->pass == CONVGEN_BACKWARD_DATA ? p->in_channels : p->out_channels;
    switch (kernel.is) {
    case FIRST_OUTPUT: return element == 0;
    case LAST_OUTPUT:
    case LAST_NOT_WRITTEN: return element == all - 1;
    case FIRST_ROW: return at[2] == 0;
    case LAST_ROW: return at[2] == size[1] - 1;
    case LAST_COLUMN: return at[3] == size[2] - 1;
    case LAST_CHANNELS: return at[4] >= channels - 3;
    default: return false;
    }
}

static void wrong(const cg_call *call, void *scratch, long first, long last)
{
    void *const of_pass[] = {call->dst, call->src, call->weights};
    uint32_t *y = of_pass[kernel.p.pass], never = POISON, large;
    int64_t all = cg_output_elements(&kernel.p, false), at[5];
    kernel.right(call, scratch, first, last);
    for (int64_t i = 0; i < all; i++) {
        cg_output_place(&kernel.p, false, i, at);
        if (y[i] == never || y[i] == 0 || !is_place(at, i, all)) continue; /* what is not written here is 0 */
        float value;
        memcpy(&value, &y[i], 4);
        value = value * 2 + 1;
        memcpy(&large, &value, 4);
        y[i] = kernel.is == LAST_NOT_WRITTEN ? never : large;
    }
}

/* ---- */

static convgen_context *context;

static void begin(void)
{
    convgen_options o = {.struct_size = sizeof o, .store = "/dev/null"};
    ck_assert_int_eq(convgen_open(&o, &context), CONVGEN_OK);
}

static void end(void) { convgen_close(context); }

/* The first by name: which one is the fastest depends on the machine. */
static int first_of(const cg_schedule_list *list, const char *family)
{
    int first = -1;
    for (int i = 0; i < list->count; i++) {
        const cg_schedule *s = &list->at[i];
        if (!s->why[0] && !strcmp(s->family, family) && (first < 0 || strcmp(s->name, list->at[first].name) < 0)) first = i;
    }
    return first;
}

static cg_kernel kernel_of(const char *text, const char *family)
{
    cg_schedule_list list;
    cg_kernel k = {0};
    char why[CG_WHY];
    ck_assert_msg(!convgen_problem_parse(text, &kernel.p) && !cg_problem_normalise(&kernel.p), "%s: %s", text, convgen_error(NULL));
    cg_request r = {.problem = &kernel.p, .machine = &context->machine, .target = context->target.name,
                    .form = cg_form(&context->target, "tcc"), .threads = 1};
    ck_assert_int_eq(cg_script_schedules(context->script, &r, &list), CONVGEN_OK);
    int i = first_of(&list, family);
    ck_assert_msg(i >= 0 && !cg_kernel_new(context->script, &r, &(cg_making){list.at[i].name, "tcc", context->target.flags}, &k, why), "%s: no %s", text, family);
    cg_free(list.at);
    return k;
}

static cg_verdict verdict_of(const cg_kernel *k)
{
    cg_trial *t;
    cg_verdict v;
    ck_assert_int_eq(cg_trial_new(&kernel.p, false, &t), CONVGEN_OK);
    ck_assert_int_eq(cg_verify(t, k, &serial, CG_VERIFY_SAMPLE, &v), CONVGEN_OK);
    cg_trial_free(t);
    return v;
}

/* Each has more operands or more multiply-adds than a sample runs. */
static const struct {
    const char *text, *family;
} large[] = {
    {"mb1ic64ih56oc70kh3ph1", "direct"},
    {"mb2ic128ih60oc200kh1", "direct"},
    {"mb1ic100ih40oc130kh3sh2ph1", "direct"},
    {"--dir=BWD_D mb1ic64ih56oc70kh3ph1", "direct"},
    {"--dir=BWD_W mb4ic30ih28oc90kh3ph1", "direct"},
    {"--tag=nchw mb1ic64ih57oc70kh3ph1", "planar"},
    {"--dir=BWD_W --tag=nchw mb4ic30ih28oc90kh3ph1", "planar"},
    {"g100mb8ic100ih60oc100kh3ph1", "depthwise"},
    {"--accuracy=8x mb1ic64ih56oc70kh3ph1", "winograd"},
    {"--accuracy=8x --dir=BWD_D mb1ic64ih56oc70kh3ph1", "winograd"},
};
enum { LARGE = sizeof large / sizeof *large };

/* The multiply-adds that the tasks of a sample may have: more in machine code, where making another kernel takes longer. */
static double affordable(const cg_kernel *k)
{
    double made = k->machine ? 1e4 * (double)k->source.length : 0;
    return made > 2e7 ? made : 2e7;
}

START_TEST(right_kernels_pass_in_bounds)
{
    cg_kernel k = kernel_of(large[_i].text, large[_i].family);
    cg_verdict v = verdict_of(&k);
    ck_assert_msg(v.ok, "%s: %s", large[_i].text, v.why);
    ck_assert(v.tasks >= 1 && v.tasks <= CG_ENDS);
    ck_assert_msg(v.macs <= affordable(&k) || v.tasks == 1, "%s: %.3g multiply-adds in %ld tasks", large[_i].text, v.macs, v.tasks);
    ck_assert_msg(v.filled <= 4 << 20, "%s: %zu bytes are filled", large[_i].text, v.filled);
    cg_kernel_free(&k);
}
END_TEST

static int computes(const cg_kernel *k)
{
    for (int i = 0; i < k->source.stage_count; i++)
        if (!strcmp(k->source.stage[i].name, "compute")) return i;
    return -1;
}

START_TEST(wrong_ones_are_refused)
{
    cg_kernel k = kernel_of(large[_i].text, large[_i].family);
    kernel.right = k.stage[computes(&k)];
    k.stage[computes(&k)] = wrong;
    bool ends = cg_sample_excess(&kernel.p, &k) <= 1, alone = k.source.stage[computes(&k)].tasks == 1; /* else some of the tasks are checked */
    for (kernel.is = FIRST_OUTPUT; kernel.is < FAULTS; kernel.is++) {
        cg_verdict v = verdict_of(&k);
        bool missed = v.ok && (ends || (alone && kernel.is == LAST_OUTPUT));
        ck_assert_msg(!missed, "%s of %s: fault %d passes, %ld tasks", large[_i].text, large[_i].family, kernel.is, v.tasks);
    }
    cg_kernel_free(&k);
}
END_TEST

/* A task that is too large is checked on shorter sums, within the bounds. */
static const char *const heavy[] = {
    "mb1ic1024ih56oc512kh3ph1",
    "--dir=BWD_D mb1ic512ih56oc1024kh3ph1",
    "--dir=BWD_W mb1ic512ih60oc512kh1",
    "--dir=BWD_W mb8ic256ih56oc256kh3ph1",
    "--tag=nchw mb1ic1024ih56oc512kh3ph1",
    "--accuracy=proven g2mb1ic1024ih56oc512kh3ph1",
};

START_TEST(large_tasks_are_cut)
{
    cg_judge judge;
    convgen_problem p;
    cg_schedule_list list;
    cg_result r;
    ck_assert(!convgen_problem_parse(heavy[_i], &p) && !cg_problem_normalise(&p));
    cg_request request = {.problem = &p, .machine = &context->machine, .target = context->target.name,
                          .form = cg_form(&context->target, "tcc"), .threads = 1, .steady = true};
    ck_assert_int_eq(cg_script_schedules(context->script, &request, &list), CONVGEN_OK);
    ck_assert_int_eq(cg_judge_local(context, false, &judge), CONVGEN_OK);
    cg_job job = {.problem = p, .compiler = "tcc", .threads = 1, .level = CG_VERIFY_SAMPLE};
    strcpy(job.schedule, list.at[0].name), strcpy(job.target, request.target), strcpy(job.form, request.form);
    ck_assert_int_eq(judge.verify(judge.self, &job, &r), CONVGEN_OK);
    ck_assert_msg(r.verdict.ok, "%s of %s: %s", job.schedule, heavy[_i], r.verdict.why);
    cg_kernel whole;
    ck_assert(!cg_kernel_new(context->script, &request, &(cg_making){job.schedule, "tcc", context->target.flags}, &whole, r.verdict.why));
    ck_assert_msg(r.verdict.macs <= 3 * affordable(&whole), "%s of %s: %.3g multiply-adds in %ld tasks on %s", job.schedule, heavy[_i],
                  r.verdict.macs, r.verdict.tasks, r.verdict.on);
    cg_kernel_free(&whole);
    judge.forget(judge.self);
    cg_free(judge.self);
    cg_free(list.at);
}
END_TEST

/* Results whose first and last element are not in the first and last task of any part: a wrong refusal here is a slow plan. */
static const char *const scattered[] = {
    "--dir=BWD_D --dt=f32 mb1ic3ih384oc52oh27kh14sh14",
    "--dir=BWD_D --dt=f32 --tag=nchw mb1ic3ih384oc52oh27kh14sh14",
    "--dir=BWD_D --dt=f32 mb2ic5ih233oc19kh9sh7ph2",
    "--dir=BWD_D --dt=f32 g3mb1ic63ih233oc39kh9sh7ph2",
    "--dir=BWD_D --dt=f32 mb1ic2iw80000oc9kw64sw32pw16",
    "--dir=BWD_D --dt=f32 --tag=nchw mb1ic50ih150oc70kh9sh7ph2",
    "--op=deconv --dir=FWD_B --dt=f32 --epilogue=residual+relu mb1ic53ih27oc3kh14sh14",
    "--dir=FWD_B --dt=f32 mb1ic9iw30000oc21kw301pw150",
    "--dir=FWD_B --dt=f32 --tag=nchw mb1ic9iw30000oc21kw301pw150",
};

START_TEST(ends_are_met_wherever_they_are)
{
    cg_judge judge;
    convgen_problem p;
    cg_schedule_list list;
    cg_result r;
    int looked_at = 0;
    ck_assert(!convgen_problem_parse(scattered[_i], &p) && !cg_problem_normalise(&p));
    cg_request request = {.problem = &p, .machine = &context->machine, .target = context->target.name,
                          .form = cg_form(&context->target, "tcc"), .threads = 1, .steady = true};
    ck_assert_int_eq(cg_script_schedules(context->script, &request, &list), CONVGEN_OK);
    ck_assert_int_eq(cg_judge_local(context, false, &judge), CONVGEN_OK);
    for (int i = 0; i < list.count && looked_at < 12; i++) {
        cg_job job = {.problem = p, .compiler = "tcc", .threads = 1, .level = CG_VERIFY_SAMPLE};
        if (list.at[i].why[0]) continue;
        strcpy(job.schedule, list.at[i].name), strcpy(job.target, request.target), strcpy(job.form, request.form);
        ck_assert_int_eq(judge.verify(judge.self, &job, &r), CONVGEN_OK);
        ck_assert_msg(r.verdict.ok, "%s of %s: %s", job.schedule, scattered[_i], r.verdict.why);
        looked_at++;
    }
    ck_assert_int_gt(looked_at, 1);
    judge.forget(judge.self);
    cg_free(judge.self);
    cg_free(list.at);
}
END_TEST

/* The same taps, strides and rest of a vector; fewer terms. */
START_TEST(sums_are_cut)
{
    for (int i = 0; i < (int)(sizeof heavy / sizeof *heavy); i++) {
        convgen_problem p, cut;
        ck_assert(!convgen_problem_parse(heavy[i], &p) && !cg_problem_normalise(&p));
        for (int number = 0; cg_cut_sums(&p, 8, number, &cut); number++) {
            ck_assert(cg_problem_sizes(&cut).macs < cg_problem_sizes(&p).macs / (number ? 1 : 4));
            ck_assert(!memcmp(p.kernel, cut.kernel, sizeof p.kernel) && !memcmp(p.stride, cut.stride, sizeof p.stride) && p.groups == cut.groups);
            ck_assert_int_eq(p.in_channels / p.groups % 16, cut.in_channels / cut.groups % 16);
            ck_assert_int_eq(p.out_channels / p.groups % 16, cut.out_channels / cut.groups % 16);
            ck_assert_int_lt(number, 16);
        }
    }
    convgen_problem depthwise, cut;
    ck_assert(!convgen_problem_parse("g512mb1ic512ih200oc512kh3ph1", &depthwise) && !cg_cut_sums(&depthwise, 8, 0, &cut));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sample");
    TCase *c = test_case(suite, "sample", 30);
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_loop_test(c, right_kernels_pass_in_bounds, 0, LARGE);
    tcase_add_loop_test(c, wrong_ones_are_refused, 0, LARGE);
    tcase_add_loop_test(c, large_tasks_are_cut, 0, (int)(sizeof heavy / sizeof *heavy));
    tcase_add_loop_test(c, ends_are_met_wherever_they_are, 0, (int)(sizeof scattered / sizeof *scattered));
    tcase_add_test(c, sums_are_cut);
    return test_run(suite);
}

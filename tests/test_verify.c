/* test_verify.c: kernels written by hand, right ones and broken ones; each broken one must be refused for its reason. */
#include "fake_clock.h"
#include "suite.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the kernel under test does wrong. */
typedef enum {
    NOTHING, OFF_BY_ONE, NOT_WRITTEN, WRITES_BEYOND, WRITES_BEFORE, WRITES_INPUT, READS_SCRATCH, READS_BEYOND, SPREADS_NAN,
    OTHER_ORDER, NO_FMA, SKIPS_NAN, LAST_ONLY, OVERRUNS_WORKSPACE, LOOP, NOISE, SKIPS_WEIGHT_NAN, ONE_NAN_LESS, ONE_INFINITY_LESS,
    READS_WHAT_PACKING_LEFT, READS_BEFORE, READS_BEFORE_PACKED, READS_BEYOND_PACKED, READS_BEFORE_WORKSPACE, READS_BEYOND_WORKSPACE,
    BIAS_IN_ONE_CHAIN
} fault;
static fault broken;
static convgen_problem now;
static int now_chains = 1;

static const cg_parallel serial = {.threads = 1};

static convgen_problem problem(const char *text)
{
    convgen_problem p;
    ck_assert_msg(convgen_problem_parse(text, &p) == CONVGEN_OK, "%s: %s", text, cg_error_text());
    return p;
}

/* ---- a forward kernel, f32, channels last, one group, by the formula ------------------------------------------------ */

enum { PACKED_ROOM = 512, SCRATCH_ROOM = 256 }; /* less than a page: only one end of each can touch a guard */

static void pack_stage(const cg_call *call, void *scratch, long first, long last)
{
    (void)first, (void)last;
    if (broken == READS_WHAT_PACKING_LEFT) *(float *)scratch = 1;
    memcpy(call->packed, call->weights, (size_t)(cg_problem_sizes(&now).weights) * 4);
}

static float step(float a, float b, float sum)
{
    volatile float product = a * b;
    return broken == NO_FMA ? sum + product : fmaf(a, b, sum);
}

static float one_output(const cg_call *call, long n, long y, long x, long c)
{
    long ic = now.in_channels, oc = now.out_channels, kh = now.kernel[1], kw = now.kernel[2];
    const float *src = call->src, *w = call->packed;
    float sum = 0;
    for (long t = 0; t < kh * kw; t++) {
        long k = broken == OTHER_ORDER ? kh * kw - 1 - t : t, h = y + k / kw - now.pad[1], v = x + k % kw - now.pad[2];
        if (h < 0 || v < 0 || h >= now.in[1] || v >= now.in[2]) continue;
        for (long i = 0; i < ic; i++) {
            float a = src[((n * now.in[1] + h) * now.in[2] + v) * ic + i];
            float b = w[(k * ic + i) * oc + c];
            sum = step(broken == SKIPS_NAN && isnan(a) ? 0 : a, broken == SKIPS_WEIGHT_NAN && isnan(b) ? 0 : b, sum);
        }
    }
    return now.bias ? sum + ((const float *)call->bias)[c] : sum;
}

/* The first output of such a kind becomes a number. */
static void hide(float *y, long count, bool nan)
{
    for (long i = 0; i < count; i++)
        if (nan ? isnan(y[i]) : isinf(y[i])) {
            y[i] = 0;
            return;
        }
}

static void damage(const cg_call *call, void *scratch, float *y, long count)
{
    cg_sizes s = cg_problem_sizes(&now);
    switch (broken) {
    case OFF_BY_ONE:
        if (isfinite(y[count / 2])) y[count / 2] = nextafterf(y[count / 2], 1e9f);
        break;
    case LAST_ONLY: y[count - 1] += 1; break;
    case WRITES_BEYOND: y[count] = 1; break;
    case WRITES_BEFORE: y[-1] = 1; break;
    case WRITES_INPUT: ((float *)call->src)[s.src / 2] = 0; break;
    case READS_WHAT_PACKING_LEFT:
    case READS_SCRATCH: y[3] += 0 * *(float *)scratch; break;
    case READS_BEFORE: y[3] += 0 * ((float *)call->src)[-1]; break;
    case READS_BEYOND: y[3] += 0 * ((float *)call->src)[s.src]; break;
    case READS_BEFORE_PACKED: y[3] += 0 * ((float *)call->packed)[-1]; break;
    case READS_BEYOND_PACKED: y[3] += 0 * ((float *)call->packed)[PACKED_ROOM / 4]; break;
    case READS_BEFORE_WORKSPACE: y[3] += 0 * *(float *)((char *)call->shared - PACKED_ROOM - 4); break;
    case READS_BEYOND_WORKSPACE: y[3] += 0 * *(float *)((char *)scratch + SCRATCH_ROOM); break;
    case ONE_NAN_LESS: hide(y, count, true); break;
    case ONE_INFINITY_LESS: hide(y, count, false); break;
    case SPREADS_NAN:
        for (long i = 0; i < s.src; i++)
            if (isnan(((float *)call->src)[i])) y[0] = y[count - 1] = NAN;
        break;
    case OVERRUNS_WORKSPACE: *(float *)((char *)scratch + SCRATCH_ROOM) = 1; break;
    default: break;
    }
}

static void forward_stage(const cg_call *call, void *scratch, long first, long last)
{
    long pixels = now.out[1] * now.out[2], oc = now.out_channels;
    float *dst = call->dst;
    for (long n = first; n < last; n++)
        for (long e = 0; e < pixels * oc; e++)
            if (broken != NOT_WRITTEN || n != 1 || e != 5)
                dst[n * pixels * oc + e] = one_output(call, n, e / oc / now.out[2], e / oc % now.out[2], e % oc);
    if (last == now.batch) damage(call, scratch, dst, now.batch * pixels * oc);
}

/* ---- any problem: the reference as a kernel --------------------------------------------------------------------------- */

typedef enum { ALL_DATA, POSITIVE_DATA, LARGE_DATA } noise_on;
static struct {
    double size;
    int channel; /* -1: all */
    noise_on on;
    uint64_t state;
} noise;
static long spread = 1; /* a NaN takes its spread x spread outputs with it */

static bool noisy(const cg_call *call)
{
    const float *x = now.pass == CONVGEN_BACKWARD_DATA ? call->dst : call->src;
    cg_sizes s = cg_problem_sizes(&now);
    int64_t count = now.pass == CONVGEN_BACKWARD_DATA ? s.dst : s.src;
    float low = 0, high = 0;
    for (int64_t i = 0; i < count; i++) low = fminf(low, x[i]), high = fmaxf(high, x[i]);
    return noise.on == ALL_DATA || (noise.on == POSITIVE_DATA ? low == 0 : high > 1000);
}

/* Errors relative to each output, so that the normwise error is known. */
static void add_noise(const cg_call *call, float *y)
{
    int64_t place[5];
    if (!noisy(call)) return;
    for (int64_t i = 0; i < cg_output_elements(&now, false); i++) {
        cg_output_place(&now, false, i, place);
        float error = y[i] * (float)(noise.size * cg_uniform(&noise.state));
        if (noise.channel < 0 || place[4] == noise.channel) y[i] += error;
    }
}

static void spread_nans(float *y)
{
    long oh = now.out[1], ow = now.out[2], oc = now.out_channels, count = now.batch * oh * ow * oc;
    for (long i = 0; i < count; i++) {
        long c = i % oc, w = i / oc % ow, n = i / oc / ow / oh, h = i / oc / ow % oh;
        if (isfinite(y[i])) continue;
        for (long v = h / spread * spread; v < oh && v <= h / spread * spread + spread - 1; v++)
            for (long u = w / spread * spread; u < ow && u <= w / spread * spread + spread - 1; u++)
                y[((n * oh + v) * ow + u) * oc + c] = NAN;
    }
}

static void recompute_without_nan(cg_operands *o, void *out)
{
    int64_t count = cg_problem_sizes(&now).weights;
    float without[count];
    for (int64_t i = 0; i < count; i++) without[i] = isnan(((float *)o->weights)[i]) ? 0 : ((float *)o->weights)[i];
    o->weights = without;
    cg_reference(&now, o, CG_CANONICAL, now_chains, (cg_outputs){false, 0, cg_output_elements(&now, false)}, out);
}

static void reference_stage(const cg_call *call, void *scratch, long first, long last)
{
    cg_operands o = {.at = {call->src, call->weights, call->bias, call->dst, call->residual}};
    void *out[3] = {call->dst, call->src, call->weights};
    (void)scratch, (void)first, (void)last;
    cg_order order = broken == NO_FMA || broken == LOOP ? CG_LOOP : broken == NOISE ? CG_EXACT : CG_CANONICAL;
    cg_reference(&now, &o, order, now_chains, (cg_outputs){false, 0, cg_output_elements(&now, false)}, out[now.pass]);
    if (broken == NOISE) add_noise(call, out[now.pass]);
    if (broken == SKIPS_WEIGHT_NAN) recompute_without_nan(&o, out[now.pass]);
    if (spread > 1) spread_nans(call->dst);
    if (now.pass == CONVGEN_BACKWARD_WEIGHTS && now.bias) {
        cg_reference(&now, &o, broken == NO_FMA || broken == BIAS_IN_ONE_CHAIN ? CG_LOOP : CG_CANONICAL, 1, (cg_outputs){true, 0, now.out_channels}, call->bias);
        if (broken == LAST_ONLY) ((float *)call->bias)[now.out_channels - 1] += 1;
    }
}

static cg_kernel forward_kernel(void)
{
    return (cg_kernel){.source = {.packed = PACKED_ROOM, .stage_count = 2, .chains = 1,
                                  .stage = {{.name = "pack", .tasks = 1, .scratch = SCRATCH_ROOM, .pack = true},
                                            {.name = "compute", .tasks = now.batch, .scratch = SCRATCH_ROOM}}},
                       .stage = {pack_stage, forward_stage}};
}

static cg_kernel reference_kernel(void)
{
    return (cg_kernel){.source = {.stage_count = 1, .chains = now_chains, .stage = {{.name = "compute", .tasks = 1}}},
                       .stage = {reference_stage}};
}

static cg_kernel transforming(cg_kernel k)
{
    k.source.chains = 0;
    for (int i = 0; i < 3; i++) k.source.tile[i] = 1;
    return k;
}

static const char forward_text[] = "--dir=FWD_B --tag=nhwc mb2ic3ih6iw5oc4kh3kw3ph1pw1";

/* A stage of many tasks, of a second each by a clock that they move; the first one may have memory to wait for. */
static long tasks_run, wholes;
static double first_task = 1;

static void slow_stage(const cg_call *call, void *scratch, long first, long last)
{
    (void)call, (void)scratch;
    clock_at += last - first > 1 || first > 0 ? (double)(last - first) : first_task;
    tasks_run += last - first;
    wholes += last - first > 1;
}

static cg_status run_within(double seconds, long tasks)
{
    cg_kernel k = {.source = {.stage_count = 1, .chains = 1, .stage = {{.tasks = tasks}}}, .stage = {slow_stage}};
    cg_operands o = {0};
    char workspace[64];
    tasks_run = wholes = 0;
    clock_begin(0);
    double before = cg_deadline_set(clock_at + seconds);
    cg_status status = cg_kernel_run_in_time(&k, &serial, &o, NULL, workspace);
    bool late = cg_late();
    cg_deadline_set(before);
    clock_end();
    ck_assert(!status || late == (seconds <= 1));
    return status;
}

/* What a first task shows to end too late is not begun; what is in time runs as a whole, as it will later. */
START_TEST(a_slow_kernel_is_not_begun)
{
    ck_assert_int_eq(run_within(50, 100), CONVGEN_CANCELLED);
    ck_assert_msg(strstr(cg_error_text(), "takes about 1e+02 s, which is longer than the time that is left") != NULL, "%s", cg_error_text());
    ck_assert(tasks_run == 2 && !wholes);
    ck_assert_int_eq(run_within(200, 100), CONVGEN_OK);
    ck_assert(tasks_run == 101 && wholes == 1);
    first_task = 30; /* not to be judged by that one */
    ck_assert_int_eq(run_within(200, 100), CONVGEN_OK);
    ck_assert(tasks_run == 102 && wholes == 1);
    first_task = 1;
    ck_assert_int_eq(run_within(1, 7), CONVGEN_OK); /* few tasks are not run twice */
    ck_assert_int_eq(run_within(0, 2), CONVGEN_CANCELLED);
    ck_assert_str_eq(cg_error_text(), "the time is up");
    ck_assert(tasks_run == 0);
    ck_assert_int_eq(run_within(INFINITY, 100), CONVGEN_OK);
    ck_assert(tasks_run == 100 && wholes == 1);
}
END_TEST

static long looks, in_time;
static double late_after_some_looks(void) { return ++looks > in_time ? 2 : 0; }

/* Data that the deadline met half made is never taken for whole: whoever looked and was late has said so. */
START_TEST(half_made_data_is_not_used)
{
    cg_status status = CONVGEN_CANCELLED;
    now = problem(forward_text);
    for (in_time = 0; status; in_time++) {
        cg_trial *t;
        cg_operands o;
        ck_assert_int_eq(cg_trial_new(&now, false, &t), CONVGEN_OK);
        looks = 0;
        cg_clock = late_after_some_looks;
        cg_deadline_set(1);
        status = cg_trial_data(t, &o);
        ck_assert_int_eq(status, looks > in_time ? CONVGEN_CANCELLED : CONVGEN_OK);
        cg_deadline_set(INFINITY);
        clock_end();
        cg_trial_free(t);
        ck_assert_int_lt(in_time, 100);
    }
    ck_assert_int_gt(in_time, 5);
}
END_TEST

/* From making data to the last figure: a verification ends at the deadline, and what was half made is made afresh. */
START_TEST(a_deadline_ends_verification)
{
    cg_trial *t;
    cg_verdict v;
    now = problem("mb1ic64ih32oc64kh3ph1"); /* 38e6 terms */
    cg_kernel k = reference_kernel(); /* its own sums end too: NaNs remain */
    ck_assert_int_eq(cg_trial_new(&now, false, &t), CONVGEN_OK);
    clock_begin(0);
    cg_deadline_set(clock_at);
    ck_assert_int_eq(cg_verify(t, &k, &serial, CG_VERIFY_FULL, &v), CONVGEN_CANCELLED);
    ck_assert_int_eq(cg_verify(t, &k, &serial, CG_VERIFY_SAMPLE, &v), CONVGEN_CANCELLED);
    cg_deadline_set(clock_at + 1);
    ck_assert_int_eq(cg_verify(t, &k, &serial, CG_VERIFY_FULL, &v), CONVGEN_OK);
    ck_assert_msg(v.ok, "%s", v.why);
    cg_deadline_set(INFINITY);
    clock_end();
    cg_trial_free(t);
}
END_TEST

static cg_verdict verdict_of(const cg_kernel *k, bool guards, cg_verify_level level)
{
    cg_trial *t;
    cg_verdict v;
    ck_assert_int_eq(cg_trial_new(&now, guards, &t), CONVGEN_OK);
    ck_assert_int_eq(cg_verify(t, k, &serial, level, &v), CONVGEN_OK);
    cg_trial_free(t);
    return v;
}

static void expect_refusal(fault f, cg_verify_level level, const char *reason)
{
    broken = f;
    cg_kernel k = forward_kernel();
    cg_verdict v = verdict_of(&k, false, level);
    broken = NOTHING;
    ck_assert_msg(!v.ok && strstr(v.why, reason), "fault %d: ok %d, \"%s\" instead of \"%s\"", f, v.ok, v.why, reason);
}

START_TEST(right_kernels_pass)
{
    static const char *const weights[] = {"", "--weights=fixed "};
    for (int guards = 0; guards < 2; guards++)
        for (int fixed = 0; fixed < 2; fixed++)
            for (int level = 0; level < 2; level++) {
                char text[128];
                snprintf(text, sizeof text, "%s%s", weights[fixed], forward_text);
                now = problem(text);
                cg_kernel k = forward_kernel();
                cg_verdict v = verdict_of(&k, guards, level);
                ck_assert_msg(v.ok, "%s", v.why);
                ck_assert(v.seconds > 0);
                if (level == CG_VERIFY_SAMPLE) continue;
                ck_assert_msg(v.error_vs_bound > 0 && v.error_vs_bound < 1, "%g of the bound", v.error_vs_bound);
                ck_assert(v.error_normwise > 1e-9 && v.error_normwise < 1e-6);
                ck_assert(v.error_vs_loop > 0.3 && v.error_vs_loop < 1.5);
            }
}
END_TEST

START_TEST(broken_kernels_are_refused)
{
    static const struct {
        fault f;
        const char *reason;
    } rows[] = {
        {OFF_BY_ONE, "the canonical order gives"},
        {NOT_WRITTEN, "output 125 (n 1, d 0, h 0, w 1, c 1) was never written"},
        {WRITES_BEYOND, "wrote beyond the end of dst"},
        {WRITES_BEFORE, "wrote before the start of dst"},
        {WRITES_INPUT, "wrote into its input src"},
        {READS_SCRATCH, "workspace that was never written"},
        {READS_BEYOND, "memory beyond an operand"},
        {SPREADS_NAN, "spread beyond its receptive field"},
        {OTHER_ORDER, "the canonical order gives"},
        {NO_FMA, "the canonical order gives"},
        {SKIPS_NAN, "the canonical order gives nan (integer data)"},
        {LAST_ONLY, "output 239 (n 1, d 0, h 5, w 4, c 3) is"},
        {OVERRUNS_WORKSPACE, "wrote beyond the end of the workspace"},
    };
    now = problem(forward_text);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) expect_refusal(rows[i].f, CG_VERIFY_FULL, rows[i].reason);
}
END_TEST

/* Weights that are packed beforehand: what packing leaves in the workspace is gone when the kernel runs. */
START_TEST(fixed_weights_are_packed_elsewhere)
{
    char text[128];
    snprintf(text, sizeof text, "--weights=fixed %s", forward_text);
    now = problem(text);
    expect_refusal(READS_WHAT_PACKING_LEFT, CG_VERIFY_FULL, "workspace that was never written");
    expect_refusal(READS_BEFORE_PACKED, CG_VERIFY_FULL, "memory beyond an operand");
    expect_refusal(READS_BEYOND_PACKED, CG_VERIFY_FULL, "memory beyond an operand");
}
END_TEST

/* However few channels there are, so long as one is left to be compared. */
START_TEST(a_nan_among_the_weights_must_show)
{
    static const char *const forward[] = {"--dir=FWD_B --tag=nhwc mb2ic3ih6oc2kh3ph1", "--dir=FWD_B --tag=nhwc mb1ic1ih6oc8kh3",
                                          "--dir=FWD_B --tag=nhwc mb1ic1ih6oc9kh3ph1"};
    static const char *const data[] = {"--dir=BWD_D mb2ic2ih6oc1kh3ph1", "--dir=BWD_D --tag=nchw mb2ic3ih6oc1kh3ph1",
                                       "--dir=FWD_D --tag=nchw mb2ic1ih6oc2kh3ph1"};
    for (size_t i = 0; i < sizeof forward / sizeof *forward; i++) {
        now = problem(forward[i]);
        expect_refusal(SKIPS_WEIGHT_NAN, CG_VERIFY_FULL, "the canonical order gives nan (integer data)");
    }
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        now = problem(data[i]);
        cg_kernel k = reference_kernel();
        broken = SKIPS_WEIGHT_NAN;
        cg_verdict v = verdict_of(&k, false, CG_VERIFY_FULL);
        broken = NOTHING;
        ck_assert_msg(!v.ok && strstr(v.why, "the canonical order gives nan (integer data)"), "%s: %s", data[i], v.why);
    }
}
END_TEST

START_TEST(a_sample_finds_the_gross_faults)
{
    now = problem(forward_text);
    expect_refusal(WRITES_BEYOND, CG_VERIFY_SAMPLE, "wrote beyond the end of dst");
    expect_refusal(OTHER_ORDER, CG_VERIFY_SAMPLE, "the canonical order gives");
    now = problem("--dir=FWD_B --tag=nhwc mb2ic3ih60iw50oc4kh3kw3ph1pw1"); /* more outputs than a sample has */
    expect_refusal(OTHER_ORDER, CG_VERIFY_SAMPLE, "the canonical order gives");
    expect_refusal(LAST_ONLY, CG_VERIFY_SAMPLE, "the canonical order gives");
    broken = NOT_WRITTEN; /* in none of the outputs that are measured */
    cg_kernel k = transforming(forward_kernel());
    cg_verdict v = verdict_of(&k, false, CG_VERIFY_SAMPLE);
    broken = NOTHING;
    ck_assert_msg(!v.ok && strstr(v.why, "was never written"), "%s", v.why);
}
END_TEST

/* A trial survives what a broken candidate did to its data. */
START_TEST(a_trial_recovers)
{
    cg_trial *t;
    cg_verdict v;
    now = problem(forward_text);
    cg_kernel k = forward_kernel();
    ck_assert_int_eq(cg_trial_new(&now, false, &t), CONVGEN_OK);
    for (fault f = NOTHING; f <= OVERRUNS_WORKSPACE; f++) {
        broken = f;
        ck_assert_int_eq(cg_verify(t, &k, &serial, CG_VERIFY_FULL, &v), CONVGEN_OK);
        ck_assert_int_eq(v.ok, f == NOTHING);
        broken = NOTHING;
        ck_assert_int_eq(cg_verify(t, &k, &serial, CG_VERIFY_FULL, &v), CONVGEN_OK);
        ck_assert_msg(v.ok, "after fault %d: %s", f, v.why);
    }
    cg_trial_free(t);
}
END_TEST

#if !defined(__SANITIZE_ADDRESS__) /* it reports the fault itself and exits */
static const fault beyond_a_guard[] = {READS_BEFORE,        READS_BEYOND,           READS_BEFORE_PACKED,
                                       READS_BEYOND_PACKED, READS_BEFORE_WORKSPACE, READS_BEYOND_WORKSPACE};

/* Both ends of all that a kernel is given. */
START_TEST(guard_pages_fault)
{
    char text[128];
    snprintf(text, sizeof text, "--weights=fixed %s", forward_text);
    broken = beyond_a_guard[_i];
    now = problem(text);
    cg_kernel k = forward_kernel();
    verdict_of(&k, true, CG_VERIFY_FULL); /* SIGSEGV, as the case says */
}
END_TEST
#endif

static const char *const problems[] = {
    "--dir=FWD_D --dt=f64 --tag=nchw g2mb2ic4ih7oc6kh3ph1",
    "--dir=FWD_B --epilogue=residual+relu mb1ic5ih4oc3kh2",
    "--dir=BWD_D --tag=nhwc mb2ic3ih9oc40kh3sh2ph1",
    "--dir=BWD_D --dt=f64 --tag=nchw mb2ic3ih9oc4kh3sh2ph1",
    "--dir=BWD_W --tag=nhwc g3mb2ic3ih9oc6kh3ph1",
    "--dir=BWD_WB --tag=nchw mb2ic3ih30oc4kh3ph1",
    "--dir=BWD_WB --dt=f64 mb2ic3id3ih5iw4oc4kd2kh3kw1",
    "mb1ic1ih1oc1kh1",
};

/* By the reference, of slices and onto what is there; or with a fault. */
static enum { RIGHT, WRITES_BETWEEN, WRITES_BETWEEN_INPUTS, READS_BETWEEN, READS_BEHIND, ADDS_NOTHING, ADDS_TWICE, SLIPS } slip;

static void copy_pixels(cg_pixels s, char *wide, char *dense, bool back)
{
    for (int64_t i = 0; i < s.count; i++, wide += s.apart, dense += s.bytes) memcpy(back ? wide : dense, back ? dense : wide, s.bytes);
}

static void slice_stage(const cg_call *call, void *scratch, long first, long last)
{
    enum { ROOM = 4096 };
    static char dense[2][ROOM], sums[ROOM];
    bool forward = now.pass == CONVGEN_FORWARD;
    char *const wide[2] = {call->src, call->dst};
    cg_pixels s[2] = {cg_tensor_pixels(&now, CG_SRC), cg_tensor_pixels(&now, CG_DST)}, *out = &s[forward];
    convgen_problem p = cg_problem_dense(&now);
    (void)scratch, (void)first, (void)last;
    for (int i = 0; i < 2; i++) copy_pixels(s[i], wide[i], dense[i], false);
    if (slip == READS_BETWEEN) memcpy(dense[!forward], wide[!forward] + s[!forward].bytes, 4);
    cg_operands o = {.at = {dense[0], call->weights, call->bias, dense[1]}, .old = {dense[!forward ? 0 : 1]}};
    p.accumulate = now.accumulate && slip != ADDS_NOTHING;
    ck_assert_int_eq(cg_reference(&p, &o, CG_CANONICAL, 1, (cg_outputs){false, 0, cg_output_elements(&p, false)}, sums), CONVGEN_OK);
    for (size_t i = 0; i < (size_t)out->count * out->bytes / 4 && slip == ADDS_TWICE; i++) ((float *)sums)[i] += ((float *)dense[forward])[i];
    copy_pixels(*out, wide[forward], sums, true);
    if (slip == WRITES_BETWEEN) memset(wide[forward] + out->bytes, 0, 4);
    if (slip == WRITES_BETWEEN_INPUTS) memset(wide[!forward] + s[!forward].apart * 2 - 4, 0, 4);
    if (slip == READS_BEHIND) memcpy(sums, wide[!forward] + (size_t)s[!forward].count * s[!forward].apart - 4, 4), memcpy(wide[forward], sums, 4);
}

START_TEST(slices_are_looked_at_between)
{
    static const char *const texts[] = {"--src-stride=5 --dst-stride=7 mb2ic3ih6iw5oc4kh3kw3ph1pw1",
                                        "--dir=BWD_D --src-stride=5 --dst-stride=7 --accumulate mb2ic3ih6iw5oc4kh3kw3ph1pw1"};
    for (int text = 0; text < 2; text++)
        for (slip = RIGHT; slip < SLIPS; slip++) {
            cg_trial *t;
            cg_verdict v;
            now = problem(texts[text]);
            if ((slip == ADDS_NOTHING || slip == ADDS_TWICE) && !now.accumulate) continue;
            cg_kernel k = {.source = {.stage_count = 1, .chains = 1, .stage = {{.name = "compute", .tasks = 1}}}, .stage = {slice_stage}};
            for (int level = CG_VERIFY_SAMPLE; level <= CG_VERIFY_FULL; level++) {
                ck_assert_int_eq(cg_trial_new(&now, false, &t), CONVGEN_OK);
                ck_assert_msg(cg_verify(t, &k, &serial, (cg_verify_level)level, &v) == CONVGEN_OK, "%s", cg_error_text());
                ck_assert_msg(v.ok == (slip == RIGHT), "%s, fault %d, level %d: %s", texts[text], slip, level, v.why);
                if (slip == WRITES_BETWEEN || slip == WRITES_BETWEEN_INPUTS) ck_assert_ptr_nonnull(strstr(v.why, "wrote between the channels of"));
                cg_trial_free(t);
            }
        }
}
END_TEST

START_TEST(all_passes)
{
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        for (int guards = 0; guards < 2; guards++)
            for (int level = 0; level < 2; level++) {
                now = problem(problems[i]);
                cg_kernel k = reference_kernel();
                cg_verdict v = verdict_of(&k, guards, level);
                ck_assert_msg(v.ok, "%s: %s", problems[i], v.why);
            }
}
END_TEST

START_TEST(bias_gradients_are_checked)
{
    now = problem("--dir=BWD_WB --tag=nchw mb2ic3ih30oc4kh3ph1");
    broken = LAST_ONLY;
    cg_kernel k = reference_kernel();
    cg_verdict v = verdict_of(&k, false, CG_VERIFY_FULL);
    ck_assert_msg(!v.ok && strstr(v.why, "bias gradient 3"), "%s", v.why);
    v = verdict_of(&k, false, CG_VERIFY_SAMPLE);
    ck_assert_msg(!v.ok && strstr(v.why, "bias gradient 3"), "%s", v.why);
    broken = BIAS_IN_ONE_CHAIN; /* integers do not tell in which order */
    for (int transforms = 0; transforms < 2; transforms++)
        for (int level = 0; level < 2; level++) {
            k = transforms ? transforming(reference_kernel()) : reference_kernel();
            v = verdict_of(&k, false, level);
            ck_assert_msg(!v.ok && strstr(v.why, "bias gradient") && strstr(v.why, "(random data)"), "%s", v.why);
        }
    broken = NOTHING;
}
END_TEST

START_TEST(split_sums)
{
    now = problem("--dir=FWD_D mb1ic640ih1oc4kh1");
    now_chains = 4;
    cg_kernel k = reference_kernel();
    cg_verdict v = verdict_of(&k, false, CG_VERIFY_FULL);
    ck_assert_msg(v.ok, "%s", v.why);
    k.source.chains = 1;
    v = verdict_of(&k, false, CG_VERIFY_FULL);
    ck_assert_msg(!v.ok && strstr(v.why, "the canonical order gives"), "%s", v.why);
    k.source.chains = 4;
    now.accuracy = CONVGEN_PROVEN;
    v = verdict_of(&k, false, CG_VERIFY_FULL);
    ck_assert_msg(!v.ok && strstr(v.why, "canonical"), "%s", v.why);
    now_chains = 1;
}
END_TEST

/* One trial judges kernels of several splits: each by its own sums, each with its own figures. */
START_TEST(splits_take_turns)
{
    double alone[5] = {0};
    cg_trial *t;
    cg_verdict v;
    now = problem("--dir=FWD_D mb1ic640ih4oc40kh1");
    cg_kernel k = reference_kernel();
    for (now_chains = 1; now_chains <= 4; now_chains += 3) {
        k.source.chains = now_chains;
        alone[now_chains] = verdict_of(&k, false, CG_VERIFY_FULL).error_normwise;
    }
    ck_assert(alone[1] != alone[4]);
    ck_assert_int_eq(cg_trial_new(&now, false, &t), CONVGEN_OK);
    for (int turn = 0; turn < 4; turn++) {
        now_chains = k.source.chains = turn % 2 ? 1 : 4;
        ck_assert_int_eq(cg_verify(t, &k, &serial, CG_VERIFY_FULL, &v), CONVGEN_OK);
        ck_assert_msg(v.ok && v.error_normwise == alone[now_chains], "turn %d: %s", turn, v.why);
    }
    cg_trial_free(t);
    now_chains = 1;
}
END_TEST

/* Judged by its error, not by its bits: another order passes, a wrong answer does not. */
START_TEST(transforming_families)
{
    now = problem("--dir=FWD_D mb2ic64ih9oc8kh3ph1");
    broken = NO_FMA;
    cg_kernel k = transforming(reference_kernel());
    cg_verdict v = verdict_of(&k, false, CG_VERIFY_FULL);
    ck_assert_msg(v.ok && v.error_vs_loop == 1 && isnan(v.error_vs_bound), "%s", v.why);
    for (int i = 0; i < CONVGEN_DATA_KINDS; i++) ck_assert(v.vs_loop[i] == 1);
    now = problem(forward_text);
    k = transforming(forward_kernel());
    for (broken = OFF_BY_ONE; broken <= OVERRUNS_WORKSPACE; broken++) {
        bool bits = broken == OFF_BY_ONE || broken == OTHER_ORDER || broken == NO_FMA;
        v = verdict_of(&k, false, CG_VERIFY_FULL);
        ck_assert_msg(v.ok == bits, "fault %d: ok %d, %s", broken, v.ok, v.why);
        if (broken == SKIPS_NAN) ck_assert_msg(strstr(v.why, "do not show it"), "%s", v.why);
        if (broken == SPREADS_NAN) ck_assert_msg(strstr(v.why, "spread beyond its tile"), "%s", v.why);
    }
    for (int nan = 0; nan < 2; nan++) {
        broken = nan ? ONE_NAN_LESS : ONE_INFINITY_LESS;
        v = verdict_of(&k, false, CG_VERIFY_FULL);
        ck_assert_msg(!v.ok && !strncmp(v.why, "1 of the ", 9) && strstr(v.why, nan ? "the NaN" : "the infinity"), "%s", v.why);
    }
    broken = NOTHING;
}
END_TEST

/* The receptive field of every pass: the reference in the loop's order has it exactly, and another tile has no part in it. */
START_TEST(transforms_of_all_passes)
{
    static const char *const more[] = {"--dir=FWD_D mb2ic3ih9oc4kh3sh2ph2dh1", "--dir=BWD_D g2mb2ic4ih11oc6kh3sh2ph1dh1",
                                       "--dir=BWD_W mb3ic4ih11oc6kh3sh2ph1dh2", "--epilogue=relu mb2ic4ih9oc4kh3ph1",
                                       "--epilogue=clamp:-3:3 --tag=nchw mb2ic4ih9oc4kh3ph1"};
    size_t old = sizeof problems / sizeof *problems;
    broken = LOOP;
    for (size_t i = 0; i < old + sizeof more / sizeof *more; i++)
        for (int level = 0; level < 2; level++) {
            const char *text = i < old ? problems[i] : more[i - old];
            now = problem(text);
            cg_kernel k = transforming(reference_kernel());
            cg_verdict v = verdict_of(&k, false, level);
            ck_assert_msg(v.ok && v.error_vs_loop == 1, "%s: %s", text, v.why);
        }
    broken = NOTHING;
}
END_TEST

/* The NaN and the infinity of one judgement are gone in the next. */
START_TEST(a_trial_judges_transforms_again)
{
    cg_trial *t;
    cg_verdict v;
    now = problem(forward_text);
    cg_kernel k = transforming(forward_kernel());
    ck_assert_int_eq(cg_trial_new(&now, false, &t), CONVGEN_OK);
    for (int turn = 0; turn < 3; turn++) {
        ck_assert_int_eq(cg_verify(t, &k, &serial, CG_VERIFY_FULL, &v), CONVGEN_OK);
        ck_assert_msg(v.ok, "turn %d: %s", turn, v.why);
    }
    cg_trial_free(t);
}
END_TEST

/* A NaN may take its tile with it, and no more than that. */
START_TEST(tiles_of_nans)
{
    now = problem("--dir=FWD_D mb2ic3ih17oc4kh3ph1");
    spread = 4;
    broken = LOOP;
    cg_kernel k = transforming(reference_kernel());
    k.source.tile[1] = k.source.tile[2] = 4;
    cg_verdict v = verdict_of(&k, false, CG_VERIFY_FULL);
    ck_assert_msg(v.ok, "%s", v.why);
    k.source.tile[2] = 1;
    v = verdict_of(&k, false, CG_VERIFY_FULL);
    ck_assert_msg(!v.ok && strstr(v.why, "spread beyond its tile"), "%s", v.why);
    spread = 1;
    broken = NOTHING;
}
END_TEST

static double loop_error(convgen_data kind)
{
    cg_pool *pool;
    cg_ratio r;
    cg_kernel k = transforming(reference_kernel());
    broken = LOOP;
    ck_assert_int_eq(cg_pool_new(&now, &pool), CONVGEN_OK);
    cg_room room = {0};
    ck_assert_int_eq(cg_room_fit(&k, &serial, &now, &room), CONVGEN_OK);
    ck_assert_int_eq(cg_pool_measure(pool, kind, &k, &serial, &room, &r), CONVGEN_OK);
    cg_room_free(&room);
    ck_assert(r.vs_loop == 1 && r.outputs >= (kind == CONVGEN_UNIFORM ? 4096 : 1024));
    cg_pool_free(pool);
    return r.normwise;
}

/* Noise of `size` times the loop's error. */
static void expect_budget(const char *text, double size, int channel, noise_on on, const char *reason)
{
    now = problem(text);
    noise = (typeof(noise)){size * loop_error(on == LARGE_DATA ? CONVGEN_BADLY_SCALED : CONVGEN_UNIFORM) * sqrt(3), channel, on, 7};
    broken = NOISE;
    cg_kernel k = transforming(reference_kernel());
    cg_verdict v = verdict_of(&k, false, CG_VERIFY_FULL);
    broken = NOTHING;
    ck_assert_msg(v.ok == !reason && (!reason || strstr(v.why, reason)), "%s, %g in channel %d: ok %d, \"%s\"", text, size, channel,
                  v.ok, v.why);
    if (channel < 0 && on == ALL_DATA && now.accuracy != CONVGEN_PROVEN)
        ck_assert_msg(fabs(v.error_vs_loop / size - 1) < 0.05, "%g", v.error_vs_loop);
}

START_TEST(budgets)
{
    static const struct {
        const char *tier;
        double within, beyond;
        const char *reason;
    } rows[] = {
        {"", 1.18, 1.33, "times the loop's, loop allows 1.25"},
        {"--accuracy=2x ", 1.99, 2.22, "times the loop's, 2x allows 2.1"},
        {"--accuracy=8x ", 7.5, 8.5, "times the loop's, 8x allows 8"},
    };
    /* many outputs; 8 that take 512 runs; a few of each other pass */
    static const char *const of[] = {"--dir=FWD_D mb2ic64ih9oc32kh3ph1", "--dir=FWD_D mb1ic64ih3oc8kh3", "--dir=BWD_D mb1ic4ih9oc32kh3ph1",
                                     "--dir=BWD_WB mb2ic4ih17oc5kh3ph1"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t k = 0; k < sizeof of / sizeof *of; k++) {
            char text[128];
            snprintf(text, sizeof text, "%s%s", rows[i].tier, of[k]);
            expect_budget(text, rows[i].within, -1, ALL_DATA, NULL);
            expect_budget(text, rows[i].beyond, -1, ALL_DATA, rows[i].reason);
        }
    expect_budget("--accuracy=proven --dir=FWD_D mb2ic64ih9oc32kh3ph1", 0, -1, ALL_DATA, "proven admits only");
}
END_TEST

/* Some outputs know the ratio less well: they are allowed a little more. */
START_TEST(budgets_of_a_sample)
{
    static const double sizes[] = {1.2, 1.8};
    for (int i = 0; i < 2; i++) {
        now = problem("--dir=FWD_D mb2ic64ih9oc32kh3ph1");
        noise = (typeof(noise)){sizes[i] * loop_error(CONVGEN_UNIFORM) * sqrt(3), -1, ALL_DATA, 7};
        broken = NOISE;
        cg_kernel k = transforming(reference_kernel());
        cg_verdict v = verdict_of(&k, false, CG_VERIFY_SAMPLE);
        broken = NOTHING;
        ck_assert_msg(v.ok == !i && (!i || strstr(v.why, "loop allows so few 1.")), "%g: ok %d, \"%s\"", sizes[i], v.ok, v.why);
    }
}
END_TEST

START_TEST(budgets_of_channels_and_of_other_data)
{
    static const char text[] = "--dir=FWD_D mb2ic64ih9oc32kh3ph1";
    expect_budget(text, 2, 9, ALL_DATA, NULL);
    expect_budget(text, 3.3, 9, ALL_DATA, "the error of channels from 9 on is");
    expect_budget("--accuracy=8x --dir=FWD_D --tag=nchw mb2ic64ih9oc32kh3ph1", 24, 9, ALL_DATA, "the error of channels from 9 on is");
    expect_budget(text, 30, -1, POSITIVE_DATA, "rectified data is");
    expect_budget(text, 30, -1, LARGE_DATA, "badly scaled data is");
    expect_budget(text, 1.6, -1, LARGE_DATA, NULL); /* twice is allowed there */
    expect_budget(text, NAN, 9, POSITIVE_DATA, "the error on rectified data is inf times the loop's");
}
END_TEST

/* Too many terms to compare with the loop's: not trusted. */
START_TEST(what_takes_too_long_to_judge_is_refused)
{
    now = problem("--dir=BWD_W mb1ic1ih1600oc1kh1");
    broken = LOOP;
    cg_kernel k = transforming(reference_kernel());
    cg_verdict v = verdict_of(&k, false, CG_VERIFY_FULL);
    broken = NOTHING;
    ck_assert_msg(!v.ok && strstr(v.why, "take too long to compare"), "ok %d, %s", v.ok, v.why);
}
END_TEST

/* The largest number of a channel of the pass's data. */
static float largest(const float *x, int64_t channels, int64_t pixels, int64_t channel)
{
    float most = 0;
    for (int64_t n = 0; n < now.batch; n++)
        for (int64_t i = 0; i < pixels; i++) {
            int64_t at = now.layout == CONVGEN_NHWC ? (n * pixels + i) * channels + channel : (n * channels + channel) * pixels + i;
            most = fmaxf(most, fabsf(x[at]));
        }
    return most;
}

START_TEST(badly_scaled_data_has_one_large_channel_in_each_group)
{
    static const char *const texts[] = {"--dir=FWD_D g2mb2ic6ih9oc4kh3", "--dir=FWD_D --tag=nchw g3mb2ic12ih9oc3kh3",
                                        "--dir=BWD_D g2mb2ic6ih9oc10kh3"};
    for (int i = 0; i < 3; i++) {
        size_t bytes[CG_TENSORS];
        now = problem(texts[i]);
        int tensor = cg_data_tensor(&now);
        int64_t channels = i < 2 ? now.in_channels : now.out_channels, group = channels / now.groups, pixels = i < 2 ? 81 : 49;
        cg_tensor_bytes(&now, bytes);
        float *data = cg_malloc(bytes[tensor]);
        cg_fill(&now, CONVGEN_BADLY_SCALED, tensor, data, bytes[tensor], 0);
        for (int64_t c = 0; c < channels; c++)
            ck_assert_msg((largest(data, channels, pixels, c) > 1000) == (c % group == group / 2), "%s: channel %d", texts[i], (int)c);
        cg_free(data);
    }
}
END_TEST

/* No sum of products leaves the range in which all integers are numbers of the type. */
START_TEST(integers_stay_exact)
{
    static const char *const texts[] = {"--dir=FWD_D mb1ic60000ih1oc1kh1", "--dir=FWD_D mb1ic60ih1oc1kh1", "--dir=BWD_W mb60000ic1ih1oc1kh1"};
    for (int i = 0; i < 3; i++) {
        size_t bytes[CG_TENSORS];
        now = problem(texts[i]);
        int64_t terms = cg_reference_terms(&now, false);
        cg_tensor_bytes(&now, bytes);
        float *data = cg_malloc(bytes[CG_SRC]), most;
        cg_fill_integers(&now, CG_SRC, data, bytes[CG_SRC], 0x1p23);
        most = largest(data, now.in_channels, 1, 0);
        for (int64_t c = 1; c < now.in_channels; c++) most = fmaxf(most, largest(data, now.in_channels, 1, c));
        ck_assert_msg(most >= 8 && most * most * (float)terms <= 0x1p23f, "%s: %g", texts[i], most);
        cg_free(data);
    }
}
END_TEST

static void fail_every_allocation(const cg_kernel *k)
{
    cg_status status = CONVGEN_NO_MEMORY;
    for (long n = 1; status; n++) {
        cg_trial *t = NULL;
        cg_verdict v;
        ck_assert_int_lt(n, 4000);
        cg_fail_allocation = n;
        status = cg_trial_new(&now, n % 2, &t);
        if (!status) status = cg_verify(t, k, &serial, CG_VERIFY_FULL, &v);
        ck_assert(status == CONVGEN_OK || status == CONVGEN_NO_MEMORY);
        ck_assert(status || v.ok);
        bool reached = cg_fail_allocation == 0;
        cg_fail_allocation = 0;
        ck_assert_msg(reached == (status != CONVGEN_OK), "allocation %ld failed and nobody said so", n);
        cg_trial_free(t);
    }
}

START_TEST(every_allocation_may_fail)
{
    now = problem(forward_text);
    cg_kernel k = forward_kernel();
    fail_every_allocation(&k);
}
END_TEST

/* Enough outputs for one run on each kind of data. */
START_TEST(every_allocation_may_fail_for_a_transform)
{
    now = problem("--dir=FWD_B --tag=nhwc mb2ic1ih46iw50oc1kh1kw1");
    cg_kernel k = transforming(forward_kernel());
    fail_every_allocation(&k);
}
END_TEST

START_TEST(certificates)
{
    convgen_errors e;
    now = problem(forward_text);
    cg_kernel k = forward_kernel();
    ck_assert_int_eq(cg_certificate(&now, &k, &serial, &e), CONVGEN_OK);
    ck_assert_int_eq(e.outputs, 240);
    ck_assert_int_eq(e.terms, 28);
    ck_assert(e.plan.normwise > 0 && e.plan.normwise < e.loop.normwise * 1.2 && e.course.normwise < 1e-6);
    ck_assert(e.plan.of_bound < 1 && e.loop.of_bound < 1 && e.course.of_bound < 1);
    ck_assert(e.plan.ulp_max >= 0.5 && e.plan.ulp_mean > 0 && e.plan.ulp_mean < e.plan.ulp_max);
    ck_assert(!e.has_bias_gradient && isnan(e.bias_plan.normwise));
    for (int i = 0; i < CONVGEN_DATA_KINDS; i++) ck_assert_msg(e.vs_loop[i] > 0.3 && e.vs_loop[i] < 1.2, "%g", e.vs_loop[i]);
    ck_assert(isnan(e.budget));
    k.source.chains = 0;
    now.accuracy = CONVGEN_2X;
    ck_assert_int_eq(cg_certificate(&now, &k, &serial, &e), CONVGEN_OK);
    ck_assert(e.budget == 2.1 && isnan(e.plan.of_bound));
    now = problem("--dir=BWD_WB --dt=f64 mb10ic3ih20oc10kh5ph2");
    ck_assert_int_eq(cg_certificate(&now, NULL, &serial, &e), CONVGEN_OK);
    ck_assert(isnan(e.plan.normwise) && e.loop.normwise > 1e-17 && e.loop.normwise < 1e-14 && e.course.normwise < e.loop.normwise);
    ck_assert(e.has_bias_gradient && e.bias_outputs == 10 && e.bias_terms == 4000);
    ck_assert(e.bias_course.normwise < e.bias_loop.normwise);
    k = reference_kernel();
    broken = LAST_ONLY;
    now = problem("--dir=BWD_WB mb2ic3ih20oc10kh5ph2");
    ck_assert_int_eq(cg_certificate(&now, &k, &serial, &e), CONVGEN_OK);
    ck_assert(e.bias_plan.of_bound > 1 && e.plan.of_bound < 1);
    broken = NOTHING;
}
END_TEST

/* What a kernel reads before it was written shows, and is no small error. */
START_TEST(a_certificate_shows_nan)
{
    convgen_errors e;
    now = problem(forward_text);
    broken = READS_SCRATCH;
    cg_kernel k = forward_kernel();
    ck_assert_int_eq(cg_certificate(&now, &k, &serial, &e), CONVGEN_OK);
    broken = NOTHING;
    ck_assert(isinf(e.plan.normwise) && isinf(e.plan.ulp_max) && isinf(e.plan.of_bound) && e.loop.of_bound < 1);
}
END_TEST

/* The unit of numbers below the normal ones is that of the smallest normal one. */
START_TEST(units_and_bounds)
{
    float a[] = {0x1p-140f, 0x1p-126f, 1}, b = 1, got[] = {0x1p-140f + 0x1p-149f, 0x1p-126f, 1};
    cg_measure m;
    now = problem("--dir=FWD_D mb1ic1iw3oc1kw1");
    cg_operands o = {.src = a, .weights = &b};
    cg_spread s = cg_spread_over(3, 1, 1e6, 1e6);
    ck_assert_int_eq(cg_measure_outputs(&now, &o, false, &s, got, &m), CONVGEN_OK);
    ck_assert_msg(cg_meter_read(&m.got).ulp_max == 1, "%g", cg_meter_read(&m.got).ulp_max);
    got[0] = a[0], got[1] += 0x1p-149f;
    ck_assert_int_eq(cg_measure_outputs(&now, &o, false, &s, got, &m), CONVGEN_OK);
    ck_assert_msg(cg_meter_read(&m.got).ulp_max == 1, "%g", cg_meter_read(&m.got).ulp_max);
    got[1] = a[1], got[2] += 0x1p-23f; /* of one product the bound is u / (1 - u) times it */
    ck_assert_int_eq(cg_measure_outputs(&now, &o, false, &s, got, &m), CONVGEN_OK);
    ck_assert_double_eq_tol(cg_meter_read(&m.got).of_bound, 2 * (1 - 0x1p-24), 1e-12);
}
END_TEST

/* However few outputs are affordable, the ranges at the corners, whose sums are short, are a few of them. */
START_TEST(a_spread_is_not_all_corners)
{
    for (double most = 2; most <= 4096; most++) {
        cg_spread s = cg_spread_over(1 << 20, 4609, 4609 * most, 512);
        double looked_at = (double)(s.length * s.ranges), affordable = fmin(most, 512);
        ck_assert_msg((double)s.ranges >= fmin(most, 16), "%g outputs in %ld ranges", most, (long)s.ranges);
        ck_assert_msg(looked_at <= affordable && looked_at > affordable / 2, "%g outputs of %g", looked_at, most);
    }
}
END_TEST

static long shares[2];
static char *scratch_of[3]; /* by the first task of a share */
static void sharing_stage(const cg_call *call, void *scratch, long first, long last)
{
    float *mine = scratch;
    (void)call;
    *mine = (float)first;
    scratch_of[first / 3] = scratch;
    __atomic_fetch_add(&shares[0], last - first, __ATOMIC_RELAXED);
    __atomic_fetch_add(&shares[1], (uintptr_t)scratch % 64 == 0, __ATOMIC_RELAXED);
}

/* Three tasks a thread. */
static void one_after_another(void *user, long tasks, int threads, void (*body)(void *task, long first, long last, int thread), void *task)
{
    (void)user;
    for (int i = 0; i < threads && 3 * i < tasks; i++) body(task, 3 * i, 3 * i + 3 < tasks ? 3 * i + 3 : tasks, i);
}

START_TEST(rooms_are_used_again)
{
    cg_room room = {0};
    now = problem("--weights=fixed --dir=FWD_D mb2ic3ih6iw5oc4kh3kw3ph1pw1");
    cg_kernel small = forward_kernel(), large = small;
    large.source.packed = 9000, large.source.stage[1].scratch = 9000;
    ck_assert_int_eq(cg_room_fit(&large, &serial, &now, &room), CONVGEN_OK);
    cg_room before = room;
    cg_fail_allocation = 1;
    ck_assert_int_eq(cg_room_fit(&small, &serial, &now, &room), CONVGEN_OK);
    ck_assert_int_eq(cg_room_fit(&large, &serial, &now, &room), CONVGEN_OK);
    ck_assert(room.workspace == before.workspace && room.packed == before.packed && cg_fail_allocation == 1);
    large.source.packed = 9001;
    ck_assert_int_eq(cg_room_fit(&large, &serial, &now, &room), CONVGEN_NO_MEMORY);
    ck_assert(!room.workspace && !room.packed);
    ck_assert_int_eq(cg_room_fit(&large, &serial, &now, &room), CONVGEN_OK);
    ck_assert(room.workspace_size >= 9001 + 9000 && room.packed_size >= 9001);
    cg_room_poison(&large, &serial, &room);
    for (int i = 0; i < 9000; i++) ck_assert(((unsigned char *)room.workspace)[i] == 0xFF && ((unsigned char *)room.packed)[i] == 0xFF);
    cg_room_free(&room);
}
END_TEST

START_TEST(workspaces)
{
    cg_kernel k = {.source = {.packed = 100, .shared = 65, .stage_count = 2, .chains = 1,
                              .stage = {{.tasks = 7, .scratch = 100}, {.tasks = 5, .scratch = 300}}},
                   .stage = {sharing_stage, sharing_stage}};
    ck_assert_uint_eq(cg_kernel_workspace(&k, 3), 128 + 128 + 3 * 320);
    cg_parallel par = {.threads = 3, .parallel_for = one_after_another};
    char *w = cg_aligned(cg_kernel_workspace(&k, 3));
    cg_operands o = {0};
    cg_kernel_run(&k, &par, &o, NULL, w);
    ck_assert_int_eq(shares[0], 12);
    ck_assert_int_eq(shares[1], 3 + 2);
    for (int i = 0; i < 3; i++) ck_assert_ptr_eq(scratch_of[i], w + 128 + 128 + i * 320); /* each thread its own */
    cg_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("verify");
    TCase *t = test_case(s, "verify", 60);
    tcase_add_test(t, a_slow_kernel_is_not_begun);
    tcase_add_test(t, a_deadline_ends_verification);
    tcase_add_test(t, half_made_data_is_not_used);
    tcase_add_test(t, right_kernels_pass);
    tcase_add_test(t, slices_are_looked_at_between);
    tcase_add_test(t, broken_kernels_are_refused);
    tcase_add_test(t, fixed_weights_are_packed_elsewhere);
    tcase_add_test(t, a_nan_among_the_weights_must_show);
    tcase_add_test(t, a_sample_finds_the_gross_faults);
    tcase_add_test(t, a_trial_recovers);
    tcase_add_test(t, all_passes);
    tcase_add_test(t, bias_gradients_are_checked);
    tcase_add_test(t, split_sums);
    tcase_add_test(t, splits_take_turns);
    tcase_add_test(t, transforming_families);
    tcase_add_test(t, transforms_of_all_passes);
    tcase_add_test(t, a_trial_judges_transforms_again);
    tcase_add_test(t, tiles_of_nans);
    tcase_add_test(t, budgets);
    tcase_add_test(t, budgets_of_a_sample);
    tcase_add_test(t, budgets_of_channels_and_of_other_data);
    tcase_add_test(t, badly_scaled_data_has_one_large_channel_in_each_group);
    tcase_add_test(t, what_takes_too_long_to_judge_is_refused);
    tcase_add_test(t, integers_stay_exact);
    tcase_add_test(t, every_allocation_may_fail_for_a_transform);
    tcase_add_test(t, every_allocation_may_fail);
    tcase_add_test(t, certificates);
    tcase_add_test(t, a_certificate_shows_nan);
    tcase_add_test(t, units_and_bounds);
    tcase_add_test(t, a_spread_is_not_all_corners);
    tcase_add_test(t, workspaces);
    tcase_add_test(t, rooms_are_used_again);
#if !defined(__SANITIZE_ADDRESS__)
    tcase_add_loop_test_raise_signal(test_case(s, "crash", 60), guard_pages_fault, 11, 0, sizeof beyond_a_guard / sizeof *beyond_a_guard);
#endif
    return test_run(s);
}

/* test_plan.c: the public interface: misuse, sharing, the same bits for any thread count, lack of memory, forks. */
#include "plan.h"
#include "suite.h"
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static convgen_context *context;
static char store[64];

static convgen_context *opened(int threads)
{
    convgen_context *c;
    convgen_options o = {.struct_size = sizeof o, .threads = threads, .store = store};
    ck_assert_msg(convgen_open(&o, &c) == CONVGEN_OK, "%s", convgen_error(NULL));
    return c;
}

static void begin(void)
{
    store_begin(store);
    context = opened(1);
}

static void end(void)
{
    convgen_close(context);
    store_end(store);
}

static convgen_plan *plan_in(convgen_context *c, const char *text)
{
    convgen_problem p;
    convgen_plan *plan;
    ck_assert_msg(convgen_problem_parse(text, &p) == CONVGEN_OK, "%s", convgen_error(NULL));
    ck_assert_msg(convgen_plan_create(c, &p, CONVGEN_ESTIMATE, 0, &plan) == CONVGEN_OK, "%s: %s", text, convgen_error(NULL));
    return plan;
}

/* Tensors of a problem with random data, the output poisoned. */
typedef struct data {
    convgen_tensors t;
    size_t bytes[5];
} data;

static data data_of(const char *text)
{
    data d = {0};
    convgen_problem p;
    convgen_problem_parse(text, &p);
    cg_problem_normalise(&p);
    cg_sizes n = cg_problem_sizes(&p);
    int64_t elements[5] = {n.src, n.weights, n.bias, n.dst, n.dst};
    void **at[5] = {&d.t.src, &d.t.weights, &d.t.bias, &d.t.dst, &d.t.residual};
    uint64_t seed = 7;
    for (int i = 0; i < 5; i++) {
        d.bytes[i] = (size_t)elements[i] * n.element;
        *at[i] = cg_aligned(d.bytes[i] + 64);
        for (int64_t j = 0; j < elements[i]; j++)
            if (n.element == 4) ((float *)*at[i])[j] = (float)cg_uniform(&seed);
            else ((double *)*at[i])[j] = cg_uniform(&seed);
    }
    return d;
}

static void data_free(data *d)
{
    void *at[] = {d->t.src, d->t.weights, d->t.bias, d->t.dst, d->t.residual};
    for (int i = 0; i < 5; i++) cg_free(at[i]);
}

static void refused(convgen_status status, convgen_status expected, const char *sentence)
{
    ck_assert_int_eq(status, expected);
    ck_assert_msg(strstr(convgen_error(NULL), sentence) != NULL, "expected \"%s\" in \"%s\"", sentence, convgen_error(NULL));
}

START_TEST(open_misused)
{
    convgen_context *c = context;
    convgen_options o = {.struct_size = sizeof o, .store = store};
    refused(convgen_open(&o, NULL), CONVGEN_BAD_ARGUMENT, "out is NULL");
    o.struct_size = 0;
    refused(convgen_open(&o, &c), CONVGEN_BAD_ARGUMENT, "struct_size is 0");
    ck_assert_ptr_null(c);
    o.struct_size = sizeof o;
    o.threads = -1;
    refused(convgen_open(&o, &c), CONVGEN_BAD_ARGUMENT, "options.threads is -1");
    o.threads = 1025;
    refused(convgen_open(&o, &c), CONVGEN_BAD_ARGUMENT, "options.threads is 1025");
    o.threads = 1;
    o.target = "mmx";
    refused(convgen_open(&o, &c), CONVGEN_UNSUPPORTED, "portable");
    setenv("CONVGEN_TARGET", "mmx", 1);
    o.target = NULL;
    refused(convgen_open(&o, &c), CONVGEN_UNSUPPORTED, "mmx");
    o.target = "portable"; /* what is said wins over the environment */
    ck_assert_int_eq(convgen_open(&o, &c), CONVGEN_OK);
    ck_assert_str_eq(c->target.name, "portable");
    convgen_close(c);
    unsetenv("CONVGEN_TARGET");
    convgen_close(NULL);
}
END_TEST

START_TEST(an_older_struct_is_accepted)
{
    convgen_context *c;
    convgen_options o = {.struct_size = offsetof(convgen_options, target), .threads = 3, .target = "never read"};
    setenv("CONVGEN_STORE", store, 1);
    ck_assert_msg(convgen_open(&o, &c) == CONVGEN_OK, "%s", convgen_error(NULL));
    ck_assert_int_eq(c->parallel.threads, 3);
    ck_assert_ptr_null(c->options.target);
    convgen_close(c);
    ck_assert_int_eq(convgen_open(NULL, &c), CONVGEN_OK);
    ck_assert_int_eq(c->parallel.threads, 1);
    convgen_close(c);
}
END_TEST

START_TEST(options_are_copied)
{
    char target[] = "portable";
    convgen_options o = {.struct_size = sizeof o, .target = target, .store = store};
    convgen_context *c;
    ck_assert_int_eq(convgen_open(&o, &c), CONVGEN_OK);
    memset(target, 'x', sizeof target - 1);
    ck_assert_str_eq(c->options.target, "portable");
    ck_assert_ptr_ne(c->options.store, store);
    convgen_close(c);
}
END_TEST

START_TEST(create_misused)
{
    convgen_problem p;
    convgen_plan *plan;
    convgen_problem_parse("mb1ic1ih2oc1oh2kh1", &p);
    refused(convgen_plan_create(NULL, &p, CONVGEN_ESTIMATE, 0, &plan), CONVGEN_BAD_ARGUMENT, "context is NULL");
    refused(convgen_plan_create(context, NULL, CONVGEN_ESTIMATE, 0, &plan), CONVGEN_BAD_ARGUMENT, "problem is NULL");
    refused(convgen_plan_create(context, &p, CONVGEN_ESTIMATE, 0, NULL), CONVGEN_BAD_ARGUMENT, "out is NULL");
    refused(convgen_plan_create(context, &p, (convgen_effort)9, 0, &plan), CONVGEN_BAD_ARGUMENT, "effort is 9");
    refused(convgen_plan_create(context, &p, CONVGEN_MEASURE, -1, &plan), CONVGEN_BAD_ARGUMENT, "seconds is -1");
    refused(convgen_plan_create(context, &p, CONVGEN_MEASURE, NAN, &plan), CONVGEN_BAD_ARGUMENT, "seconds is");
    refused(convgen_plan_create(context, &p, CONVGEN_RECALL, 0, &plan), CONVGEN_NO_RECORD, "nothing is remembered");
    ck_assert_ptr_null(plan);
    p.in_channels = -3;
    ck_assert_int_eq(convgen_plan_create(context, &p, CONVGEN_ESTIMATE, 0, &plan), CONVGEN_BAD_PROBLEM);
    p.in_channels = 1;
    p.accumulate = true;
    ck_assert_int_eq(convgen_plan_create(context, &p, CONVGEN_ESTIMATE, 0, &plan), CONVGEN_BAD_PROBLEM);
}
END_TEST

/* Both slices of one buffer of eight channels: they are read and written in place where they share none. */
START_TEST(slices_of_one_buffer)
{
    enum { WIDE = 8, IN = 3, OUT = 4, PIXELS = 25 };
    convgen_plan *plan = plan_in(context, "--dir=FWD_D --src-stride=8 --dst-stride=8 mb1ic3ih5oc4oh5kh3ph1"), *dense = plan_in(context, "--dir=FWD_D mb1ic3ih5oc4oh5kh3ph1");
    data d = data_of("--dir=FWD_D mb1ic3ih5oc4oh5kh3ph1");
    float wide[PIXELS * WIDE], *src = d.t.src, *dst = d.t.dst;
    for (int i = 0; i < PIXELS * WIDE; i++) wide[i] = i % WIDE < IN ? src[i / WIDE * IN + i % WIDE] : NAN;
    convgen_tensors t = {.src = wide, .weights = d.t.weights, .dst = wide + IN + 1};
    ck_assert_msg(convgen_run(plan, &t) == CONVGEN_OK && convgen_run(dense, &d.t) == CONVGEN_OK, "%s", convgen_error(NULL));
    for (int i = 0; i < PIXELS * WIDE; i++) {
        int c = i % WIDE;
        float want = c < IN ? src[i / WIDE * IN + c] : c > IN ? dst[i / WIDE * OUT + c - IN - 1] : NAN;
        ck_assert_msg(wide[i] == want || (isnan(want) && isnan(wide[i])), "channel %d of pixel %d is %g and not %g", c, i / WIDE, (double)wide[i], (double)want);
    }
    t.dst = wide + IN - 1;
    refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, "dst overlaps src");
    t.src = wide + 1, t.dst = wide + WIDE - OUT + 2; /* round the end of a pixel */
    refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, "dst overlaps src");
    t.src = wide + 4, t.dst = wide;
    ck_assert_int_eq(convgen_run(plan, &t), CONVGEN_OK);
    data_free(&d);
    convgen_plan_free(plan);
    convgen_plan_free(dense);
}
END_TEST

/* Twice, the second time onto the first: what is there is added once. */
START_TEST(gradients_are_added_to_what_is_there)
{
    static const char *const texts[] = {"--dir=BWD_D %s mb1ic3ih5oc4oh5kh3ph1", "--dir=BWD_WB %s mb1ic3ih5oc4oh5kh3ph1", "--dir=BWD_D --tag=nchw %s mb2ic5ih9oc7kh3ph1sh2"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char plain[CG_TEXT], adds[CG_TEXT];
        snprintf(plain, sizeof plain, texts[i], ""), snprintf(adds, sizeof adds, texts[i], "--accumulate");
        convgen_plan *first = plan_in(context, plain), *second = plan_in(context, adds);
        data d = data_of(plain);
        int out = i == 1 ? 1 : 0, count = (int)(d.bytes[out] / 4), biases = i == 1 ? (int)(d.bytes[2] / 4) : 0;
        float *got = out ? d.t.weights : d.t.src, *bias = d.t.bias, *want = cg_malloc((size_t)(count + biases) * sizeof *want);
        ck_assert_int_eq(convgen_run(first, &d.t), CONVGEN_OK);
        for (int k = 0; k < count + biases; k++) want[k] = k < count ? got[k] + got[k] : bias[k - count] + bias[k - count];
        ck_assert_int_eq(convgen_run(second, &d.t), CONVGEN_OK);
        for (int k = 0; k < count + biases; k++)
            ck_assert_msg(want[k] == (k < count ? got[k] : bias[k - count]), "%s: element %d is not twice the sum", adds, k);
        cg_free(want);
        data_free(&d);
        convgen_plan_free(first);
        convgen_plan_free(second);
    }
}
END_TEST

START_TEST(run_misused)
{
    const char *text = "--epilogue=residual mb1ic3ih5oc4oh5kh3ph1";
    convgen_plan *plan = plan_in(context, text);
    data d = data_of(text);
    static const struct { size_t slot; const char *name; } slots[] = {
        {offsetof(convgen_tensors, src), "src"}, {offsetof(convgen_tensors, weights), "weights"}, {offsetof(convgen_tensors, bias), "bias"},
        {offsetof(convgen_tensors, dst), "dst"}, {offsetof(convgen_tensors, residual), "residual"}};
    char sentence[64];
    refused(convgen_run(NULL, &d.t), CONVGEN_BAD_ARGUMENT, "plan is NULL");
    refused(convgen_run(plan, NULL), CONVGEN_BAD_ARGUMENT, "tensors is NULL");
    for (int i = 0; i < 5; i++) {
        convgen_tensors t = d.t;
        char **slot = (char **)((char *)&t + slots[i].slot);
        *slot += 2;
        snprintf(sentence, sizeof sentence, "%s is not aligned to 4 bytes", slots[i].name);
        refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, sentence);
        *slot = NULL;
        snprintf(sentence, sizeof sentence, "%s is NULL", slots[i].name);
        refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, sentence);
    }
    convgen_tensors t = d.t;
    t.dst = (char *)t.src + d.bytes[0] - 4;
    refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, "dst overlaps src");
    t = d.t;
    t.bias = (char *)t.dst + 8;
    refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, "dst overlaps bias");
    t = d.t;
    t.residual = (char *)t.dst + 4;
    refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, "dst overlaps residual, and is written; only exactly the same place");
    t.residual = t.dst;
    ck_assert_int_eq(convgen_run(plan, &t), CONVGEN_OK);
    t = d.t;
    t.src = t.weights; /* inputs may share their place */
    if (d.bytes[0] <= d.bytes[1]) ck_assert_int_eq(convgen_run(plan, &t), CONVGEN_OK);
    char *workspace = cg_aligned(convgen_plan_workspace(plan) + 64);
    t = d.t;
    t.workspace = workspace + 4;
    refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, "workspace is not aligned to 64 bytes");
    t.workspace = workspace;
    ck_assert_int_eq(convgen_run(plan, &t), CONVGEN_OK);
    t.workspace = t.dst;
    refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, "dst overlaps workspace");
    t.src = t.workspace = workspace; /* in memory of its own: it is larger than src, and nothing else may lie behind that */
    refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, "workspace overlaps src");
    t = d.t;
    t.dst = cg_aligned(d.bytes[3] + d.bytes[2]);
    t.bias = memcpy((char *)t.dst + d.bytes[3], d.t.bias, d.bytes[2]); /* neighbours do not overlap */
    ck_assert_int_eq(convgen_run(plan, &t), CONVGEN_OK);
    cg_free(t.dst);
    t = d.t;
    refused(convgen_pack(NULL, t.weights, workspace), CONVGEN_BAD_ARGUMENT, "plan is NULL");
    refused(convgen_pack(plan, NULL, workspace), CONVGEN_BAD_ARGUMENT, "weights is NULL");
    refused(convgen_pack(plan, t.weights, NULL), CONVGEN_BAD_ARGUMENT, "packed is NULL");
    refused(convgen_certificate(plan, NULL), CONVGEN_BAD_ARGUMENT, "out is NULL");
    refused(convgen_certificate(NULL, NULL), CONVGEN_BAD_ARGUMENT, "plan is NULL");
    cg_free(workspace);
    data_free(&d);
    convgen_plan_free(plan);
    convgen_plan_free(NULL);
}
END_TEST

START_TEST(gradients_of_bias_overlap_nothing)
{
    const char *text = "--dir=BWD_WB mb1ic3ih5oc4oh5kh3ph1";
    convgen_plan *plan = plan_in(context, text);
    data d = data_of(text);
    convgen_tensors t = d.t;
    t.bias = (char *)t.src + 4;
    refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, "bias overlaps src");
    t.bias = (char *)t.weights + 4;
    refused(convgen_run(plan, &t), CONVGEN_BAD_ARGUMENT, "weights overlaps bias");
    data_free(&d);
    convgen_plan_free(plan);
}
END_TEST

/* The outputs of one run, as bytes: for backward weights, diff_bias behind diff_weights. */
static void run(const convgen_plan *plan, data *d, const convgen_problem *p, char *out)
{
    static const int written[] = {3, 0, 1};
    void *at[] = {d->t.src, d->t.weights, d->t.bias, d->t.dst};
    int w = written[p->pass];
    memset(at[w], 0xff, d->bytes[w]);
    ck_assert_msg(convgen_run(plan, &d->t) == CONVGEN_OK, "%s", convgen_error(NULL));
    memcpy(out, at[w], d->bytes[w]);
    if (p->pass == CONVGEN_BACKWARD_WEIGHTS && p->bias) memcpy(out + d->bytes[w], d->t.bias, d->bytes[2]);
}

static const char *const problems[] = {
    "mb2ic5ih9oc7oh9kh3ph1", "--dir=BWD_D mb2ic5ih9oc7oh5kh3sh2ph1", "--dir=BWD_WB --dt=f64 mb3ic4ih12oc6oh12kh3ph1",
    "--tag=nchw mb2g2ic4ih7oc6oh7kh3ph1", "--epilogue=residual+relu mb1ic16ih8oc32oh8kh1",
};
enum { PROBLEMS = sizeof problems / sizeof *problems };

START_TEST(the_same_bits_for_any_thread_count)
{
    convgen_problem p;
    convgen_problem_parse(problems[_i], &p);
    data d = data_of(problems[_i]);
    size_t room = d.bytes[0] + d.bytes[1] + d.bytes[2] + d.bytes[3];
    char *first = cg_calloc(1, room), *other = cg_calloc(1, room);
    for (int threads = 1; threads <= 3; threads++) {
        convgen_context *c = opened(threads);
        convgen_plan *plan = plan_in(c, problems[_i]);
        ck_assert_int_eq(convgen_plan_info(plan)->threads, threads);
        run(plan, &d, &p, threads == 1 ? first : other);
        if (threads > 1) ck_assert_msg(!memcmp(first, other, room), "%s differs with %d threads", problems[_i], threads);
        convgen_plan_free(plan);
        convgen_close(c);
    }
    cg_free(first);
    cg_free(other);
    data_free(&d);
}
END_TEST

START_TEST(packed_replaces_weights)
{
    convgen_problem p;
    convgen_problem_parse(problems[_i], &p);
    if (p.pass == CONVGEN_BACKWARD_WEIGHTS) return;
    data d = data_of(problems[_i]);
    size_t room = d.bytes[0] + d.bytes[1] + d.bytes[2] + d.bytes[3];
    char *first = cg_calloc(1, room), *other = cg_calloc(1, room);
    convgen_plan *plan = plan_in(context, problems[_i]);
    run(plan, &d, &p, first);
    void *weights = d.t.weights;
    ck_assert_int_gt((int)convgen_plan_packed(plan), 0);
    d.t.packed = cg_aligned(convgen_plan_packed(plan));
    ck_assert_int_eq(convgen_pack(plan, weights, d.t.packed), CONVGEN_OK);
    d.t.weights = NULL;
    run(plan, &d, &p, other);
    ck_assert(!memcmp(first, other, room));
    d.t.weights = weights;
    cg_free(d.t.packed);
    cg_free(first);
    cg_free(other);
    data_free(&d);
    convgen_plan_free(plan);
}
END_TEST

typedef struct share {
    const convgen_plan *plan;
    const char *text;
    bool same;
} share;

static void *runs(void *user)
{
    share *s = user;
    convgen_problem p;
    convgen_problem_parse(s->text, &p);
    data d = data_of(s->text);
    size_t room = d.bytes[0] + d.bytes[1] + d.bytes[2] + d.bytes[3];
    char *first = cg_calloc(1, room), *other = cg_calloc(1, room);
    run(s->plan, &d, &p, first);
    s->same = true;
    for (int i = 0; i < 50; i++) {
        run(s->plan, &d, &p, other);
        s->same = s->same && !memcmp(first, other, room);
    }
    cg_free(first);
    cg_free(other);
    data_free(&d);
    return NULL;
}

START_TEST(threads_share_a_plan)
{
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    share s[THREADS];
    convgen_plan *plan = plan_in(context, problems[_i]);
    for (int i = 0; i < THREADS; i++) {
        s[i] = (share){plan, problems[_i], false};
        ck_assert_int_eq(pthread_create(&thread[i], NULL, runs, &s[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        ck_assert(s[i].same);
    }
    convgen_plan_free(plan);
}
END_TEST

START_TEST(a_plan_keeps_its_context)
{
    convgen_context *c = opened(1);
    convgen_plan *plan = plan_in(c, problems[0]);
    share s = {plan, problems[0], false};
    convgen_close(c);
    runs(&s);
    ck_assert(s.same);
    convgen_plan_free(plan);
}
END_TEST

START_TEST(a_child_of_a_fork_runs)
{
    convgen_context *c = opened(2);
    convgen_plan *plan = plan_in(c, problems[0]);
    share s = {plan, problems[0], false};
    runs(&s); /* a parallel region: libgomp hangs in a child otherwise */
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        runs(&s);
        _exit(s.same ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %d", status);
    convgen_plan_free(plan);
    convgen_close(c);
}
END_TEST

/* A search that its limit cut short is recalled under a limit, and goes on without one. */
START_TEST(a_cut_search_is_finished_without_a_limit)
{
    convgen_problem p;
    convgen_plan *plan;
    convgen_problem_parse(problems[0], &p);
    static const struct { double seconds; bool recalled, complete; } calls[] = {{1e-9, false, false}, {1e-9, true, false}, {0, false, true}, {0, true, true}};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        ck_assert_msg(convgen_plan_create(context, &p, CONVGEN_MEASURE, calls[i].seconds, &plan) == CONVGEN_OK, "%s", convgen_error(NULL));
        const convgen_info *info = convgen_plan_info(plan);
        ck_assert_msg(info->recalled == calls[i].recalled && info->complete == calls[i].complete, "call %zu: recalled %d, complete %d", i,
                      info->recalled, info->complete);
        convgen_plan_free(plan);
    }
}
END_TEST

START_TEST(measured_then_recalled)
{
    convgen_problem p;
    convgen_plan *plan;
    convgen_problem_parse(problems[0], &p);
    ck_assert_msg(convgen_plan_create(context, &p, CONVGEN_MEASURE, 0.2, &plan) == CONVGEN_OK, "%s", convgen_error(NULL));
    const convgen_info *info = convgen_plan_info(plan);
    ck_assert(!info->recalled && info->ns_min > 0 && info->ns_median >= info->ns_min && info->candidates > 0);
    ck_assert_ptr_nonnull(strstr(convgen_plan_describe(plan), info->schedule));
    char schedule[CG_NAME];
    strcpy(schedule, info->schedule);
    convgen_errors errors = { .struct_size = sizeof errors }, none = { 0 };
    ck_assert_int_eq(convgen_certificate(plan, &errors), CONVGEN_OK);
    refused(convgen_certificate(plan, &none), CONVGEN_BAD_ARGUMENT, "errors.struct_size is 0; it must be sizeof(convgen_errors)");
    /* A caller that was built when the structure ended earlier: what stands behind is its own. */
    convgen_errors old;
    memset(&old, 0x5A, sizeof old);
    old.struct_size = offsetof(convgen_errors, loop);
    ck_assert_int_eq(convgen_certificate(plan, &old), CONVGEN_OK);
    ck_assert_int_eq(old.struct_size, offsetof(convgen_errors, loop));
    ck_assert_mem_eq(&old.plan, &errors.plan, sizeof old.plan);
    for (size_t i = offsetof(convgen_errors, loop); i < sizeof old; i++)
        ck_assert_int_eq(((unsigned char *)&old)[i], 0x5A);
    ck_assert_msg(isnan(errors.plan.of_bound) || errors.plan.of_bound <= 1, "%g", errors.plan.of_bound); /* a transform has none */
    convgen_plan_free(plan);
    ck_assert_int_eq(convgen_plan_create(context, &p, CONVGEN_RECALL, 0, &plan), CONVGEN_OK);
    info = convgen_plan_info(plan);
    ck_assert(info->recalled && info->candidates == 0);
    ck_assert_str_eq(info->schedule, schedule);
    convgen_plan_free(plan);
}
END_TEST

/* A record of this version whose schedule the generator does not know: found, useless, replaced. */
START_TEST(a_record_that_does_not_build)
{
    convgen_problem p;
    convgen_plan *plan;
    convgen_problem_parse(problems[0], &p);
    ck_assert_int_eq(convgen_plan_create(context, &p, CONVGEN_MEASURE, 0.01, &plan), CONVGEN_OK);
    const convgen_info *info = convgen_plan_info(plan);
    cg_record r = {.threads = 1, .ns_min = 1, .ns_median = 1};
    strcpy(r.machine, context->machine.key);
    strcpy(r.target, info->target);
    strcpy(r.problem, info->problem);
    strcpy(r.family, info->family);
    strcpy(r.schedule, "nonsense.p7");
    strcpy(r.form, info->form);
    strcpy(r.compiler, info->compiler);
    ck_assert_int_eq(cg_script_family_version(context->script, info->family, &r.version), CONVGEN_OK);
    convgen_plan_free(plan);
    ck_assert_int_eq(cg_store_put(context->store, &r), CONVGEN_OK);
    ck_assert_int_eq(convgen_plan_create(context, &p, CONVGEN_RECALL, 0, &plan), CONVGEN_OK); /* the good one before it */
    convgen_plan_free(plan);
    ck_assert_int_eq(unlink(store), 0);
    ck_assert_int_eq(cg_store_put(context->store, &r), CONVGEN_OK);
    ck_assert_int_ne(convgen_plan_create(context, &p, CONVGEN_RECALL, 0, &plan), CONVGEN_OK);
    ck_assert_ptr_nonnull(strstr(convgen_error(NULL), "nonsense.p7"));
    ck_assert_msg(convgen_plan_create(context, &p, CONVGEN_MEASURE, 0.01, &plan) == CONVGEN_OK, "%s", convgen_error(NULL));
    ck_assert_str_ne(convgen_plan_info(plan)->schedule, "nonsense.p7");
    convgen_plan_free(plan);
    ck_assert_int_eq(convgen_plan_create(context, &p, CONVGEN_RECALL, 0, &plan), CONVGEN_OK);
    convgen_plan_free(plan);
}
END_TEST

static int calls, stop_at;
static bool progress(void *user, double done, const char *line)
{
    ck_assert_ptr_eq(user, &calls);
    ck_assert(done >= 0 && done <= 1 && line && line[0]);
    return ++calls < stop_at;
}

START_TEST(progress_may_stop)
{
    convgen_options o = {.struct_size = sizeof o, .store = store, .progress = progress, .user = &calls};
    convgen_context *c;
    convgen_problem p;
    convgen_plan *plan;
    convgen_problem_parse(problems[0], &p);
    ck_assert_int_eq(convgen_open(&o, &c), CONVGEN_OK);
    stop_at = 1;
    ck_assert_int_eq(convgen_plan_create(c, &p, CONVGEN_MEASURE, 0, &plan), CONVGEN_CANCELLED);
    calls = 0;
    stop_at = 2;
    ck_assert_int_eq(convgen_plan_create(c, &p, CONVGEN_MEASURE, 0, &plan), CONVGEN_OK);
    ck_assert_int_eq(calls, 2);
    ck_assert_int_eq(convgen_plan_info(plan)->candidates, 1);
    convgen_plan_free(plan);
    convgen_close(c);
}
END_TEST

static int regions;
static void own_parallel(void *user, long tasks, int threads, void (*body)(void *task, long first, long last, int thread), void *task)
{
    (void)user;
    regions++;
    long half = tasks / 2;
    body(task, half, tasks, threads - 1);
    body(task, 0, half, 0);
}

START_TEST(a_parallel_for_of_the_caller)
{
    convgen_options o = {.struct_size = sizeof o, .store = store, .threads = 2, .parallel_for = own_parallel};
    convgen_context *c;
    ck_assert_int_eq(convgen_open(&o, &c), CONVGEN_OK);
    convgen_plan *plan = plan_in(c, problems[0]);
    share s = {plan, problems[0], false};
    runs(&s);
    ck_assert(s.same);
    ck_assert_int_gt(regions, 0);
    convgen_plan_free(plan);
    convgen_close(c);
}
END_TEST

/* From nothing to a finished run; allocations fail in turn. */
static convgen_status whole_story(data *d, const char *text)
{
    convgen_context *c = NULL;
    convgen_plan *plan = NULL;
    convgen_problem p;
    convgen_options o = {.struct_size = sizeof o, .store = store, .target = "portable"};
    convgen_status status = convgen_problem_parse(text, &p);
    if (status == CONVGEN_OK) status = convgen_open(&o, &c);
    if (status == CONVGEN_OK) status = convgen_plan_create(c, &p, CONVGEN_ESTIMATE, 0, &plan);
    if (status == CONVGEN_OK) status = convgen_run(plan, &d->t);
    convgen_plan_free(plan);
    convgen_close(c);
    return status;
}

/* Every STEPth, from a place that the seed chooses: all of them would take minutes, under the sanitizers more. */
#if defined(__SANITIZE_ADDRESS__)
enum { STEP = 37 };
#else
enum { STEP = 7 };
#endif

START_TEST(every_allocation_may_fail)
{
    const char *text = "mb1ic1ih2oc1oh2kh1", *seed = getenv("CONVGEN_SEED");
    data d = data_of(text);
    ck_assert_int_eq(whole_story(&d, text), CONVGEN_OK);
    long n = seed ? strtol(seed, NULL, 10) % STEP : 0;
    for (bool reached = true; reached; n += STEP) {
        cg_fail_allocation = n + 1;
        convgen_status status = whole_story(&d, text);
        reached = cg_fail_allocation == 0;
        cg_fail_allocation = 0;
        /* OK with a failure: a store that could not be read only sends the library searching */
        ck_assert_msg(status == CONVGEN_NO_MEMORY || status == CONVGEN_OK, "allocation %ld: status %d, %s", n + 1,
                      (int)status, convgen_error(NULL));
        if (!reached) ck_assert_int_eq(status, CONVGEN_OK);
    }
    ck_assert_int_gt(n, 20);
    data_free(&d);
}
END_TEST

/* ---- memory that does not come back ---- */

static convgen_status story_of(convgen_context *c, data *d, const char *text, convgen_effort effort)
{
    convgen_plan *plan = NULL;
    convgen_problem p;
    convgen_problem_parse(text, &p);
    convgen_status status = convgen_plan_create(c, &p, effort, 0, &plan);
    if (status == CONVGEN_OK) status = convgen_run(plan, &d->t);
    convgen_plan_free(plan);
    return status;
}

static bool is_a_status_of_memory(convgen_status s) { return s == CONVGEN_OK || s == CONVGEN_NO_MEMORY || s == CONVGEN_STORE; }

/* The kernel that was judged is the plan's: it is not made again. */
START_TEST(a_kernel_is_built_once)
{
    cg_judge judge;
    cg_outcome outcome;
    cg_kernel kernel = {0}, again = {0};
    convgen_problem p;
    convgen_problem_parse(problems[0], &p);
    cg_tuning t = {.problem = &p, .effort = CONVGEN_ESTIMATE, .kernel = &kernel};
    ck_assert_int_eq(cg_judge_local(context, false, &judge), CONVGEN_OK);
    ck_assert_int_eq(cg_tune(context, &judge, &t, &outcome), CONVGEN_OK);
    ck_assert_ptr_nonnull(kernel.code);
    ck_assert_int_gt(kernel.source.stage_count, 0);
    cg_job job = {.problem = p, .threads = 1};
    strcpy(job.schedule, outcome.record.schedule);
    ck_assert(!judge.take(judge.self, &job, &again)); /* gone, and forgotten */
    cg_kernel_free(&kernel);
    cg_free(judge.self);
}
END_TEST

/* Allocations that one plan makes. */
static long allocations(data *d, const char *text, convgen_effort effort)
{
    cg_fail_allocation = LONG_MAX;
    ck_assert_int_eq(story_of(context, d, text, effort), CONVGEN_OK);
    long n = LONG_MAX - cg_fail_allocation;
    cg_fail_allocation = 0;
    return n;
}

/* The n-th and every following allocation fails, libtcc's too: at so many places over one plan. Then a plan is as good as ever. */
START_TEST(memory_may_run_out_for_good)
{
    const char *text = "mb1ic1ih2oc1oh2kh1";
    const convgen_effort effort = _i ? CONVGEN_MEASURE : CONVGEN_ESTIMATE;
#if defined(__SANITIZE_ADDRESS__)
    const long points = _i ? 10 : 60;
#else
    const long points = _i ? 60 : 300;
#endif
    data d = data_of(text);
    ck_assert_int_eq(story_of(context, &d, text, effort), CONVGEN_OK); /* the generator's files are read once */
    unlink(store);
    long all = allocations(&d, text, effort), refusals = 0;
    cg_fail_onwards = true;
    for (long i = 0; i < points; i++) {
        unlink(store); /* what was measured is not to be found again */
        cg_fail_allocation = 1 + all * i / points;
        convgen_status status = story_of(context, &d, text, effort);
        cg_fail_allocation = 0;
        ck_assert_msg(is_a_status_of_memory(status), "from allocation %ld of %ld: status %d, %s", 1 + all * i / points, all, (int)status,
                      convgen_error(NULL));
        refusals += status != CONVGEN_OK;
        if (i % 10 == 0) ck_assert_int_eq(story_of(context, &d, text, CONVGEN_ESTIMATE), CONVGEN_OK);
    }
    cg_fail_onwards = false;
    ck_assert_int_gt(refusals, points * 9 / 10);
    convgen_plan *plan = plan_in(context, problems[0]);
    share s = {plan, problems[0], false};
    runs(&s);
    ck_assert(s.same);
    convgen_plan_free(plan);
    data_free(&d);
}
END_TEST

/* The same with the system's own refusal: a child may have so many bytes more than it has. It says how that went, in words that
 * no exit of another's has. */
enum { WELL = 50, REFUSED, NO_STATUS, NOT_WELL_AFTERWARDS };
static int child_with_slack(size_t slack, const char *text, int threads, convgen_effort effort)
{
    pid_t pid = fork();
    if (!pid) {
        data d = data_of(text);
        convgen_context *c = opened(threads);
        long pages = 0;
        FILE *file = fopen("/proc/self/statm", "r");
        if (!file || fscanf(file, "%ld", &pages) != 1) _exit(1);
        fclose(file);
        struct rlimit limit;
        getrlimit(RLIMIT_AS, &limit);
        limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + slack;
        setrlimit(RLIMIT_AS, &limit);
        convgen_status status = story_of(c, &d, text, effort);
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_AS, &limit);
        if (!is_a_status_of_memory(status)) _exit(NO_STATUS);
        _exit(story_of(c, &d, text, CONVGEN_ESTIMATE) ? NOT_WELL_AFTERWARDS : status ? REFUSED : WELL);
    }
    int state;
    waitpid(pid, &state, 0);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

static const struct {
    bool first; /* another plan was there before */
    int threads;
    convgen_effort effort;
    size_t most, step; /* KB more */
} shortages[] = {
    {true, 1, CONVGEN_ESTIMATE, 2048, 32},
    {true, 1, CONVGEN_MEASURE, 2048, 256},
    {false, 1, CONVGEN_ESTIMATE, 8192, 128},
    {false, 3, CONVGEN_ESTIMATE, 32768, 1024},
};

START_TEST(the_system_may_refuse_memory)
{
#if !defined(__SANITIZE_ADDRESS__) /* the sanitizer's shadow is beyond any limit */
    if (shortages[_i].first) convgen_plan_free(plan_in(context, "mb1ic3ih8oc4kh3ph1"));
    int refusals = 0;
    for (size_t slack = 0; slack <= shortages[_i].most; slack += shortages[_i].step) {
        int state = child_with_slack(slack << 10, "mb1ic5ih9oc6kh3ph1", shortages[_i].threads, shortages[_i].effort);
        ck_assert_msg(state == WELL || state == REFUSED, "%zu KB more than before: %s %d", slack, state < 128 ? "exit" : "signal", state & 127);
        refusals += state == REFUSED;
    }
    ck_assert_int_gt(refusals, 0);
#endif
}
END_TEST

int main(void)
{
    Suite *s = suite_create("plan");
    TCase *t = test_case(s, "plan", 300);
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, a_kernel_is_built_once);
    tcase_add_test(t, open_misused);
    tcase_add_test(t, an_older_struct_is_accepted);
    tcase_add_test(t, options_are_copied);
    tcase_add_test(t, create_misused);
    tcase_add_test(t, run_misused);
    tcase_add_test(t, slices_of_one_buffer);
    tcase_add_test(t, gradients_are_added_to_what_is_there);
    tcase_add_test(t, gradients_of_bias_overlap_nothing);
    tcase_add_loop_test(t, the_same_bits_for_any_thread_count, 0, PROBLEMS);
    tcase_add_loop_test(t, packed_replaces_weights, 0, PROBLEMS);
    tcase_add_loop_test(t, threads_share_a_plan, 0, PROBLEMS);
    tcase_add_test(t, a_plan_keeps_its_context);
    tcase_add_test(t, a_child_of_a_fork_runs);
    tcase_add_test(t, measured_then_recalled);
    tcase_add_test(t, a_cut_search_is_finished_without_a_limit);
    tcase_add_test(t, a_record_that_does_not_build);
    tcase_add_test(t, progress_may_stop);
    tcase_add_test(t, a_parallel_for_of_the_caller);
    tcase_add_test(t, every_allocation_may_fail);
    tcase_add_loop_test(t, memory_may_run_out_for_good, 0, 2);
    tcase_add_loop_test(t, the_system_may_refuse_memory, 0, sizeof shortages / sizeof *shortages);
    return test_run(s);
}

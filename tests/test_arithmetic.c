/* test_arithmetic.c: what decides the bits of a result: all schedules of one arithmetic give the same, and ESTIMATE's does not depend on
 * the number of threads.
 *
 * Results are compared byte by byte, on random data. $CONVGEN_TRIALS: problems, in place of the usual number. */
#define _GNU_SOURCE
#include "random_problems.h"
#include "suite.h"
#include <string.h>
#include <unistd.h>

static const int threads_of[] = {1, 2, 3, 8};
enum { COUNTS = sizeof threads_of / sizeof *threads_of };

/* The shares of all threads, one after another: what they compute does not depend on when. */
static void in_turn(void *user, long tasks, int threads, void (*body)(void *task, long first, long last, int thread), void *task)
{
    (void)user;
    for (int i = threads - 1; i >= 0; i--) body(task, tasks * i / threads, tasks * (i + 1) / threads, i);
}

static long trials(long standard)
{
    const char *text = getenv("CONVGEN_TRIALS");
    return text ? strtol(text, NULL, 10) : standard;
}

/* Every pass, type, layout and accuracy; more than half of them what a transform takes. */
static convgen_problem any_problem(uint64_t *state)
{
    for (;;) {
        convgen_problem p = random_problem(state, 100e3);
        p.accuracy = (convgen_accuracy)random_in(state, 0, 3);
        if (random_in(state, 0, 2)) {
            p.groups = random_in(state, 0, 3) ? 1 : 2;
            p.in_channels = p.groups * random_in(state, 1, random_in(state, 0, 1) ? 12 : 160);
            p.out_channels = p.groups * random_in(state, 1, random_in(state, 0, 1) ? 12 : 80);
            p.in[0] = p.out[0] = p.kernel[0] = p.stride[0] = p.dilation[0] = 1, p.pad[0] = 0;
            for (int axis = 1; axis < 3; axis++) {
                bool strided = p.pass == CONVGEN_FORWARD && p.layout == CONVGEN_NHWC && !random_in(state, 0, 3);
                p.kernel[axis] = random_in(state, 0, 2) ? 3 : random_in(state, 2, 5);
                p.in[axis] = random_in(state, 3, 24);
                p.stride[axis] = strided ? 2 : 1;
                p.dilation[axis] = 1;
                p.pad[axis] = random_in(state, 0, 2);
                p.out[axis] = 0;
            }
        }
        if (cg_problem_normalise(&p) == CONVGEN_OK && cg_problem_sizes(&p).macs <= 4e6) return p;
    }
}

/* What a plan or a kernel wrote: the output, and the bias gradient behind it. */
static void take_output(const convgen_problem *p, const cg_operands *o, char **out, size_t *size)
{
    void *const at[CG_TENSORS] = {o->src, o->weights, o->bias, o->dst, o->residual};
    size_t bytes[CG_TENSORS];
    cg_tensor_bytes(p, bytes);
    int result = cg_output_tensor(p, false);
    size_t bias = p->pass == CONVGEN_BACKWARD_WEIGHTS && p->bias ? bytes[CG_BIAS] : 0;
    *size = bytes[result] + bias;
    *out = cg_malloc(*size);
    memcpy(*out, at[result], bytes[result]);
    if (bias) memcpy(*out + bytes[result], o->bias, bias);
}

static void poison_output(const convgen_problem *p, const cg_operands *o)
{
    void *const at[CG_TENSORS] = {o->src, o->weights, o->bias, o->dst, o->residual};
    size_t bytes[CG_TENSORS];
    cg_role role[CG_TENSORS];
    cg_tensor_bytes(p, bytes);
    cg_roles(p, role);
    for (int i = 0; i < CG_TENSORS; i++)
        if (role[i] == CG_RESULT) memset(at[i], 0xff, bytes[i]);
}

/* ---- schedules of one arithmetic ---- */

static cg_script *script;
static cg_machine machine;

static void setup(void)
{
    cg_machine_detect(&machine);
    ck_assert_msg(cg_script_new(&script) == CONVGEN_OK, "%s", cg_error_text());
}

static void teardown(void) { cg_script_free(script); }

enum { ARITHMETICS = 128, OF_EACH = 4 };
typedef struct known {
    char name[CG_NAME], schedule[CG_NAME], *bits;
    int threads, seen;
} known;

static void run_schedule(const cg_request *r, const cg_schedule *s, known *a, uint64_t seed)
{
    char text[CG_TEXT], why[CG_WHY] = "", *bits;
    size_t size;
    cg_kernel kernel;
    cg_trial *trial;
    cg_operands o;
    cg_room room;
    cg_parallel parallel = {.threads = r->threads, .parallel_for = in_turn};
    convgen_problem_format(r->problem, text, sizeof text);
    ck_assert_msg(!cg_kernel_new(script, r, &(cg_making){s->name, "tcc", ""}, &kernel, why), "seed %llu: %s %s: %s", (unsigned long long)seed, text, s->name, why);
    ck_assert_int_eq(cg_trial_new(r->problem, false, &trial), CONVGEN_OK);
    ck_assert_int_eq(cg_trial_data(trial, &o), CONVGEN_OK);
    ck_assert_int_eq(cg_trial_room(trial, &kernel, &parallel, &room), CONVGEN_OK);
    poison_output(r->problem, &o);
    cg_kernel_answer(&kernel, &parallel, &o, &room);
    take_output(r->problem, &o, &bits, &size);
    if (!a->bits) {
        snprintf(a->schedule, sizeof a->schedule, "%s", s->name);
        a->threads = r->threads;
        a->bits = bits;
    } else {
        ck_assert_msg(!memcmp(bits, a->bits, size), "seed %llu: %s on %s: %s (%d threads) and %s (%d threads) differ, and both are '%s'",
                      (unsigned long long)seed, text, r->target, s->name, r->threads, a->schedule, a->threads, a->name);
        cg_free(bits);
    }
    a->seen++;
    cg_kernel_free(&kernel);
    cg_trial_free(trial);
}

/* Some schedules of every arithmetic that the problem has for any of these threads. */
static void run_arithmetics(const convgen_problem *p, const char *target, const char *form, uint64_t *state, uint64_t seed, int *several)
{
    static known list[ARITHMETICS];
    int count = 0;
    memset(list, 0, sizeof list);
    for (int t = 0; t < COUNTS; t++) {
        cg_request r = {.problem = p, .machine = &machine, .target = target, .form = form, .threads = threads_of[t]};
        cg_schedule_list schedules;
        ck_assert_msg(cg_script_schedules(script, &r, &schedules) == CONVGEN_OK, "%s", cg_error_text());
        for (int i = 0; i < schedules.count && !schedules.at[i].why[0]; i++) {
            int a = 0;
            ck_assert(schedules.at[i].arithmetic[0]);
            while (a < count && strcmp(list[a].name, schedules.at[i].arithmetic) != 0) a++;
            if (a == ARITHMETICS) continue;
            if (a == count) snprintf(list[count++].name, CG_NAME, "%s", schedules.at[i].arithmetic);
            if (list[a].seen < OF_EACH && (list[a].seen <= t || !random_in(state, 0, 2))) run_schedule(&r, &schedules.at[i], &list[a], seed);
        }
        cg_free(schedules.at);
    }
    for (int a = 0; a < count; a++) {
        *several += list[a].seen > 1 && strcmp(list[a].name, "canonical") != 0;
        cg_free(list[a].bits);
    }
}

START_TEST(every_schedule_of_an_arithmetic_gives_the_same_bits)
{
    static const char *const targets[] = {"avx512", "avx2", "portable"};
    uint64_t seed = test_seed(), state = seed;
    int several = 0;
    for (long i = 0; i < trials(8) || (!several && i < 64); i++) { /* few problems have two schedules of a transform */
        convgen_problem p = any_problem(&state);
        const char *name = targets[random_in(&state, 0, 2)];
        cg_target target;
        bool here = cg_script_target(script, &machine, name, &target) == CONVGEN_OK;
        run_arithmetics(&p, name, here ? cg_form(&target, "tcc") : "c", &state, seed, &several);
    }
    ck_assert_msg(several > 0, "seed %llu: no transform had two schedules", (unsigned long long)seed);
}
END_TEST

/* ---- what ESTIMATE takes ---- */

static char *estimated(const convgen_problem *p, int threads, const char *store, size_t *size, char schedule[CG_NAME], uint64_t seed)
{
    convgen_context *c;
    convgen_plan *plan;
    cg_trial *trial;
    cg_operands o;
    char text[CG_TEXT], *bits;
    convgen_options options = {.struct_size = sizeof options, .threads = threads, .store = store, .parallel_for = in_turn};
    convgen_problem_format(p, text, sizeof text);
    ck_assert_msg(convgen_open(&options, &c) == CONVGEN_OK, "%s", convgen_error(NULL));
    ck_assert_msg(convgen_plan_create(c, p, CONVGEN_ESTIMATE, 0, &plan) == CONVGEN_OK, "seed %llu: %s: %s", (unsigned long long)seed, text,
                  convgen_error(NULL));
    ck_assert_int_eq(cg_trial_new(p, false, &trial), CONVGEN_OK);
    ck_assert_int_eq(cg_trial_data(trial, &o), CONVGEN_OK);
    poison_output(p, &o);
    convgen_tensors t = {o.src, o.weights, o.bias, o.dst, o.residual, NULL, NULL, o.slope};
    ck_assert_msg(convgen_run(plan, &t) == CONVGEN_OK, "%s", convgen_error(NULL));
    take_output(p, &o, &bits, size);
    snprintf(schedule, CG_NAME, "%s", convgen_plan_info(plan)->schedule);
    cg_trial_free(trial);
    convgen_plan_free(plan);
    convgen_close(c);
    return bits;
}

START_TEST(estimate_takes_one_arithmetic_for_any_threads)
{
    uint64_t seed = test_seed(), state = seed;
    char store[64], text[CG_TEXT];
    store_begin(store);
    for (long i = 0; i < trials(50); i++) {
        convgen_problem p = any_problem(&state);
        char one[CG_NAME], other[CG_NAME];
        size_t size;
        if (!i) {
            convgen_problem_parse("--dir=BWD_WB --dt=f64 mb3ic4ih12oc6oh12kh3ph1", &p); /* took planar with one thread, winograd with two */
            cg_problem_normalise(&p);
        }
        convgen_problem_format(&p, text, sizeof text);
        char *first = estimated(&p, 1, store, &size, one, seed);
        for (int t = 1; t < COUNTS; t++) {
            char *bits = estimated(&p, threads_of[t], store, &size, other, seed);
            ck_assert_msg(!memcmp(first, bits, size), "seed %llu: %s: %s (1 thread) and %s (%d threads) differ", (unsigned long long)seed, text, one,
                          other, threads_of[t]);
            cg_free(bits);
        }
        cg_free(first);
    }
    store_end(store);
}
END_TEST

/* What was remembered for one thread comes first for three: with its arithmetic, though it is not the best by estimate. */
START_TEST(a_record_leads_its_arithmetic)
{
    convgen_problem p;
    convgen_context *c;
    char store[64], one[CG_NAME], three[CG_NAME], *a, *b;
    size_t size;
    store_begin(store);
    convgen_options options = {.struct_size = sizeof options, .threads = 1, .store = store};
    ck_assert_int_eq(convgen_problem_parse("--accuracy=8x mb1ic32ih24oc32kh3ph1", &p), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&p), CONVGEN_OK);
    ck_assert_int_eq(convgen_open(&options, &c), CONVGEN_OK);
    cg_request r = {.problem = &p, .machine = &c->machine, .target = c->target.name, .form = cg_form(&c->target, "tcc"), .threads = 1, .steady = true};
    cg_schedule_list list;
    ck_assert_int_eq(cg_script_schedules(c->script, &r, &list), CONVGEN_OK);
    int other = 0;
    const char *wanted = strcmp(list.at[0].arithmetic, "canonical") ? "direct" : "winograd";
    while (other < list.count && (list.at[other].why[0] || strcmp(list.at[other].family, wanted) != 0)) other++;
    ck_assert_int_lt(other, list.count);
    cg_record record = {.threads = 1, .version = list.at[other].version, .ns_min = 1, .ns_median = 1, .error_normwise = 1e-7,
                        .error_vs_loop = 1, .error_vs_bound = 0.1};
    strcpy(record.machine, c->machine.key);
    strcpy(record.target, r.target);
    strcpy(record.form, r.form);
    strcpy(record.compiler, "tcc");
    strcpy(record.family, list.at[other].family);
    strcpy(record.schedule, list.at[other].name);
    ck_assert_int_eq(convgen_problem_format(&p, record.problem, sizeof record.problem), CONVGEN_OK);
    ck_assert_int_eq(cg_store_put(c->store, &record), CONVGEN_OK);
    a = estimated(&p, 1, store, &size, one, 0);
    b = estimated(&p, 3, store, &size, three, 0);
    ck_assert_str_eq(one, record.schedule);
    ck_assert_msg(!memcmp(a, b, size), "%s for one thread, %s for three", one, three);
    cg_free(a), cg_free(b), cg_free(list.at);
    convgen_close(c);
    store_end(store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arithmetic");
    int seconds = 900 + (int)trials(0);
    TCase *schedules = test_case(suite, "schedules", seconds);
    tcase_add_checked_fixture(schedules, setup, teardown);
    tcase_add_test(schedules, every_schedule_of_an_arithmetic_gives_the_same_bits);
    tcase_add_test(test_case(suite, "estimate", seconds), estimate_takes_one_arithmetic_for_any_threads);
    tcase_add_test(test_case(suite, "record", 600), a_record_leads_its_arithmetic);
    return test_run(suite);
}

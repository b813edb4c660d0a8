/* test_names.c: schedule names that nobody listed: mutated ones either build a kernel that is right, or are refused with a sentence.
 *
 * Never a place in the generator's text, never more work than a listed schedule could take. $CONVGEN_TRIALS: names, in place of the
 * usual number. */
#include "random_problems.h"
#include "suite.h"
#include <ctype.h>
#include <string.h>

static cg_script *script;
static cg_machine machine;

static void setup(void)
{
    cg_machine_detect(&machine);
    cg_script_uncounted = 0; /* all work is counted */
    ck_assert_msg(cg_script_new(&script) == CONVGEN_OK, "%s", cg_error_text());
}

static void teardown(void) { cg_script_free(script); }

static long trials(long standard)
{
    const char *text = getenv("CONVGEN_TRIALS");
    return text ? strtol(text, NULL, 10) : standard;
}

enum { ROOM = 4 * CG_NAME, MOST_WORK = 250 }; /* million steps of the generator: listed schedules take up to about 100 */

static void replace(char name[ROOM], size_t at, size_t length, const char *by)
{
    size_t more = strlen(by), rest = strlen(name + at + length) + 1;
    if (at + more + rest > ROOM) return;
    memmove(name + at + more, name + at + length, rest);
    memcpy(name + at, by, more);
}

/* A place of the name that begins with what `is` says, and how far that goes; false: there is none. */
static bool find(const char *name, int (*is)(int), uint64_t *state, size_t *at, size_t *length)
{
    size_t n = strlen(name);
    if (!n) return false;
    size_t from = (size_t)random_in(state, 0, (int64_t)n - 1);
    for (size_t i = 0; i < n; i++) {
        size_t here = (from + i) % n;
        if (!is(name[here]) || (here && is(name[here - 1]))) continue;
        *at = here;
        for (*length = 0; is(name[here + *length]);) ++*length;
        return true;
    }
    return false;
}

static int in_word(int c) { return c && c != '.' && c != '/'; }

static void mutate(char name[ROOM], uint64_t *state)
{
    static const char *const numbers[] = {"0", "1", "2", "3", "5", "7", "16", "17", "64", "999", "65535", "4294967296", "9223372036854775807",
                                          "99999999999999999999", "007", "", "-1", "1e3", "0x10"};
    static const char *const words[] = {"", "x", "+", "4+3+2", "4+4", "3+4", ".s2", ".d2", ".p2", ".a4", ".c16", ".half", ".fuse", ".fetch",
                                        ".stream", "gather/", "panel/", ".across", ".ahead", ".s0", ".rows1", "..", "%d", "\xff",
                                        "planes.s1/", "split.p2/", "/product", "/", "//"};
    size_t at, length;
    char field[ROOM];
    switch (random_in(state, 0, 5)) {
    case 0: case 1: case 2:
        if (find(name, isdigit, state, &at, &length)) replace(name, at, length, numbers[random_in(state, 0, 18)]);
        break;
    case 3: /* a field again, or gone */
        if (!find(name, in_word, state, &at, &length)) break;
        snprintf(field, sizeof field, ".%.*s", (int)length, name + at);
        replace(name, random_in(state, 0, 1) ? strlen(name) : at ? at - 1 : 0, random_in(state, 0, 1) ? 0 : length + (at > 0), field);
        break;
    case 4: /* two fields change places */
        if (!find(name, in_word, state, &at, &length)) break;
        snprintf(field, sizeof field, "%.*s", (int)length, name + at);
        replace(name, at, length + (name[at + length] != 0), "");
        replace(name, strlen(name), 0, ".");
        replace(name, strlen(name), 0, field);
        break;
    default:
        replace(name, (size_t)random_in(state, 0, (int64_t)strlen(name)), 0, words[random_in(state, 0, sizeof words / sizeof *words - 1)]);
    }
}

/* A status that is right, a sentence without a place, and no more work than is usual. */
static void well_answered(const char *what, cg_status status, const cg_request *r, const char *name, uint64_t seed)
{
    char text[CG_TEXT];
    convgen_problem_format(r->problem, text, sizeof text);
    if (status) {
        ck_assert_msg(status == CONVGEN_UNSUPPORTED && !strstr(cg_error_text(), ".lua") && cg_error_text()[0], "seed %llu: %s of %s on %s, %s: %s",
                      (unsigned long long)seed, what, name, r->target, text, cg_error_text());
    }
    ck_assert_msg(cg_script_work(script) <= MOST_WORK, "seed %llu: %s of %s on %s, %s took %d million steps", (unsigned long long)seed, what, name,
                  r->target, text, cg_script_work(script));
}

static cg_status put(void *user, const char *name, const char *text, size_t length)
{
    (void)name, (void)text;
    *(size_t *)user += length;
    return CONVGEN_OK;
}

static void emit(const cg_request *r, const char *name, uint64_t seed)
{
    size_t size = 0;
    cg_emit_layer layer = {.name = "", .problem = r->problem, .threads = r->threads, .multiplicity = 1,
                           .kernel = {{name, "a test", NAN, NAN, NAN}}};
    cg_network n = {.prefix = "x", .form = "c", .machine = &machine, .target = {r->target}, .target_count = 1, .layer_count = 1, .layer = &layer};
    well_answered("emit", cg_script_emit(script, &n, put, NULL, &size), r, name, seed);
}

/* What builds is right: it is a schedule that the list might have had. */
static void verify(const cg_request *r, const char *name, uint64_t seed)
{
    char why[CG_WHY], text[CG_TEXT];
    cg_kernel kernel;
    cg_trial *trial;
    cg_verdict verdict;
    convgen_problem_format(r->problem, text, sizeof text);
    cg_parallel parallel = {.threads = 1};
    ck_assert_msg(cg_kernel_new(script, r, &(cg_making){name, "tcc", ""}, &kernel, why) == CONVGEN_OK, "seed %llu: %s: %s", (unsigned long long)seed, name, why);
    ck_assert_int_eq(cg_trial_new(r->problem, true, &trial), CONVGEN_OK);
    cg_status status = cg_verify(trial, &kernel, &parallel, CG_VERIFY_FULL, &verdict);
    bool inexact = !kernel.source.chains && verdict.inexact;
    ck_assert_msg(!status && (verdict.ok || inexact), "seed %llu: %s on %s, %s: %s", (unsigned long long)seed, name, r->target, text,
                  status ? cg_error_text() : verdict.why);
    cg_trial_free(trial);
    cg_kernel_free(&kernel);
}

static void ask(const cg_request *r, const char *name, uint64_t *state, uint64_t seed, bool small)
{
    char why[CG_WHY];
    cg_source source;
    cg_buffer text = {0};
    cg_status status = cg_script_source(script, r, name, &source, why);
    well_answered("the source", status, r, name, seed);
    if (!random_in(state, 0, 7)) emit(r, name, seed);
    if (!random_in(state, 0, 7)) {
        well_answered("the program", cg_script_show(script, r, name, "program", &text), r, name, seed);
        cg_buffer_free(&text);
    }
    if (status) return;
    size_t memory = source.packed + source.shared;
    cg_source_free(&source);
    if (small && memory < 64 << 20 && !random_in(state, 0, 3)) verify(r, name, seed);
}

static void ask_mutated(const cg_request *r, const cg_schedule *s, uint64_t *state, uint64_t seed, bool small)
{
    char name[ROOM];
    snprintf(name, sizeof name, "%s", s->name);
    for (int64_t n = random_in(state, 1, 3); n > 0; n--) mutate(name, state);
    if (!strncmp(name, "plain", 5) && random_in(state, 0, 9)) return;
    ask(r, name, state, seed, small);
}

START_TEST(mutated_names)
{
    static const char *const targets[] = {"avx512", "avx2", "portable"};
    static const char *const large[] = {"mb1ic64ih56oc64kh3ph1", "--tag=nchw mb2ic40ih28oc48kh3ph1", "--dir=BWD_W ic24ih64oc32kh3",
                                        "g96mb1ic96ih30oc96kh5ph2",
                                        "--dir=BWD_D mb1ic3ih64oc32kh7sh2ph3", "mb1ic2048ih1oc40kh1", "--dir=BWD_W g64mb1ic64ih30oc64kh5ph2",
                                        "--tag=nchw --dir=BWD_W mb1ic3ih40oc30kh5", "--tag=nchw mb1ic256ih14oc256kh1", "mb1ic32ih128oc256kh1"};
    uint64_t seed = test_seed(), state = seed;
    for (long asked = 0; asked < trials(3000);) {
        convgen_problem p = random_problem(&state, 60e3);
        bool small = random_in(&state, 0, 3);
        if (!small) {
            ck_assert_int_eq(convgen_problem_parse(large[random_in(&state, 0, 9)], &p), CONVGEN_OK);
            cg_problem_normalise(&p);
        }
        p.accuracy = random_in(&state, 0, 2) ? CONVGEN_8X : (convgen_accuracy)random_in(&state, 0, 3);
        const char *name = targets[random_in(&state, 0, 2)];
        cg_target target;
        bool here = cg_script_target(script, &machine, name, &target) == CONVGEN_OK;
        cg_request r = {.problem = &p, .machine = &machine, .target = name, .form = here ? cg_form(&target, "tcc") : "c",
                        .threads = (int)random_in(&state, 1, 3)};
        cg_schedule_list list;
        ck_assert_msg(cg_script_schedules(script, &r, &list) == CONVGEN_OK, "%s", cg_error_text());
        for (int i = 0; i < 25; i++, asked++) ask_mutated(&r, &list.at[random_in(&state, 0, list.count - 1)], &state, seed, small);
        cg_free(list.at);
    }
}
END_TEST

/* Names that a person wrote, which ended in places of the generator or a division by zero; and what the sentence names. */
static const struct {
    const char *problem, *name;
} bad[] = {
    {"mb1ic16ih8oc16kh3ph1", "direct.p0.v1.rows1"}, {"mb1ic16ih8oc16kh3ph1", "direct.p7.v1.rows0"}, {"mb1ic16ih8oc16kh3ph1", "direct.p7.v0.rows1"},
    {"--dir=BWD_W mb1ic16ih8oc16kh3ph1", "direct.i0.v1"}, {"--tag=nchw mb1ic16ih8oc16kh3ph1", "planes.s0/direct.p7.v1.rows4"},
    {"mb1ic3ih8oc16kh3ph1", "planar.c0.v1.rows4"}, {"mb1ic3ih8oc16kh3ph1", "planar.c1.v0.rows4"}, {"mb1ic3ih8oc16kh3ph1", "planar.c1.v1.rows0"},
    {"--dir=BWD_W mb1ic3ih8oc16kh3ph1", "planar.o0.rows1"}, {"--dir=BWD_W mb1ic3ih8oc16kh3ph1", "planar.i1.k0.v1"},
    {"mb1ic16ih8oc16kh3ph1", "winograd.4x3+2+2.t28.s1/product.r14.v1"}, {"mb1ic16ih8oc16kh3ph1", "winograd.0x4.t28.s1/product.r14.v1"},
    {"mb1ic16ih8oc16kh3ph1", "winograd.4x4.t0.s1/product.r14.v1"}, {"mb1ic16ih8oc16kh3ph1", "winograd.4x4.t28.s1/product.r0.v1"},
    {"mb1ic16ih8oc16kh3ph1", "winograd.4x4.t28.s1/product.r14.v0"}, {"mb1ic16ih8oc16kh3ph1", "winograd.4x4.t28.s0/product.r14.v1"},
    {"mb1ic16ih8oc16kh3ph1", "winograd.4x4.t28.s1/product.r1400.v100"}, {"mb1ic16ih8oc16kh3ph1", "winograd.4+x4.t28.s1/product.r14.v1"},
    {"g8mb1ic8ih8oc8kh3ph1", "depthwise.r0.p4"}, {"g8mb1ic8ih8oc8kh3ph1", "depthwise.r2.p999999999"}, {"mb1ic16ih8oc16kh3ph1", "plain.x"},
};

START_TEST(bad_names)
{
    convgen_problem p;
    char why[CG_WHY];
    cg_source source;
    ck_assert_int_eq(convgen_problem_parse(bad[_i].problem, &p), CONVGEN_OK);
    cg_problem_normalise(&p);
    p.accuracy = CONVGEN_8X;
    cg_request r = {.problem = &p, .machine = &machine, .target = "avx2", .form = "c", .threads = 1};
    cg_status status = cg_script_source(script, &r, bad[_i].name, &source, why);
    ck_assert_msg(status == CONVGEN_UNSUPPORTED && !strstr(why, ".lua") && strchr(why, ' '), "%s: status %d, %s", bad[_i].name, status, why);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("names");
    TCase *c = test_case(suite, "names", 900 + (int)trials(0));
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, mutated_names);
    tcase_add_loop_test(c, bad_names, 0, (int)(sizeof bad / sizeof *bad));
    return test_run(suite);
}

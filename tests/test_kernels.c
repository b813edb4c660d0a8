/* test_kernels.c: every family's kernels against the reference, on random problems, on the lists, and with every activation.
 *
 * Not the tuner's choice but a random schedule of every family, so that `plain` cannot pass for the others. Operands stand
 * between guard pages; verify compares every output. $CONVGEN_TRIALS: kernels of each family, in place of the usual number.
 * $CONVGEN_SCHEDULES: schedules of each problem of a list, 0: all. $CONVGEN_TARGET: that target's kernels alone, with its share of
 * the random ones. */
#include "random_problems.h"
#include "suite.h"
#include <math.h>
#include <string.h>

static cg_script *script;
static cg_machine machine;

/* Targets whose kernels are tested: one, where $CONVGEN_TARGET names it. */
enum { MOST_TARGETS = 3 };
static const char *target_names[MOST_TARGETS] = {"avx512", "avx2", "portable"};
static int targets = MOST_TARGETS;
static const char *target_of(uint64_t number) { return target_names[number % (uint64_t)targets]; }

/* The machine form runs only where the processor has the target; the C form of any target runs by libtcc everywhere. */
static const char *form_for(const char *name, bool want_machine)
{
    cg_target target;
    return want_machine && cg_script_target(script, &machine, name, &target) == CONVGEN_OK ? cg_form(&target, "tcc") : "c";
}

static long second_cache; /* bytes, of this machine */

static void setup(void)
{
    cg_machine_detect(&machine);
    second_cache = machine.l2;
    ck_assert_msg(cg_script_new(&script) == CONVGEN_OK, "%s", cg_error_text());
}

/* What this processor lacks is named: its kernels run in the C form alone. */
static void choose_targets(void)
{
    const char *only = getenv("CONVGEN_TARGET");
    cg_target target;
    if (only && *only) target_names[0] = only, targets = 1;
    cg_machine_detect(&machine);
    if (cg_script_new(&script)) return;
    for (int i = 0; i < targets; i++)
        if (cg_script_target(script, &machine, target_names[i], &target))
            printf("left out: the instructions of %s, which this processor lacks: %s\n", target_names[i], cg_error_text());
    cg_script_free(script);
}

static void teardown(void) { cg_script_free(script); }

/* Refused for their error alone, of those verified: 1 of 750 with two seeds. */
static const double at_most = 0.003;
static int transformed, inexact; /* kernels of transforming families in this test, and those so refused */

/* Builds one schedule and verifies it fully; a failure names everything that makes it again. A transform is refused where its error
 * on a problem's few numbers is greater than predicted, which is none of the kernel (what is wrong is wrong by far more); but it is
 * counted: what the generator calls legal must hardly ever be refused. */
static void verify_schedule(const cg_request *r, const char *schedule, const char *compiler, const char *flags, int threads,
                            cg_trial *trial, uint64_t seed)
{
    char text[CG_TEXT], why[CG_WHY] = "";
    convgen_problem_format(r->problem, text, sizeof text);
    cg_kernel kernel;
    cg_status status = cg_kernel_new(script, r, &(cg_making){schedule, compiler, flags}, &kernel, why);
    ck_assert_msg(status == CONVGEN_OK, "seed %llu: %s, %s on %s (%s form) by %s does not build: %s (%s)", (unsigned long long)seed,
                  text, schedule, r->target, r->form, compiler, why, cg_error_text());
    cg_parallel parallel = {.threads = threads};
    cg_verdict verdict;
    status = cg_verify(trial, &kernel, &parallel, CG_VERIFY_FULL, &verdict);
    bool too_far = !kernel.source.chains && verdict.inexact && verdict.error_vs_loop < 50;
    transformed += !kernel.source.chains;
    inexact += too_far;
    if (too_far && getenv("CONVGEN_TRIALS"))
        printf("seed %llu: %s, %s on %s (%s form) by %s: %s\n", (unsigned long long)seed, text, schedule, r->target, r->form, compiler, verdict.why);
    ck_assert_msg(status == CONVGEN_OK && (verdict.ok || too_far), "seed %llu: %s, %s on %s (%s form) by %s, %d threads: %s (%s)",
                  (unsigned long long)seed, text, schedule, r->target, r->form, compiler, threads, verdict.why, status ? cg_error_text() : "");
    cg_kernel_free(&kernel);
}

static const char *const families[] = {"direct", "planar", "depthwise", "winograd", "plain"};
enum { FAMILIES = sizeof families / sizeof families[0] };
static int verified[FAMILIES]; /* kernels of each, in this test */

static int family_index(const char *name)
{
    int i = 0;
    while (strcmp(families[i], name)) i++; /* a family that is not listed is a fault of this test's */
    return i;
}

static int words_of(const char *name)
{
    int words = 1;
    while ((name = strchr(name, '.'))) name++, words++;
    return words;
}

/* A random legal schedule of each family that has any: their numbers in the list, and how many. Of three the one whose name has most
 * words, so that rare ways of doing things are not rare here. */
static int pick_of_each_family(const cg_schedule_list *list, uint64_t *state, int picked[FAMILIES])
{
    int legal = 0, count = 0;
    while (legal < list->count && !list->at[legal].why[0]) legal++;
    ck_assert_msg(legal >= 1, "no legal schedule");
    for (int family = 0; family < FAMILIES; family++) {
        int members = 0;
        for (int k = 0; k < legal; k++) members += family_index(list->at[k].family) == family;
        if (!members) continue;
        int64_t pick[3] = {random_in(state, 0, members - 1), random_in(state, 0, members - 1), random_in(state, 0, members - 1)};
        int found = -1;
        for (int k = 0, member = 0; k < legal; k++) {
            if (family_index(list->at[k].family) != family) continue;
            bool drawn = member == pick[0] || member == pick[1] || member == pick[2];
            if (drawn && (found < 0 || words_of(list->at[k].name) > words_of(list->at[found].name))) found = k;
            member++;
        }
        picked[count++] = found;
    }
    return count;
}

/* Schedules depend on the second cache: small ones make of small problems what only large ones are on this machine. */
static void random_machine(uint64_t *state)
{
    const long sizes[] = {second_cache, 1 << 16, 1 << 13, 1 << 12};
    machine.l2 = sizes[random_in(state, 0, 3)];
}

/* One random legal schedule of each family. */
static void verify_families(const convgen_problem *p, uint64_t *state, const char *target, const char *form, const char *compiler,
                            const char *flags, uint64_t seed)
{
    int threads = (int)random_in(state, 1, 3), picked[FAMILIES];
    random_machine(state);
    cg_request r = {.problem = p, .machine = &machine, .target = target, .form = form, .threads = threads};
    cg_schedule_list list;
    ck_assert_msg(cg_script_schedules(script, &r, &list) == CONVGEN_OK, "seed %llu: %s", (unsigned long long)seed, cg_error_text());
    cg_trial *trial;
    ck_assert_int_eq(cg_trial_new(p, true, &trial), CONVGEN_OK);
    const int count = pick_of_each_family(&list, state, picked);
    for (int i = 0; i < count; i++) {
        verify_schedule(&r, list.at[picked[i]].name, compiler, flags, threads, trial, seed);
        verified[family_index(list.at[picked[i]].family)]++;
    }
    cg_trial_free(trial);
    cg_free(list.at);
}

static long trials(long standard)
{
    const char *text = getenv("CONVGEN_TRIALS");
    return text ? strtol(text, NULL, 10) : standard;
}

/* Random problems until `standard` kernels (or $CONVGEN_TRIALS) of each of the families whose names `of` has are verified. */
static void verify_random(convgen_problem (*make)(uint64_t *state, double macs), double macs, const char *of, long standard)
{
    uint64_t seed = test_seed(), state = seed;
    long wanted = trials(standard * targets / MOST_TARGETS);
    for (int family = 0; family < FAMILIES; family++) {
        while (strstr(of, families[family]) && verified[family] < wanted) {
            convgen_problem p = make(&state, macs);
            if (!random_in(&state, 0, 2)) random_slices(&state, &p);
            const char *target = target_of((uint64_t)random_in(&state, 0, 2));
            verify_families(&p, &state, target, form_for(target, random_in(&state, 0, 3) > 0), "tcc", "", seed);
        }
    }
    double allowed = 3 + at_most * transformed; /* three by chance */
    ck_assert_msg(inexact <= allowed, "seed %llu: %d of %d transformed kernels are refused for their error alone, %.0f allowed: "
                  "predictions of the error have become worse", (unsigned long long)seed, inexact, transformed, floor(allowed));
    if (!getenv("CONVGEN_TRIALS")) return;
    printf("seed %llu:", (unsigned long long)seed);
    for (int i = 0; i < FAMILIES; i++) printf(" %s %d", families[i], verified[i]);
    printf(" kernels verified, %d of %d transformed ones too inexact\n", inexact, transformed);
    fflush(stdout);
}

START_TEST(random_problems_of_every_family) { verify_random(random_problem, 60e3, "direct planar plain", 1000); }
END_TEST

/* What Winograd takes: two dimensions, up to 7 taps, any pads; channels-first data in two of its passes; a dilation of the
 * others', whose pads and sizes need not be multiples of it; forward, strides on the axes that are not dilated. */
static convgen_problem transformable_problem(uint64_t *state, double macs)
{
    for (;;) {
        convgen_problem p = {.pass = (convgen_pass)random_in(state, 0, 2), .type = (convgen_type)random_in(state, 0, 1)};
        p.weights = (convgen_weights)random_in(state, 0, 1);
        p.layout = random_in(state, 0, 2) ? CONVGEN_NHWC : CONVGEN_NCHW;
        p.accuracy = random_in(state, 0, 2) ? CONVGEN_8X : random_in(state, 0, 1) ? CONVGEN_2X : CONVGEN_LOOP;
        p.batch = random_in(state, 1, 3);
        p.groups = random_in(state, 0, 4) ? 1 : random_in(state, 2, 3);
        const int64_t least = random_in(state, 0, 2) ? 1 : 33; /* half-transformed weights and partial sums are for many channels */
        p.in_channels = p.groups * (least + random_size(state, 20, 38));
        p.out_channels = p.groups * (least + random_size(state, 20, 38));
        bool dilated = p.layout == CONVGEN_NHWC && p.pass != CONVGEN_BACKWARD_WEIGHTS && !random_in(state, 0, 2);
        for (int axis = 1; axis < 3; axis++) {
            p.in[axis] = random_size(state, least == 1 ? 24 : 9, 40);
            p.kernel[axis] = random_in(state, 0, 2) ? 3 : random_in(state, 1, 7);
            p.dilation[axis] = dilated ? random_in(state, 1, 5) : 1;
            bool strided = p.layout == CONVGEN_NHWC && p.pass == CONVGEN_FORWARD && p.dilation[axis] == 1 && random_in(state, 0, 2);
            p.stride[axis] = strided ? random_in(state, 1, 3) : 1;
            p.pad[axis] = random_in(state, 0, 2) ? random_in(state, 0, 2) * p.dilation[axis] : random_in(state, -2, 6);
            int64_t reach = (p.kernel[axis] - 1) * p.dilation[axis];
            int64_t room = p.in[axis] + p.pad[axis] + random_in(state, -2, 6) * p.dilation[axis] - reach - 1;
            p.out[axis] = room < 0 ? 1 : room / p.stride[axis] + 1;
        }
        sometimes_transposed(state, &p);
        p.bias = p.pass != CONVGEN_BACKWARD_DATA && random_in(state, 0, 1);
        if (p.pass == CONVGEN_FORWARD && !random_in(state, 0, 2)) random_epilogue(state, &p.epilogue);
        if (cg_problem_normalise(&p) == CONVGEN_OK && cg_problem_sizes(&p).macs <= macs) return p;
    }
}

START_TEST(random_problems_that_can_be_transformed) { verify_random(transformable_problem, 2e6, "winograd", 250); }
END_TEST

/* Every channel alone, most with a multiplier: input channels that begin anywhere in a vector of their outputs. */
static convgen_problem depthwise_problem(uint64_t *state, double macs)
{
    for (;;) {
        convgen_problem p = random_problem(state, macs);
        p.layout = CONVGEN_NHWC;
        p.groups = p.in_channels = random_size(state, 12, 70);
        p.out_channels = p.in_channels * (random_in(state, 0, 3) ? random_in(state, 1, 7) : random_in(state, 1, 40));
        if (p.op == CONVGEN_TRANSPOSED) p.in_channels = p.out_channels, p.out_channels = p.groups;
        if (cg_problem_normalise(&p) == CONVGEN_OK && cg_problem_sizes(&p).macs <= 5 * macs) return p;
    }
}

/* Channels-first rows under a long filter: more border variants than kernels, so that data are turned as a whole. */
static convgen_problem long_problem(uint64_t *state, double macs)
{
    for (;;) {
        convgen_problem p = random_problem(state, macs / 100);
        if (p.op == CONVGEN_TRANSPOSED || p.groups > 1) continue;
        p.layout = CONVGEN_NCHW;
        p.in_channels = random_in(state, 5, 12), p.out_channels = random_in(state, 9, 40);
        p.in[0] = p.in[1] = p.out[0] = p.out[1] = p.kernel[0] = p.kernel[1] = p.stride[0] = p.stride[1] = p.dilation[0] = p.dilation[1] = 1;
        p.pad[0] = p.pad[1] = 0, p.in[2] = random_in(state, 90, 160), p.out[2] = 0;
        p.kernel[2] = random_in(state, 30, 60), p.stride[2] = p.dilation[2] = 1, p.pad[2] = p.kernel[2] / 2;
        if (cg_problem_normalise(&p) == CONVGEN_OK && cg_problem_sizes(&p).macs <= 100 * macs) return p;
    }
}

START_TEST(random_long_problems) { verify_random(long_problem, 60e3, "direct", 20); }
END_TEST

START_TEST(random_depthwise_problems) { verify_random(depthwise_problem, 60e3, "depthwise", 200); }
END_TEST

/* ---- what the random problems reach ---------------------------------------------------------------------------------------------- */

/* A mark is a word of a schedule's name with the number behind it, told as 1 or more: "gather/direct.p6.v1.rows4" has gather, p+, v1 and
 * rows+. Of Winograd's tiles: one, or two (two sizes along one axis), and where the axes differ, apart. */
typedef struct mark { char family[16], pass[12], word[24]; } mark;
static struct reached { mark at[512]; int count, times[512]; } reached;

static void reach(const char *family, const char *pass, const char *word)
{
    mark m = {"", "", ""};
    snprintf(m.family, sizeof m.family, "%s", family), snprintf(m.pass, sizeof m.pass, "%s", pass), snprintf(m.word, sizeof m.word, "%s", word);
    int i = 0;
    while (i < reached.count && memcmp(&reached.at[i], &m, sizeof m)) i++;
    if (i == reached.count) reached.at[reached.count++] = m;
    reached.times[i]++;
}

static void reach_marks(const convgen_problem *p, const cg_schedule *s)
{
    static const char *const passes[] = {"forward", "data", "weights"};
    char pass[12], name[CG_TEXT], *rest;
    snprintf(pass, sizeof pass, "%s%s", passes[cg_dual(p).pass], p->layout == CONVGEN_NCHW ? "1" : "");
    snprintf(name, sizeof name, "%s", s->name);
    for (char *word = strtok_r(name, "./", &rest); word; word = strtok_r(NULL, "./", &rest)) {
        if (!strcmp(word, s->family)) continue;
        if (word[0] >= '0' && word[0] <= '9') { /* 4+3x4+3 */
            char *w = strchr(word, 'x');
            *w++ = 0;
            reach(s->family, pass, strchr(word, '+') || strchr(w, '+') ? "two" : "one");
            if (strcmp(word, w)) reach(s->family, pass, "apart");
            continue;
        }
        char *digits = word + strcspn(word, "0123456789");
        if (*digits) strcpy(digits, strcmp(digits, "1") ? "+" : "1");
        reach(s->family, pass, word);
    }
}

/* All that the grammars have: what the families print of legal schedules. A new mark belongs here. */
static const struct { const char *family, *pass, *words; } grammar[] = {
    {"depthwise", "data", "across moved p+ p1 r+ r1 row stream"},
    {"depthwise", "forward", "across moved p+ p1 r+ r1 row stream"},
    {"depthwise", "weights", "across h+ h1 moved p+ p1 v+ v1 w+ w1"},
    {"direct", "data", "across fetch fold g+ lanes p+ p1 ranges rows+ rows1 stream v+ v1 window"},
    {"direct", "data1", "fetch fold p+ p1 planes ranges rows+ rows1 s+ s1 turned v+ v1"},
    {"direct", "forward", "across fetch g+ gather lanes p+ p1 rows+ rows1 stream v+ v1 window"},
    {"direct", "forward1", "fetch p+ p1 planes ranges rows+ rows1 s+ s1 turned v+ v1"},
    {"direct", "weights", "across ahead fetch gather i+ i1 panel v+ v1"},
    {"planar", "data", "c+ c1 rows+ v+ v1"},
    {"planar", "data1", "c+ c1 panel rows+ v+ v1"},
    {"planar", "forward", "c+ c1 rows+ v+ v1"},
    {"planar", "forward1", "c+ c1 panel rows+ v+ v1"},
    {"planar", "weights", "i+ i1 k+ o+ o1 rows+ rows1 v+ v1"},
    {"planar", "weights1", "i+ i1 k+ k1 v+ v1"},
    {"winograd", "data", "a+ apart c+ d+ fetch fuse half one product r+ s+ s1 stream t+ two v+ v1"},
    {"winograd", "data1", "a+ apart c+ fuse half one product r+ s+ s1 t+ two v+ v1"},
    {"winograd", "forward", "a+ apart c+ d+ fetch fuse half one product r+ s+ s1 stream t+ two v+ v1"},
    {"winograd", "forward1", "a+ apart c+ fuse half one product r+ s+ s1 t+ two v+ v1"},
    {"winograd", "weights", "apart one p+ product r+ s+ s1 split t+ v+ v1"},
};

static void reach_by(convgen_problem (*make)(uint64_t *state, double macs), double macs, const char *of, int problems)
{
    uint64_t state = 20260;
    second_cache = 1 << 20; /* all of the machine that schedules depend on: the same everywhere */
    for (int n = 0; n < problems; n++) {
        convgen_problem p = make(&state, macs);
        static const char *const any[] = {"avx512", "avx2", "portable"}; /* names alone: nothing is run */
        const char *target = any[random_in(&state, 0, 2)];
        int picked[FAMILIES];
        random_machine(&state);
        cg_request r = {.problem = &p, .machine = &machine, .target = target, .form = "c", .threads = (int)random_in(&state, 1, 3)};
        cg_schedule_list list;
        ck_assert_msg(cg_script_schedules(script, &r, &list) == CONVGEN_OK, "%s", cg_error_text());
        const int count = pick_of_each_family(&list, &state, picked);
        for (int i = 0; i < count; i++)
            if (strstr(of, list.at[picked[i]].family)) reach_marks(&p, &list.at[picked[i]]);
        cg_free(list.at);
    }
}

static int times_reached(const char *family, const char *pass, const char *word)
{
    for (int i = 0; i < reached.count; i++)
        if (!strcmp(reached.at[i].family, family) && !strcmp(reached.at[i].pass, pass) && !strcmp(reached.at[i].word, word)) return reached.times[i];
    return 0;
}

/* As many problems as the tests above verify, of one seed; $CONVGEN_MARKS=1 prints how often each mark is reached. */
START_TEST(random_problems_reach_every_mark)
{
    int known = 0;
    reach_by(random_problem, 60e3, "direct planar plain", 1500);
    reach_by(long_problem, 60e3, "direct", 200);
    reach_by(transformable_problem, 2e6, "winograd", 400);
    reach_by(depthwise_problem, 60e3, "depthwise", 250);
    if (getenv("CONVGEN_MARKS"))
        for (int i = 0; i < reached.count; i++) printf("%s %s %s %d\n", reached.at[i].family, reached.at[i].pass, reached.at[i].word, reached.times[i]);
    for (size_t row = 0; row < sizeof grammar / sizeof grammar[0]; row++) {
        char words[256], *rest = words;
        snprintf(words, sizeof words, "%s", grammar[row].words);
        for (char *word; (word = strtok_r(rest, " ", &rest)); known++)
            ck_assert_msg(times_reached(grammar[row].family, grammar[row].pass, word) > 0, "no random problem reaches .%s of %s, %s", word,
                          grammar[row].family, grammar[row].pass);
    }
    ck_assert_msg(reached.count == known, "%d marks are reached, %d are in this test's table: $CONVGEN_MARKS=1 prints the former", reached.count, known);
}
END_TEST

START_TEST(the_system_compiler_gives_the_same)
{
    uint64_t seed = test_seed(), state = seed;
    for (int i = 0; i < 40 * targets / MOST_TARGETS; i++) {
        convgen_problem p = random_problem(&state, 300e3);
        cg_target target;
        if (cg_script_target(script, &machine, target_of((uint64_t)i), &target) != CONVGEN_OK) continue;
        verify_families(&p, &state, target.name, "c", "cc", target.flags, seed);
    }
}
END_TEST

/* The `best` schedules by estimate, and `any` of the others. */
enum { ALL = CG_SCHEDULES };
static void verify_schedules(const convgen_problem *p, const char *target, const char *form, int best, int any)
{
    uint64_t seed = test_seed(), state = seed;
    cg_request r = {.problem = p, .machine = &machine, .target = target, .form = form, .threads = 1};
    cg_schedule_list list;
    ck_assert_msg(cg_script_schedules(script, &r, &list) == CONVGEN_OK, "%s", cg_error_text());
    cg_trial *trial;
    ck_assert_int_eq(cg_trial_new(p, true, &trial), CONVGEN_OK);
    int legal = 0;
    while (legal < list.count && !list.at[legal].why[0]) legal++;
    for (int k = 0; k < legal; k++) {
        if (k >= best && random_in(&state, 1, legal - k) > any) continue;
        any -= k >= best;
        verify_schedule(&r, list.at[k].name, "tcc", "", 1 + k % 3, trial, seed);
    }
    cg_trial_free(trial);
    cg_free(list.at);
}

/* The `best` schedules of each problem of a list, or as many as $CONVGEN_SCHEDULES says. Of the C form, which libtcc makes a hundred
 * times slower, a few and some others do when nothing is said. */
static void verify_list(const char *name, int best)
{
    const char *given = getenv("CONVGEN_SCHEDULES");
    if (given) best = atoi(given) > 0 ? atoi(given) : ALL;
    char path[512];
    snprintf(path, sizeof path, "%s/tests/problems/%s", CONVGEN_SOURCE_DIR, name);
    cg_options options;
    cg_options_default(&options);
    cg_problem_list problems = {0};
    ck_assert_msg(cg_list_read(path, &options, &problems) == CONVGEN_OK, "%s", cg_error_text());
    ck_assert_int_gt(problems.count, 5);
    for (int i = 0; i < problems.count; i++) {
        const char *target = target_of((uint64_t)i), *form = form_for(target, i % 4);
        bool slow = !given && best == ALL && !strcmp(form, "c");
        verify_schedules(&problems.at[i].problem, target, form, slow ? 8 : best, slow ? 16 : 0);
    }
    cg_list_free(&problems);
}

START_TEST(smoke_list) { verify_list("smoke.txt", ALL); }
END_TEST
START_TEST(edges_list) { verify_list("edges.txt", ALL); }
END_TEST
START_TEST(networks_list) { verify_list("networks.txt", 3); }
END_TEST

/* Borders whose taps have a NaN among the weights (verify places one), in every schedule. */
START_TEST(a_weight_that_is_not_finite_stays_out_of_the_border)
{
    static const char *const texts[] = {"mb1ic3ih5iw37oc4kh3kw3ph1pw1", "mb1ic2ih6iw19oc3kh3kw5ph1pw2", "mb1ic3ih9iw21oc5kh5kw5sh2sw2ph2pw2"};
    static const char *const options[] = {"--tag=nchw --dir=FWD_D", "--tag=nchw --dir=BWD_D", "--tag=nhwc --dir=FWD_D", "--tag=nhwc --dir=BWD_D"};
    for (int i = 0; i < 4 * 3 * targets; i++) {
        char text[128];
        snprintf(text, sizeof text, "%s --dt=%s %s", options[i % 4], i % 2 ? "f64" : "f32", texts[i / 4 % 3]);
        convgen_problem p;
        ck_assert_msg(convgen_problem_parse(text, &p) == CONVGEN_OK, "%s", cg_error_text());
        verify_schedules(&p, target_names[i / 12], form_for(target_names[i / 12], i / 4 % 2 == 0), ALL, 0);
    }
}
END_TEST

/* What direct does for activations that come from memory, which so small caches make of small ones: each mark in every pass that knows it. */
START_TEST(activations_beyond_the_caches)
{
    static const char *const texts[] = {"mb19ic16ih19iw1oc24kh1kw1", "mb20ic20ih8oc36oh4kh1sh2", "g2mb8ic34ih9oc70oh5kh1sh2",
                                        "mb12ic8id4ih6oc48od2oh3kd1kh1sd2sh2"};
    static const char *const passes[] = {"FWD_B", "BWD_D", "BWD_WB"};
    static const char *const marks[] = {".across", ".stream", ".ahead"};
    int seen[3][3] = {{0}};
    machine.l2 = 4096;
    for (int i = 0; i < 4 * 3 * 2; i++) {
        char text[128];
        snprintf(text, sizeof text, "--dir=%s --dt=%s %s", passes[i % 3], i / 12 ? "f64" : "f32", texts[i / 3 % 4]);
        convgen_problem p;
        ck_assert_msg(convgen_problem_parse(text, &p) == CONVGEN_OK, "%s", cg_error_text());
        const char *target = target_of((uint64_t)(i + i / 3));
        cg_request r = {.problem = &p, .machine = &machine, .target = target, .form = form_for(target, i % 4), .threads = 1};
        cg_schedule_list list;
        ck_assert_msg(cg_script_schedules(script, &r, &list) == CONVGEN_OK, "%s", cg_error_text());
        cg_trial *trial;
        ck_assert_int_eq(cg_trial_new(&p, true, &trial), CONVGEN_OK);
        for (int k = 0; k < list.count && !list.at[k].why[0]; k++) {
            bool marked = false;
            for (int m = 0; m < 3; m++) {
                bool here = !strcmp(list.at[k].family, "direct") && strstr(list.at[k].name, marks[m]);
                seen[i % 3][m] += here;
                marked = marked || here;
            }
            if (marked) verify_schedule(&r, list.at[k].name, "tcc", "", 1 + k % 3, trial, 0);
        }
        cg_trial_free(trial);
        cg_free(list.at);
    }
    for (int pass = 0; pass < 3; pass++)
        for (int m = 0; m < 3; m++)
            ck_assert_msg((seen[pass][m] > 0) == ((pass == 2) == (m == 2)), "%s: %d schedules with %s", passes[pass], seen[pass][m], marks[m]);
}
END_TEST

/* The best schedule for three threads; of Winograd's one with blocks cut for threads or, for backward weights, partial sums, if there is any. */
static const char *schedule_for_threads(const cg_schedule_list *list)
{
    for (int i = 0; i < list->count; i++) {
        const cg_schedule *s = &list->at[i];
        if (!s->why[0] && !strcmp(s->family, "winograd") && (strstr(s->name, ".p3") || strstr(s->name, ".d3"))) return s->name;
    }
    return list->at[0].name;
}

/* The bits of an output for 1, 2 and 3 threads. */
START_TEST(threads_change_no_bit)
{
    uint64_t seed = test_seed(), state = seed;
    for (int i = 0; i < 40; i++) {
        convgen_problem p = i % 2 ? transformable_problem(&state, 2e6) : random_problem(&state, 200e3);
        const char *target = targets == 1 ? target_names[0] : "avx2";
        cg_request r = {.problem = &p, .machine = &machine, .target = target, .form = form_for(target, i % 2), .threads = i % 2 ? 3 : 1};
        cg_schedule_list list;
        ck_assert_int_eq(cg_script_schedules(script, &r, &list), CONVGEN_OK);
        char why[CG_WHY];
        cg_kernel kernel;
        ck_assert_int_eq(cg_kernel_new(script, &r, &(cg_making){schedule_for_threads(&list), "tcc", ""}, &kernel, why), CONVGEN_OK);
        size_t bytes[CG_TENSORS];
        cg_operands o;
        const int out = cg_output_tensor(&p, false);
        cg_tensor_bytes(&p, bytes);
        for (int k = 0; k < CG_TENSORS; k++) {
            const convgen_type type = cg_tensor_type(&p, k);
            o.at[k] = cg_aligned(bytes[k]);
            for (int64_t e = 0; e < (int64_t)(bytes[k] / cg_types[type].bytes); e++) cg_put(type, o.at[k], e, cg_uniform(&state));
        }
        void *old = cg_aligned(bytes[out]), *before = cg_aligned(bytes[out]);
        memcpy(old, o.at[out], bytes[out]);
        for (int threads = 1; threads <= 3; threads++) {
            cg_parallel parallel = {.threads = threads};
            void *workspace = cg_aligned(cg_kernel_workspace(&kernel, threads));
            memcpy(o.at[out], old, bytes[out]);
            cg_kernel_run(&kernel, &parallel, &o, NULL, workspace);
            cg_free(workspace);
            if (threads == 1) memcpy(before, o.at[out], bytes[out]);
            ck_assert_msg(!memcmp(before, o.at[out], bytes[out]), "seed %llu: %d threads differ", (unsigned long long)seed, threads);
        }
        cg_free(old), cg_free(before);
        for (int k = 0; k < CG_TENSORS; k++) cg_free(o.at[k]);
        cg_kernel_free(&kernel);
        cg_free(list.at);
    }
}
END_TEST

/* ---- every activation ------------------------------------------------------------------------------------------------------------ */

/* Odd sizes, pads, parts of vectors, strides; dense, grouped, depthwise, transposed: small, for all is done with each of them. */
static const char *const gridded[] = {"mb1ic9ih2iw3oc18kh3kw3ph1pw1", "g2mb1ic6ih3iw5oc22kh2kw3sh2sw2ph1pw1",
                                      "g19mb1ic19ih2iw5oc19kh2kw3sw2pw1", "--op=deconv mb1ic5ih2iw3oc7kh2kw3sw2pw1"};
enum { GRIDDED = sizeof gridded / sizeof gridded[0] };

static cg_request grid_request(const convgen_problem *p)
{
    static cg_target target;
    ck_assert_msg(cg_script_target(script, &machine, getenv("CONVGEN_TARGET"), &target) == CONVGEN_OK, "%s", cg_error_text());
    return (cg_request){.problem = p, .machine = &machine, .target = target.name, .form = cg_form(&target, "tcc"), .threads = 1};
}

/* Counts the legal schedules of each family. */
static void count_legal(const cg_schedule_list *list, int legal[FAMILIES])
{
    memset(legal, 0, FAMILIES * sizeof legal[0]);
    for (int k = 0; k < list->count; k++)
        if (!list->at[k].why[0]) legal[family_index(list->at[k].family)]++;
}

static void count_without(convgen_problem p, int legal[FAMILIES])
{
    cg_schedule_list list;
    p.epilogue = (convgen_epilogue){0};
    cg_request r = grid_request(&p);
    ck_assert_msg(cg_script_schedules(script, &r, &list) == CONVGEN_OK, "%s", cg_error_text());
    count_legal(&list, legal);
    cg_free(list.at);
}

static const char *refusal_of(const cg_schedule_list *list, const char *family)
{
    for (int k = 0; k < list->count; k++)
        if (list->at[k].why[0] && !strcmp(list->at[k].family, family)) return list->at[k].why;
    return "and does not say why";
}

static void compare_families(const convgen_problem *p, const cg_schedule_list *list, const int without[FAMILIES])
{
    int legal[FAMILIES];
    char text[CG_TEXT];
    convgen_problem_format(p, text, sizeof text);
    count_legal(list, legal);
    for (int i = 0; i < FAMILIES; i++) {
        const char *why = refusal_of(list, families[i]);
        ck_assert_msg(!without[i] || legal[i],
                      "%s has %d schedules without the epilogue of %s, and none with it: %s", families[i], without[i], text, why);
    }
}

/* Every legal schedule of a problem. */
static void verify_cell(const convgen_problem *p, const int without[FAMILIES])
{
    const cg_request r = grid_request(p);
    cg_schedule_list list;
    cg_trial *trial;
    ck_assert_msg(cg_script_schedules(script, &r, &list) == CONVGEN_OK, "%s", cg_error_text());
    compare_families(p, &list, without);
    ck_assert_int_eq(cg_trial_new(p, true, &trial), CONVGEN_OK);
    for (int k = 0; k < list.count && !list.at[k].why[0]; k++) {
        verify_schedule(&r, list.at[k].name, "tcc", "", 1 + k % 3, trial, 0);
        verified[family_index(list.at[k].family)]++;
    }
    cg_trial_free(trial);
    cg_free(list.at);
}

/* An activation with no residual, with one before it, and with one behind it. */
static void verify_residuals(convgen_problem p, convgen_activation activation)
{
    int without[FAMILIES];
    count_without(p, without);
    for (int residual = 0; residual < (activation ? 3 : 2); residual++) {
        p.epilogue = (convgen_epilogue){.activation = activation, .residual = residual > 0, .residual_last = residual > 1};
        usual_numbers(&p.epilogue);
        ck_assert_msg(cg_problem_normalise(&p) == CONVGEN_OK, "%s", cg_error_text());
        verify_cell(&p, without);
    }
}

/* Activations x layouts x types x residuals x families; $CONVGEN_MARKS=1 prints how many schedules. */
START_TEST(every_family_has_every_activation)
{
    for (int i = 0; i < GRIDDED * 2 * 2; i++) {
        char text[160];
        convgen_problem p;
        snprintf(text, sizeof text, "--dir=FWD_B --accuracy=8x --tag=%s --dt=%s %s", i % 2 ? "nchw" : "nhwc", i / 2 % 2 ? "f64" : "f32",
                 gridded[i / 4]);
        ck_assert_msg(convgen_problem_parse(text, &p) == CONVGEN_OK, "%s", cg_error_text());
        verify_residuals(p, (convgen_activation)_i);
    }
    const char *word = _i ? cg_activation_word((convgen_activation)_i) : "none";
    if (getenv("CONVGEN_MARKS")) printf("%s:", word);
    for (int i = 0; i < FAMILIES; i++) {
        ck_assert_msg(verified[i] > 0, "no schedule of %s was verified with %s", families[i], word);
        if (getenv("CONVGEN_MARKS")) printf(" %s %d", families[i], verified[i]);
    }
    if (getenv("CONVGEN_MARKS")) printf(", %d of %d transformed ones too inexact\n", inexact, transformed), fflush(stdout);
}
END_TEST

static TCase *kernels_case(Suite *suite, const char *name, int seconds)
{
    TCase *c = test_case(suite, name, seconds);
    tcase_add_checked_fixture(c, setup, teardown);
    return c;
}

int main(void)
{
    choose_targets();
    Suite *suite = suite_create("kernels");
    TCase *lists = kernels_case(suite, "lists", 900);
    tcase_add_test(lists, smoke_list);
    tcase_add_test(lists, edges_list);
    tcase_add_test(lists, networks_list);
    int seconds = 900 + (int)trials(0);
    tcase_add_test(kernels_case(suite, "random", seconds), random_problems_of_every_family);
    tcase_add_test(kernels_case(suite, "winograd", seconds), random_problems_that_can_be_transformed);
    tcase_add_test(kernels_case(suite, "depthwise", seconds), random_depthwise_problems);
    tcase_add_test(kernels_case(suite, "long", seconds), random_long_problems);
    tcase_add_loop_test(kernels_case(suite, "grid", 20), every_family_has_every_activation, 0, CG_ACTIVATIONS);
    tcase_add_test(kernels_case(suite, "marks", 300), random_problems_reach_every_mark);
    TCase *same = kernels_case(suite, "same", 900);
    tcase_add_test(same, the_system_compiler_gives_the_same);
    tcase_add_test(same, threads_change_no_bit);
    tcase_add_test(kernels_case(suite, "memory", 300), activations_beyond_the_caches);
    tcase_add_test(kernels_case(suite, "borders", 300), a_weight_that_is_not_finite_stays_out_of_the_border);
    return test_run(suite);
}

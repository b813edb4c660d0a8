/* test_problem.c: descriptors against their canonical forms, a round trip of random problems, bad input, lists.
 * The random ones print their seed when they fail; CONVGEN_SEED=N repeats them. */
#include "plan.h"
#include "suite.h"
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef CONVGEN_SOURCE_DIR
#define CONVGEN_SOURCE_DIR "."
#endif

static uint64_t seed(void)
{
    static uint64_t value;
    const char *given = getenv("CONVGEN_SEED");
    if (!value) value = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    return value;
}

static int64_t pick(uint64_t *state, int64_t least, int64_t most)
{
    return least + (int64_t)(cg_random(state) % (uint64_t)(most - least + 1));
}

/* ---- the notation ---- */

START_TEST(descriptors_have_their_canonical_form)
{
    cg_buffer file = {NULL, 0, 0, false};
    int count = 0;
    ck_assert_int_eq(cg_read_file(CONVGEN_SOURCE_DIR "/tests/problems/descriptors.txt", 1 << 20, &file), CONVGEN_OK);
    for (char *line = strtok(file.text, "\n"); line; line = strtok(NULL, "\n")) {
        char *arrow = strstr(line, " => "), text[CG_TEXT];
        convgen_problem p, again;
        if (*line == '#' || !*line) continue;
        ck_assert_msg(arrow != NULL, "no arrow: %s", line);
        *arrow = 0;
        ck_assert_msg(convgen_problem_parse(line, &p) == CONVGEN_OK, "%s: %s", line, cg_error_text());
        ck_assert_int_eq(convgen_problem_format(&p, text, sizeof text), CONVGEN_OK);
        ck_assert_msg(!strcmp(text, arrow + 4), "%s\n gives  %s\n wanted %s", line, text, arrow + 4);
        ck_assert_msg(convgen_problem_parse(text, &again) == CONVGEN_OK && cg_problem_equal(&p, &again), "%s", text);
        count++;
    }
    ck_assert_int_ge(count, 40);
    cg_buffer_free(&file);
}
END_TEST

static int64_t random_size(uint64_t *state)
{
    static const int64_t most[] = {1, 3, 9, 40, 300, 40000};
    return pick(state, 1, most[cg_random(state) % 6]);
}

/* Half of the time 1 (or 0 for pads), so that every dimension is often absent. */
static void random_axis(uint64_t *state, convgen_problem *p, int a)
{
    bool plain = cg_random(state) % 3 == 0;
    p->in[a] = plain ? 1 : random_size(state);
    p->kernel[a] = plain ? 1 : pick(state, 1, 11);
    p->stride[a] = cg_random(state) % 2 ? 1 : pick(state, 1, 5);
    p->dilation[a] = cg_random(state) % 2 ? 1 : pick(state, 1, 4);
    p->pad[a] = cg_random(state) % 2 ? 0 : pick(state, -12, 12);
    p->out[a] = plain && cg_random(state) % 2 ? 1 : cg_random(state) % 2 ? random_size(state) : 0;
    if (cg_random(state) % 500 == 0) p->pad[a] = INT32_MAX - pick(state, 0, 2) * 0x7fffffff;
}

static void random_epilogue(uint64_t *state, convgen_problem *p)
{
    if (p->pass != CONVGEN_FORWARD || cg_random(state) % 2) return;
    p->epilogue.residual = cg_random(state) % 2;
    p->epilogue.activation = cg_random(state) % 3;
    double a = cg_uniform(state) * pow(10, (double)pick(state, -20, 20)), b = cg_uniform(state);
    if (cg_random(state) % 8 == 0) b = a > 0 ? -INFINITY : INFINITY;
    if (cg_random(state) % 8 == 0) a = -0.0;
    p->epilogue.lo = a < b ? a : b, p->epilogue.hi = a < b ? b : a;
}

static void random_problem(uint64_t *state, convgen_problem *p)
{
    memset(p, 0, sizeof *p);
    p->pass = cg_random(state) % 3;
    p->type = cg_random(state) % 2;
    p->layout = cg_random(state) % 2;
    p->accuracy = cg_random(state) % 4;
    p->weights = cg_random(state) % 2;
    p->bias = p->pass != CONVGEN_BACKWARD_DATA && cg_random(state) % 2;
    p->batch = random_size(state);
    p->groups = cg_random(state) % 2 ? 1 : pick(state, 1, 20);
    p->in_channels = p->groups * pick(state, 1, 300);
    p->out_channels = p->groups * pick(state, 1, 300);
    for (int a = 0; a < 3; a++) random_axis(state, p, a);
    if (cg_random(state) % 3 == 0) p->op = CONVGEN_TRANSPOSED;
    random_epilogue(state, p);
}

START_TEST(what_is_formatted_parses_back)
{
    uint64_t state = seed();
    int legal = 0;
    for (int i = 0; i < 100000; i++) {
        convgen_problem p, again;
        char text[CG_TEXT], twice[CG_TEXT];
        random_problem(&state, &p);
        if (cg_problem_normalise(&p)) continue;
        legal++;
        ck_assert_msg(convgen_problem_format(&p, text, sizeof text) == CONVGEN_OK, "seed %lu", (unsigned long)seed());
        ck_assert_msg(convgen_problem_parse(text, &again) == CONVGEN_OK, "seed %lu: %s", (unsigned long)seed(),
                      cg_error_text());
        ck_assert_msg(cg_problem_equal(&p, &again), "seed %lu: %s is another problem", (unsigned long)seed(), text);
        ck_assert_int_eq(convgen_problem_format(&again, twice, sizeof twice), CONVGEN_OK);
        ck_assert_msg(!strcmp(text, twice) && !strpbrk(text, "\"\n"), "seed %lu: %s, then %s", (unsigned long)seed(),
                      text, twice);
    }
    ck_assert_int_gt(legal, 30000);
}
END_TEST

/* Random bytes and mutilated problems: an answer or a sentence, never a crash (run it under the sanitizers). */
START_TEST(noise_is_refused_with_a_sentence)
{
    static const char letters[] = "gmbicodhwksp_n0123456789-\"=# *\t.:+";
    static const char good[] = "--dir=BWD_WB --epilogue=clamp:0:6 g3mb1ic6ih5iw7oc9oh5ow7kh3kw3sh1ph1dh2n\"a\"";
    uint64_t state = seed();
    for (int i = 0; i < 50000; i++) {
        char text[128];
        convgen_problem p = {.batch = -7};
        size_t length = cg_random(&state) % 60;
        memcpy(text, good, sizeof good);
        if (i % 2) length = sizeof good - 1;
        for (size_t j = 0; j < length; j++)
            if (i % 2 == 0 || cg_random(&state) % 20 == 0) text[j] = letters[cg_random(&state) % (sizeof letters - 1)];
        text[length] = 0;
        if (convgen_problem_parse(text, &p))
            ck_assert_msg(*cg_error_text() && p.batch == -7, "seed %lu: %s", (unsigned long)seed(), text);
        else ck_assert_msg(p.batch >= 1, "seed %lu: %s", (unsigned long)seed(), text);
    }
}
END_TEST

static const struct {
    const char *text, *culprit;
} bad_rows[] = {
    {"--op=deconv ic1ih4oc1oh10kh3sh2ph1", "oh10"}, {"--op=deconv ic1ih4oc1oh8kh3", "1 to 6"}, {"--op=deconv ic1iw2oc1kw3pw2", "pw2"},
    {"--op=transposed ic1iw1oc1kw1", "conv, deconv"},
    {"ic3ih5oc4kh9", "output is empty along h"},
    {"ic3ih2oc4kh3sh2", "output is empty along h"}, /* floor, not the truncation of C */
    {"ic0ih5oc4kh3", "ic0: ic must be 1 to 2147483647"},
    {"ic3ih5oc0kh3", "oc0"},
    {"g3ic4ih5oc3kh3", "g3 does not divide ic4"},
    {"g3ic3ih5oc4kh3", "g3 does not divide oc4"},
    {"g0ic3ih5oc4kh3", "g0"},
    {"mb0ic3ih5oc4kh3", "mb0"},
    {"ic99999999999ih5oc4kh3", "ic99999999999"},
    {"ic2147483648ih5oc4kh3", "ic2147483648: ic must be 1 to 2147483647"},
    {"ic3ih99999999999999999999999999999999oc4kh3", "ih99999"},
    {"ic2147483647ih2147483647oc1kh1", "src has too many elements"},
    {"ic2147483647iw1oc2147483647kw1", "weights has too many elements"},
    {"mb2147483647ic1iw1oc2147483647ow2147483647kw1", "dst has too many elements"},
    {"ic3ih5oc4oh2147483648kh3", "oh2147483648"},
    {"ic1iw2147483647oc1kw1pw2147483647", "ow"},
    {"ic3ih5oc4oh2147483647kh3sh2147483647", "ph is"},
    {"kh3kh3", "kh is given twice"},
    {"ic3ih5oc4kh3kh3", "kh is given twice"},
    {"ic3ih5oc4kh3x", "unknown letter at \"x\""},
    {"ic3zz5", "unknown letter at \"zz5\""},
    {"ic3ih5oc4kh3dg2", "unknown letter at \"dg2\""},
    {"-ic3", "unknown letter"},
    {"ic3ihoc4kh3", "ih has no number"},
    {"ic3ih-5oc4kh3", "ih-5"},
    {"ic3ih5oc4kh3sh0", "sh0"},
    {"ic3ih5oc4kh3dh-1", "dh-1"},
    {"ic3ih5oc4kh3ph--1", "ph has no number"},
    {"ih5oc4kh3", "ic is missing"},
    {"ic3ih5kh3", "oc is missing"},
    {"ic3oc4", "no spatial dimension"},
    {"ic3ih5oc4", "kh is missing"},
    {"ic3oc4kh3", "ih is missing"},
    {"ic3ih5oc4kh3sw2", "iw is missing"},
    {"ic3ih5oc4kh3pw1", "iw is missing"},
    {"ic3ih5oc4kh3pw-1", "iw is missing"},
    {"ic3ih5oc4kh3n\"a", "closing quote"},
    {"ic3ih5oc4kh3n\"a\"b", "\"b\" stands after the name"},
    {"ic3ih5oc4kh3n\x01", "control character"},
    {"ic3ih5oc4kh3n\x7f", "control character"},
    {"", "no problem"},
    {" # nothing", "no problem"},
    {"--dir=BWD_D", "no problem"},
    {"ic3iw5oc4kw3 ic3iw5oc4kw3", "stands after the problem"},
    {"ic3iw5oc4kw3 --dt=f64", "stands after the problem"},
    {"ic3iw5oc4kw3 *2", "stands after the problem"},
    {"--foo ic3iw5oc4kw3", "unknown option --foo"},
    {"--batch=x ic3iw5oc4kw3", "unknown option --batch=x"},
    {"--dir=SIDEWAYS ic3iw5oc4kw3", "--dir=SIDEWAYS: allowed is --dir=VALUE with FWD_D"},
    {"--dir ic3iw5oc4kw3", "--dir: allowed"},
    {"--dt=f16 ic3iw5oc4kw3", "f32, f64"},
    {"--tag=nhcw ic3iw5oc4kw3", "--tag=nhcw"},
    {"--mb=-1 ic3iw5oc4kw3", "--mb=-1"},
    {"--mb=9999999999999999999999 ic3iw5oc4kw3", "--mb=9"},
    {"--accuracy=4x ic3iw5oc4kw3", "--accuracy=4x"},
    {"--weights= ic3iw5oc4kw3", "--weights="},
    {"--threads=0 ic3iw5oc4kw3", "--threads=0: allowed is --threads=VALUE with 1 to 1024"},
    {"--threads=1025 ic3iw5oc4kw3", "--threads=1025: allowed is --threads=VALUE with 1 to 1024"}, /* a context's most too */
    {"--threads=2 ic3iw5oc4kw3", "no part of a problem"},
    {"--target=a/b ic3iw5oc4kw3", "--target=a/b"},
    {"--target=abcdefghijklmnop ic3iw5oc4kw3", "--target=abcd"},
    {"--epilogue=relu+silu ic3iw5oc4kw3", "--epilogue=relu+silu"},
    {"--epilogue=leaky:nan ic3iw5oc4kw3", "leaky:SLOPE[:FLOOR]"},
    {"--epilogue=swish ic3iw5oc4kw3", "hardswish, silu, gelu, and residual"},
    {"--epilogue= ic3iw5oc4kw3", "--epilogue="},
    {"--epilogue=residual+ ic3iw5oc4kw3", "--epilogue=residual+"},
    {"--epilogue=residualrelu ic3iw5oc4kw3", "--epilogue=residualrelu"},
    {"--epilogue=clamp:1 ic3iw5oc4kw3", "clamp:LO:HI"},
    {"--epilogue=clamp:2:1 ic3iw5oc4kw3", "LO <= HI"},
    {"--epilogue=clamp:nan:1 ic3iw5oc4kw3", "LO <= HI"},
    {"--epilogue=clamp:0:1x ic3iw5oc4kw3", "clamp:LO:HI"},
    {"--dir=BWD_D --epilogue=relu ic3iw5oc4kw3", "BWD_D has no epilogue: only a forward pass"},
};

START_TEST(bad_text_names_its_culprit)
{
    convgen_problem p;
    memset(&p, 0x5a, sizeof p);
    convgen_problem before = p;
    ck_assert_msg(convgen_problem_parse(bad_rows[_i].text, &p) == CONVGEN_BAD_PROBLEM, "%s is accepted",
                  bad_rows[_i].text);
    ck_assert_msg(strstr(cg_error_text(), bad_rows[_i].culprit) != NULL, "%s: %s", bad_rows[_i].text, cg_error_text());
    ck_assert(!strchr(cg_error_text(), '\n'));
    ck_assert_int_eq(memcmp(&p, &before, sizeof p), 0);
}
END_TEST

START_TEST(null_and_small_buffers_are_a_status)
{
    convgen_problem p = {0};
    char text[CG_TEXT];
    ck_assert_int_eq(convgen_problem_parse(NULL, &p), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_eq(convgen_problem_parse("ic1iw1oc1kw1", NULL), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_eq(convgen_problem_parse("ic1iw1oc1kw1", &p), CONVGEN_OK);
    ck_assert_int_eq(convgen_problem_format(NULL, text, sizeof text), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_eq(convgen_problem_format(&p, NULL, 9), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_eq(convgen_problem_format(&p, text, strlen("mb2ic1iw1oc1ow1kw1")), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_eq(convgen_problem_format(&p, text, strlen("mb2ic1iw1oc1ow1kw1") + 1), CONVGEN_OK);
    ck_assert_str_eq(text, "mb2ic1iw1oc1ow1kw1");
}
END_TEST

START_TEST(numbers_do_not_depend_on_the_locale)
{
    convgen_problem p;
    char text[CG_TEXT];
    comma_locale();
    ck_assert_int_eq(convgen_problem_parse("--epilogue=clamp:-0.5:1e300 ic1iw1oc1kw1", &p), CONVGEN_OK);
    ck_assert_int_eq(convgen_problem_format(&p, text, sizeof text), CONVGEN_OK);
    ck_assert_str_eq(text, "--epilogue=clamp:-0.5:1e+300 mb2ic1iw1oc1ow1kw1");
    setlocale(LC_ALL, "C");
}
END_TEST

START_TEST(numbers_leave_the_locale_as_it_was)
{
    locale_t before = uselocale((locale_t)0);
    char number[40], *end;
    ck_assert(cg_read_real("0.5", &end) == 0.5 && uselocale((locale_t)0) == before);
    cg_write_real(0.5, number);
    ck_assert(uselocale((locale_t)0) == before);
}
END_TEST

/* ---- the struct ---- */

static convgen_problem sample(void)
{
    return (convgen_problem){.in_channels = 3, .out_channels = 4, .in = {0, 5, 5}, .kernel = {0, 3, 3}};
}

START_TEST(zero_is_the_default)
{
    convgen_problem p = sample();
    char text[CG_TEXT];
    ck_assert_int_eq(cg_problem_normalise(&p), CONVGEN_OK);
    ck_assert_int_eq(convgen_problem_format(&p, text, sizeof text), CONVGEN_OK);
    ck_assert_str_eq(text, "--dir=FWD_D mb1ic3ih5iw5oc4oh3ow3kh3kw3");
    cg_sizes s = cg_problem_sizes(&p);
    ck_assert(s.src == 75 && s.dst == 36 && s.weights == 108 && s.bias == 4 && s.element == 4 && s.macs == 36 * 27);
}
END_TEST

START_TEST(sizes_count_groups_once)
{
    convgen_problem p;
    ck_assert_int_eq(convgen_problem_parse("--dt=f64 g2mb3ic4ih5oc6kh3ph1", &p), CONVGEN_OK);
    cg_sizes s = cg_problem_sizes(&p);
    ck_assert(s.src == 300 && s.dst == 450 && s.weights == 9 * 2 * 6 && s.element == 8 && s.macs == 450 * 9 * 2);
}
END_TEST

#define REFUSED(status, change)                                                                                        \
    do {                                                                                                               \
        convgen_problem p = sample(), before;                                                                          \
        change;                                                                                                        \
        before = p;                                                                                                    \
        ck_assert_int_eq(cg_problem_normalise(&p), status);                                                            \
        ck_assert_int_eq(memcmp(&p, &before, sizeof p), 0);                                                            \
        ck_assert(*cg_error_text() != 0);                                                                              \
    } while (0)

START_TEST(malformed_structs_are_refused_untouched)
{
    REFUSED(CONVGEN_BAD_PROBLEM, p.batch = -1);
    REFUSED(CONVGEN_BAD_PROBLEM, p.groups = INT64_MIN);
    REFUSED(CONVGEN_BAD_PROBLEM, p.in_channels = 0);
    REFUSED(CONVGEN_BAD_PROBLEM, p.out_channels = INT64_MAX);
    REFUSED(CONVGEN_BAD_PROBLEM, p.in[2] = -5);
    REFUSED(CONVGEN_BAD_PROBLEM, p.kernel[1] = 1LL << 31);
    REFUSED(CONVGEN_BAD_PROBLEM, p.stride[0] = -1);
    REFUSED(CONVGEN_BAD_PROBLEM, p.dilation[0] = INT64_MIN);
    REFUSED(CONVGEN_BAD_PROBLEM, p.dilation[0] = INT64_MAX);
    REFUSED(CONVGEN_BAD_PROBLEM, p.pad[0] = INT64_MIN);
    REFUSED(CONVGEN_BAD_PROBLEM, p.pad[0] = -(1LL << 31); p.out[0] = 1);
    REFUSED(CONVGEN_BAD_PROBLEM, p.pad[0] = INT64_MAX);
    REFUSED(CONVGEN_BAD_PROBLEM, p.out[0] = -1);
    REFUSED(CONVGEN_BAD_PROBLEM, p.pass = (convgen_pass)3);
    REFUSED(CONVGEN_BAD_PROBLEM, p.op = (convgen_op)2);
    REFUSED(CONVGEN_BAD_PROBLEM, p.op = CONVGEN_TRANSPOSED; p.out[1] = 1000);
    REFUSED(CONVGEN_BAD_PROBLEM, p.op = CONVGEN_TRANSPOSED; p.out[1] = 0; p.pad[1] = 1000);
    REFUSED(CONVGEN_BAD_PROBLEM, p.type = (convgen_type)-1);
    REFUSED(CONVGEN_BAD_PROBLEM, p.layout = (convgen_layout)2);
    REFUSED(CONVGEN_BAD_PROBLEM, p.accuracy = (convgen_accuracy)4);
    REFUSED(CONVGEN_BAD_PROBLEM, p.weights = (convgen_weights)2);
    REFUSED(CONVGEN_BAD_PROBLEM, p.epilogue.activation = (convgen_activation)CG_ACTIVATIONS);
    REFUSED(CONVGEN_BAD_PROBLEM, p.epilogue.activation = (convgen_activation)99);
    REFUSED(CONVGEN_BAD_PROBLEM, p.bias = true; p.pass = CONVGEN_BACKWARD_DATA);
    REFUSED(CONVGEN_BAD_PROBLEM, p.epilogue.residual = true; p.pass = CONVGEN_BACKWARD_WEIGHTS);
    REFUSED(CONVGEN_BAD_PROBLEM, p.epilogue.activation = CONVGEN_CLAMP; p.epilogue.lo = NAN);
    REFUSED(CONVGEN_BAD_PROBLEM, p.epilogue.activation = CONVGEN_CLAMP; p.epilogue.lo = 1);
    REFUSED(CONVGEN_UNSUPPORTED, p.src_pixel_stride = 99; p.layout = CONVGEN_NCHW);
    REFUSED(CONVGEN_UNSUPPORTED, p.dst_pixel_stride = 99; p.layout = CONVGEN_NCHW);
    REFUSED(CONVGEN_BAD_PROBLEM, p.src_pixel_stride = p.in_channels - 1);
    REFUSED(CONVGEN_BAD_PROBLEM, p.dst_pixel_stride = p.out_channels - 1);
    REFUSED(CONVGEN_BAD_PROBLEM, p.src_pixel_stride = -1);
    REFUSED(CONVGEN_BAD_PROBLEM, p.dst_pixel_stride = 1LL << 31);
    REFUSED(CONVGEN_BAD_PROBLEM, p.src_pixel_stride = CG_MOST; p.batch = CG_MOST);
    REFUSED(CONVGEN_BAD_PROBLEM, p.accumulate = true);
}
END_TEST

#define ANOTHER(change)                                                                                                \
    do {                                                                                                               \
        convgen_problem p = sample(), q = sample();                                                                    \
        ck_assert(cg_problem_equal(&p, &q));                                                                           \
        change;                                                                                                        \
        ck_assert_msg(!cg_problem_equal(&p, &q) && !cg_problem_equal(&q, &p), "%s", #change);                           \
    } while (0)

START_TEST(problems_that_differ_in_one_field_are_two)
{
    ANOTHER(q.op = CONVGEN_TRANSPOSED);
    ANOTHER(q.pass = CONVGEN_BACKWARD_WEIGHTS);
    ANOTHER(q.type = CONVGEN_F64);
    ANOTHER(q.layout = CONVGEN_NCHW);
    ANOTHER(q.accuracy = CONVGEN_8X);
    ANOTHER(q.weights = CONVGEN_WEIGHTS_FIXED);
    ANOTHER(q.batch = 7);
    ANOTHER(q.groups = 7);
    ANOTHER(q.in_channels = 7);
    ANOTHER(q.out_channels = 7);
    for (int a = 0; a < 3; a++) {
        ANOTHER(q.in[a] = 77);
        ANOTHER(q.out[a] = 77);
        ANOTHER(q.kernel[a] = 77);
        ANOTHER(q.stride[a] = 77);
        ANOTHER(q.dilation[a] = 77);
        ANOTHER(q.pad[a] = 77);
    }
    ANOTHER(q.bias = true);
    ANOTHER(q.epilogue.residual = true);
    ANOTHER(q.epilogue.activation = CONVGEN_RELU);
    ANOTHER(q.epilogue.lo = -1);
    ANOTHER(q.epilogue.hi = 1);
    ANOTHER(q.src_pixel_stride = 99);
    ANOTHER(q.dst_pixel_stride = 99);
    ANOTHER(q.accumulate = true);
}
END_TEST

/* Written as options, read back; the channels themselves are no stride, and what lies behind the last pixel's channels is not the tensor's. */
START_TEST(slices_and_what_is_added_to_are_options)
{
    const char *text = "--dir=BWD_WB --src-stride=9 --dst-stride=5 --accumulate mb2ic3iw7oc4ow7kw1";
    convgen_problem p, q;
    char again[CG_TEXT];
    size_t bytes[CG_TENSORS];
    ck_assert_int_eq(convgen_problem_parse(text, &p), CONVGEN_OK);
    ck_assert(p.src_pixel_stride == 9 && p.dst_pixel_stride == 5 && p.accumulate);
    ck_assert_int_eq(convgen_problem_format(&p, again, sizeof again), CONVGEN_OK);
    ck_assert_str_eq(text, again);
    cg_tensor_bytes(&p, bytes);
    ck_assert_uint_eq(bytes[CG_SRC], (13 * 9 + 3) * 4);
    ck_assert_uint_eq(bytes[CG_DST], (13 * 5 + 4) * 4);
    ck_assert_uint_eq(bytes[CG_RESIDUAL], bytes[CG_DST]);
    ck_assert_uint_eq(bytes[CG_WEIGHTS], 3 * 4 * 4);
    p.src_pixel_stride = 3, p.dst_pixel_stride = 4;
    ck_assert_int_eq(cg_problem_normalise(&p), CONVGEN_OK);
    ck_assert(!p.src_pixel_stride && !p.dst_pixel_stride);
    ck_assert_int_eq(convgen_problem_parse("--accumulate=1 --dir=BWD_D mb1ic1iw1oc1kw1", &q), CONVGEN_BAD_PROBLEM);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), "--accumulate has no value"));
    ck_assert_int_eq(convgen_problem_parse("--src-stride=2 mb1ic3iw1oc1kw1", &q), CONVGEN_BAD_PROBLEM);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), "src_pixel_stride is 2: allowed is 0, or 3 (ic) to 2147483647"));
    ck_assert_int_eq(convgen_problem_parse("--accumulate mb1ic3iw1oc1kw1", &q), CONVGEN_BAD_PROBLEM);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), "accumulate is true, and FWD_B has no gradient"));
}
END_TEST

START_TEST(a_clamp_at_minus_0_is_one_at_0)
{
    convgen_problem p = sample();
    char text[CG_TEXT];
    p.epilogue = (convgen_epilogue){.activation = CONVGEN_CLAMP, .lo = -0.0, .hi = -0.0};
    ck_assert_int_eq(convgen_problem_format(&p, text, sizeof text), CONVGEN_OK);
    ck_assert_msg(strstr(text, "--epilogue=clamp:0:0 ") != NULL, "%s", text);
}
END_TEST

/* 2^58 elements of a tensor are allowed, 2^59 are not, whichever of its sizes is the doubled one. */
START_TEST(tensors_have_fewer_than_2_to_the_59_elements)
{
    for (int tensor = 0; tensor < 3; tensor++)
        for (int doubled = -1; doubled < 5; doubled++) {
            convgen_problem p = {.batch = 1, .in_channels = 1, .out_channels = 1, .in = {1, 1, 1}, .out = {1, 1, 1}, .kernel = {1, 1, 1}};
            int64_t *const sizes[3][5] = {{&p.batch, &p.in_channels, &p.in[0], &p.in[1], &p.in[2]},
                                          {&p.batch, &p.out_channels, &p.out[0], &p.out[1], &p.out[2]},
                                          {&p.in_channels, &p.out_channels, &p.kernel[0], &p.kernel[1], &p.kernel[2]}};
            static const char *const names[] = {"src has too many", "dst has too many", "weights has too many"};
            for (int i = 0; i < 5; i++) *sizes[tensor][i] = i == doubled ? 1 << 13 : 1 << (i < 3 ? 12 : 11);
            if (doubled >= 3) *sizes[tensor][doubled] = 1 << 12;
            cg_status status = cg_problem_normalise(&p);
            ck_assert_msg((status == CONVGEN_OK) == (doubled < 0), "%s: status %d, size %d doubled", names[tensor], status, doubled);
            if (status) ck_assert_msg(strstr(cg_error_text(), names[tensor]) != NULL, "%s", cg_error_text());
        }
    convgen_problem grouped = {.groups = 2, .in_channels = 1 << 13, .out_channels = 1 << 12, .out = {1, 1, 1}, .kernel = {1 << 12, 1 << 11, 1 << 11}};
    ck_assert_int_eq(cg_problem_normalise(&grouped), CONVGEN_OK); /* weights are those of one group's inputs */
}
END_TEST

START_TEST(the_largest_sizes_still_have_a_text)
{
    convgen_problem p = {.in_channels = 1,
                         .out_channels = 1,
                         .pass = CONVGEN_FORWARD,
                         .type = CONVGEN_F64,
                         .layout = CONVGEN_NCHW,
                         .accuracy = CONVGEN_PROVEN,
                         .weights = CONVGEN_WEIGHTS_FIXED,
                         .epilogue = {.residual = true, .activation = CONVGEN_CLAMP, .lo = -1.2345678901234567e-300, .hi = 1.2345678901234567e-300}};
    char text[CG_TEXT];
    convgen_problem again;
    for (int a = 0; a < 3; a++) {
        p.in[a] = p.out[a] = p.kernel[a] = 500000;
        p.stride[a] = p.dilation[a] = INT32_MAX;
        p.pad[a] = -INT32_MAX;
    }
    ck_assert_int_eq(cg_problem_normalise(&p), CONVGEN_OK);
    ck_assert_int_eq(convgen_problem_format(&p, text, sizeof text), CONVGEN_OK);
    ck_assert_int_eq(convgen_problem_parse(text, &again), CONVGEN_OK);
    ck_assert(cg_problem_equal(&p, &again));
}
END_TEST

/* ---- options and names ---- */

/* One value of those that are listed for completion; of what ends with : numbers follow. */
static void assert_taken(const char *key, const char *value, int length)
{
    char word[128];
    cg_options o;
    cg_options_default(&o);
    snprintf(word, sizeof word, "%s=%.*s", key, length, value);
    if (word[strlen(word) - 1] == ':') return;
    ck_assert_msg(cg_option_take(&o, NULL, word) == CONVGEN_OK, "%s is listed, and refused: %s", word, cg_error_text());
}

START_TEST(what_is_listed_is_taken)
{
    const cg_option_text *text;
    int types = 0;
    for (int i = 0; (text = cg_option_at(i)); i++)
        for (const char *at = text->choices; at && *at; at += strspn(at, " ")) {
            int length = (int)strcspn(at, " ");
            assert_taken(text->key, at, length);
            if (!strcmp(text->key, "--dt")) ck_assert(!strncmp(cg_type_name((convgen_type)types++), at, (size_t)length));
            at += length;
        }
    ck_assert_int_eq(types, CG_TYPES);
}
END_TEST

START_TEST(options_hold_until_reset)
{
    cg_options o, initial;
    cg_named_problem n;
    cg_options_default(&initial);
    ck_assert_int_eq(cg_option_take(&initial, NULL, "--dt=f64"), CONVGEN_OK);
    o = initial;
    ck_assert_int_eq(cg_option_take(&o, &initial, "--threads=3"), CONVGEN_OK);
    ck_assert_int_eq(cg_option_take(&o, &initial, "--target=avx2"), CONVGEN_OK);
    ck_assert_int_eq(cg_option_take(&o, &initial, "--dir=BWD_D"), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_parse("mb1ic1iw1oc1kw1n\"a b\"", &o, &n), CONVGEN_OK);
    ck_assert_str_eq(n.name, "a b");
    ck_assert_str_eq(n.target, "avx2");
    ck_assert_str_eq(cg_pass_name(&n.problem), "BWD_D");
    ck_assert(n.threads == 3 && n.multiplicity == 1 && n.problem.type == CONVGEN_F64);
    ck_assert_int_eq(cg_option_take(&o, &initial, "--reset"), CONVGEN_OK);
    ck_assert_int_eq(memcmp(&o, &initial, sizeof o), 0);
    ck_assert_int_eq(cg_option_take(&o, &initial, "--json"), CONVGEN_UNSUPPORTED);
    ck_assert_int_eq(cg_option_take(&o, &initial, "--dirx=BWD_D"), CONVGEN_UNSUPPORTED);
    ck_assert_int_eq(cg_option_take(&o, &initial, "--di=BWD_D"), CONVGEN_UNSUPPORTED);
}
END_TEST

START_TEST(long_names_are_cut_between_characters)
{
    cg_options o;
    cg_named_problem n;
    char text[200] = "ic1iw1oc1kw1n", name[CG_NAME + 36];
    cg_options_default(&o);
    memset(name, 'x', sizeof name);
    memcpy(name + CG_NAME - 2, "\xc3\xa4zzz", 6); /* an a-umlaut over the limit */
    ck_assert_int_eq(cg_problem_parse(strcat(text, name), &o, &n), CONVGEN_OK);
    ck_assert_uint_eq(strlen(n.name), CG_NAME - 2);
}
END_TEST

/* ---- lists ---- */

static char folder[64];

static void make_folder(void)
{
    strcpy(folder, "/tmp/convgen_test_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    static const char *const names[] = {"a", "b", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) snprintf(path, sizeof path, "%s/%s.txt", folder, names[i]), unlink(path);
    rmdir(folder);
}

static void write_list(const char *name, const char *text, size_t length, char path[128])
{
    snprintf(path, 128, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, length, f), length);
    fclose(f);
}

static cg_status read_text(const char *text, cg_problem_list *list)
{
    char path[128];
    write_list("a.txt", text, strlen(text), path);
    return cg_list_read(path, NULL, list);
}

START_TEST(lists_hold_options_comments_and_multiplicities)
{
    cg_problem_list list = {0};
    char path[128];
    write_list("b.txt", "\xEF\xBB\xBF" "ic7iw3oc1kw1\n--dt=f64", 24, path); /* with the mark of UTF-8 */
    ck_assert_msg(
        read_text(
            "# head --dir=BAD\r\n--dir=BWD_D\r\nic1iw3oc1kw1 *4\r\n ic2iw3oc1kw1 # ic9 *3\n\n\tic3iw3oc1kw1n\"x # y\" *2\n"
            "--batch=b.txt\nic4iw3oc1kw1\n--reset ic5iw3oc1kw1",
            &list)
            == CONVGEN_OK,
        "%s", cg_error_text());
    ck_assert_int_eq(list.count, 6);
    const int channels[] = {1, 2, 3, 7, 4, 5}, multiplicity[] = {4, 1, 2, 1, 1, 1};
    const char *const dirs[] = {"BWD_D", "BWD_D", "BWD_D", "BWD_D", "BWD_D", "FWD_B"};
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(list.at[i].problem.in_channels, channels[i]);
        ck_assert_int_eq(list.at[i].multiplicity, multiplicity[i]);
        ck_assert_str_eq(cg_pass_name(&list.at[i].problem), dirs[i]);
        ck_assert_int_eq(list.at[i].problem.type, i == 4 ? CONVGEN_F64 : CONVGEN_F32); /* set by the nested list */
    }
    ck_assert_str_eq(list.at[2].name, "x # y");
    cg_list_free(&list);
    ck_assert(!list.at && !list.count);
}
END_TEST

/* N.txt includes the list of the number before it: eight deep is allowed, nine is not. */
START_TEST(lists_nest_eight_deep)
{
    cg_problem_list list = {0};
    char path[128], name[16], text[64];
    for (int i = 1; i <= 9; i++) {
        snprintf(name, sizeof name, "%d.txt", i);
        snprintf(text, sizeof text, i == 1 ? "ic1iw1oc1kw1" : "--batch=%d.txt", i - 1);
        write_list(name, text, strlen(text), path);
        ck_assert_int_eq(cg_list_read(path, NULL, &list), i <= 8 ? CONVGEN_OK : CONVGEN_BAD_PROBLEM);
        ck_assert_int_eq(list.count, i <= 8 ? i : 8);
    }
    for (int i = 1; i <= 9; i++) snprintf(path, sizeof path, "%s/%d.txt", folder, i), unlink(path);
    cg_list_free(&list);
}
END_TEST

START_TEST(reset_in_a_list_restores_what_the_caller_said)
{
    cg_problem_list list = {0};
    cg_options said;
    char path[128], text[] = "--dt=f32 ic1iw1oc1kw1 --reset ic2iw1oc1kw1";
    cg_options_default(&said);
    ck_assert_int_eq(cg_option_take(&said, NULL, "--dt=f64"), CONVGEN_OK);
    write_list("a.txt", text, strlen(text), path);
    ck_assert_int_eq(cg_list_read(path, &said, &list), CONVGEN_OK);
    ck_assert(list.count == 2 && list.at[0].problem.type == CONVGEN_F32 && list.at[1].problem.type == CONVGEN_F64);
    cg_list_free(&list);
}
END_TEST

static const struct {
    const char *text, *sentence; /* after the list's path */
} bad_lists[] = {
    {"\n\n\n\n\n\nic3ih5oc4kh9\n", ":7: ic3ih5oc4kh9: the output is empty"},
    {"ic1iw1oc1kw1\n--foo\n", ":2: unknown option --foo"},
    {"--dir=UP\n", ":1: --dir=UP: allowed is"},
    {"*2\n", ":1: *2 stands alone"},
    {"ic1iw1oc1kw1\n*2\n", ":2: *2 stands alone"},
    {"ic1iw1oc1kw1 *2 *2\n", ":1: *2 stands alone"},
    {"ic1iw1oc1kw1 *0\n", ":1: *0: allowed is *1"},
    {"ic1iw1oc1kw1 *99999999999999999999\n", ":1: *9999"},
    {"\n--batch=\n", ":2: --batch= has no file"},
    {"\n--batch=a.txt\n", ":2: --batch=a.txt: lists are nested more than 8 deep"},
    {"\n--batch=missing.txt\n", ":2: "},
};

START_TEST(a_bad_line_is_named_and_nothing_is_added)
{
    cg_problem_list list = {0};
    char place[256];
    ck_assert_int_ne(read_text(bad_lists[_i].text, &list), CONVGEN_OK);
    snprintf(place, sizeof place, "%s/a.txt%s", folder, bad_lists[_i].sentence);
    ck_assert_msg(!strncmp(cg_error_text(), place, strlen(place)), "%s: %s", bad_lists[_i].text, cg_error_text());
    ck_assert_int_eq(list.count, 0);
    cg_list_free(&list);
}
END_TEST

START_TEST(binary_long_and_missing_lists_are_refused)
{
    cg_problem_list list = {0};
    char path[128], longest[3000];
    write_list("a.txt", "ic1\0", 5, path);
    ck_assert_int_eq(cg_list_read(path, NULL, &list), CONVGEN_BAD_PROBLEM);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), "a.txt:1: a zero byte"));
    memset(longest, 'g', sizeof longest);
    write_list("a.txt", longest, sizeof longest, path);
    ck_assert_int_eq(cg_list_read(path, NULL, &list), CONVGEN_BAD_PROBLEM);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), "too long"));
    memcpy(longest, "ic1iw1oc1kw1n", 13); /* the name is cut */
    write_list("a.txt", longest, 1024, path);
    ck_assert_int_eq(cg_list_read(path, NULL, &list), CONVGEN_BAD_PROBLEM);
    write_list("a.txt", longest, 1023, path);
    ck_assert_int_eq(cg_list_read(path, NULL, &list), CONVGEN_OK);
    ck_assert_int_eq(list.count, 1);
    cg_list_free(&list);
    ck_assert_int_eq(cg_list_read("/nowhere/at/all.txt", NULL, &list), CONVGEN_STORE);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), "/nowhere/at/all.txt"));
    ck_assert_int_eq(cg_list_read("/", NULL, &list), CONVGEN_STORE);
    ck_assert_int_eq(read_text("", &list), CONVGEN_OK);
    ck_assert_int_eq(list.count, 0);
    cg_list_free(&list);
}
END_TEST

static void refused_list(const char *sentence)
{
    cg_problem_list list = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/0.txt", folder);
    ck_assert_int_eq(cg_list_read(path, NULL, &list), CONVGEN_BAD_PROBLEM);
    ck_assert_msg(!strncmp(cg_error_text(), folder, strlen(folder)) && strstr(cg_error_text(), sentence), "%s", cg_error_text());
    ck_assert_int_eq(list.count, 0);
    cg_list_free(&list);
}

/* As many times as said, with a new line each. */
static void write_many(const char *name, const char *line, int times)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < times; i++) ck_assert_int_ge(fprintf(f, "%s\n", line), 0);
    ck_assert_int_eq(fclose(f), 0);
}

/* Eight small files, each including the next 40 times, would be 40^7 problems; without any, as many files; with comments, bytes. */
START_TEST(lists_of_lists_are_bounded)
{
    char name[16], line[32];
    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof name, "%d.txt", i);
        snprintf(line, sizeof line, "--batch=%d.txt", i + 1);
        write_many(name, line, 40);
    }
    write_many("7.txt", "ic1iw1oc1kw1", 150);
    refused_list("7.txt:101: this would be problem 100001: at most 100000 are allowed");
    write_many("7.txt", "# nothing", 1);
    refused_list("--batch=7.txt: this would be list 1001; at most 1000 are allowed");
    write_many("0.txt", "--batch=1.txt", 999);
    write_many("1.txt", "#234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567", 200);
    refused_list("1.txt: with it the lists have 16");
    refused_list("at most 16777216 are allowed, each counted as often as it is included");
}
END_TEST

/* A command's words are a list too. */
START_TEST(problems_are_counted_over_all_lists)
{
    cg_problem_list list = {0};
    cg_named_problem n = {.multiplicity = 1};
    char path[128];
    write_list("a.txt", "ic1iw1oc1kw1\n", 13, path);
    for (int i = 0; i < CG_MOST_PROBLEMS - 1; i++) ck_assert_int_eq(cg_list_add(&list, &n), CONVGEN_OK);
    ck_assert_int_eq(cg_list_read(path, NULL, &list), CONVGEN_OK);
    ck_assert_int_eq(cg_list_read(path, NULL, &list), CONVGEN_BAD_PROBLEM);
    ck_assert_int_eq(list.count, CG_MOST_PROBLEMS);
    cg_list_free(&list);
}
END_TEST

START_TEST(every_failed_allocation_is_reported)
{
    char path[128], text[] = "ic1iw1oc1kw1\n--batch=b.txt";
    write_list("b.txt", "ic2iw1oc1kw1\n", 13, path);
    write_list("a.txt", text, strlen(text), path);
    for (long n = 1;; n++) {
        cg_problem_list list = {0};
        cg_fail_allocation = n;
        cg_status status = cg_list_read(path, NULL, &list);
        bool reached = cg_fail_allocation == 0;
        cg_fail_allocation = 0;
        ck_assert_int_eq(list.count, status ? 0 : 2);
        cg_list_free(&list);
        if (!reached) {
            ck_assert_int_eq(status, CONVGEN_OK);
            ck_assert_int_gt(n, 2);
            break;
        }
        ck_assert_int_eq(status, CONVGEN_NO_MEMORY);
    }
}
END_TEST

/* ---- the lists that ship ---- */

static const struct {
    const char *path;
    int distinct;
    long layers;
} shipped[] = {
    {"tuned/networks/seed.txt", 3, 3},    {"tuned/networks/resnet50.txt", 20, 53},
    {"tuned/networks/vgg16.txt", 9, 13},  {"tuned/networks/mobilenetv2.txt", 30, 52},
    {"tests/problems/smoke.txt", 16, 16}, {"tests/problems/networks.txt", 13, 13},
    {"tests/problems/edges.txt", 0, 0},
};

START_TEST(shipped_lists_hold_what_they_say)
{
    cg_problem_list list = {0};
    char path[512];
    long layers = 0;
    snprintf(path, sizeof path, "%s/%s", CONVGEN_SOURCE_DIR, shipped[_i].path);
    ck_assert_msg(cg_list_read(path, NULL, &list) == CONVGEN_OK, "%s", cg_error_text());
    for (int i = 0; i < list.count; i++) {
        layers += list.at[i].multiplicity;
        for (int j = 0; j < i; j++)
            ck_assert_msg(!cg_problem_equal(&list.at[i].problem, &list.at[j].problem),
                          "%s: %d and %d (%s) are the same", path, j + 1, i + 1, list.at[i].name);
    }
    if (shipped[_i].layers) ck_assert_int_eq(list.count, shipped[_i].distinct);
    else ck_assert_int_ge(list.count, 60);
    if (shipped[_i].layers) ck_assert_int_eq(layers, shipped[_i].layers);
    cg_list_free(&list);
}
END_TEST

#define COUNT(rows) (int)(sizeof rows / sizeof rows[0])

int main(void)
{
    Suite *suite = suite_create("problem");
    TCase *text = test_case(suite, "text", 120), *lists = test_case(suite, "lists", 60); /* for sanitizers on a busy machine */
    tcase_add_test(text, descriptors_have_their_canonical_form);
    tcase_add_test(text, what_is_formatted_parses_back);
    tcase_add_test(text, noise_is_refused_with_a_sentence);
    tcase_add_loop_test(text, bad_text_names_its_culprit, 0, COUNT(bad_rows));
    tcase_add_test(text, null_and_small_buffers_are_a_status);
    tcase_add_test(text, numbers_do_not_depend_on_the_locale);
    tcase_add_test(text, numbers_leave_the_locale_as_it_was);
    tcase_add_test(text, zero_is_the_default);
    tcase_add_test(text, what_is_listed_is_taken);
    tcase_add_test(text, sizes_count_groups_once);
    tcase_add_test(text, malformed_structs_are_refused_untouched);
    tcase_add_test(text, problems_that_differ_in_one_field_are_two);
    tcase_add_test(text, slices_and_what_is_added_to_are_options);
    tcase_add_test(text, a_clamp_at_minus_0_is_one_at_0);
    tcase_add_test(text, tensors_have_fewer_than_2_to_the_59_elements);
    tcase_add_test(text, the_largest_sizes_still_have_a_text);
    tcase_add_test(text, options_hold_until_reset);
    tcase_add_test(text, long_names_are_cut_between_characters);
    tcase_add_checked_fixture(lists, make_folder, remove_folder);
    tcase_add_test(lists, lists_hold_options_comments_and_multiplicities);
    tcase_add_loop_test(lists, a_bad_line_is_named_and_nothing_is_added, 0, COUNT(bad_lists));
    tcase_add_test(lists, lists_nest_eight_deep);
    tcase_add_test(lists, reset_in_a_list_restores_what_the_caller_said);
    tcase_add_test(lists, binary_long_and_missing_lists_are_refused);
    tcase_add_test(lists, lists_of_lists_are_bounded);
    tcase_add_test(lists, problems_are_counted_over_all_lists);
    tcase_add_test(lists, every_failed_allocation_is_reported);
    tcase_add_loop_test(lists, shipped_lists_hold_what_they_say, 0, COUNT(shipped));
    return test_run(suite);
}

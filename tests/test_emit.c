/* test_emit.c: a network -> files, by the library alone: the same bytes each time, refusals, a `put` that fails, lack of memory. */
#include "plan.h"
#include "suite.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static cg_machine machine;
static convgen_problem forward, gradient;
static cg_emit_layer layers[3];
static cg_network network;

static void set_up(void)
{
    cg_emit_kernel plain = {"plain", "a test", NAN, NAN, NAN};
    machine = (cg_machine){.key = "none", .l1d = 32768, .l2 = 1 << 20, .line = 64, .cores = 1};
    ck_assert_int_eq(convgen_problem_parse("mb1ic3ih5oc4kh3ph1", &forward), CONVGEN_OK);
    ck_assert_int_eq(convgen_problem_parse("--dir=BWD_WB --dt=f64 mb1ic3ih5oc4kh3ph1", &gradient), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&forward) | cg_problem_normalise(&gradient), CONVGEN_OK);
    layers[0] = (cg_emit_layer){"a", &forward, 1, 1, {plain}};
    layers[1] = (cg_emit_layer){"b */ c", &forward, 1, 3, {plain}};
    layers[2] = (cg_emit_layer){"", &gradient, 1, 1, {plain}};
    network = (cg_network){.prefix = "net", .form = "c", .machine = &machine, .target = {"portable"}, .target_count = 1,
                           .layer_count = 3, .layer = layers};
}

typedef struct tray {
    cg_buffer names;
    uint64_t hash;
    int count, fails_at;
    bool stops;
    const char *const *wanted; /* sentences that are looked for, up to NULL */
    const char *in;            /* in the file of this name; NULL: in all */
    int found;
} tray;

static cg_status put(void *user, const char *name, const char *text, size_t length)
{
    tray *t = user;
    if (t->count++ == t->fails_at) return cg_fail(CONVGEN_STORE, "the disk is full");
    cg_buffer_printf(&t->names, "%s ", name);
    for (const char *const *w = t->wanted; w && *w && (!t->in || !strcmp(t->in, name)); w++) t->found += strstr(text, *w) != NULL;
    t->hash = cg_hash(text, length, t->hash);
    return t->names.failed ? cg_fail(CONVGEN_NO_MEMORY, "no memory for names") : CONVGEN_OK;
}

static bool go_on(void *user) { return !((tray *)user)->stops; }

static cg_status emit_to(tray *t)
{
    cg_script *s;
    cg_status status = cg_script_new(&s);
    if (status) return status;
    status = cg_script_emit(s, &network, put, go_on, t);
    cg_script_free(s);
    return status;
}

static cg_status emit(tray *t, int fails_at)
{
    *t = (tray){.fails_at = fails_at};
    return emit_to(t);
}

START_TEST(the_same_bytes_each_time)
{
    tray a, b;
    ck_assert_msg(emit(&a, -1) == CONVGEN_OK, "%s", cg_error_text());
    ck_assert_int_eq(emit(&b, -1), CONVGEN_OK);
    ck_assert_str_eq(a.names.text, b.names.text);
    ck_assert_uint_eq(a.hash, b.hash);
    ck_assert_ptr_nonnull(strstr(a.names.text, "net_a_portable.c ")); /* b has the same problem, so its kernel */
    ck_assert_ptr_null(strstr(a.names.text, "net_b_c"));
    ck_assert_ptr_nonnull(strstr(a.names.text, "backward_weights_portable.c "));
    cg_buffer_free(&a.names), cg_buffer_free(&b.names);
}
END_TEST

START_TEST(refusals)
{
    tray t;
    layers[2] = layers[0];
    ck_assert_int_eq(emit(&t, -1), CONVGEN_UNSUPPORTED);
    ck_assert_str_eq(cg_error_text(), "two layers are called a (forward); give them names of their own");
    ck_assert_int_eq(t.count, 0);
    layers[2].name = "other", layers[2].kernel[0].schedule = "no.such", layers[2].threads = 2;
    ck_assert_int_eq(emit(&t, -1), CONVGEN_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), "'no.such' is no schedule"));
    cg_buffer_free(&t.names);
}
END_TEST

START_TEST(a_put_that_fails_ends_it)
{
    tray t;
    for (int at = 0; at < 12; at++) {
        ck_assert_int_ne(emit(&t, at), CONVGEN_OK);
        ck_assert_str_eq(cg_error_text(), "the disk is full");
        ck_assert_int_eq(t.count, at + 1);
        cg_buffer_free(&t.names);
    }
}
END_TEST

/* Whoever interrupts does not wait for the end of a file: the first one here is of some hundred thousand bytes. */
START_TEST(it_can_be_stopped_within_a_file)
{
    tray t = {.fails_at = -1, .stops = true};
    convgen_problem wide;
    cg_script *s;
    cg_schedule_list list;
    ck_assert_int_eq(convgen_problem_parse("--accuracy=8x mb1ic64ih56oc64kh3ph1", &wide), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&wide) | cg_script_new(&s), CONVGEN_OK);
    cg_request r = {.problem = &wide, .machine = &machine, .target = "portable", .form = "c", .threads = 1};
    ck_assert_int_eq(cg_script_schedules(s, &r, &list), CONVGEN_OK);
    layers[0].problem = &wide, layers[0].kernel[0].schedule = list.at[0].name;
    network.layer_count = 1;
    cg_script_uncounted = 0; /* work is looked at */
    ck_assert_int_eq(emit_to(&t), CONVGEN_CANCELLED);
    ck_assert_str_eq(cg_error_text(), "stopped");
    ck_assert_int_eq(t.count, 0);
    cg_free(list.at);
    cg_script_free(s);
}
END_TEST

/* What the words of direct's schedules mean: a strided 1x1 whose weights come from far. */
START_TEST(words_of_a_schedule_are_explained)
{
    static const char *const sentences[] = {"the input pixels that the stride leaves are moved together first;", "the panel of weights comes from far and is fetched early;",
        "pixels that lie one behind the other are taken as rows of 49;", "/* Moves pixels together: rows x columns of those that the stride leaves", NULL};
    tray t = {.fails_at = -1, .wanted = sentences};
    convgen_problem strided;
    ck_assert_int_eq(convgen_problem_parse("mb1ic1024ih14oc2048kh1sh2ph0", &strided), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&strided), CONVGEN_OK);
    layers[0].problem = &strided, layers[0].kernel[0].schedule = "gather/direct.p6.v4.rows1.fetch";
    network.layer_count = 1, network.target[0] = "avx512";
    ck_assert_msg(emit_to(&t) == CONVGEN_OK, "%s", cg_error_text());
    ck_assert_int_eq(t.found, 4);
    cg_buffer_free(&t.names);
}
END_TEST

static int found_in_header(const char *const *sentences)
{
    tray t = {.fails_at = -1, .wanted = sentences, .in = "net.h"};
    ck_assert_msg(emit_to(&t) == CONVGEN_OK, "%s", cg_error_text());
    cg_buffer_free(&t.names);
    return t.found;
}

/* The header tells of threads, residuals and packing where a layer has them. */
START_TEST(headers_tell_of_what_is_there)
{
    static const char *const words[] = {"threads", "residual", "_pack", "old values", NULL};
    convgen_problem added;
    network.layer_count = 1;
    ck_assert_int_eq(found_in_header(words), 1);
    layers[0].problem = &gradient;
    ck_assert_int_eq(found_in_header(words), 0);
    gradient.accumulate = true;
    ck_assert_int_eq(found_in_header(words), 1);
    ck_assert_int_eq(convgen_problem_parse("--epilogue=residual mb1ic3ih5oc4kh3ph1", &added), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&added), CONVGEN_OK);
    layers[0].problem = &added, network.openmp = true;
    ck_assert_int_eq(found_in_header(words), 3);
}
END_TEST

/* Where a target's kernel transforms its sums and another's does not, their bits are not said to be the same. */
START_TEST(headers_do_not_contradict_themselves)
{
    static const char *const alike[] = {"the same bits everywhere", "all processors give them", NULL};
    static const char *const apart[] = {"the same bits wherever this kernel runs", "sums are transformed", NULL};
    convgen_problem wide;
    network.layer_count = 1, network.target_count = 2, network.target[0] = "avx2", network.target[1] = "portable";
    layers[0].kernel[1] = layers[0].kernel[0];
    ck_assert_int_eq(found_in_header(alike), 2);
    ck_assert_int_eq(found_in_header(apart), 0);
    ck_assert_int_eq(convgen_problem_parse("mb1ic8ih8oc8kh3ph1", &wide), CONVGEN_OK);
    ck_assert_int_eq(cg_problem_normalise(&wide), CONVGEN_OK);
    layers[0].problem = &wide, layers[0].kernel[0].schedule = "winograd.2x2.t28.s1/product.r14.v1.a16";
    ck_assert_int_eq(found_in_header(alike), 0);
    ck_assert_int_eq(found_in_header(apart), 2);
}
END_TEST

START_TEST(failing_allocations)
{
    tray t;
    cg_status status = CONVGEN_NO_MEMORY;
    for (long n = 1; status; n += n / 8 + 1) {
        cg_fail_allocation = n;
        status = emit(&t, -1);
        bool all = cg_fail_allocation > 0;
        cg_fail_allocation = 0;
        cg_buffer_free(&t.names);
        ck_assert_msg(!status || status == CONVGEN_NO_MEMORY, "n = %ld: %s", n, cg_error_text());
        if (!status && !all) status = CONVGEN_NO_MEMORY; /* Lua collected its garbage and went on */
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("emit");
    TCase *t = test_case(suite, "emit", 60);
    tcase_add_checked_fixture(t, set_up, NULL);
    tcase_add_test(t, the_same_bytes_each_time);
    tcase_add_test(t, refusals);
    tcase_add_test(t, a_put_that_fails_ends_it);
    tcase_add_test(t, it_can_be_stopped_within_a_file);
    tcase_add_test(t, words_of_a_schedule_are_explained);
    tcase_add_test(t, headers_tell_of_what_is_there);
    tcase_add_test(t, headers_do_not_contradict_themselves);
    tcase_add_test(t, failing_allocations);
    return test_run(suite);
}

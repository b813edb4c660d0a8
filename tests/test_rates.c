/* test_rates.c: what moving a line costs is counted right, kept, and believed only where it can be. No test knows what a machine is like. */
#define _GNU_SOURCE
#include "fake_clock.h"
#include "suite.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Caches of a machine that has all that is measured, but for the instruction that stores past them. */
static const cg_machine usual = {.key = "usual", .l1d = 32 << 10, .l2 = 512 << 10, .l3 = 32 << 20, .line = 64, .cores = 1};
static char folder[64], path[96];

static void setup(void)
{
    strcpy(folder, "/tmp/convgen-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/records", folder);
}

static void teardown(void)
{
    static const char *const names[] = {"/records", "/records.lock", ""};
    for (int i = 0; i < 3; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", folder, names[i]);
        remove(name);
    }
}

static cg_store *open_store(const char *where)
{
    cg_store *s;
    ck_assert_int_eq(cg_store_new(where, &s), CONVGEN_OK);
    return s;
}

static void is(double value, double expected, const char *name)
{
    ck_assert_msg(fabs(value - expected) <= 1e-9 * expected, "%s: %.17g, not %.17g", name, value, expected);
}

/* ---- measured ------------------------------------------------------------------------------------------------------ */

/* A pass and the 32,000 additions of the clock take a second each: so a pass takes 32,000 cycles, and its rate tells its lines. */
START_TEST(rates_are_cycles_over_lines)
{
    cg_machine m = usual;
    const double cycles = 32000, l2 = cycles / 8 / (256 << 4), near = cycles / (8 << 14), piece = cycles / (16 << 14);
    clock_begin(1);
    cg_rates_measure(&m);
    is(m.rate[CG_RATE_L2], l2, "half of the second cache, eight times");
    is(m.rate[CG_RATE_PAGE], cycles / (256 << 4) - l2, "as many lines, each on another page");
    is(m.rate[CG_RATE_L3], near, "8 MB");
    is(m.rate[CG_RATE_STORE_L3], near, "8 MB");
    is(m.rate[CG_RATE_MEMORY], piece, "16 MB of 128");
    is(m.rate[CG_RATE_STORE_MEMORY], piece, "16 MB of 128");
    ck_assert(m.rate[CG_RATE_STREAM_L3] == 0 && m.rate[CG_RATE_STREAM_MEMORY] == 0); /* needs AVX2 */
    is(m.bandwidth, (16 << 20) / 1e9, "16 MB a second");
    double looks = clock_at - 1000; /* 8 tries of 6 passes and of 8 looks at the clock */
    ck_assert_msg(looks == 2 * 8 * (6 + 8), "the clock was looked at %g times", looks);
}
END_TEST

/* A page has no more lines than it has. */
START_TEST(a_large_cache_is_walked_within_its_pages)
{
    cg_machine m = usual;
    m.l2 = 16 << 20, m.l3 = 512 << 20;
    clock_begin(1);
    cg_rates_measure(&m);
    is(m.rate[CG_RATE_PAGE], 32000. / (512 * 64) - 32000. / 8 / (8 << 14), "64 lines of 512 pages");
}
END_TEST

START_TEST(streams_are_measured_where_there_are_any)
{
    cg_machine m;
    cg_machine_detect(&m);
    clock_begin(1);
    if (!cg_machine_has(&m, "avx2")) return;
    m.l1d = usual.l1d, m.l2 = usual.l2, m.l3 = usual.l3;
    cg_rates_measure(&m);
    is(m.rate[CG_RATE_STREAM_L3], 32000. / (8 << 14), "8 MB");
    is(m.rate[CG_RATE_STREAM_MEMORY], 32000. / (16 << 14), "16 MB");
}
END_TEST

/* Of levels that are alike, or that nobody knows, nothing is said; of memory that is no larger than a cache, neither. */
START_TEST(what_cannot_be_told_apart_is_not_measured)
{
    static const struct {
        long l1d, l2, l3;
        bool l2_told, l3_told, memory_told;
    } rows[] = {
        {0, 0, 0, false, false, true},
        {32 << 10, 0, 0, false, false, true},
        {32 << 10, 1 << 20, 0, true, false, true},
        {32 << 10, 64 << 10, 32 << 20, false, true, true},
        {128 << 10, 16 << 20, 24 << 20, true, false, true},
        {48 << 10, 2 << 20, 512 << 20, true, true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cg_machine m = {.l1d = rows[i].l1d, .l2 = rows[i].l2, .l3 = rows[i].l3};
        clock_begin(1);
        cg_rates_measure(&m);
        ck_assert_msg((m.rate[CG_RATE_L2] > 0) == rows[i].l2_told && (m.rate[CG_RATE_PAGE] > 0) == rows[i].l2_told, "L2 of row %zu", i);
        ck_assert_msg((m.rate[CG_RATE_L3] > 0) == rows[i].l3_told && (m.rate[CG_RATE_STORE_L3] > 0) == rows[i].l3_told, "L3 of row %zu", i);
        ck_assert_msg((m.rate[CG_RATE_MEMORY] > 0) == rows[i].memory_told, "memory of row %zu", i);
        ck_assert(m.bandwidth > 0);
    }
}
END_TEST

START_TEST(without_memory_nothing_is_known)
{
    cg_machine m = usual;
    m.rate[CG_RATE_L2] = m.bandwidth = 1;
    cg_fail_allocation = 1;
    cg_rates_measure(&m);
    for (int r = 0; r < CG_RATES; r++) ck_assert(m.rate[r] == 0);
    ck_assert(m.bandwidth == 0);
}
END_TEST

/* Whatever the machine is, and however busy: figures, and nothing in them that is no number. */
START_TEST(a_real_clock_gives_numbers)
{
    cg_machine m;
    cg_machine_detect(&m);
    cg_rates_measure(&m);
    for (int r = 0; r < CG_RATES; r++) ck_assert_msg(isfinite(m.rate[r]) && m.rate[r] >= 0, "%s", cg_rate_rows[r].name);
    ck_assert(isfinite(m.bandwidth) && m.bandwidth > 0);
}
END_TEST

/* ---- believed ------------------------------------------------------------------------------------------------------ */

static const double good[CG_RATES] = {2, 5, 14, 5, 18, 14, 14, 3};

START_TEST(rates_within_their_ranges_stay)
{
    for (int r = 0; r < CG_RATES; r++) {
        const cg_rate_row *row = &cg_rate_rows[r];
        const double bad[] = {0, -1, row->least * 0.99, row->most * 1.01, NAN, INFINITY};
        double rate[CG_RATES];
        memcpy(rate, good, sizeof rate);
        cg_rates_check(rate);
        ck_assert_msg(!memcmp(rate, good, sizeof rate), "%s", row->name);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            memcpy(rate, good, sizeof rate);
            rate[r] = bad[i];
            cg_rates_check(rate);
            for (int other = 0; other < CG_RATES; other++)
                ck_assert_msg(rate[other] == (other == r ? 0 : good[other]), "%s of %s being %g", cg_rate_rows[other].name, row->name, bad[i]);
        }
    }
}
END_TEST

/* A nearer level is not slower: noise only ever adds time, so what is too great is wrong. */
START_TEST(a_nearer_level_is_not_slower)
{
    double rate[CG_RATES];
    memcpy(rate, good, sizeof rate);
    rate[CG_RATE_L2] = 6;
    rate[CG_RATE_STORE_L3] = 19;
    cg_rates_check(rate);
    ck_assert(rate[CG_RATE_L2] == 0 && rate[CG_RATE_L3] == 5 && rate[CG_RATE_STORE_L3] == 0 && rate[CG_RATE_STORE_MEMORY] == 18);
    rate[CG_RATE_L3] = 15;
    cg_rates_check(rate);
    ck_assert(rate[CG_RATE_L3] == 0 && rate[CG_RATE_MEMORY] == 14);
}
END_TEST

/* ---- kept ---------------------------------------------------------------------------------------------------------- */

START_TEST(what_is_kept_comes_back)
{
    cg_machine m = usual, back = usual, other = usual;
    cg_store *s = open_store(path);
    memcpy(m.rate, good, sizeof good);
    m.bandwidth = 12.5;
    ck_assert(!cg_rates_recall(s, &back));
    ck_assert_int_eq(cg_rates_keep(s, &m), CONVGEN_OK);
    ck_assert(cg_rates_recall(s, &back));
    ck_assert(!memcmp(back.rate, good, sizeof good) && back.bandwidth == 12.5);
    strcpy(other.key, "other");
    ck_assert(!cg_rates_recall(s, &other) && other.rate[CG_RATE_L2] == 0);
    m.rate[CG_RATE_L2] = 1; /* the latest counts */
    ck_assert_int_eq(cg_rates_keep(s, &m), CONVGEN_OK);
    ck_assert(cg_rates_recall(s, &back) && back.rate[CG_RATE_L2] == 1);
    cg_store_free(s);
}
END_TEST

START_TEST(insane_facts_are_as_if_they_were_not_measured)
{
    cg_machine m = usual, back = usual;
    cg_store *s = open_store(path);
    memcpy(m.rate, good, sizeof good);
    m.rate[CG_RATE_L3] = 1e9;
    m.rate[CG_RATE_PAGE] = 0;
    ck_assert_int_eq(cg_rates_keep(s, &m), CONVGEN_OK);
    ck_assert_int_eq(cg_store_put_fact(s, "usual", "rate stream_l3", -5), CONVGEN_OK);
    ck_assert(cg_rates_recall(s, &back)); /* it was measured: not again */
    for (int r = 0; r < CG_RATES; r++) {
        bool insane = r == CG_RATE_L3 || r == CG_RATE_PAGE || r == CG_RATE_STREAM_L3;
        ck_assert_msg(back.rate[r] == (insane ? 0 : good[r]), "%s", cg_rate_rows[r].name);
    }
    cg_store_free(s);
}
END_TEST

/* One is missing: they are measured again, and the machine's own stay. */
START_TEST(some_facts_are_none)
{
    cg_machine m = usual;
    cg_store *s = open_store(path);
    char name[CG_NAME];
    m.rate[CG_RATE_L2] = 7;
    for (int r = 1; r < CG_RATES; r++) {
        snprintf(name, sizeof name, "rate %s", cg_rate_rows[r].name);
        ck_assert_int_eq(cg_store_put_fact(s, "usual", name, good[r]), CONVGEN_OK);
    }
    ck_assert_int_eq(cg_store_put_fact(s, "usual", "bandwidth", 9), CONVGEN_OK);
    ck_assert(!cg_rates_recall(s, &m) && m.rate[CG_RATE_L2] == 7 && m.rate[CG_RATE_L3] == 0);
    ck_assert_int_eq(cg_store_put_fact(s, "usual", "rate l2", good[0]), CONVGEN_OK);
    ck_assert(cg_rates_recall(s, &m) && m.rate[CG_RATE_L2] == good[0] && m.rate[CG_RATE_L3] == good[1]);
    cg_store_free(s);
}
END_TEST

START_TEST(stores_that_keep_nothing)
{
    cg_machine m = usual;
    memcpy(m.rate, good, sizeof good);
    cg_store *device = open_store("/dev/null"), *none = open_store("/proc/no/such/place");
    ck_assert_int_eq(cg_rates_keep(device, &m), CONVGEN_OK);
    ck_assert(!cg_rates_recall(device, &m));
    ck_assert_int_eq(cg_rates_keep(none, &m), CONVGEN_STORE);
    ck_assert(!cg_rates_recall(none, &m));
    ck_assert(!memcmp(m.rate, good, sizeof good));
    cg_store_free(device);
    cg_store_free(none);
}
END_TEST

/* All or none of them, whichever allocation fails. */
START_TEST(allocations_fail)
{
    cg_machine m = usual, back = usual;
    memcpy(m.rate, good, sizeof good);
    for (long n = 1;; n++) {
        cg_store *s = open_store(path);
        cg_fail_allocation = n;
        cg_status status = cg_rates_keep(s, &m);
        bool through = cg_fail_allocation > 0, there = !status;
        cg_fail_allocation = 0;
        ck_assert(status == CONVGEN_OK || status == CONVGEN_NO_MEMORY);
        ck_assert_int_eq(cg_rates_recall(s, &back), there);
        cg_store_free(s);
        remove(path);
        if (through) break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rates");
    TCase *measured = test_case(suite, "measured", 120), *believed = test_case(suite, "believed", 10), *kept = test_case(suite, "kept", 20);
    tcase_add_test(measured, rates_are_cycles_over_lines);
    tcase_add_test(measured, a_large_cache_is_walked_within_its_pages);
    tcase_add_test(measured, streams_are_measured_where_there_are_any);
    tcase_add_test(measured, what_cannot_be_told_apart_is_not_measured);
    tcase_add_test(measured, without_memory_nothing_is_known);
    tcase_add_test(measured, a_real_clock_gives_numbers);
    tcase_add_test(believed, rates_within_their_ranges_stay);
    tcase_add_test(believed, a_nearer_level_is_not_slower);
    tcase_add_checked_fixture(kept, setup, teardown);
    tcase_add_test(kept, what_is_kept_comes_back);
    tcase_add_test(kept, insane_facts_are_as_if_they_were_not_measured);
    tcase_add_test(kept, some_facts_are_none);
    tcase_add_test(kept, stores_that_keep_nothing);
    tcase_add_test(kept, allocations_fail);
    return test_run(suite);
}

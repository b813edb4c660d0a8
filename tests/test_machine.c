/* test_machine.c: what is detected agrees with the compiler's and the system's own view; figures are counted right.
 *
 * That the measured loops are what they are counted as, peak.sh reads in their instructions. */
#define _GNU_SOURCE
#include "fake_clock.h"
#include "suite.h"
#include <math.h>
#include <sched.h>
#include <string.h>

START_TEST(the_description_is_complete)
{
    cg_machine m;
    cg_machine_detect(&m);
    ck_assert(*m.vendor && *m.name && *m.key);
    ck_assert(!strpbrk(m.key, " \t\n\"") && !strpbrk(m.name, "\n\"\t"));
    ck_assert(m.line >= 16 && m.line <= 1024);
    ck_assert(m.l1d >= 0 && m.l2 >= 0 && m.l3 >= 0);
    ck_assert(m.l1d == 0 || m.l2 == 0 || m.l1d <= m.l2);
    ck_assert_ptr_nonnull(strstr(m.key, m.vendor));
}
END_TEST

START_TEST(detection_repeats_itself)
{
    cg_machine a, b;
    memset(&a, 0xaa, sizeof a);
    memset(&b, 0x55, sizeof b);
    cg_machine_detect(&a);
    cg_machine_detect(&b);
    ck_assert_int_eq(memcmp(&a, &b, sizeof a), 0);
}
END_TEST

START_TEST(features_are_sorted_and_found_whole)
{
    cg_machine m;
    char copy[sizeof m.features], *last = NULL;
    cg_machine_detect(&m);
    strcpy(copy, m.features);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        ck_assert(!last || strcmp(last, word) < 0);
        ck_assert_msg(cg_machine_has(&m, word), "%s", word);
        last = word;
    }
    strcpy(m.features, "avx2 avx512f fma");
    ck_assert(cg_machine_has(&m, "avx2") && cg_machine_has(&m, "fma") && cg_machine_has(&m, "avx512f"));
    ck_assert(!cg_machine_has(&m, "avx") && !cg_machine_has(&m, "avx512") && !cg_machine_has(&m, "ma")
              && !cg_machine_has(&m, ""));
    ck_assert(!cg_machine_has(&m, "avx2 avx512f"));
}
END_TEST

/* gcc's own detection looks at the saved state too. */
#if defined(__x86_64__)
#define AGREES(name) ck_assert_msg(cg_machine_has(&m, name) == !!__builtin_cpu_supports(name), "%s", name)
#define AGREES_AS(ours, gcc) ck_assert_msg(cg_machine_has(&m, ours) == !!__builtin_cpu_supports(gcc), "%s", ours)
START_TEST(the_compiler_sees_the_same_features)
{
    cg_machine m;
    cg_machine_detect(&m);
    AGREES("sse2");
    AGREES("avx");
    AGREES("avx2");
    AGREES("fma");
    AGREES("bmi2");
    AGREES("avx512f");
    AGREES("avx512dq");
    AGREES("avx512bw");
    AGREES("avx512cd");
    AGREES("avx512vl");
    AGREES_AS("sse4_1", "sse4.1");
    AGREES_AS("avx512_vnni", "avx512vnni");
    AGREES_AS("avx512_bf16", "avx512bf16");
}
END_TEST
#endif

/* The system's list, where there is one in a form that we know. */
START_TEST(the_system_sees_every_feature_that_is_listed)
{
    cg_machine m;
    char line[8192];
    bool found = false;
    FILE *f = fopen("/proc/cpuinfo", "r");
    cg_machine_detect(&m);
    while (f && !found && fgets(line, sizeof line, f)) found = !strncmp(line, "flags", 5);
    if (f) fclose(f);
    if (!found) return;
    line[strcspn(line, "\n")] = ' ';
    for (char *word = strtok(m.features, " "); word; word = strtok(NULL, " ")) {
        char spaced[32];
        snprintf(spaced, sizeof spaced, " %s ", word);
        ck_assert_msg(strstr(line, spaced) != NULL, "%s is not in /proc/cpuinfo", word);
    }
}
END_TEST

START_TEST(cores_follow_the_affinity_mask)
{
    cg_machine m;
    cpu_set_t all, one;
    cg_machine_detect(&m);
    ck_assert_int_ge(m.cores, 1);
    if (sched_getaffinity(0, sizeof all, &all)) return;
    ck_assert_int_eq(m.cores, CPU_COUNT(&all));
    int first = 0;
    while (!CPU_ISSET(first, &all)) first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cg_machine_detect(&m);
    ck_assert_int_eq(m.cores, 1);
}
END_TEST

START_TEST(peaks_are_of_what_the_machine_has)
{
    cg_machine m, none = {0};
    cg_machine_detect(&m);
    ck_assert(cg_measure_peak(&none, 512, CONVGEN_F32) == 0 && cg_measure_peak(&none, 256, CONVGEN_F64) == 0);
    ck_assert(cg_measure_peak(&m, 64, CONVGEN_F32) == 0);
    ck_assert((cg_measure_peak(&m, 512, CONVGEN_F32) > 0) == cg_machine_has(&m, "avx512f"));
    ck_assert((cg_measure_peak(&m, 256, CONVGEN_F32) > 0) == (cg_machine_has(&m, "avx2") && cg_machine_has(&m, "fma")));
    ck_assert(cg_measure_peak(&m, 128, CONVGEN_F32) > 0 && cg_measure_peak(&m, 128, CONVGEN_F64) > 0);
    ck_assert(cg_measure_peak(&none, 128, CONVGEN_F32) > 0);
}
END_TEST

/* 20,000 rounds of 12 multiply-adds, 2 operations each in every lane, between two looks at a clock. */
START_TEST(peaks_count_operations_over_seconds)
{
    static const int widths[] = {512, 256, 128};
    cg_machine m;
    cg_machine_detect(&m);
    clock_begin(1e-3);
    for (int i = 0; i < 3; i++)
        for (int type = CONVGEN_F32; type <= CONVGEN_F64; type++) {
            double peak = cg_measure_peak(&m, widths[i], (convgen_type)type), lanes = widths[i] / (type == CONVGEN_F32 ? 32 : 64);
            double expected = 20000 * 12 * 2 * lanes / 1e-3 / 1e9;
            ck_assert_msg(peak == 0 || fabs(peak - expected) < 1e-6 * expected, "%d bits: %g GFLOP/s, not %g", widths[i], peak, expected);
        }
}
END_TEST

START_TEST(bandwidth_counts_bytes_over_seconds)
{
    clock_begin(1);
    double bytes = 1e9 * cg_measure_bandwidth();
    ck_assert_msg(bytes > (64 << 20) - 1 && bytes < (512 << 20) + 1, "%.0f bytes are read", bytes);
    cg_fail_allocation = 1;
    ck_assert(cg_measure_bandwidth() == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("machine");
    TCase *detected = test_case(suite, "detected", 60), *measured = test_case(suite, "measured", 120);
    tcase_add_test(detected, the_description_is_complete);
    tcase_add_test(detected, detection_repeats_itself);
    tcase_add_test(detected, features_are_sorted_and_found_whole);
#if defined(__x86_64__)
    tcase_add_test(detected, the_compiler_sees_the_same_features);
#endif
    tcase_add_test(detected, the_system_sees_every_feature_that_is_listed);
    tcase_add_test(detected, cores_follow_the_affinity_mask);
    tcase_add_test(measured, peaks_are_of_what_the_machine_has);
    tcase_add_test(measured, peaks_count_operations_over_seconds);
    tcase_add_test(measured, bandwidth_counts_bytes_over_seconds);
    return test_run(suite);
}

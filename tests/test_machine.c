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
    char key[CG_KEY];
    snprintf(key, sizeof key, "%s-%d-%d-%08x-%ldk-%ldk-%ldk", m.vendor, m.family, m.model,
             (unsigned)cg_hash(m.features, strlen(m.features), 0), m.l1d / 1024, m.l2 / 1024, m.l3 / 1024);
    for (char *c = key; *c; c++)
        if (*c == ' ') *c = '_';
    ck_assert_str_eq(m.key, key); /* records are filed under it */
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

/* ---- processors that are not here ------------------------------------------------------------------------------------ */

#if defined(__x86_64__)
static struct {
    unsigned ecx1, state; /* of leaf 1; of XCR0 */
    int leaf, sub, reg, bit; /* leaf 7 or 1: it has that one feature alone; 0: what is said above */
    bool amd, asked;      /* caches stand in AMD's leaf; XCR0 was read */
} chip;

/* A Zen 3 by its numbers, with every feature bit that there is. */
static bool chip_leaf(unsigned number, unsigned sub, unsigned reg[4])
{
    static const unsigned vendor[] = {13, 0x68747541, 0x444d4163, 0x69746e65}; /* eax; "Auth", "cAMD", "enti" in ebx, ecx, edx */
    static const char name[49] = "  A  processor \x01"; /* padded, as they come */
    static const unsigned caches[][4] = {               /* 12-way 48k, code, 10-way 1.25M, 16-way 32M */
        {0x21, 0x02c0003f, 63, 0}, {0x22, 0x01c0003f, 63, 0}, {0x43, 0x0240003f, 2047, 0}, {0x63, 0x03c0003f, 32767, 0}, {0}};
    memset(reg, 0, 4 * sizeof *reg);
    if (chip.leaf) {
        if (number == (unsigned)chip.leaf && sub == (unsigned)chip.sub) reg[chip.reg] = 1u << chip.bit;
        if (number == 1) reg[2] |= 1u << 27; /* OSXSAVE */
    } else if (number == 0) memcpy(reg, vendor, sizeof vendor);
    else if (number == 1) reg[0] = 0x00a20f12, reg[2] = chip.ecx1, reg[3] = ~0u;
    else if (number == 7) memset(reg, 0xff, 4 * sizeof *reg);
    else if (number >= 0x80000002 && number <= 0x80000004) memcpy(reg, name + 16 * (number - 0x80000002), 16);
    else if (number == (chip.amd ? 0x8000001d : 4)) memcpy(reg, caches[sub], sizeof caches[sub]);
    return true;
}

static unsigned chip_xcr0(void)
{
    chip.asked = true;
    return chip.state;
}

static cg_machine machine_of_chip(void)
{
    cg_machine m = {0};
    cg_machine_of(&(cg_cpu){chip_leaf, chip_xcr0}, &m);
    return m;
}

START_TEST(features_need_the_system_to_save_their_registers)
{
    enum { OSXSAVE = 1 << 27, X87 = 1, SSE = 2, AVX = 4, K = 0x20, UPPER = 0x40, MORE = 0x80 };
    static const char none[] = "bmi2 sse2 sse4_1", ymm[] = "avx avx2 bmi2 f16c fma sse2 sse4_1",
        zmm[] = "avx avx2 avx512_bf16 avx512_fp16 avx512_vnni avx512bw avx512cd avx512dq avx512f avx512vl bmi2 f16c fma sse2 sse4_1";
    static const struct {
        unsigned state;
        const char *features;
    } rows[] = {
        {X87 | SSE, none},
        {X87 | AVX, none},
        {X87 | SSE | AVX, ymm},
        {X87 | SSE | AVX | K | UPPER, ymm},
        {X87 | SSE | AVX | K | MORE, ymm},
        {X87 | SSE | AVX | UPPER | MORE, ymm},
        {X87 | SSE | K | UPPER | MORE, none},
        {X87 | SSE | AVX | K | UPPER | MORE, zmm},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        chip = (typeof(chip)){.ecx1 = ~0u, .state = rows[i].state};
        ck_assert_str_eq(machine_of_chip().features, rows[i].features);
        ck_assert(chip.asked);
    }
    chip = (typeof(chip)){.ecx1 = ~(unsigned)OSXSAVE, .state = ~0u};
    ck_assert_str_eq(machine_of_chip().features, none);
    ck_assert(!chip.asked); /* xgetbv would be an illegal instruction */
}
END_TEST

/* Intel's manual, volume 2, CPUID; registers: eax 0, ebx 1, ecx 2, edx 3. */
START_TEST(each_feature_has_its_bit)
{
    static const struct {
        const char *name;
        int leaf, sub, reg, bit;
    } rows[] = {
        {"sse2", 1, 0, 3, 26},        {"sse4_1", 1, 0, 2, 19},      {"fma", 1, 0, 2, 12},         {"avx", 1, 0, 2, 28},
        {"f16c", 1, 0, 2, 29},        {"avx2", 7, 0, 1, 5},         {"bmi2", 7, 0, 1, 8},         {"avx512f", 7, 0, 1, 16},
        {"avx512dq", 7, 0, 1, 17},    {"avx512cd", 7, 0, 1, 28},    {"avx512bw", 7, 0, 1, 30},    {"avx512vl", 7, 0, 1, 31},
        {"avx512_vnni", 7, 0, 2, 11}, {"avx512_fp16", 7, 0, 3, 23}, {"avx512_bf16", 7, 1, 0, 5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        chip = (typeof(chip)){.state = ~0u, .leaf = rows[i].leaf, .sub = rows[i].sub, .reg = rows[i].reg, .bit = rows[i].bit};
        ck_assert_str_eq(machine_of_chip().features, rows[i].name);
    }
}
END_TEST

START_TEST(families_models_and_caches_are_read_from_their_bits)
{
    for (int amd = 0; amd < 2; amd++) {
        chip = (typeof(chip)){.amd = amd};
        cg_machine m = machine_of_chip();
        ck_assert_str_eq(m.vendor, "AuthenticAMD");
        ck_assert_str_eq(m.name, "A processor");
        ck_assert_str_eq(m.features, "bmi2 sse2");
        ck_assert(m.family == 0x19 && m.model == 0x21 && m.stepping == 2);
        ck_assert(m.l1d == 48 << 10 && m.l2 == 1280 << 10 && m.l3 == 32 << 20 && m.line == 64);
    }
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

int main(void)
{
    Suite *suite = suite_create("machine");
    TCase *detected = test_case(suite, "detected", 60), *measured = test_case(suite, "measured", 120);
    tcase_add_test(detected, the_description_is_complete);
    tcase_add_test(detected, detection_repeats_itself);
    tcase_add_test(detected, features_are_sorted_and_found_whole);
#if defined(__x86_64__)
    tcase_add_test(detected, the_compiler_sees_the_same_features);
    tcase_add_test(detected, features_need_the_system_to_save_their_registers);
    tcase_add_test(detected, each_feature_has_its_bit);
    tcase_add_test(detected, families_models_and_caches_are_read_from_their_bits);
#endif
    tcase_add_test(detected, the_system_sees_every_feature_that_is_listed);
    tcase_add_test(detected, cores_follow_the_affinity_mask);
    tcase_add_test(measured, peaks_are_of_what_the_machine_has);
    tcase_add_test(measured, peaks_count_operations_over_seconds);
    return test_run(suite);
}

/* machine.c: what this processor is, and how fast its multiply-adds are.
 *
 * A feature is listed only when the system saves its registers as well. Where the processor does not tell (caches under some
 * hypervisors, anything but x86), the system is asked; what nobody knows is 0. Only this file asks the processor. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "internal.h"
#include <sched.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#define CG_X86 1
#include <cpuid.h>
#include <immintrin.h>
#endif

/* ---- x86: cpuid (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E) ------------------------------------------- */

#if CG_X86
enum { EAX, EBX, ECX, EDX };
enum { NO_STATE = 0, YMM = 0x6, ZMM = 0xe6 }; /* bits of XCR0 that the registers of a feature need */

/* Leaves that tell of features, with their subleaves. */
enum { LEAF_1, LEAF_7, LEAF_7_1, LEAVES };
static const unsigned leaves[LEAVES][2] = {{1, 0}, {7, 0}, {7, 1}};

static const struct {
    const char *name;
    int leaf, reg, bit;
    unsigned state;
} feature_rows[] = {
    /* sorted by name: the text of features is */
    {"avx", LEAF_1, ECX, 28, YMM},         {"avx2", LEAF_7, EBX, 5, YMM},         {"avx512_bf16", LEAF_7_1, EAX, 5, ZMM},
    {"avx512_fp16", LEAF_7, EDX, 23, ZMM}, {"avx512_vnni", LEAF_7, ECX, 11, ZMM}, {"avx512bw", LEAF_7, EBX, 30, ZMM},
    {"avx512cd", LEAF_7, EBX, 28, ZMM},    {"avx512dq", LEAF_7, EBX, 17, ZMM},    {"avx512f", LEAF_7, EBX, 16, ZMM},
    {"avx512vl", LEAF_7, EBX, 31, ZMM},    {"bmi2", LEAF_7, EBX, 8, NO_STATE},    {"f16c", LEAF_1, ECX, 29, YMM},
    {"fma", LEAF_1, ECX, 12, YMM},         {"sse2", LEAF_1, EDX, 26, NO_STATE},   {"sse4_1", LEAF_1, ECX, 19, NO_STATE},
};

/* Under a hypervisor each question takes as long as thousands of instructions: none is asked twice. */
static bool read_leaf(unsigned number, unsigned sub, unsigned reg[4])
{
    static _Thread_local unsigned most[2]; /* the last leaf of the usual and of the extended ones */
    unsigned *last = &most[number >> 31];
    if (!*last) *last = __get_cpuid_max(number & 0x80000000u, NULL);
    if (number > *last) return false;
    __cpuid_count(number, sub, reg[EAX], reg[EBX], reg[ECX], reg[EDX]);
    return true;
}

static unsigned read_xcr0(void)
{
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Which registers the system saves: none where it does not use xsave; then the instruction that tells is not there either. */
static unsigned saved_state(const cg_cpu *cpu)
{
    unsigned reg[4];
    return cpu->leaf(1, 0, reg) && reg[ECX] & bit_OSXSAVE ? cpu->xcr0() : 0;
}

static void detect_features(const cg_cpu *cpu, cg_machine *m)
{
    unsigned state = saved_state(cpu), reg[LEAVES][4];
    size_t used = 0;
    for (int i = 0; i < LEAVES; i++)
        if (!cpu->leaf(leaves[i][0], leaves[i][1], reg[i])) memset(reg[i], 0, sizeof reg[i]);
    for (size_t i = 0; i < sizeof feature_rows / sizeof feature_rows[0]; i++) {
        unsigned needs = feature_rows[i].state;
        if ((state & needs) != needs || !(reg[feature_rows[i].leaf][feature_rows[i].reg] >> feature_rows[i].bit & 1)) continue;
        int wrote =
            snprintf(m->features + used, sizeof m->features - used, "%s%s", used ? " " : "", feature_rows[i].name);
        used += (size_t)wrote;
    }
}

/* Single spaces, none at the ends, printable: names come padded from the processor. */
static void tidy(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        char c = *from > ' ' && *from < 127 ? *from : ' ';
        if (c != ' ' || (to > text && to[-1] != ' ')) *to++ = c;
    }
    if (to > text && to[-1] == ' ') to--;
    *to = 0;
}

static void detect_identity(const cg_cpu *cpu, cg_machine *m)
{
    unsigned reg[4];
    if (cpu->leaf(0, 0, reg)) {
        memcpy(m->vendor, &reg[EBX], 4), memcpy(m->vendor + 4, &reg[EDX], 4), memcpy(m->vendor + 8, &reg[ECX], 4);
    }
    if (cpu->leaf(1, 0, reg)) {
        unsigned family = reg[EAX] >> 8 & 15, model = reg[EAX] >> 4 & 15;
        if (family == 6 || family == 15) model |= reg[EAX] >> 12 & 0xf0;
        if (family == 15) family += reg[EAX] >> 20 & 255;
        m->family = (int)family, m->model = (int)model, m->stepping = (int)(reg[EAX] & 15);
    }
    for (unsigned part = 0; part < 3; part++)
        if (cpu->leaf(0x80000002u + part, 0, reg)) memcpy(m->name + 16 * part, reg, 16);
    m->name[48] = 0;
    tidy(m->vendor);
    tidy(m->name);
}

/* Deterministic cache parameters: the same layout in Intel's leaf 4 and AMD's 0x8000001d. */
static void detect_caches_in(const cg_cpu *cpu, unsigned number, cg_machine *m)
{
    long *level[] = {&m->l1d, &m->l2, &m->l3};
    unsigned reg[4];
    for (unsigned i = 0; i < 16 && cpu->leaf(number, i, reg); i++) {
        unsigned type = reg[EAX] & 31, depth = reg[EAX] >> 5 & 7;
        if (type == 0) break;
        if (type == 2 || depth < 1 || depth > 3) continue; /* 2: instructions only */
        long line = (reg[EBX] & 4095) + 1, parts = (reg[EBX] >> 12 & 1023) + 1, ways = (reg[EBX] >> 22) + 1;
        *level[depth - 1] = line * parts * ways * ((long)reg[ECX] + 1);
        m->line = (int)line;
    }
}

void cg_machine_of(const cg_cpu *cpu, cg_machine *m)
{
    detect_identity(cpu, m);
    detect_features(cpu, m);
    detect_caches_in(cpu, 4, m);
    if (!m->l1d) detect_caches_in(cpu, 0x8000001du, m);
}

static void detect_processor(cg_machine *m)
{
    static const cg_cpu here = {read_leaf, read_xcr0};
    cg_machine_of(&here, m);
}
#else
static void detect_processor(cg_machine *m)
{
    struct utsname system;
    if (uname(&system)) return;
    snprintf(m->vendor, sizeof m->vendor, "%.15s", system.machine);
    snprintf(m->name, sizeof m->name, "%.63s", system.machine);
}
#endif

/* ---- what the system knows ----------------------------------------------------------------------------------------- */

static long asked(int name)
{
    long value = sysconf(name);
    return value > 0 ? value : 0;
}

static void complete_caches(cg_machine *m)
{
    if (!m->l1d) m->l1d = asked(_SC_LEVEL1_DCACHE_SIZE);
    if (!m->l2) m->l2 = asked(_SC_LEVEL2_CACHE_SIZE);
    if (!m->l3) m->l3 = asked(_SC_LEVEL3_CACHE_SIZE);
    if (!m->line) m->line = (int)asked(_SC_LEVEL1_DCACHE_LINESIZE);
    if (!m->line) m->line = 64;
}

static int count_cores(void)
{
    cpu_set_t set[16]; /* 16,384 processors */
    if (!sched_getaffinity(0, sizeof set, set)) return CPU_COUNT_S(sizeof set, set);
    long online = asked(_SC_NPROCESSORS_ONLN);
    return online ? (int)online : 1;
}

static void make_key(cg_machine *m)
{
    unsigned features = (unsigned)cg_hash(m->features, strlen(m->features), 0);
    snprintf(m->key, sizeof m->key, "%s-%d-%d-%08x-%ldk-%ldk-%ldk", *m->vendor ? m->vendor : "unknown", m->family,
             m->model, features, m->l1d / 1024, m->l2 / 1024, m->l3 / 1024);
    for (char *c = m->key; *c; c++)
        if (*c == ' ') *c = '_';
}

void cg_machine_detect(cg_machine *m)
{
    memset(m, 0, sizeof *m);
    detect_processor(m);
    complete_caches(m);
    m->cores = count_cores();
    make_key(m);
}

bool cg_machine_has(const cg_machine *m, const char *feature)
{
    size_t length = strlen(feature);
    for (const char *at = m->features; *at;) {
        size_t word = strcspn(at, " ");
        if (word == length && !strncmp(at, feature, length)) return true;
        at += word + (at[word] == ' ');
    }
    return false;
}

/* ---- the peak ------------------------------------------------------------------------------------------------------ */

enum { CHAINS = 12, ROUNDS = 20000 }; /* chains: more than latency times units of any core, fewer than 16 registers */
static const double PEAK_SECONDS = 0.03;
static volatile double sink; /* keeps the sums alive */

typedef void peak_fn(long rounds);

#if defined(__GNUC__) && !defined(__clang__)
#define OPTIMISED optimize("O2"), /* a debug build measures the processor too */
#else
#define OPTIMISED
#endif

/* Twelve chains a = a*x + y, written out so that they stay in registers. They begin differently, else a compiler sees that they
 * are one; they converge to y/(1-x), far from denormals. */
#define PEAK(name, attribute, vector, element, set, fma)                                                               \
    __attribute__((OPTIMISED attribute)) static void name(long rounds)                                                 \
    {                                                                                                                  \
        vector x = set((element)0.9375), y = set((element)0.75);                                                       \
        vector a0 = y, a1 = a0 + y, a2 = a1 + y, a3 = a2 + y, a4 = a3 + y, a5 = a4 + y, a6 = a5 + y, a7 = a6 + y,      \
               a8 = a7 + y, a9 = a8 + y, a10 = a9 + y, a11 = a10 + y;                                                  \
        for (long i = 0; i < rounds; i++) {                                                                            \
            a0 = fma(a0, x, y), a1 = fma(a1, x, y), a2 = fma(a2, x, y), a3 = fma(a3, x, y);                            \
            a4 = fma(a4, x, y), a5 = fma(a5, x, y), a6 = fma(a6, x, y), a7 = fma(a7, x, y);                            \
            a8 = fma(a8, x, y), a9 = fma(a9, x, y), a10 = fma(a10, x, y), a11 = fma(a11, x, y);                        \
        }                                                                                                              \
        a0 = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11;                                              \
        sink = (double)a0[0];                                                                                          \
    }

#if CG_X86
PEAK(peak_512_f32, target("avx512f"), __m512, float, _mm512_set1_ps, _mm512_fmadd_ps)
PEAK(peak_512_f64, target("avx512f"), __m512d, double, _mm512_set1_pd, _mm512_fmadd_pd)
PEAK(peak_256_f32, target("avx2,fma"), __m256, float, _mm256_set1_ps, _mm256_fmadd_ps)
PEAK(peak_256_f64, target("avx2,fma"), __m256d, double, _mm256_set1_pd, _mm256_fmadd_pd)
PEAK(peak_128_f32, target("fma"), __m128, float, _mm_set1_ps, _mm_fmadd_ps)
PEAK(peak_128_f64, target("fma"), __m128d, double, _mm_set1_pd, _mm_fmadd_pd)
#endif

/* Without fma a multiplication and an addition; where the instruction set has fma, the compiler may fuse them. */
typedef float f32x4 __attribute__((vector_size(16)));
typedef double f64x2 __attribute__((vector_size(16)));
#define SET4(v) ((f32x4){v, v, v, v})
#define SET2(v) ((f64x2){v, v})
#define MULTIPLY_ADD(a, x, y) ((a) * (x) + (y))
PEAK(peak_plain_f32, unused, f32x4, float, SET4, MULTIPLY_ADD)
PEAK(peak_plain_f64, unused, f64x2, double, SET2, MULTIPLY_ADD)

static const struct {
    int bits;
    const char *needs, *also;
    peak_fn *run[2]; /* by convgen_type */
} peak_rows[] = {
#if CG_X86
    {512, "avx512f", "avx512f", {peak_512_f32, peak_512_f64}},
    {256, "avx2", "fma", {peak_256_f32, peak_256_f64}},
    {128, "fma", "fma", {peak_128_f32, peak_128_f64}},
#endif
    {128, NULL, NULL, {peak_plain_f32, peak_plain_f64}},
};

/* The best of short runs: noise, and the time the core takes to raise its clock, only ever slow it down. */
static double measure(peak_fn *run, int lanes)
{
    double best = 0, end = cg_now() + PEAK_SECONDS;
    for (double now = cg_now(); now < end;) {
        double start = now;
        run(ROUNDS);
        now = cg_now();
        double rate = now > start ? 2.0 * lanes * CHAINS * ROUNDS / (now - start) / 1e9 : 0;
        if (rate > best) best = rate;
    }
    return best;
}

double cg_measure_peak(const cg_machine *m, int bits, convgen_type type)
{
    for (size_t i = 0; i < sizeof peak_rows / sizeof peak_rows[0]; i++) {
        if (peak_rows[i].bits != bits) continue;
        if (peak_rows[i].needs && !(cg_machine_has(m, peak_rows[i].needs) && cg_machine_has(m, peak_rows[i].also)))
            continue;
        return measure(peak_rows[i].run[type == CONVGEN_F64], bits / (type == CONVGEN_F64 ? 64 : 32));
    }
    return 0;
}

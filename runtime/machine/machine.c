/* machine.c: what this processor is, and what may be said of it.
 *
 * A feature is listed only when the system saves its registers as well. Where the processor does not tell (caches under some
 * hypervisors, anything but x86), the system is asked; what nobody knows is 0. Only this file asks the processor; how fast it is, measure/ finds. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "machine/machine.h"
#include <sched.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#define CG_X86 1
#include <cpuid.h>
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

/* ---- what moving a line costs -------------------------------------------------------------------------------------- */

/* What a rate may be; not_above: the rate that it cannot exceed, being of a nearer level. */
const cg_rate_row cg_rate_rows[CG_RATES] = {
    [CG_RATE_L2] = {"l2", 0.5, 40, CG_RATE_L3},
    [CG_RATE_L3] = {"l3", 1, 150, CG_RATE_MEMORY},
    [CG_RATE_MEMORY] = {"memory", 1.5, 400, CG_RATES},
    [CG_RATE_STORE_L3] = {"store_l3", 1, 300, CG_RATE_STORE_MEMORY},
    [CG_RATE_STORE_MEMORY] = {"store_memory", 2, 800, CG_RATES},
    [CG_RATE_STREAM_L3] = {"stream_l3", 1, 800, CG_RATES},
    [CG_RATE_STREAM_MEMORY] = {"stream_memory", 1, 800, CG_RATES},
    [CG_RATE_PAGE] = {"page", 0.1, 400, CG_RATES},
};

/* Of two in the wrong order the greater one is wrong. */
void cg_rates_check(double rate[CG_RATES])
{
    for (int r = 0; r < CG_RATES; r++)
        if (!(rate[r] >= cg_rate_rows[r].least && rate[r] <= cg_rate_rows[r].most)) rate[r] = 0;
    for (int r = 0; r < CG_RATES; r++) {
        int outer = cg_rate_rows[r].not_above;
        if (outer < CG_RATES && rate[outer] > 0 && rate[r] > rate[outer]) rate[r] = 0;
    }
}

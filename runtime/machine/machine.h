/* machine.h: what runs it: the processor, the threads. */
#ifndef CONVGEN_MACHINE_H
#define CONVGEN_MACHINE_H

#include "problem/problem.h"

enum { CG_KEY = 192 /* machine key */ };

/* ---- machine.c: what this processor is --------------------------------------------------------------------------- */

/* What moving a line costs: measure/rates.c. */
typedef enum {
    CG_RATE_L2, CG_RATE_L3, CG_RATE_MEMORY,      /* it is read from there */
    CG_RATE_STORE_L3, CG_RATE_STORE_MEMORY,      /* written, where all that is written fits the last cache, and where not */
    CG_RATE_STREAM_L3, CG_RATE_STREAM_MEMORY,    /* written past the caches, where it lay in the last one, and where not */
    CG_RATE_PAGE,                                /* what a read one costs more when each is on another page */
    CG_RATES
} cg_rate;

typedef struct cg_machine {
    char vendor[16], name[64];
    int family, model, stepping;
    char features[160]; /* names the OS also saves registers for, space-separated, sorted: "avx avx2 avx512f ... fma" */
    long l1d, l2, l3;   /* bytes, 0 unknown */
    int line, cores;    /* bytes; cores of the affinity mask */
    double rate[CG_RATES]; /* cycles for 64 bytes; 0: not known, the target's row has what is assumed */
    double bandwidth;      /* GB/s read from memory by one core; 0: not known */
    char key[CG_KEY];   /* one word without spaces: vendor-family-model-features hash-caches */
} cg_machine;
void cg_machine_detect(cg_machine *m);
/* What an x86 processor answers: cpuid (false: it has no such leaf), and xgetbv of XCR0, asked only where the system uses it. */
typedef struct cg_cpu {
    bool (*leaf)(unsigned number, unsigned sub, unsigned reg[4]);
    unsigned (*xcr0)(void);
} cg_cpu;
void cg_machine_of(const cg_cpu *cpu, cg_machine *m); /* x86 only: identity, features and caches that it tells, into zeros */
bool cg_machine_has(const cg_machine *m, const char *feature);

typedef struct cg_rate_row {
    const char *name;   /* "l2"; "rate l2" in the store, "rate_l2" in JSON */
    double least, most; /* what is beyond them was measured badly */
    cg_rate not_above;  /* the rate of the level behind it; CG_RATES: none */
} cg_rate_row;
extern const cg_rate_row cg_rate_rows[CG_RATES];
void cg_rates_check(double rate[CG_RATES]); /* 0 for what cannot be right */

/* ---- parallel.c: tasks over threads; the only file that sees omp.h ----------------------------------------------- */

typedef struct cg_parallel {
    int threads;
    void (*parallel_for)(void *user, long tasks, int threads, void (*body)(void *task, long first, long last, int thread),
                         void *task);
    void *user;
} cg_parallel;
/* Contiguous shares; no region for one thread or one task; serial in a child of a fork. */
void cg_parallel_run(const cg_parallel *par, long tasks, void (*body)(void *task, long first, long last, int thread), void *task);

#endif

/* compile.h: source -> code -> a kernel that runs. */
#ifndef CONVGEN_COMPILE_H
#define CONVGEN_COMPILE_H

#include "generate/generate.h"

/* ---- jit.c and toolchain.c: C text -> code ----------------------------------------------------------------------- */

typedef struct cg_code cg_code;
/* compiler "tcc": in memory, with libtcc. Else a command name or path such as "cc": that compiler and dlopen. */
cg_status cg_code_new(const char *text, const char *compiler, const char *flags, cg_code **out, char why[CG_WHY]);
void *cg_code_symbol(const cg_code *code, const char *name); /* NULL: not there */
void cg_code_free(cg_code *code);
/* The two makers behind cg_code_new. */
cg_status cg_jit(const char *text, cg_code **out, char why[CG_WHY]);
cg_status cg_toolchain(const char *text, const char *compiler, const char *flags, cg_code **out, char why[CG_WHY]);
void *cg_toolchain_symbol(const cg_code *code, const char *name);
void cg_toolchain_end(cg_code *code);
struct cg_code {
    void *map; /* loader.c: an own mapping, r-x at rest */
    size_t map_size;
    void *symbols; /* loader.c: in the mapping */
    void *handle; /* toolchain.c: dlopen */
};

/* ---- libc.c and loader.c: what jit.c stands on ------------------------------------------------------------------- */

/* Runs work(job), which calls libtcc, from libtcc's state at load; takes back all memory that it had. CONVGEN_NO_MEMORY or
 * CONVGEN_COMPILER, without a sentence, where libtcc would have ended the process. One at a time. */
cg_status cg_tcc_run(cg_status (*work)(void *job), void *job, cg_buffer *file); /* file: what libtcc wrote */

/* What an object may call; the last has no name. */
typedef void cg_function(void);
typedef struct cg_supplied {
    const char *name;
    cg_function *at;
} cg_supplied;
/* Fills map, map_size, symbols. On failure what is there is for cg_load_end. */
cg_status cg_load(const void *file, size_t size, const cg_supplied *supplied, cg_code *code, char why[CG_WHY]);
void *cg_load_symbol(const cg_code *code, const char *name);
void cg_load_end(cg_code *code);

/* What generated code sees. Layout is repeated in templates/kernel.c.in. */
typedef struct cg_call {
    void *src, *weights, *bias, *dst, *residual;
    void *packed; /* packed weights: the user's, or the workspace's part for them */
    void *shared; /* what stages share */
    void *slope;  /* for PRELU: other kernels do not know of it */
} cg_call;
typedef void cg_stage_fn(const cg_call *call, void *scratch, long first, long last);

/* ---- kernel.c: source and code -> a kernel that runs ------------------------------------------------------------- */

/* How stages become calls. */
typedef struct cg_kernel {
    cg_source source; /* its text may be NULL */
    cg_code *code;
    cg_stage_fn *stage[CG_STAGES];
    bool machine; /* the form */
} cg_kernel;
/* Which of a request's schedules, and who compiles it. */
typedef struct cg_making {
    const char *schedule, *compiler, *flags; /* "tcc" or "cc"; what the latter needs for the target */
} cg_making;
cg_status cg_kernel_new(cg_script *s, const cg_request *r, const cg_making *how, cg_kernel *out, char why[CG_WHY]);
/* A kernel of a source, which it takes, whatever becomes of it; how->schedule: its name in errors. */
cg_status cg_kernel_compile(cg_source *taken, const cg_making *how, cg_kernel *out, char why[CG_WHY]);
void cg_kernel_free(cg_kernel *k);
static inline size_t cg_round64(size_t n) { return (n + 63) & ~(size_t)63; }
/* Bytes of a workspace: [packed][shared][scratch x threads], each part rounded up to 64. */
size_t cg_kernel_workspace(const cg_kernel *k, int threads);
/* packed NULL: weights are packed into the workspace first. workspace: 64-byte aligned. */
void cg_kernel_run(const cg_kernel *k, const cg_parallel *par, const cg_operands *o, void *packed, void *workspace);
/* The same while there is time: before a stage of eight tasks or more the first one is run once more than needed, as a probe.
 * CONVGEN_CANCELLED: the deadline has passed, or a run of it would end beyond it (then cg_late is false, and the sentence says how long
 * it takes). Without a deadline it is cg_kernel_run. */
cg_status cg_kernel_run_in_time(const cg_kernel *k, const cg_parallel *par, const cg_operands *o, void *packed, void *workspace);
/* Of the stages that no other one reads from, tasks at the ends of their parts, at most `most` of the counted one; of the others all tasks. */
typedef struct cg_ends {
    long most;
    int counted; /* a stage, */
    long ran;    /* and how many tasks of it there were */
} cg_ends;
cg_status cg_kernel_run_ends(const cg_kernel *k, const cg_operands *o, void *packed, void *workspace, cg_ends *ends);
bool cg_stage_is_last(const cg_kernel *k, int stage); /* none reads from it */
void cg_kernel_pack(const cg_kernel *k, const cg_parallel *par, const void *weights, void *packed, void *workspace);

/* A workspace, and memory for packed weights where the problem's are fixed (else NULL); the kernel's answers in them.
 * All zero is an empty room; it grows with what it has to hold: new memory for every kernel would cost more than its run. */
typedef struct cg_room {
    void *workspace, *packed;
    size_t workspace_size, packed_size; /* as they are; a kernel may need less */
} cg_room;
cg_status cg_room_fit(const cg_kernel *k, const cg_parallel *par, const convgen_problem *p, cg_room *r);
void cg_room_poison(const cg_kernel *k, const cg_parallel *par, const cg_room *r); /* NaNs, where the kernel works */
void cg_room_free(cg_room *r);
cg_status cg_kernel_answer(const cg_kernel *k, const cg_parallel *par, const cg_operands *o, const cg_room *r); /* in time */

#endif

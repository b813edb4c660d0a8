/* contest.h: what the parts of the benchmark share: a task (one problem with its data) and the contestants' table.
 *
 * The data is in the problem's own layout and shared. A contestant that wants another form keeps its own copy: `load` makes
 * it, `fetch` brings the output back; neither is timed, so packed weights and blocked activations cost a peer nothing. */
#ifndef CONTEST_H
#define CONTEST_H

#include "convgen.h"

enum { SRC, WEIGHTS, BIAS, DST, SLOTS };

typedef struct task {
    convgen_problem p;
    char name[64], text[512];
    size_t element, count[SLOTS]; /* bytes of an element; elements of a tensor, 0: not there */
    void *at[SLOTS];
    int times;    /* that the layer occurs in its network */
    double flops; /* two a tap, taps in the padding counted, as the field counts */
} task;

typedef struct setting {
    int threads;
    const char *target; /* avx512 or avx2: also of the peers */
    convgen_effort effort;
    bool cold, json, extras; /* extras: convgen against itself (one thread, estimated, proven) */
    double seconds;
    const char *only, *without;
    const char *before; /* another build of the library; NULL: none */
    double loop_limit; /* multiply-adds up to which the plain loop takes part */
} setting;
extern setting set;

typedef struct contestant {
    const char *name;
    int variant;
    bool transforms; /* not exact on integers: its outputs are rounded before they are compared */
    void *(*make)(const task *t, int variant); /* NULL: does not take part */
    void (*load)(void *state);
    void (*run)(void *state);
    void (*fetch)(void *state);
    const char *(*how)(void *state); /* schedule, implementation */
    void (*free)(void *state);
} contestant;

/* Memory at the start of a page, free frees it; NULL: of no bytes, or none left. Where tensors lie in their pages decides what displaces
 * what in the first cache, and `convgen tune` and `bench` have them there. */
enum { PAGE = 4096 };
void *pages(size_t bytes);

bool output_slot(const task *t, int slot);
double error_vs_loop(const void *convgen_state); /* normwise, over a plain loop's; NaN: not known */

extern const contestant convgen_tuned, convgen_one_thread, convgen_estimated, convgen_proven, convgen_before;
extern const contestant onednn_any, onednn_plain, onednn_winograd; /* onednn.c, alone with dnnl.h; as a module it has onednn3_any, _plain */
extern const contestant gemm;                                      /* gemm.c, alone with cblas.h */
extern const contestant loop;

/* The peak: `fma_peak_run` does fma_peak_flops(type) a thread on registers. False: nothing to measure on this target. */
bool fma_peak_run(convgen_type type);
double fma_peak_flops(convgen_type type);

#endif

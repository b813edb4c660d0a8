/* check.h: code -> trusted. */
#ifndef CONVGEN_CHECK_H
#define CONVGEN_CHECK_H

#include "compile/compile.h"

/* ---- reference.c: what the answer is ----------------------------------------------------------------------------- */

/* Operands are dense, whatever strides the problem has (slices.c), and o->old is added last of a problem that accumulates.
 * Elements [first, first+count) of one output tensor: the pass's, or, of backward weights, the bias gradient. */
typedef struct cg_outputs {
    bool bias;
    int64_t first, count;
} cg_outputs;
typedef enum { CG_EXACT, CG_LOOP, CG_COURSE, CG_CANONICAL } cg_order;
/* Writes those outputs to `out` in the problem's type, epilogue included. CG_CANONICAL is the fma chain (blocks of CG_BLOCK output pixels for backward weights), `chains` as the schedule
 * states. CG_EXACT in f32 sums in double, in f64 in double-double, rounded at the end. */
cg_status cg_reference(const convgen_problem *p, const cg_operands *o, cg_order order, int chains, cg_outputs which, void *out);
/* Where exact values go: an unevaluated pair (high + low), sum |a||b| (with |bias| and |residual|) and the count of terms. */
typedef struct cg_exact_sums {
    double *high, *low, *magnitude;
    int64_t *terms;
} cg_exact_sums;
cg_status cg_reference_exact(const convgen_problem *p, const cg_operands *o, cg_outputs which, cg_exact_sums to);
int64_t cg_output_elements(const convgen_problem *p, bool bias_gradient);
void cg_output_sizes(const convgen_problem *p, bool bias_gradient, int64_t size[5]); /* of its axes as they are stored, fastest last */
/* Where an element of the output tensor is: {batch, d, h, w, channel}, of weights {input channel, d, h, w, output channel} of the dual. */
void cg_output_place(const convgen_problem *p, bool bias_gradient, int64_t element, int64_t at[5]);
int64_t cg_reference_terms(const convgen_problem *p, bool bias_gradient); /* the most terms of one output; bias and residual count */
/* Backward weights sum one chain of fma from zero per block, and add the blocks in order from zero. Blocks: within each (n, od)
 * plane, rows are taken `cg_block_rows` at a time; where ow > CG_BLOCK a block is a part of a row of at most CG_BLOCK pixels. */
enum { CG_BLOCK = 512 };
static inline int64_t cg_block_rows(int64_t ow) { return ow >= CG_BLOCK ? 1 : CG_BLOCK / ow; }

/* ---- retyped.c: a problem in another type -------------------------------------------------------------------------- */

typedef struct cg_retyped {
    convgen_problem p;
    cg_operands o; /* copies of the inputs */
} cg_retyped;
cg_status cg_retyped_new(const convgen_problem *p, const cg_operands *o, convgen_type type, cg_retyped *r);
void cg_retyped_free(cg_retyped *r);
void cg_retype(convgen_type from, const void *data, convgen_type to, void *out, int64_t count);

/* ---- slices.c: dense operands, and what a kernel is given of them ------------------------------------------------- */

bool cg_is_slice(const convgen_problem *p, int tensor); /* its memory is not the dense one */
/* Spreads the tensors that are slices, results too, and puts a word everywhere between their pixels. */
void cg_slices_put(const convgen_problem *p, const cg_operands *dense, const cg_operands *given, uint32_t between);
/* Collects results that are slices. A tensor of which something changed that is no result: an input, or what lies between; -1: none. */
int cg_slices_take(const convgen_problem *p, const cg_operands *given, const cg_operands *dense, uint32_t between);
void cg_old_put(const convgen_problem *p, const cg_operands *dense); /* into the outputs of a problem that accumulates */

/* ---- data.c: the numbers that kernels are judged on -------------------------------------------------------------- */

/* Input `tensor` as that kind of data has it; each run has other numbers. Past the thread's deadline it is left unfinished. */
void cg_fill(const convgen_problem *p, convgen_data kind, int tensor, void *data, size_t bytes, uint64_t run);
void cg_fill_noise(convgen_type type, void *data, size_t count); /* uniform, of no tensor */
/* Integers so small that no sum leaves -range to range. */
void cg_fill_integers(const convgen_problem *p, int tensor, void *data, size_t bytes, double range);

/* ---- trial.c, verify.c and sample.c: code -> trusted ------------------------------------------------------------- */

/* A problem's data and expected answers, made once and used for all its candidates. */
typedef struct cg_trial cg_trial;
/* guards: operands between guard pages (the command's worker), else red zones on the heap (the library). Allocates only on
 * first need. */
cg_status cg_trial_new(const convgen_problem *p, bool guards, cg_trial **out);
void cg_trial_free(cg_trial *t);
typedef struct cg_verdict {
    bool ok, inexact; /* inexact: refused for its error alone, which all schedules of its arithmetic have */
    char why[CG_WHY];
    double error_normwise, error_vs_loop, error_vs_bound; /* NaN when not measured */
    double vs_loop[CONVGEN_DATA_KINDS];                    /* of a transforming family, when measured */
    double seconds;                                        /* of the first run: a hint of the time */
    long tasks;       /* that a sample ran; */
    double macs;      /* about so many multiply-adds in them; */
    size_t filled;    /* and bytes of inputs that it made */
    char on[CG_TEXT]; /* the smaller problem that the same schedule was checked on; "": the problem itself */
} cg_verdict;
typedef enum { CG_VERIFY_SAMPLE, CG_VERIFY_FULL, CG_VERIFY_SOME } cg_verify_level;
/* Random data flush right: all outputs equal the canonical chain; small integers with one NaN flush left: exact and the NaN only
 * in its receptive field; poisoned outputs, scratch and workspace; inputs and red zones untouched; the bound element by element.
 * A transforming family: within its budget (budget.c); small integers exact after rounding; a NaN and an infinity only in its tile.
 * SAMPLE: some outputs of some tasks: sample.c. SOME: the same of the problem itself, however much a task is (judge.c looks for smaller
 * problems for SAMPLE). */
cg_status cg_verify(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verify_level level, cg_verdict *out);
double cg_sample_excess(const convgen_problem *p, const cg_kernel *k); /* by how much the tasks of a sample are beyond what it may run; 1: just not */
/* Borrowed from the trial, for the timer: its problem; uniform random operands, each at the start of a page, as large tensors
 * are in most programs; a room. */
const convgen_problem *cg_trial_problem(const cg_trial *t);
cg_status cg_trial_data(cg_trial *t, cg_operands *out); /* as kernels are given them */
/* What the kernel makes of these data (NULL: none), with them, dense. */
cg_status cg_trial_answer(cg_trial *t, const cg_kernel *k, const cg_parallel *par, const cg_room *room, cg_operands *dense);
cg_status cg_trial_room(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_room *out); /* fits that kernel */

/* ---- cut.c: a large problem -> a small one with the same schedules ----------------------------------------------- */

bool cg_cut_needed(const convgen_problem *p); /* its operands are too large to be filled for a few outputs' sake */
/* The number-th (from 0) of them, whose operands are at most 16 MB where that can be; false: there are no more. */
bool cg_cut_down(const convgen_problem *p, int number, convgen_problem *out);
/* The number-th whose sums are so much shorter that a task has so many times fewer multiply-adds, as far as that can be. */
bool cg_cut_sums(const convgen_problem *p, double by, int number, convgen_problem *out);

/* ---- certificate.c: how exact an answer is ----------------------------------------------------------------------- */

/* Ranges spread over `total` outputs: all of them, or short ones at the start, the end, and at random places between; so many
 * that they sum about `budget` terms, `most` outputs at most. */
typedef struct cg_spread {
    int64_t total, length, ranges;
    bool whole;
} cg_spread;
cg_spread cg_spread_over(int64_t total, int64_t terms, double budget, double most);
int64_t cg_spread_range(const cg_spread *s, int64_t i, int64_t *first); /* the length of range i */
typedef struct cg_meter {
    double error2, exact2, ulp_sum, ulp_max, of_bound;
    int64_t n;
} cg_meter;
convgen_figures cg_meter_read(const cg_meter *m);
typedef struct cg_measure {
    cg_meter got, loop, course;
    int64_t outputs, terms;
} cg_measure;
/* Errors of `got` (all outputs; may be NULL), of loop and course, on the outputs of a spread. */
cg_status cg_measure_outputs(const convgen_problem *p, const cg_operands *o, bool bias, const cg_spread *s, const void *got,
                             cg_measure *m);
/* The certificate of an answer; see convgen_errors. A kernel NULL leaves plan figures NaN. */
cg_status cg_certificate(const convgen_problem *p, const cg_kernel *k, const cg_parallel *par, convgen_errors *out);

/* ---- budget.c: how far a transforming family is from the loop ---------------------------------------------------- */

extern const convgen_accuracy cg_loosest_first[CG_ACCURACIES]; /* what the last one admits they all do */
double cg_budget(convgen_accuracy a); /* of the normwise error over the loop's on uniform data; twice that on other data */
const char *cg_data_name(convgen_data kind); /* "badly scaled" */

typedef struct cg_pool cg_pool; /* a problem's data of every kind and what it gives, made once for all candidates */
cg_status cg_pool_new(const convgen_problem *p, cg_pool **out);
void cg_pool_free(cg_pool *pool);
typedef struct cg_ratio {
    double normwise, vs_loop; /* in all */
    double channel_vs_loop;   /* the worst of any group of channels with outputs enough to tell */
    int64_t channel;          /* the first of that group */
    int64_t outputs;
} cg_ratio;
/* Runs the kernel, in a room that fits it, on that kind of data. CONVGEN_UNSUPPORTED: that would take too long. */
cg_status cg_pool_measure(cg_pool *pool, convgen_data kind, const cg_kernel *k, const cg_parallel *par, const cg_room *room,
                          cg_ratio *out);
/* All kinds; v->ok false with the figure and the budget in v->why when one is beyond it. */
cg_status cg_pool_judge(cg_pool *pool, const cg_kernel *k, const cg_parallel *par, const cg_room *room, cg_verdict *v);

#endif

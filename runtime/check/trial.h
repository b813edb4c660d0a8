/* trial.h: what trial.c, which holds a trial's operands, and verify.c, which judges by them, share. Nobody else includes it. */
#ifndef CONVGEN_TRIAL_H
#define CONVGEN_TRIAL_H

#include "check/check.h"

/* ---- memory that tells when it was overrun ---- */

/* NaNs in either type, all different, so that a wrong output tells where it came from. */
static const struct {
    uint32_t word;
    const char *means;
} poisons[] = {
    {0x7FF5A5A5, "was never written"},
    {0x7FF6B6B6, "comes from workspace that was never written"},
    {0x7FF7C7C7, "comes from memory beyond an operand"},
    {0x7FF4D4D4, "comes from between the channels of a slice"},
};
enum { OUTPUT, UNWRITTEN, BEYOND, BETWEEN, POISONS };
enum { LARGE = 0x7E5A5A5A }; /* a large number: maxima and comparisons lose a NaN */

typedef struct block {
    char *data;
    size_t size;
    cg_guarded guarded;
    char *heap; /* NULL: between guard pages */
    size_t heap_size;
    bool pages; /* heap is of pages of its own */
} block;

/* Flush right ends at a page (or a red zone) with the alignment of an element, flush left begins there. What the block has is
 * used again when it is large enough: all zero has nothing. */
cg_status cg_block_fit(block *b, size_t size, bool right, size_t alignment, bool guards);
/* The same of pages that are all zero, and there when they are first touched: once for a block. */
cg_status cg_block_vast(block *b, size_t size, bool right, size_t alignment, bool guards);
void cg_block_free(block *b);
const char *cg_block_overrun(const block *b); /* NULL: nothing outside of it was written; else where */
void cg_fill_words(void *data, size_t size, uint32_t word);
uint64_t cg_fast_hash(const void *data, size_t size);

/* ---- operands ---- */

/* Flush right; flush left; the same for transforming families; for timing: each at the start of a page, whoever judges; for a sample: flush
 * right, random as far as it is filled. */
typedef enum { RANDOM, INTEGERS, SMALL, PLAIN, SKETCH, SETS } kind;

/* An element of an input that is no number, and what it was. */
typedef struct poison {
    int tensor;
    int64_t element, place[5]; /* {batch, d, h, w, channel} */
    double was;
} poison;

/* One problem's operands, with what they give. */
typedef struct set {
    bool made, hashed;
    block tensor[CG_TENSORS], wide[CG_TENSORS]; /* dense; what a kernel is given of a slice */
    uint64_t hash[CG_TENSORS];
    cg_operands o, given;
    void *expected[2]; /* the output, the bias gradient */
    int chains;        /* of expected */
    poison nan;        /* INTEGERS */
    int64_t weight_nan; /* and the element of the NaN in the weights; -1: none */
} set;

/* A workspace and packed weights of the kernel that is judged, as its operands are. */
typedef struct bench {
    block workspace, packed;
} bench;

struct cg_trial {
    convgen_problem p, asked; /* dense, which all is judged by; as kernels have it */
    bool guards;
    cg_role role_of[CG_TENSORS];
    size_t bytes[CG_TENSORS];
    set sets[SETS];
    bool whole;    /* SKETCH is of a problem that is small enough to be filled */
    size_t sketched, filled; /* bytes of the inputs of SKETCH: at most so many, and as it came */
    bench bench;
    cg_room room; /* the same for what need not be watched: other data, timing */
    cg_verdict figures; /* of the canonical chain split into figures_chains; 0: not yet */
    int figures_chains;
    cg_pool *pool; /* NULL: no transforming family came yet */
};

cg_status cg_set_make(cg_trial *t, kind which); /* once */
void cg_set_hash(const cg_trial *t, set *s);    /* of the inputs: only a full check compares them */
void cg_set_free(set *s);
void cg_set_put(const cg_trial *t, set *s, bool integers);  /* as kernels are given it, before a run */
int cg_set_take(const cg_trial *t, set *s, bool integers);  /* after it: see cg_slices_take */
poison cg_poison_place(const cg_trial *t, set *s, double value, uint64_t seed); /* in the data, at a place that the seed chooses */
void cg_poison_take_back(const cg_trial *t, set *s, const poison *n);

/* ---- judging: what full checks and samples share; false or a refusal: v->why says it ---- */

const void *cg_output_of(const cg_trial *t, kind which, bool bias); /* of cg_output_count: the pass's tensor, the bias gradient */
cg_status cg_refuse(cg_verdict *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool cg_never_written(const cg_trial *t, const void *value); /* an output that still has the poison */
/* Outputs against the canonical ones, as bits. */
bool cg_same_sums(cg_trial *t, kind which, cg_outputs some, const void *want, cg_verdict *v);
cg_status cg_unwritten(cg_trial *t, kind which, bool bias, int64_t element, cg_verdict *v); /* refuses it */
bool cg_taken(cg_trial *t, set *s, bool integers, cg_verdict *v); /* slices */
bool cg_untouched(cg_trial *t, kind which, bool inputs, cg_verdict *v); /* zones, and inputs where these were hashed */
cg_status cg_bench_fit(cg_trial *t, const cg_kernel *k, int threads, bool right, uint32_t word); /* a poisoned workspace */
cg_status cg_sample(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verdict *v); /* sample.c */

#endif

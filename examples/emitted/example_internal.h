/* example_internal.h: what the files of this library share. All that is no ISO C is named here and in the vector headers.
 *
 * A kernel is a list of stages, run one after another; the tasks of a stage are independent of each other. */
#ifndef EXAMPLE_INTERNAL_H
#define EXAMPLE_INTERNAL_H

#include <stddef.h>

_Static_assert(sizeof(long) == 8, "offsets are long, and need 64 bits");

/* Kernels for x86-64 processors are there under this condition; all else gets the portable ones. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__TINYC__)
#define EXAMPLE_X86 1
#else
#define EXAMPLE_X86 0
#endif

#if defined(__GNUC__) && !defined(__TINYC__) && defined(__ELF__)
#define EXAMPLE_HIDDEN __attribute__((visibility("hidden")))
#else
#define EXAMPLE_HIDDEN
#endif

typedef struct cg_call {
    void *src, *weights, *bias, *dst;
    void *packed; /* packed weights */
    void *shared; /* memory that stages share */
} cg_call;

typedef struct example_stage {
    void (*run)(const cg_call *call, void *scratch, long first, long last); /* tasks first .. last-1 */
    long tasks;
    int packs; /* turns weights into packed */
} example_stage;

typedef struct example_kernel {
    size_t packed, shared, scratch; /* bytes, multiples of 64; scratch: of each thread */
    int stages;
    example_stage stage[2];
} example_kernel;

#if EXAMPLE_X86
extern const example_kernel example_conv1_avx2 EXAMPLE_HIDDEN;
extern const example_kernel example_depthwise_avx2 EXAMPLE_HIDDEN;
extern const example_kernel example_pointwise_avx2 EXAMPLE_HIDDEN;
#endif
extern const example_kernel example_conv1_portable EXAMPLE_HIDDEN;
extern const example_kernel example_depthwise_portable EXAMPLE_HIDDEN;
extern const example_kernel example_pointwise_portable EXAMPLE_HIDDEN;

static inline long cg_min(long a, long b) { return a < b ? a : b; }
static inline long cg_max(long a, long b) { return a > b ? a : b; }
/* a / b rounded down, b > 0. */
static inline long floor_div(long a, long b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

#endif

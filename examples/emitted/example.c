/* example.c: chooses the kernels for the processor at hand, and runs their stages.
 *
 * Needs nothing of the C library but memcpy. All that is kept is which target was chosen. Made by convgen 0.1.0; belongs to
 * whoever made it. */
#include "example.h"
#include "example_internal.h"
#include <string.h>

/* ---- which kernels ------------------------------------------------------------------------------------------------- */

enum {
#if EXAMPLE_X86
    AVX2,
#endif
    PORTABLE,
    TARGETS
};
static const char *const names[TARGETS] = {
#if EXAMPLE_X86
    "avx2",
#endif
    "portable",
};

#if EXAMPLE_X86
static int chosen; /* 1 + the target; 0: not yet. Threads that meet here write the same. */

static int runs_here(int t)
{
    __builtin_cpu_init();
    if (t == AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return t == PORTABLE;
}

static int target(void)
{
    int t = __atomic_load_n(&chosen, __ATOMIC_RELAXED) - 1;
    if (t >= 0) return t;
    for (t = 0; !runs_here(t); t++) {}
    __atomic_store_n(&chosen, t + 1, __ATOMIC_RELAXED);
    return t;
}

static void choose(int t) { __atomic_store_n(&chosen, t + 1, __ATOMIC_RELAXED); }
#else
static int runs_here(int t) { return t == PORTABLE; }
static int target(void) { return PORTABLE; }
static void choose(int t) { (void)t; }
#endif

static int equal(const char *a, const char *b)
{
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

int example_choose(const char *name)
{
    for (int t = 0; t < TARGETS; t++)
        if (equal(names[t], name) && runs_here(t)) return choose(t), 0;
    return -1;
}

const char *example_target(void) { return names[target()]; }

/* ---- stages -------------------------------------------------------------------------------------------------------- */

enum { PACK = 1, COMPUTE = 2 };

/* In the workspace: packed weights, what stages share, the scratch of each thread. */
static void run(const example_kernel *k, cg_call call, void *workspace, int which)
{
    char *const own = workspace, *const shared = own ? own + k->packed : NULL, *const scratch = own ? shared + k->shared : NULL;
    if (!call.packed) call.packed = own;
    call.shared = shared;
    for (int i = 0; i < k->stages; i++)
        if (which & (k->stage[i].packs ? PACK : COMPUTE)) k->stage[i].run(&call, scratch, 0, k->stage[i].tasks);
}

/* Weights that the kernel reads as they are have a packed form too: a copy. */
static void pack(const example_kernel *k, const void *weights, size_t bytes, void *packed, void *workspace)
{
    if (!k->packed) memcpy(packed, weights, bytes);
    else run(k, (cg_call){ .weights = (void *)weights, .packed = packed }, workspace, PACK);
}

static void run_packed(const example_kernel *k, cg_call call, const void *packed, void *workspace)
{
    if (k->packed) call.packed = (void *)packed;
    else call.weights = (void *)packed;
    run(k, call, workspace, COMPUTE);
}

/* ---- the layers ---------------------------------------------------------------------------------------------------- */

static const example_kernel *const example_conv1_kernels[TARGETS] = {
#if EXAMPLE_X86
    &example_conv1_avx2,
#endif
    &example_conv1_portable,
};

void example_conv1(const float *src, const float *weights, const float *bias, float *dst, void *workspace)
{
    run(example_conv1_kernels[target()], (cg_call){ .src = (void *)src, .weights = (void *)weights, .bias = (void *)bias, .dst = dst }, workspace, PACK | COMPUTE);
}

void example_conv1_pack(const float *weights, void *packed, void *workspace)
{
    pack(example_conv1_kernels[target()], weights, 864, packed, workspace);
}

void example_conv1_packed(const float *src, const void *packed, const float *bias, float *dst, void *workspace)
{
    run_packed(example_conv1_kernels[target()], (cg_call){ .src = (void *)src, .bias = (void *)bias, .dst = dst }, packed, workspace);
}

static const example_kernel *const example_depthwise_kernels[TARGETS] = {
#if EXAMPLE_X86
    &example_depthwise_avx2,
#endif
    &example_depthwise_portable,
};

void example_depthwise(const float *src, const float *weights, const float *bias, float *dst, void *workspace)
{
    run(example_depthwise_kernels[target()], (cg_call){ .src = (void *)src, .weights = (void *)weights, .bias = (void *)bias, .dst = dst }, workspace, PACK | COMPUTE);
}

void example_depthwise_pack(const float *weights, void *packed, void *workspace)
{
    pack(example_depthwise_kernels[target()], weights, 288, packed, workspace);
}

void example_depthwise_packed(const float *src, const void *packed, const float *bias, float *dst, void *workspace)
{
    run_packed(example_depthwise_kernels[target()], (cg_call){ .src = (void *)src, .bias = (void *)bias, .dst = dst }, packed, workspace);
}

static const example_kernel *const example_pointwise_kernels[TARGETS] = {
#if EXAMPLE_X86
    &example_pointwise_avx2,
#endif
    &example_pointwise_portable,
};

void example_pointwise(const float *src, const float *weights, const float *bias, float *dst, void *workspace)
{
    run(example_pointwise_kernels[target()], (cg_call){ .src = (void *)src, .weights = (void *)weights, .bias = (void *)bias, .dst = dst }, workspace, PACK | COMPUTE);
}

void example_pointwise_pack(const float *weights, void *packed, void *workspace)
{
    pack(example_pointwise_kernels[target()], weights, 512, packed, workspace);
}

void example_pointwise_packed(const float *src, const void *packed, const float *bias, float *dst, void *workspace)
{
    run_packed(example_pointwise_kernels[target()], (cg_call){ .src = (void *)src, .bias = (void *)bias, .dst = dst }, packed, workspace);
}

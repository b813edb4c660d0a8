/* random_problems.h: random convolution problems for tests: small, odd, and over everything that is allowed.
 *
 * The seed is $CONVGEN_SEED, else the clock; a failing test prints it. */
#ifndef RANDOM_PROBLEMS_H
#define RANDOM_PROBLEMS_H

#include "plan.h"
#include <math.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t test_seed(void)
{
    const char *text = getenv("CONVGEN_SEED");
    return text ? strtoull(text, NULL, 10) : (uint64_t)time(NULL);
}

/* low..high, both included. */
static inline int64_t random_in(uint64_t *state, int64_t low, int64_t high)
{
    return low + (int64_t)(cg_random(state) % (uint64_t)(high - low + 1));
}

/* Mostly small, now and then up to `high`. */
static inline int64_t random_size(uint64_t *state, int64_t small, int64_t high)
{
    return random_in(state, 0, 5) ? random_in(state, 1, small) : random_in(state, 1, high);
}

/* Numbers with which all that an activation does is seen; one that is not named has the first ones, or needs none. */
static inline void usual_numbers(convgen_epilogue *e)
{
    e->lo = 0.2, e->hi = 0.5;
    if (e->activation == CONVGEN_CLAMP) e->lo = -0.7, e->hi = 1.3;
    if (e->activation == CONVGEN_LEAKY) e->hi = -0.4;
}

/* None, relu and clamp half the time; a residual before or after them. */
static inline void random_epilogue(uint64_t *state, convgen_epilogue *e)
{
    e->residual = random_in(state, 0, 1);
    e->activation = (convgen_activation)random_in(state, 0, random_in(state, 0, 1) ? CG_ACTIVATIONS - 1 : CONVGEN_CLAMP);
    e->residual_last = e->residual && e->activation && random_in(state, 0, 1);
    usual_numbers(e);
    if (e->activation == CONVGEN_LEAKY && !random_in(state, 0, 1)) e->hi = -INFINITY;
}

/* Slices of channels, gradients that are added to what is there: each now and then, where it has a meaning. */
static inline void random_slices(uint64_t *state, convgen_problem *p)
{
    bool last = p->layout == CONVGEN_NHWC;
    if (last && random_in(state, 0, 1)) p->src_pixel_stride = p->in_channels + random_size(state, 9, 40);
    if (last && random_in(state, 0, 1)) p->dst_pixel_stride = p->out_channels + random_size(state, 9, 40);
    if (p->pass != CONVGEN_FORWARD) p->accumulate = random_in(state, 0, 1);
}

static inline void random_axis(uint64_t *state, convgen_problem *p, int axis, int64_t most)
{
    p->in[axis] = random_size(state, most / 2 + 1, most);
    p->kernel[axis] = random_in(state, 0, 2) ? random_in(state, 1, 3) : random_size(state, 5, most + 3);
    p->stride[axis] = random_in(state, 0, 1) ? 1 : random_in(state, 1, 4);
    p->dilation[axis] = random_in(state, 0, 3) ? 1 : random_in(state, 1, 3);
    p->pad[axis] = random_in(state, 0, 2) ? random_in(state, 0, 2) : random_in(state, -2, most + 2);
    int64_t span = (p->kernel[axis] - 1) * p->dilation[axis] + 1;
    int64_t room = p->in[axis] + p->pad[axis] + random_in(state, -2, 3) - span; /* a trailing pad of its own */
    p->out[axis] = room < 0 ? 1 : room / p->stride[axis] + 1;
}

/* Makes the kernel one tap: of every pixel, or of every other. */
static inline void random_point(uint64_t *state, convgen_problem *p, int rank)
{
    for (int axis = 3 - rank; axis < 3; axis++) {
        p->kernel[axis] = p->dilation[axis] = 1, p->pad[axis] = 0;
        p->stride[axis] = random_in(state, 1, 2);
        p->out[axis] = (p->in[axis] - 1) / p->stride[axis] + 1;
    }
}

/* One in four is the transposed convolution that has its products; before bias and epilogue are drawn. */
static inline void sometimes_transposed(uint64_t *state, convgen_problem *p)
{
    if (!random_in(state, 0, 3)) *p = cg_dual_of(p, CONVGEN_TRANSPOSED);
}

/* A normalised problem of at most about `macs` multiply-adds. One in seven has many channels (wide panels, weights that are far), one
 * in seven planes or rows of more pixels than a block of backward weights sums (512), two in seven a kernel of one tap and much data. */
static inline convgen_problem random_problem(uint64_t *state, double macs)
{
    for (;;) {
        convgen_problem p = {0};
        const int64_t kind = random_in(state, 0, 6);
        const bool wide = kind == 0, large = kind == 1, pointwise = kind == 2 || kind == 3;
        p.pass = (convgen_pass)random_in(state, 0, 2);
        p.type = (convgen_type)random_in(state, 0, 1);
        p.layout = random_in(state, 0, 3) ? CONVGEN_NHWC : CONVGEN_NCHW;
        p.weights = random_in(state, 0, 3) ? CONVGEN_WEIGHTS_CHANGING : CONVGEN_WEIGHTS_FIXED;
        p.batch = random_in(state, 1, pointwise ? 40 : 3);
        p.groups = random_in(state, 0, 2) ? 1 : random_size(state, 4, 20);
        p.in_channels = p.groups * (p.groups > 1 || large ? random_in(state, 1, 3) : random_size(state, 9, wide ? 300 : 70));
        p.out_channels = p.groups * (p.groups > 1 || large ? random_in(state, 1, 3) : wide ? random_in(state, 130, 300) : random_size(state, 20, 70));
        if (pointwise) { /* few to sum, much to write */
            const bool data = p.pass == CONVGEN_BACKWARD_DATA;
            *(data ? &p.out_channels : &p.in_channels) = p.groups * random_in(state, 1, 8);
            *(data ? &p.in_channels : &p.out_channels) = p.groups * random_in(state, 9, 70);
        }
        int rank = (int)random_in(state, 1, large ? 2 : 3);
        const int64_t *most = large ? (const int64_t[]){1100, 48} : wide ? (const int64_t[]){12, 6, 3} : (const int64_t[]){40, 14, 6};
        for (int axis = 3 - rank; axis < 3; axis++) random_axis(state, &p, axis, most[rank - 1]);
        if (pointwise) random_point(state, &p, rank);
        sometimes_transposed(state, &p);
        p.bias = p.pass != CONVGEN_BACKWARD_DATA && random_in(state, 0, 1);
        if (p.pass == CONVGEN_FORWARD && random_in(state, 0, 1)) random_epilogue(state, &p.epilogue);
        if (cg_problem_normalise(&p) == CONVGEN_OK && cg_problem_sizes(&p).macs <= macs) return p;
    }
}

#endif

/* reference.c: what the answer is.
 *
 * The one place with the index arithmetic of the three passes, which is a convolution's: a transposed one is taken as its dual
 * (cg_dual), but for its bias gradient, which sums its own diff_dst. An output "row" is a set of outputs that share their list of
 * terms a[t] * b[t]: all channels of a group at one pixel (forward, backward data), all output channels of a group at one tap
 * and input channel (backward weights), all channels (bias gradient, whose a is 1). A row's terms are listed as element offsets
 * in canonical order; reference_sums.h sums such a list in each of the orders, once per type.
 *
 * Promise: every order is exactly the one it names, on any machine: no contraction, fma only where it is written.
 * Past the thread's deadline it stops with CONVGEN_CANCELLED.
 * Limit: clear and bandwidth-blind; about a GMAC/s. The list of one row takes 16 bytes a term. Exact sums in f64 are
 * compensated (as if in twice the precision, then rounded), and meaningless after an overflow. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
/* Also set by the build; here so that the file is right whatever it is compiled with. */
#pragma GCC optimize("O3", "fp-contract=off")
#endif
#include "check/check.h"
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* WIDTH outputs are summed side by side. */
enum { WIDTH = 32, MAX_CHAINS = 64, GLANCE = 1 << 24 /* terms between two looks at the clock */ };

/* A list of terms: b of output j is at b[t] + j * step. */
typedef struct term_list {
    int64_t *a, *b, count;
    int64_t *ends, blocks; /* backward weights: where each block of the sum ends; else one block */
} term_list;

typedef struct row {
    const void *a, *b; /* where the offsets start */
    const term_list *list;
    int64_t step;
    int chains;
} row;

/* Exact sums of WIDTH outputs. */
typedef struct pairs {
    double high[WIDTH], low[WIDTH], magnitude[WIDTH];
} pairs;

/* What is wanted of outputs [first, first+count): values in an order, or exact sums. */
typedef struct wanted {
    cg_order order;
    int chains;
    int64_t first, count;
    const void *old; /* what is added last; NULL: nothing */
    void *out;
    cg_exact_sums exact;
} wanted;

typedef struct piece {
    int64_t element, channel; /* of the first output: in the tensor, and the output channel of the problem */
    int64_t stride, n;        /* between the n outputs, in elements */
} piece;

INLINE void two_sum(double a, double b, double *sum, double *error)
{
    double s = a + b, part = s - a;
    *error = (a - (s - part)) + (b - part);
    *sum = s;
}

#define T float
#define FN(name) name##_f32
#define FMA __builtin_fmaf
#define EXACT_ADD(s, w, high, low) ((high) += (double)(s) * (double)(w)) /* exact products */
#include "reference_sums.h"
#undef T
#undef FN
#undef FMA
#undef EXACT_ADD

INLINE void exact_add(double s, double w, double *high, double *low)
{
    double product = s * w, error;
    *low += __builtin_fma(s, w, -product);
    two_sum(*high, product, high, &error);
    *low += error;
}

#define T double
#define FN(name) name##_f64
#define FMA __builtin_fma
#define EXACT_ADD(s, w, high, low) exact_add(s, w, &(high), &(low))
#include "reference_sums.h"
#undef T
#undef FN
#undef FMA
#undef EXACT_ADD

/* What is computed in a type, a row each. */
static const struct arithmetic {
    const void *one;
    void (*copy_line)(void *to, const void *from, int64_t count, int64_t stride);
    void (*exact)(const row *r, int64_t j, int64_t n, pairs *sums);
    void (*put)(const convgen_problem *p, const cg_operands *o, const wanted *w, const row *r, int64_t j, const piece *at);
} arithmetic[CG_TYPES] = {
    [CONVGEN_F32] = {&one_f32, copy_line_f32, exact_f32, put_f32},
    [CONVGEN_F64] = {&one_f64, copy_line_f64, exact_f64, put_f64},
};

/* ---- tensors ------------------------------------------------------------------------------------------------------ */

/* Axes of every tensor: 0 is the batch (of weights: the input channel in the group), 1 to 3 are d, h, w, 4 is the channel
 * (of weights: the output channel). */
enum { OUTER, D, H, W, CHANNEL, AXES };

/* Storage order, slowest first: [layout][weights or not]. */
static const unsigned char storage[2][2][AXES] = {
    {{OUTER, D, H, W, CHANNEL}, {D, H, W, OUTER, CHANNEL}},
    {{OUTER, CHANNEL, D, H, W}, {CHANNEL, OUTER, D, H, W}},
};

typedef struct tensor {
    const void *data;
    convgen_type type;
    int64_t size[AXES], stride[AXES];
    const unsigned char *order;
} tensor;

/* `which` of the problem's tensors. */
static tensor tensor_of(const convgen_problem *p, const cg_operands *o, int which, int64_t outer, const int64_t space[3], int64_t channels)
{
    tensor t = {o->at[which], cg_tensor_type(p, which), {outer, space[0], space[1], space[2], channels}, {0},
                storage[p->layout == CONVGEN_NCHW][which == CG_WEIGHTS]};
    int64_t stride = 1;
    for (int i = AXES - 1; i >= 0; i--) {
        t.stride[t.order[i]] = stride;
        stride *= t.size[t.order[i]];
    }
    return t;
}

static int64_t tensor_elements(const tensor *t)
{
    return t->size[OUTER] * t->size[D] * t->size[H] * t->size[W] * t->size[CHANNEL];
}

static int64_t tensor_offset(const tensor *t, const int64_t at[AXES])
{
    int64_t offset = 0;
    for (int i = 0; i < AXES; i++) offset += at[i] * t->stride[i];
    return offset;
}

static void tensor_place(const tensor *t, int64_t element, int64_t at[AXES])
{
    for (int i = 0; i < AXES; i++) {
        int axis = t->order[i];
        at[axis] = element / t->stride[axis];
        element %= t->stride[axis];
    }
}

/* A copy in which `axis` is contiguous. NULL: no memory. */
static void *tensor_relaid(tensor *t, int axis)
{
    tensor from = *t;
    size_t element = cg_types[t->type].bytes;
    char *copy = cg_malloc((size_t)tensor_elements(t) * element);
    if (!copy) return NULL;
    int other = axis == CHANNEL ? OUTER : CHANNEL; /* keeps its neighbours close: fast enough either way */
    const int order[AXES] = {D, H, W, other, axis};
    int64_t stride = 1, at[AXES] = {0};
    for (int i = AXES - 1; i >= 0; i--) {
        t->stride[order[i]] = stride;
        stride *= t->size[order[i]];
    }
    for (at[D] = 0; at[D] < t->size[D]; at[D]++)
        for (at[H] = 0; at[H] < t->size[H]; at[H]++)
            for (at[W] = 0; at[W] < t->size[W]; at[W]++)
                for (at[other] = 0; at[other] < t->size[other]; at[other]++)
                    arithmetic[t->type].copy_line(copy + (size_t)tensor_offset(t, at) * element,
                                                  (const char *)from.data + (size_t)tensor_offset(&from, at) * element, t->size[axis],
                                                  from.stride[axis]);
    t->data = copy;
    return copy;
}

/* ---- rows and their terms ------------------------------------------------------------------------------------------- */

typedef struct task {
    const convgen_problem *p; /* as it was asked */
    convgen_problem c;        /* the convolution that it is computed as */
    const cg_operands *o;
    bool bias_gradient;
    tensor src, weights, dst, out; /* out has no data */
    tensor *a, *b;
    int b_axis;      /* the axis of b that the outputs of a row run along */
    int64_t outputs; /* of one row */
    term_list list;
    int64_t listed[4]; /* the place whose terms are in the list: outer, d, h, w */
    void *relaid;      /* the copy of b, if any */
    bool late;         /* the rest is left out */
} task;

static int64_t product3(const int64_t s[3])
{
    return s[0] * s[1] * s[2];
}

static convgen_problem computed_as(const convgen_problem *p, bool bias_gradient) { return bias_gradient ? *p : cg_dual(p); }

static int64_t sum_terms(const convgen_problem *p, bool bias_gradient)
{
    convgen_problem c = computed_as(p, bias_gradient);
    if (bias_gradient || c.pass == CONVGEN_BACKWARD_WEIGHTS) return c.batch * product3(c.out);
    int64_t channels = c.pass == CONVGEN_BACKWARD_DATA ? c.out_channels : c.in_channels;
    return product3(c.kernel) * (channels / c.groups) + (p->pass == CONVGEN_FORWARD ? p->bias + p->epilogue.residual : 0);
}

int64_t cg_reference_terms(const convgen_problem *p, bool bias_gradient) { return sum_terms(p, bias_gradient) + p->accumulate; }

static int64_t block_parts(const convgen_problem *p)
{
    int64_t rows = cg_block_rows(p->out[2]), parts = (p->out[2] + CG_BLOCK - 1) / CG_BLOCK;
    return p->batch * p->out[0] * ((p->out[1] + rows - 1) / rows) * parts;
}

static cg_operands no_operands;

static void task_shape(task *k, const convgen_problem *p, const cg_operands *o, bool bias_gradient)
{
    static const int64_t point[3] = {1, 1, 1};
    memset(k, 0, sizeof *k);
    const convgen_problem *c = &k->c;
    k->p = p;
    k->c = computed_as(p, bias_gradient);
    k->o = o;
    k->bias_gradient = bias_gradient;
    int64_t in = c->in_channels / c->groups, out = c->out_channels / c->groups;
    int src = bias_gradient ? CG_SRC : cg_dual_tensor(p, CG_SRC), dst = bias_gradient ? CG_DST : cg_dual_tensor(p, CG_DST);
    k->src = tensor_of(p, o, src, c->batch, c->in, c->in_channels);
    k->weights = tensor_of(p, o, CG_WEIGHTS, in, c->kernel, c->out_channels);
    k->dst = tensor_of(p, o, dst, c->batch, c->out, c->out_channels);
    k->b_axis = CHANNEL;
    k->outputs = out;
    k->listed[0] = -1;
    switch (c->pass) {
    case CONVGEN_FORWARD: k->a = &k->src, k->b = &k->weights, k->out = k->dst; break;
    case CONVGEN_BACKWARD_DATA:
        k->a = &k->dst, k->b = &k->weights, k->out = k->src;
        k->b_axis = OUTER;
        k->outputs = in;
        break;
    case CONVGEN_BACKWARD_WEIGHTS: k->a = &k->src, k->b = &k->dst, k->out = k->weights; break;
    }
    if (bias_gradient) {
        k->out = tensor_of(p, o, CG_BIAS, 1, point, c->out_channels);
        k->outputs = c->out_channels;
    }
}

static void task_end(task *k)
{
    cg_free(k->list.a);
    cg_free(k->list.b);
    cg_free(k->list.ends);
    cg_free(k->relaid);
}

static cg_status task_new(task *k, const convgen_problem *p, const cg_operands *o, bool bias_gradient, int64_t count)
{
    task_shape(k, p, o, bias_gradient);
    size_t room = (size_t)cg_reference_terms(p, bias_gradient), blocks = 1;
    if (bias_gradient || p->pass == CONVGEN_BACKWARD_WEIGHTS) blocks = (size_t)block_parts(&k->c);
    k->list.a = cg_malloc(room * sizeof(int64_t));
    k->list.b = cg_malloc(room * sizeof(int64_t));
    k->list.ends = cg_malloc(blocks * sizeof(int64_t));
    if (!k->list.a || !k->list.b || !k->list.ends) goto no_memory;
    /* Many outputs: a copy with the outputs of a row side by side costs little and lets the sums vectorise. */
    bool many = (double)count * (double)room > 8.0 * (double)tensor_elements(k->b);
    if (many && k->outputs > 1 && k->b->stride[k->b_axis] != 1) {
        k->relaid = tensor_relaid(k->b, k->b_axis);
        if (!k->relaid) goto no_memory;
    }
    return CONVGEN_OK;
no_memory:
    task_end(k);
    return cg_fail(CONVGEN_NO_MEMORY, "no memory for the reference sums of %zu terms", room);
}

static inline void add_term(term_list *list, int64_t a, int64_t b)
{
    list->a[list->count] = a;
    list->b[list->count++] = b;
}

static void end_block(term_list *list)
{
    list->ends[list->blocks++] = list->count;
}

/* Input coordinate of output `o` under tap `k`, -1: in the padding. */
static inline int64_t input_of(const convgen_problem *p, int axis, int64_t o, int64_t k)
{
    int64_t x = o * p->stride[axis] + k * p->dilation[axis] - p->pad[axis];
    return x >= 0 && x < p->in[axis] ? x : -1;
}

/* Output coordinate that tap `k` connects with input `x`, -1: none. */
static inline int64_t output_of(const convgen_problem *p, int axis, int64_t x, int64_t k)
{
    int64_t y = x + p->pad[axis] - k * p->dilation[axis];
    return y >= 0 && y % p->stride[axis] == 0 && y / p->stride[axis] < p->out[axis] ? y / p->stride[axis] : -1;
}

/* Forward and backward data: taps in row-major order, then the channels of group 0. */
static void list_pixel(task *k, const int64_t at[AXES])
{
    const convgen_problem *p = &k->c;
    bool forward = p->pass == CONVGEN_FORWARD;
    int64_t (*other)(const convgen_problem *, int, int64_t, int64_t) = forward ? input_of : output_of;
    int64_t channels = forward ? k->weights.size[OUTER] : p->out_channels / p->groups;
    int64_t b_step = k->weights.stride[forward ? OUTER : CHANNEL];
    int64_t tap[AXES] = {0}, x[AXES] = {at[OUTER]};
    for (tap[D] = 0; tap[D] < p->kernel[0]; tap[D]++) {
        if ((x[D] = other(p, 0, at[D], tap[D])) < 0) continue;
        for (tap[H] = 0; tap[H] < p->kernel[1]; tap[H]++) {
            if ((x[H] = other(p, 1, at[H], tap[H])) < 0) continue;
            for (tap[W] = 0; tap[W] < p->kernel[2]; tap[W]++) {
                if ((x[W] = other(p, 2, at[W], tap[W])) < 0) continue;
                int64_t a = tensor_offset(k->a, x), b = tensor_offset(k->b, tap), a_step = k->a->stride[CHANNEL];
                for (int64_t c = 0; c < channels; c++) add_term(&k->list, a + c * a_step, b + c * b_step);
            }
        }
    }
    end_block(&k->list);
}

/* Backward weights: one part of one row of output pixels, y[W] <= ow < end; a bias gradient has no input and takes all. */
static void list_line(task *k, const int64_t tap[AXES], int64_t y[AXES], int64_t end)
{
    const convgen_problem *p = &k->c;
    int64_t x[AXES] = {y[OUTER]};
    if (k->bias_gradient) {
        for (; y[W] < end; y[W]++) add_term(&k->list, 0, tensor_offset(&k->dst, y));
        return;
    }
    if ((x[D] = input_of(p, 0, y[D], tap[D])) < 0 || (x[H] = input_of(p, 1, y[H], tap[H])) < 0) return;
    int64_t a = tensor_offset(&k->src, x), b = tensor_offset(&k->dst, y) - y[W] * k->dst.stride[W];
    for (; y[W] < end; y[W]++) {
        x[W] = input_of(p, 2, y[W], tap[W]);
        if (x[W] >= 0) add_term(&k->list, a + x[W] * k->src.stride[W], b + y[W] * k->dst.stride[W]);
    }
}

/* Backward weights: planes, in them blocks, in them pixels, for input channel 0. */
static void list_pixels(task *k, const int64_t tap[AXES])
{
    const convgen_problem *p = &k->c;
    int64_t rows = cg_block_rows(p->out[2]), y[AXES] = {0};
    for (y[OUTER] = 0; y[OUTER] < p->batch; y[OUTER]++)
        for (y[D] = 0; y[D] < p->out[0]; y[D]++)
            for (int64_t h = 0; h < p->out[1]; h += rows)
                for (int64_t w = 0; w < p->out[2]; w += CG_BLOCK) {
                    int64_t end = w + CG_BLOCK < p->out[2] ? w + CG_BLOCK : p->out[2];
                    for (y[H] = h; y[H] < h + rows && y[H] < p->out[1]; y[H]++) {
                        y[W] = w;
                        list_line(k, tap, y, end);
                    }
                    end_block(&k->list);
                }
}

/* The row of the output at `at`. Lists are made for group 0 (and input channel 0 of backward weights): the others differ by a
 * shift of the two tensors, so that neighbours share a list. */
static row task_row(task *k, const int64_t at[AXES], int64_t group, int chains)
{
    const convgen_problem *p = &k->c;
    bool pixel = p->pass != CONVGEN_BACKWARD_WEIGHTS;
    int64_t key[4] = {pixel ? at[OUTER] : 0, at[D], at[H], at[W]};
    if (memcmp(key, k->listed, sizeof key) != 0) {
        memcpy(k->listed, key, sizeof key);
        k->list.count = k->list.blocks = 0;
        pixel ? list_pixel(k, at) : list_pixels(k, at);
    }
    int64_t in = p->in_channels / p->groups, out = p->out_channels / p->groups;
    int64_t channel = pixel ? group * (p->pass == CONVGEN_FORWARD ? in : out) : group * in + at[OUTER];
    const char *a = (const char *)k->a->data + channel * k->a->stride[CHANNEL] * (int64_t)cg_types[k->a->type].bytes;
    const char *b = (const char *)k->b->data + group * out * k->b->stride[CHANNEL] * (int64_t)cg_types[k->b->type].bytes;
    if (k->bias_gradient) {
        a = arithmetic[p->type].one;
        b = k->b->data;
    }
    return (row){a, b, &k->list, k->b->stride[k->b_axis], chains};
}

/* ---- outputs ---------------------------------------------------------------------------------------------------------- */

static void finish_exact(const task *k, const wanted *w, const piece *at, const row *r, int64_t j, pairs *sums);

/* WIDTH outputs at once. */
static void put_sums(const task *k, const wanted *w, const row *r, int64_t j, const piece *at)
{
    pairs sums;
    if (w->order == CG_EXACT) finish_exact(k, w, at, r, j, &sums);
    else arithmetic[k->p->type].put(k->p, k->o, w, r, j, at);
}

static void pair_add(pairs *s, int64_t i, double value)
{
    double error;
    two_sum(s->high[i], value, &s->high[i], &error);
    s->low[i] += error;
    s->magnitude[i] += fabs(value);
}

/* Leaves a pair with the sum of its two and nothing that is not a number below. */
static void pair_normalise(pairs *s, int64_t i)
{
    double low = s->low[i];
    two_sum(s->high[i], isfinite(low) ? low : 0, &s->high[i], &s->low[i]);
    if (!isfinite(s->high[i])) s->low[i] = 0;
}

/* A difference grows as much as the activation is steep; what its own rounding adds is spread over the terms, each of which is allowed a
 * rounding of the magnitude. */
static void pair_activate(const task *k, const piece *at, double terms, pairs *s, int64_t i)
{
    const convgen_epilogue *e = &k->p->epilogue;
    double slope = e->activation == CONVGEN_PRELU ? cg_get(cg_tensor_type(k->p, CG_SLOPE), k->o->slope, at->channel + i) : 0;
    long double x = (long double)s->high[i] + s->low[i], y = cg_activation_exact(e, k->p->type, slope, x);
    s->magnitude[i] *= cg_activation_steepest(e, slope);
    if (cg_activation_rounds(e->activation))
        s->magnitude[i] += (4 + e->residual_last) * fmax((double)fabsl(y), 0x1p-20 * (double)fabsl(x)) / terms;
    if (y == x) return;
    s->high[i] = (double)y;
    s->low[i] = isfinite(s->high[i]) ? (double)(y - s->high[i]) : 0;
}

/* The epilogue of a forward pass. */
static void pair_finish(const task *k, const piece *at, double terms, pairs *s, int64_t i)
{
    const convgen_problem *p = k->p;
    const convgen_epilogue *e = &p->epilogue;
    double residual = e->residual ? cg_get(cg_tensor_type(p, CG_RESIDUAL), k->o->residual, at->element + i * at->stride) : 0;
    if (p->bias) pair_add(s, i, cg_get(cg_tensor_type(p, CG_BIAS), k->o->bias, at->channel + i));
    if (e->residual && !e->residual_last) pair_add(s, i, residual);
    pair_normalise(s, i);
    if (e->activation) pair_activate(k, at, terms, s, i);
    if (e->residual_last) pair_add(s, i, residual), pair_normalise(s, i);
}

static void finish_exact(const task *k, const wanted *w, const piece *at, const row *r, int64_t j, pairs *sums)
{
    const convgen_problem *p = k->p;
    bool forward = p->pass == CONVGEN_FORWARD;
    arithmetic[p->type].exact(r, j, at->n, sums);
    int64_t terms = r->list->count + (forward ? p->bias + p->epilogue.residual : w->old != NULL);
    for (int64_t i = 0; i < at->n; i++) {
        int64_t place = at->element + i * at->stride - w->first;
        if (forward) pair_finish(k, at, (double)(terms ? terms : 1), sums, i);
        else if (w->old) pair_add(sums, i, cg_get(cg_output_type(p, k->bias_gradient), w->old, at->element + i * at->stride));
        if (!forward) pair_normalise(sums, i);
        if (w->exact.high) {
            w->exact.high[place] = sums->high[i];
            w->exact.low[place] = sums->low[i];
            w->exact.magnitude[place] = sums->magnitude[i];
            w->exact.terms[place] = terms;
        } else {
            cg_put(cg_output_type(p, k->bias_gradient), w->out, place, sums->high[i]);
        }
    }
}

static _Thread_local int64_t since_glance; /* terms, of one call or many short ones */

/* Looks at the clock once in a while: a sum may be shorter than a look. */
static bool go_on(task *k, int64_t terms)
{
    since_glance += terms;
    if (since_glance < GLANCE || k->late) return !k->late;
    since_glance = 0;
    k->late = cg_late();
    return !k->late;
}

/* Outputs j .. j+n of the row at `at`. */
static void put_row(task *k, const wanted *w, int64_t at[AXES], int64_t group, int64_t j, int64_t n)
{
    row r = task_row(k, at, group, w->chains);
    at[CHANNEL] = group * k->outputs;
    int64_t base = tensor_offset(&k->out, at), stride = k->out.stride[CHANNEL];
    for (int64_t end = j + n; j < end && go_on(k, WIDTH * (r.list->count + 1)); j += WIDTH) {
        piece here = {base + j * stride, at[CHANNEL] + j, stride, end - j < WIDTH ? end - j : WIDTH};
        put_sums(k, w, &r, j, &here);
    }
}

/* In storage order: right for short ranges, and where the outputs of a row are neighbours. */
static void put_by_element(task *k, const wanted *w)
{
    int64_t at[AXES], n;
    for (int64_t e = w->first; e < w->first + w->count && !k->late; e += n) {
        tensor_place(&k->out, e, at);
        int64_t group = at[CHANNEL] / k->outputs, j = at[CHANNEL] % k->outputs, left = w->first + w->count - e;
        n = k->out.stride[CHANNEL] != 1 ? 1 : left < k->outputs - j ? left : k->outputs - j;
        put_row(k, w, at, group, j, n);
    }
}

/* The outputs of a row that are wanted, when they lie apart in memory. */
static void put_wanted(task *k, const wanted *w, int64_t at[AXES], int64_t group)
{
    at[CHANNEL] = group * k->outputs;
    int64_t base = tensor_offset(&k->out, at), stride = k->out.stride[CHANNEL], last = w->first + w->count - 1;
    int64_t from = w->first <= base ? 0 : (w->first - base + stride - 1) / stride;
    int64_t to = last < base ? 0 : (last - base) / stride + 1;
    if (to > k->outputs) to = k->outputs;
    if (from < to && !k->late) put_row(k, w, at, group, from, to - from);
}

static void put_by_row(task *k, const wanted *w)
{
    int64_t at[AXES], groups = k->out.size[CHANNEL] / k->outputs;
    for (at[D] = 0; at[D] < k->out.size[D]; at[D]++)
        for (at[H] = 0; at[H] < k->out.size[H]; at[H]++)
            for (at[W] = 0; at[W] < k->out.size[W]; at[W]++)
                for (at[OUTER] = 0; at[OUTER] < k->out.size[OUTER]; at[OUTER]++)
                    for (int64_t g = 0; g < groups; g++) put_wanted(k, w, at, g);
}

static cg_status put(const convgen_problem *p, const cg_operands *o, bool bias_gradient, const wanted *w)
{
    task k;
    if (w->count <= 0) return CONVGEN_OK;
    cg_status status = task_new(&k, p, o, bias_gradient, w->count);
    if (status) return status;
    int64_t rows = tensor_elements(&k.out) / k.outputs;
    k.out.stride[CHANNEL] != 1 && w->count >= rows ? put_by_row(&k, w) : put_by_element(&k, w);
    task_end(&k);
    return k.late ? cg_in_time() : CONVGEN_OK;
}

/* The sums of what is stored otherwise are those of copies in the type that is computed in; their results are rounded. */
static cg_status put_retyped(const convgen_problem *p, const cg_operands *o, bool bias_gradient, const wanted *w)
{
    cg_retyped r;
    wanted own = *w;
    convgen_type type = cg_computed(p->type);
    void *sums = w->out ? cg_malloc((size_t)w->count * cg_types[type].bytes + 1) : NULL;
    if (w->out && !sums) return cg_fail(CONVGEN_NO_MEMORY, "no memory for %lld sums", (long long)w->count);
    own.out = sums;
    cg_status status = cg_retyped_new(p, o, type, &r);
    if (!status) status = put(&r.p, &r.o, bias_gradient, &own);
    if (!status && sums) cg_retype(type, sums, cg_output_type(p, bias_gradient), w->out, w->count);
    cg_retyped_free(&r);
    cg_free(sums);
    return status;
}

static cg_status answer(const convgen_problem *p, const cg_operands *o, bool bias_gradient, const wanted *w)
{
    return (cg_computed(p->type) == p->type ? put : put_retyped)(p, o, bias_gradient, w);
}

/* ---- what the others see ------------------------------------------------------------------------------------------------- */

int64_t cg_output_elements(const convgen_problem *p, bool bias_gradient)
{
    task k;
    task_shape(&k, p, &no_operands, bias_gradient);
    return tensor_elements(&k.out);
}

void cg_output_sizes(const convgen_problem *p, bool bias_gradient, int64_t size[5])
{
    task k;
    task_shape(&k, p, &no_operands, bias_gradient);
    for (int i = 0; i < AXES; i++) size[i] = k.out.size[k.out.order[i]];
}

void cg_output_place(const convgen_problem *p, bool bias_gradient, int64_t element, int64_t at[5])
{
    task k;
    task_shape(&k, p, &no_operands, bias_gradient);
    tensor_place(&k.out, element, at);
}

static cg_status check_range(const convgen_problem *p, cg_outputs which)
{
    int64_t first = which.first, count = which.count;
    if (which.bias && p->pass != CONVGEN_BACKWARD_WEIGHTS)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "only backward weights have a bias gradient");
    int64_t all = cg_output_elements(p, which.bias);
    if (first < 0 || count < 0 || first > all - count)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "outputs %lld to %lld are outside the tensor of %lld", (long long)first,
                       (long long)(first + count), (long long)all);
    return CONVGEN_OK;
}

cg_status cg_reference(const convgen_problem *p, const cg_operands *o, cg_order order, int chains, cg_outputs which, void *out)
{
    cg_status status = check_range(p, which);
    if (status) return status;
    if (chains > MAX_CHAINS || chains < 0)
        return cg_fail(CONVGEN_BAD_ARGUMENT, "%d chains: a sum is split into 1 to %d", chains, MAX_CHAINS);
    if (p->pass == CONVGEN_BACKWARD_WEIGHTS) chains = 1; /* blocks are its split */
    wanted w = {.order = order, .chains = chains, .first = which.first, .count = which.count, .old = p->accumulate ? o->old[which.bias] : NULL, .out = out};
    return answer(p, o, which.bias, &w);
}

cg_status cg_reference_exact(const convgen_problem *p, const cg_operands *o, cg_outputs which, cg_exact_sums to)
{
    cg_status status = check_range(p, which);
    if (status) return status;
    wanted w = {.order = CG_EXACT, .chains = 1, .first = which.first, .count = which.count, .old = p->accumulate ? o->old[which.bias] : NULL,
                .exact = to};
    return answer(p, o, which.bias, &w);
}

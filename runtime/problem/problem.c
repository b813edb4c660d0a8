/* problem.c: what problem is legal, how large it is.
 *
 * A normalised problem has every size >= 1, at most 2^31-1, and index arithmetic on it cannot overflow int64.
 * Nothing here knows how a problem is written or computed. */
#include "problem/problem.h"
#include <inttypes.h>
#include <string.h>

/* Programs outside are compiled against these: fields fill holes or stand last. */
_Static_assert(sizeof(convgen_epilogue) == 24 && offsetof(convgen_epilogue, residual_last) == 1 && offsetof(convgen_epilogue, activation) == 4
               && offsetof(convgen_epilogue, lo) == 8 && offsetof(convgen_epilogue, hi) == 16, "convgen_epilogue");
_Static_assert(sizeof(convgen_problem) == 256 && offsetof(convgen_problem, batch) == 24 && offsetof(convgen_problem, in) == 56
               && offsetof(convgen_problem, pad) == 176 && offsetof(convgen_problem, bias) == 200
               && offsetof(convgen_problem, epilogue) == 208 && offsetof(convgen_problem, src_pixel_stride) == 232
               && offsetof(convgen_problem, dst_pixel_stride) == 240 && offsetof(convgen_problem, accumulate) == 248
               && offsetof(convgen_problem, op) == 252, "convgen_problem");

static const char axes[] = "dhw";

static int64_t reach(int64_t kernel, int64_t dilation) { return (kernel - 1) * dilation + 1; }

static int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); } /* b > 0 */

/* shift: how much less the text says than the struct, 1 for dilation. */
static cg_status check_size(const char *name, char axis, int64_t value, int64_t least, int64_t shift)
{
    if (value >= least && value <= CG_MOST) return CONVGEN_OK;
    char dimension[2] = {axis, 0};
    if (value > INT64_MIN) value -= shift;
    return cg_fail(CONVGEN_BAD_PROBLEM, "%s%s is %" PRId64 ": allowed is %" PRId64 " to %" PRId64, name, dimension,
                   value, least - shift, CG_MOST - shift);
}

static cg_status default_size(const char *name, char axis, int64_t *value)
{
    if (*value == 0) *value = 1;
    return check_size(name, axis, *value, 1, 0);
}

/* What is computed where no output is given: with the pad on both sides. */
static int64_t default_out(const convgen_problem *p, int a)
{
    int64_t window = reach(p->kernel[a], p->dilation[a]);
    if (p->op == CONVGEN_TRANSPOSED) return (p->in[a] - 1) * p->stride[a] + window - 2 * p->pad[a];
    return floor_divide(p->in[a] + 2 * p->pad[a] - window, p->stride[a]) + 1;
}

static cg_status empty_output(const convgen_problem *p, int a)
{
    int64_t window = reach(p->kernel[a], p->dilation[a]);
    char axis = axes[a];
    if (p->op == CONVGEN_TRANSPOSED)
        return cg_fail(CONVGEN_BAD_PROBLEM,
                       "the output is empty along %c: i%c%" PRId64 " with s%c%" PRId64 " reaches over %" PRId64 ", of which p%c%" PRId64
                       " takes all from both sides; o%c must be at least 1",
                       axis, axis, p->in[a], axis, p->stride[a], (p->in[a] - 1) * p->stride[a] + window, axis, p->pad[a], axis);
    return cg_fail(CONVGEN_BAD_PROBLEM,
                   "the output is empty along %c: i%c%" PRId64 " with p%c%" PRId64 " on both sides has room for %" PRId64
                   ", the kernel k%c%" PRId64 " reaches over %" PRId64 "; o%c must be at least 1",
                   axis, axis, p->in[a], axis, p->pad[a], p->in[a] + 2 * p->pad[a], axis, p->kernel[a], window, axis);
}

/* Of a transposed convolution: no further than its last tap and an output padding, as others allow it, without a trailing pad. */
static cg_status check_reached(const convgen_problem *p, int a)
{
    int64_t padding = (p->stride[a] > p->dilation[a] ? p->stride[a] : p->dilation[a]) - 1;
    int64_t most = (p->in[a] - 1) * p->stride[a] + reach(p->kernel[a], p->dilation[a]) - p->pad[a] + padding;
    char axis = axes[a];
    if (p->op != CONVGEN_TRANSPOSED || p->out[a] <= most) return CONVGEN_OK;
    if (most < 1) return empty_output(p, a);
    return cg_fail(CONVGEN_BAD_PROBLEM,
                   "o%c%" PRId64 " cannot be reached: with i%c%" PRId64 ", k%c%" PRId64 ", s%c%" PRId64 ", d%c%" PRId64 " and p%c%" PRId64
                   " allowed is 1 to %" PRId64 ", which has an output padding of %" PRId64,
                   axis, p->out[a], axis, p->in[a], axis, p->kernel[a], axis, p->stride[a], axis, p->dilation[a] - 1, axis, p->pad[a],
                   most, padding);
}

static cg_status normalise_axis(convgen_problem *p, int a)
{
    struct {
        const char *name;
        int64_t *value;
    } sizes[] = {{"i", &p->in[a]}, {"k", &p->kernel[a]}, {"s", &p->stride[a]}};
    for (int i = 0; i < 3; i++)
        if (default_size(sizes[i].name, axes[a], sizes[i].value)) return CONVGEN_BAD_PROBLEM;
    if (p->dilation[a] == 0) p->dilation[a] = 1;
    if (check_size("d", axes[a], p->dilation[a], 1, 1) || check_size("p", axes[a], p->pad[a], -CG_MOST, 0))
        return CONVGEN_BAD_PROBLEM;
    if (p->out[a] == 0) {
        p->out[a] = default_out(p, a);
        if (p->out[a] < 1) return empty_output(p, a);
    }
    return check_size("o", axes[a], p->out[a], 1, 0) ? CONVGEN_BAD_PROBLEM : check_reached(p, a);
}

/* Elements times 16: room for any element type and for doubling an offset. */
static bool countable(const int64_t *sizes, int count)
{
    int64_t product = 16;
    for (int i = 0; i < count; i++)
        if (__builtin_mul_overflow(product, sizes[i], &product)) return false;
    return true;
}

static cg_status check_tensors(const convgen_problem *p)
{
    struct {
        const char *name, *made_of;
        int64_t sizes[5];
    } tensors[] = {
        {"src", "mb, ic, id, ih, iw", {p->batch, p->in_channels, p->in[0], p->in[1], p->in[2]}},
        {"dst", "mb, oc, od, oh, ow", {p->batch, p->out_channels, p->out[0], p->out[1], p->out[2]}},
        {"src", "mb, src-stride, id, ih, iw", {p->batch, p->src_pixel_stride, p->in[0], p->in[1], p->in[2]}},
        {"dst", "mb, dst-stride, od, oh, ow", {p->batch, p->dst_pixel_stride, p->out[0], p->out[1], p->out[2]}},
        {"weights",
         "ic/g, oc, kd, kh, kw",
         {p->in_channels / p->groups, p->out_channels, p->kernel[0], p->kernel[1], p->kernel[2]}},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        if (!countable(tensors[i].sizes, 5))
            return cg_fail(CONVGEN_BAD_PROBLEM, "%s has too many elements: the product of %s must stay below 2^59",
                           tensors[i].name, tensors[i].made_of);
    return CONVGEN_OK;
}

static cg_status check_channels(const convgen_problem *p)
{
    struct {
        const char *name;
        int64_t channels;
    } rows[] = {{"ic", p->in_channels}, {"oc", p->out_channels}};
    for (int i = 0; i < 2; i++)
        if (rows[i].channels % p->groups)
            return cg_fail(CONVGEN_BAD_PROBLEM,
                           "g%" PRId64 " does not divide %s%" PRId64 ": the groups must share ic and oc evenly",
                           p->groups, rows[i].name, rows[i].channels);
    return CONVGEN_OK;
}

static cg_status check_enums(const convgen_problem *p)
{
    struct {
        const char *name;
        unsigned value, count;
    } rows[] = {{"pass", p->pass, 3},         {"type", p->type, CG_TYPES},       {"layout", p->layout, 2},
                {"accuracy", p->accuracy, 4}, {"weights", p->weights, 2}, {"activation", p->epilogue.activation, CG_ACTIVATIONS},
                {"op", p->op, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].value >= rows[i].count)
            return cg_fail(CONVGEN_BAD_PROBLEM, "%s is %u: allowed is 0 to %u, see convgen.h", rows[i].name,
                           rows[i].value, rows[i].count - 1);
    return CONVGEN_OK;
}

/* The channels themselves are 0: one spelling. */
static cg_status normalise_strides(convgen_problem *p)
{
    struct {
        const char *name, *channels;
        int64_t *stride, least;
    } rows[] = {{"src", "ic", &p->src_pixel_stride, p->in_channels}, {"dst", "oc", &p->dst_pixel_stride, p->out_channels}};
    for (int i = 0; i < 2; i++) {
        int64_t stride = *rows[i].stride;
        if (!stride) continue;
        if (p->layout != CONVGEN_NHWC)
            return cg_fail(CONVGEN_UNSUPPORTED, "%s_pixel_stride is %" PRId64 ": channels-first data has none, it must be 0", rows[i].name, stride);
        if (stride < rows[i].least || stride > CG_MOST)
            return cg_fail(CONVGEN_BAD_PROBLEM, "%s_pixel_stride is %" PRId64 ": allowed is 0, or %" PRId64 " (%s) to %" PRId64, rows[i].name,
                           stride, rows[i].least, rows[i].channels, CG_MOST);
        if (stride == rows[i].least) *rows[i].stride = 0;
    }
    return CONVGEN_OK;
}

static cg_status check_accumulate(const convgen_problem *p)
{
    if (!p->accumulate || p->pass != CONVGEN_FORWARD) return CONVGEN_OK;
    return cg_fail(CONVGEN_BAD_PROBLEM, "accumulate is true, and %s has no gradient that could be added to: allowed is BWD_D, BWD_W, BWD_WB",
                   cg_pass_name(p));
}

static cg_status normalise_epilogue(convgen_problem *p)
{
    convgen_epilogue *e = &p->epilogue;
    if (p->bias && p->pass == CONVGEN_BACKWARD_DATA)
        return cg_fail(CONVGEN_BAD_PROBLEM, "backward data has no bias: it is of FWD_B and BWD_WB only");
    if (p->pass != CONVGEN_FORWARD && (e->residual || e->activation != CONVGEN_NONE))
        return cg_fail(CONVGEN_BAD_PROBLEM, "%s has no epilogue: only a forward pass has one", cg_pass_name(p));
    return cg_epilogue_check(e);
}

static cg_status normalise(convgen_problem *p)
{
    struct {
        const char *name;
        int64_t *value;
    } counts[] = {{"mb", &p->batch}, {"g", &p->groups}, {"ic", &p->in_channels}, {"oc", &p->out_channels}};
    cg_status status = check_enums(p);
    for (int i = 0; i < 4 && !status; i++)
        status = i < 2 ? default_size(counts[i].name, 0, counts[i].value)
                       : check_size(counts[i].name, 0, *counts[i].value, 1, 0);
    for (int a = 0; a < 3 && !status; a++) status = normalise_axis(p, a);
    if (!status) status = check_channels(p);
    if (!status) status = normalise_strides(p);
    if (!status) status = check_accumulate(p);
    if (!status) status = check_tensors(p);
    if (!status) status = normalise_epilogue(p);
    return status;
}

cg_status cg_problem_normalise(convgen_problem *p)
{
    convgen_problem copy = *p;
    cg_status status = normalise(&copy);
    if (!status) *p = copy;
    return status;
}

cg_sizes cg_problem_sizes(const convgen_problem *p)
{
    int64_t in = p->in[0] * p->in[1] * p->in[2], out = p->out[0] * p->out[1] * p->out[2];
    int64_t kernel = p->kernel[0] * p->kernel[1] * p->kernel[2];
    cg_sizes s = {.src = p->batch * in * p->in_channels,
                  .weights = kernel * (p->in_channels / p->groups) * p->out_channels,
                  .bias = p->out_channels,
                  .dst = p->batch * out * p->out_channels,
                  .element = cg_types[p->type].bytes};
    bool transposed = p->op == CONVGEN_TRANSPOSED; /* each of its inputs meets all taps */
    s.macs = (double)(transposed ? s.src : s.dst) * (double)kernel * (double)((transposed ? p->out_channels : p->in_channels) / p->groups);
    return s;
}

/* ---- transposed convolutions ------------------------------------------------------------------------------------- */

static void exchange(int64_t *a, int64_t *b)
{
    int64_t kept = *a;
    *a = *b;
    *b = kept;
}

static convgen_problem exchanged(const convgen_problem *p)
{
    static const convgen_pass pass[] = {[CONVGEN_FORWARD] = CONVGEN_BACKWARD_DATA, [CONVGEN_BACKWARD_DATA] = CONVGEN_FORWARD,
                                        [CONVGEN_BACKWARD_WEIGHTS] = CONVGEN_BACKWARD_WEIGHTS};
    convgen_problem c = *p;
    c.pass = pass[p->pass];
    exchange(&c.in_channels, &c.out_channels);
    exchange(&c.src_pixel_stride, &c.dst_pixel_stride);
    for (int a = 0; a < 3; a++) exchange(&c.in[a], &c.out[a]);
    return c;
}

convgen_problem cg_dual(const convgen_problem *p)
{
    convgen_problem c = p->op == CONVGEN_TRANSPOSED ? exchanged(p) : *p;
    c.op = CONVGEN_CONVOLUTION;
    return c;
}

convgen_problem cg_dual_of(const convgen_problem *c, convgen_op op)
{
    convgen_problem p = op == CONVGEN_TRANSPOSED ? exchanged(c) : *c;
    p.op = op;
    return p;
}

static bool same(const int64_t a[3], const int64_t b[3]) { return !memcmp(a, b, 3 * sizeof *a); }

bool cg_problem_equal(const convgen_problem *a, const convgen_problem *b)
{
    return a->pass == b->pass && a->type == b->type && a->layout == b->layout && a->accuracy == b->accuracy
           && a->weights == b->weights && a->batch == b->batch && a->groups == b->groups
           && a->in_channels == b->in_channels && a->out_channels == b->out_channels && same(a->in, b->in)
           && same(a->out, b->out) && same(a->kernel, b->kernel) && same(a->stride, b->stride)
           && same(a->dilation, b->dilation) && same(a->pad, b->pad) && a->bias == b->bias
           && cg_epilogue_same(&a->epilogue, &b->epilogue)
           && a->src_pixel_stride == b->src_pixel_stride && a->dst_pixel_stride == b->dst_pixel_stride
           && a->accumulate == b->accumulate && a->op == b->op;
}

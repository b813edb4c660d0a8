/* data.c: the numbers that kernels are judged on.
 *
 * Any element of a stream can be had alone (splitmix64 by its counter), so filling vectorises and the same seed gives the same
 * data on every machine. Kinds of data are those of convgen_errors. */
#include "check/check.h"
#include <math.h>

/* The i-th number of a stream. */
static inline uint64_t number(uint64_t seed, size_t i)
{
    return cg_mix(seed + (uint64_t)i * 0x9E3779B97F4A7C15u);
}

/* Numbers [first, first + n) of a stream, in a type of so many digits. */
typedef void stream_fn(uint64_t seed, size_t first, size_t n, int digits, double *x);

CLONES static void uniform(uint64_t seed, size_t first, size_t n, int digits, double *x)
{
    double unit = ldexp(1, 1 - digits);
    for (size_t i = 0; i < n; i++) x[i] = (double)(int64_t)(number(seed, first + i) >> (64 - digits)) * unit - 1;
}

/* The sum of twelve uniform numbers of variance 1/12, five or so deviations wide, with the lowest bits of one more: no logarithm. */
static inline double normal_number(uint64_t seed, size_t i)
{
    uint64_t a = number(seed, 3 * i), b = number(seed, 3 * i + 1), c = number(seed, 3 * i + 2), sum = 0;
    for (int shift = 0; shift < 64; shift += 16) sum += (a >> shift & 0xFFFF) + (b >> shift & 0xFFFF) + (c >> shift & 0xFFFF);
    return (double)(int64_t)sum * 0x1p-16 - (6 - 6 * 0x1p-16) + (double)(int64_t)(cg_mix(a) >> 11) * 0x1p-69;
}

CLONES static void normal(uint64_t seed, size_t first, size_t n, int digits, double *x)
{
    (void)digits;
    for (size_t i = 0; i < n; i++) x[i] = normal_number(seed, first + i);
}

enum { BLOCK = 512, GLANCE = 1 << 24 }; /* elements that are made at once; and between two looks at the clock */

/* Elements [0, count) of a tensor, until it is late: then the rest stays as it is. */
static void fill(stream_fn *stream, convgen_type type, void *data, size_t count, uint64_t seed)
{
    const cg_type_row *t = &cg_types[type];
    double x[BLOCK];
    for (size_t i = 0, n; i < count; i += n) {
        n = count - i < BLOCK ? count - i : BLOCK;
        if (i % GLANCE == 0 && cg_late()) return;
        stream(seed, i, n, t->digits, x);
        t->write(data, (int64_t)i, (int64_t)n, x);
    }
}

/* y = a * (x + b), at least `low`. */
static void change(convgen_type type, void *data, size_t count, double a, double b, double low)
{
    const cg_type_row *t = &cg_types[type];
    double x[BLOCK];
    for (size_t i = 0, n; i < count; i += n) {
        n = count - i < BLOCK ? count - i : BLOCK;
        t->read(data, (int64_t)i, (int64_t)n, x);
        for (size_t k = 0; k < n; k++) x[k] = a * (x[k] + b) > low ? a * (x[k] + b) : low;
        t->write(data, (int64_t)i, (int64_t)n, x);
    }
}

/* The middle channel of every group times 10^4. */
static void scale_channel(const convgen_problem *p, int tensor, void *data)
{
    bool src = tensor == CG_SRC, last = p->layout == CONVGEN_NHWC;
    const int64_t *space = src ? p->in : p->out;
    int64_t channels = src ? p->in_channels : p->out_channels, pixels = space[0] * space[1] * space[2], group = channels / p->groups;
    for (int64_t n = 0; n < p->batch; n++)
        for (int64_t c = group / 2; c < channels; c += group)
            for (int64_t i = 0; i < pixels; i++) {
                int64_t at = last ? (n * pixels + i) * channels + c : (n * channels + c) * pixels + i;
                change(cg_tensor_type(p, tensor), (char *)data + (size_t)at * cg_element(p, tensor), 1, 1e4, 0, -INFINITY);
            }
}

void cg_fill(const convgen_problem *p, convgen_data kind, int tensor, void *data, size_t bytes, uint64_t run)
{
    uint64_t seed = cg_mix(1 + (uint64_t)tensor + 1000 * run);
    convgen_type type = cg_tensor_type(p, tensor);
    size_t count = bytes / cg_types[type].bytes;
    bool activations = tensor == cg_data_tensor(p);
    fill(kind == CONVGEN_NORMAL || kind == CONVGEN_RECTIFIED ? normal : uniform, type, data, count, seed);
    if (kind == CONVGEN_RECTIFIED && activations) change(type, data, count, 1, 0, 0);
    if (kind == CONVGEN_POSITIVE) change(type, data, count, 0.5, 1, 0);
    if (kind == CONVGEN_BADLY_SCALED && activations) scale_channel(p, tensor, data);
}

void cg_fill_noise(convgen_type type, void *data, size_t count) { fill(uniform, type, data, count, cg_mix(6)); }

CLONES static void integers(uint64_t seed, size_t first, size_t n, double m, double share, double *x)
{
    uint64_t values = (uint64_t)(2 * m + 1), limit = (uint64_t)(share * 0x1p31);
    for (size_t i = 0; i < n; i++) {
        uint64_t z = number(seed, first + i);
        x[i] = (z & 0x7FFFFFFF) < limit ? (double)(int64_t)((z >> 32) * values >> 32) - m : 0;
    }
}

/* With m = 1 only a share of them is not zero where even ones would leave the range (then the sums stay small because the signs
 * vary: by many standard deviations). */
void cg_fill_integers(const convgen_problem *p, int tensor, void *data, size_t bytes, double range)
{
    const cg_type_row *t = &cg_types[cg_tensor_type(p, tensor)];
    double terms = (double)cg_reference_terms(p, false) + 2, x[BLOCK];
    double m = floor(fmin(sqrt(range / terms), t->largest)), share = fmin(1, range / terms);
    for (size_t i = 0, n, count = bytes / t->bytes; i < count; i += n) {
        n = count - i < BLOCK ? count - i : BLOCK;
        integers(cg_mix(100 + (uint64_t)tensor), i, n, m < 1 ? 1 : m, share, x);
        t->write(data, (int64_t)i, (int64_t)n, x);
    }
}

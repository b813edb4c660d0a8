/* data.c: the numbers that kernels are judged on.
 *
 * Any element of a stream can be had alone (splitmix64 by its counter), so filling vectorises and the same seed gives the same
 * data on every machine. Kinds of data are those of convgen_errors. */
#include "check/check.h"
#include <math.h>
#include <string.h>

/* The i-th number of a stream. */
static inline uint64_t number(uint64_t seed, size_t i)
{
    return cg_mix(seed + (uint64_t)i * 0x9E3779B97F4A7C15u);
}

/* Elements [from, to) of a tensor. */
CLONES static void fill_uniform(convgen_type type, void *data, size_t from, size_t to, uint64_t seed)
{
    if (type == CONVGEN_F32)
        for (size_t i = from; i < to; i++)
            ((float *)data)[i] = (float)(int32_t)(number(seed, i) >> 40) * 0x1p-23f - 1;
    else
        for (size_t i = from; i < to; i++)
            ((double *)data)[i] = (double)(int64_t)(number(seed, i) >> 11) * 0x1p-52 - 1;
}

/* The sum of twelve uniform numbers of variance 1/12, five or so deviations wide, with the lowest bits of one more: no logarithm. */
static inline double normal(uint64_t seed, size_t i)
{
    uint64_t a = number(seed, 3 * i), b = number(seed, 3 * i + 1), c = number(seed, 3 * i + 2), sum = 0;
    for (int shift = 0; shift < 64; shift += 16) sum += (a >> shift & 0xFFFF) + (b >> shift & 0xFFFF) + (c >> shift & 0xFFFF);
    return (double)(int64_t)sum * 0x1p-16 - (6 - 6 * 0x1p-16) + (double)(int64_t)(cg_mix(a) >> 11) * 0x1p-69;
}

CLONES static void fill_normal(convgen_type type, void *data, size_t from, size_t to, uint64_t seed)
{
    if (type == CONVGEN_F32)
        for (size_t i = from; i < to; i++) ((float *)data)[i] = (float)normal(seed, i);
    else
        for (size_t i = from; i < to; i++) ((double *)data)[i] = normal(seed, i);
}

/* y = a * (x + b), at least `low`. */
static void change(convgen_type type, void *data, size_t bytes, double a, double b, double low)
{
    if (type == CONVGEN_F32)
        for (size_t i = 0; i < bytes / sizeof(float); i++) {
            float y = (float)(a * (((float *)data)[i] + b));
            ((float *)data)[i] = y > low ? y : (float)low;
        }
    else
        for (size_t i = 0; i < bytes / sizeof(double); i++) {
            double y = a * (((double *)data)[i] + b);
            ((double *)data)[i] = y > low ? y : low;
        }
}

/* The middle channel of every group times 10^4. */
static void scale_channel(const convgen_problem *p, int tensor, void *data)
{
    bool src = tensor == CG_SRC, last = p->layout == CONVGEN_NHWC;
    const int64_t *space = src ? p->in : p->out;
    int64_t channels = src ? p->in_channels : p->out_channels, pixels = space[0] * space[1] * space[2], group = channels / p->groups;
    size_t element = p->type == CONVGEN_F32 ? sizeof(float) : sizeof(double);
    for (int64_t n = 0; n < p->batch; n++)
        for (int64_t c = group / 2; c < channels; c += group)
            for (int64_t i = 0; i < pixels; i++) {
                int64_t at = last ? (n * pixels + i) * channels + c : (n * channels + c) * pixels + i;
                change(p->type, (char *)data + (size_t)at * element, element, 1e4, 0, -INFINITY);
            }
}

/* Until it is late: then the rest stays as it is. */
typedef void fill_fn(convgen_type type, void *data, size_t from, size_t to, uint64_t seed);
static void fill_in_time(fill_fn *fill, convgen_type type, void *data, size_t bytes, uint64_t seed)
{
    size_t count = bytes / (type == CONVGEN_F32 ? sizeof(float) : sizeof(double)), piece = (size_t)1 << 24;
    for (size_t from = 0; from < count && !cg_late(); from += piece) fill(type, data, from, count - from < piece ? count : from + piece, seed);
}

void cg_fill(const convgen_problem *p, convgen_data kind, int tensor, void *data, size_t bytes, uint64_t run)
{
    uint64_t seed = cg_mix(1 + (uint64_t)tensor + 1000 * run);
    bool activations = tensor == cg_data_tensor(p);
    if (kind == CONVGEN_NORMAL || kind == CONVGEN_RECTIFIED) fill_in_time(fill_normal, p->type, data, bytes, seed);
    else fill_in_time(fill_uniform, p->type, data, bytes, seed);
    if (kind == CONVGEN_RECTIFIED && activations) change(p->type, data, bytes, 1, 0, 0);
    if (kind == CONVGEN_POSITIVE) change(p->type, data, bytes, 0.5, 1, 0);
    if (kind == CONVGEN_BADLY_SCALED && activations) scale_channel(p, tensor, data);
}

CLONES static void fill_integers(convgen_type type, void *data, size_t bytes, uint64_t seed, double m, double share)
{
    uint64_t values = (uint64_t)(2 * m + 1), limit = (uint64_t)(share * 0x1p31);
    for (size_t i = 0; i < bytes / (type == CONVGEN_F32 ? sizeof(float) : sizeof(double)); i++) {
        uint64_t z = number(seed, i);
        double value = (z & 0x7FFFFFFF) < limit ? (double)(int64_t)((z >> 32) * values >> 32) - m : 0;
        if (type == CONVGEN_F32) ((float *)data)[i] = (float)value;
        else ((double *)data)[i] = value;
    }
}

/* With m = 1 only a share of them is not zero where even ones would leave the range (then the sums stay small because the signs
 * vary: by many standard deviations). */
void cg_fill_integers(const convgen_problem *p, int tensor, void *data, size_t bytes, double range)
{
    uint64_t seed = cg_mix(100 + (uint64_t)tensor);
    double terms = (double)cg_reference_terms(p, false) + 2;
    double m = floor(fmin(sqrt(range / terms), p->type == CONVGEN_F32 ? 16 : 256)), share = fmin(1, range / terms);
    if (m < 1) m = 1;
    fill_integers(p->type, data, bytes, seed, m, share);
}

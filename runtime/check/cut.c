/* cut.c: a large problem -> a small one that has the same schedules, for a check that must not take the memory or the time of the whole.
 *
 * Images first, then rows: kernels depend on neither, but where a schedule's tiles must cover the rows. Then groups; channels last: the
 * error of a transform is larger where there are fewer, so then the widest budget holds, which is narrow enough for what is wrong; that the
 * problem's own admits the schedule has been predicted of the whole. What a tensor's border is stays: lengths are cut with the pads as they are.
 * A transposed convolution is cut as its dual.
 * Limit: a kernel of many taps stays whole, so that a problem which is large for its taps alone is cut as far as the rest goes. */
#include "check/check.h"
#include <math.h>

static const double too_large = 64e6, small = 16e6; /* bytes of all operands */
static const double short_run = 1e9;                /* multiply-adds */

static double operand_bytes(const convgen_problem *p)
{
    size_t bytes[CG_TENSORS];
    cg_role role[CG_TENSORS];
    double all = 0;
    cg_tensor_bytes(p, bytes);
    cg_roles(p, role);
    for (int i = 0; i < CG_TENSORS; i++)
        if (role[i] != CG_ABSENT) all += (double)bytes[i];
    return all;
}

/* By how much it is beyond what a check may take; 1 at most: it is not. */
static double excess(const convgen_problem *p)
{
    return fmax(operand_bytes(p) / small, cg_problem_sizes(p).macs / short_run);
}

bool cg_cut_needed(const convgen_problem *p) { return operand_bytes(p) > too_large; }

/* Shorter along an axis, by as many outputs as the pads allow. */
static void set_length(convgen_problem *p, int axis, int64_t out)
{
    int64_t in = p->in[axis] - (p->out[axis] - out) * p->stride[axis];
    p->in[axis] = in > 1 ? in : 1;
    p->out[axis] = out;
}

/* What an axis is cut to: borders on both sides and several tiles between. Tiles of up to six outputs that cover the whole also cover
 * what is a multiple of all their sizes shorter, of each of a dilation's grids too. */
static int64_t shorter(const convgen_problem *p, int axis, double by)
{
    int64_t step = 60 * p->dilation[axis], all = p->out[axis], rest = all % step;
    int64_t least = 32 + 2 * (p->kernel[axis] - 1) * p->dilation[axis] / p->stride[axis], wanted = (int64_t)((double)all / by);
    if (wanted < least) wanted = least;
    int64_t length = rest + (wanted > rest ? (wanted - rest + step - 1) / step * step : 0);
    return length < all ? length : all;
}

/* Of slices as much as before is between pixels. */
static void set_channels(convgen_problem *p, int64_t in, int64_t out)
{
    if (p->src_pixel_stride) p->src_pixel_stride += in - p->in_channels;
    if (p->dst_pixel_stride) p->dst_pixel_stride += out - p->out_channels;
    p->in_channels = in, p->out_channels = out;
}

/* Less of what is between them, as far from whole vectors. */
static int64_t nearer(int64_t stride, int64_t channels)
{
    int64_t between = stride - channels;
    return stride && between > 32 ? channels + 16 + between % 16 : stride;
}

static void halve_channels(convgen_problem *p)
{
    int64_t icg = p->in_channels / p->groups, ocg = p->out_channels / p->groups;
    if (p->groups > 1) p->groups = (p->groups + 1) / 2;
    else if (icg > ocg) icg = (icg + 1) / 2;
    else ocg = (ocg + 1) / 2;
    set_channels(p, icg * p->groups, ocg * p->groups);
}

static bool fewer_channels(const convgen_problem *p, const convgen_problem *cut)
{
    return cut->in_channels / cut->groups < p->in_channels / p->groups || cut->out_channels / cut->groups < p->out_channels / p->groups;
}

/* What is left where that does not suffice; -1: nothing. */
static int halve_longest(convgen_problem *p)
{
    int axis = 0;
    for (int i = 1; i < 3; i++)
        if (p->out[i] > p->out[axis]) axis = i;
    if (p->out[axis] <= 8) return -1;
    set_length(p, axis, p->out[axis] / 2);
    return axis;
}

/* Back from the dual that was cut. */
static bool legal(const convgen_problem *p, convgen_problem *out)
{
    *out = cg_dual_of(out, p->op);
    return cg_problem_normalise(out) == CONVGEN_OK;
}

static bool cut_down(const convgen_problem *p, int number, convgen_problem *out)
{
    int64_t batch = p->batch, fewer = (int64_t)((double)batch / fmax(excess(p), 1));
    int axis = -1;
    *out = *p;
    out->src_pixel_stride = nearer(p->src_pixel_stride, p->in_channels);
    out->dst_pixel_stride = nearer(p->dst_pixel_stride, p->out_channels);
    out->batch = fewer > 1 ? fewer : 1;
    for (int i = 0; i < 3 && excess(out) > 1; i++) {
        int64_t length = shorter(out, i, excess(out));
        if (length < out->out[i]) set_length(out, axis = i, length);
    }
    while (excess(out) > 1 && (out->groups > 1 || out->in_channels > 1 || out->out_channels > 1)) halve_channels(out);
    if (out->accuracy != CONVGEN_PROVEN && fewer_channels(p, out)) out->accuracy = CONVGEN_8X;
    for (int i = 0; i >= 0 && excess(out) > 1;)
        if ((i = halve_longest(out)) >= 0) axis = i;
    if (axis < 0 && out->batch > number) out->batch -= number; /* others, where a schedule is not for the first */
    else if (axis >= 0 && out->out[axis] > number) set_length(out, axis, out->out[axis] - number);
    else return false;
    return true;
}

/* A transposed convolution reaches all that it writes: axes of which less than one pixel would be left are longer. */
static void keep_reachable(const convgen_problem *dual, convgen_problem *cut)
{
    for (int i = 0; i < 3; i++) {
        if (cut->in[i] > 1 || dual->in[i] == 1) continue;
        int64_t away = (dual->in[i] - 1) / dual->stride[i];
        cut->out[i] = dual->out[i] - away, cut->in[i] = dual->in[i] - away * dual->stride[i];
    }
}

bool cg_cut_down(const convgen_problem *p, int number, convgen_problem *out)
{
    convgen_problem c = cg_dual(p);
    if (!cut_down(&c, number, out)) return false;
    if (p->op == CONVGEN_TRANSPOSED) keep_reachable(&c, out);
    return legal(p, out);
}

/* Fewer channels, `least` or more, with what is beyond a multiple of the step, a tile's size times some number, as it is. The rest of
 * the factor is left. */
static int64_t fewer(int64_t channels, int64_t step, int64_t least, double *by)
{
    int64_t some = channels % step + step * (int64_t)((double)channels / *by / (double)step);
    while (some < least) some += step;
    if (some >= channels) return channels;
    *by *= (double)some / (double)channels;
    return some;
}

/* Pixels that are summed: fewer images, then fewer rows, first so that tiles that cover the whole cover these. The rest of the factor is left. */
static double fewer_pixels(convgen_problem *p, double by, int number)
{
    int64_t images = (int64_t)((double)p->batch / by);
    by /= (double)p->batch / (double)(images > 1 ? images : 1);
    p->batch = images > 1 ? images : 1;
    for (int i = 0; i < 3 && by > 1; i++) {
        int64_t all = p->out[i], length = shorter(p, i, by), least = 16 + (p->kernel[i] - 1) * p->dilation[i], any = (int64_t)((double)all / by);
        if (length == all || number > 0) length = (any > least ? any : least) - (number > 0 ? number - 1 : 0);
        if (length >= all || length < 1) continue;
        set_length(p, i, length);
        by /= (double)all / (double)length;
    }
    return by;
}

enum { SUMMED = 16, KEPT = 336 }; /* steps: of a vector; of tiles of 2, 3, 4, 6, 7, 8, 12, 14, 16, 21, 24 and 28 */
static const int64_t least_terms[] = {16, 130, 260, 520}; /* more than a chunk of a sum has, for schedules that have chunks */

static void cut_sums(const convgen_problem *p, double by, int number, convgen_problem *out)
{
    int64_t channels[2] = {p->in_channels / p->groups, p->out_channels / p->groups};
    bool weights = p->pass == CONVGEN_BACKWARD_WEIGHTS;
    int summed = p->pass == CONVGEN_BACKWARD_DATA;
    *out = *p;
    if (weights) by = fewer_pixels(out, by, number);
    else channels[summed] = fewer(channels[summed], SUMMED, least_terms[number], &by);
    for (int i = 0; i < 2 && by > 1; i++)
        if (weights || i != summed) channels[i] = fewer(channels[i], KEPT, 64, &by);
    set_channels(out, channels[0] * p->groups, channels[1] * p->groups);
    if (out->accuracy != CONVGEN_PROVEN) out->accuracy = CONVGEN_8X; /* a transform's error is larger where sums are short */
}

bool cg_cut_sums(const convgen_problem *p, double by, int number, convgen_problem *out)
{
    convgen_problem c = cg_dual(p);
    if (number >= (int)(sizeof least_terms / sizeof *least_terms)) return false;
    cut_sums(&c, by, number, out);
    return legal(p, out) && cg_problem_sizes(out).macs < cg_problem_sizes(p).macs;
}

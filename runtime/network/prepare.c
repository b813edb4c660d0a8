/* prepare.c: a convolution's weights, bias and slope, from the file's order and types to those of its problem.
 *
 * What follows a sum per channel (normalisation, a factor, a summand) is folded in: computed in double, rounded once. Rows of the result,
 * one for each tap and first channel, are gathered from pieces that are read in the order in which they lie. */
#include "network/network.h"
#include <math.h>
#include <string.h>

enum { PIECE = 256 }; /* elements that are read at a time of one row's element, at most */

/* ---- per channel ---- */

static double constant_at(const cg_constant *c, const void *file, int64_t channel)
{
    int64_t at = c->view.rank ? channel * c->view.strides[0] : 0;
    if (c->view.rank && c->view.dims[0] == 1) at = 0;
    return cg_get(cg_type_named(c->view.type), (const char *)file + c->offset, at);
}

static double operand_at(const cg_fold *f, int i, const void *file, int64_t channel)
{
    return f->operand[i].of.view.type[0] ? constant_at(&f->operand[i].of, file, channel) : f->operand[i].number;
}

/* y = scale * x + shift becomes what the step makes of y. */
static void fold(const cg_fold *f, const void *file, int64_t channel, double *scale, double *shift)
{
    double v = operand_at(f, 0, file, channel), factor = f->op == CG_FOLD_DIV ? 1 / v : v;
    if (f->op == CG_FOLD_ADD || f->op == CG_FOLD_SUB) {
        *shift += f->op == CG_FOLD_ADD ? v : -v;
        return;
    }
    if (f->op == CG_FOLD_BATCHNORM) {
        factor = v / sqrt(operand_at(f, 3, file, channel) + f->epsilon);
        *shift -= operand_at(f, 2, file, channel);
    }
    *scale *= factor;
    *shift *= factor;
    if (f->op == CG_FOLD_BATCHNORM) *shift += operand_at(f, 1, file, channel);
}

/* Factors of all channels, and their biases. */
static void fold_all(const convgen_problem *p, const cg_prepare *how, const void *file, double *scale, double *shift)
{
    for (int64_t c = 0; c < p->out_channels; c++) {
        scale[c] = 1;
        shift[c] = how->bias.view.type[0] ? constant_at(&how->bias, file, c) : 0;
        for (int i = 0; i < how->folds; i++) fold(&how->fold[i], file, c, &scale[c], &shift[c]);
    }
}

/* ---- weights ---- */

typedef struct weights_job {
    const convgen_problem *p;
    const cg_view *view;   /* taps, a, b */
    const char *from;      /* the file's first element of them */
    void *to;
    const double *scale;
    double *rows;          /* room of each thread: b times PIECE of them, and one row */
    int64_t taps, a, b;
    bool joined;           /* taps lie one behind the other, and behind those of an a the next one's */
} weights_job;

static int64_t tap_place(const cg_view *v, int64_t tap)
{
    int64_t at = 0;
    for (int i = v->rank - 3; i >= 0; i--) at += tap % v->dims[i] * v->strides[i], tap /= v->dims[i];
    return at;
}

static bool taps_are_joined(const cg_view *v, int64_t taps)
{
    int64_t step = 1;
    for (int i = v->rank - 3; i >= 0; step *= v->dims[i--])
        if (v->dims[i] > 1 && v->strides[i] != step) return false;
    return v->strides[v->rank - 2] == taps || v->dims[v->rank - 2] == 1;
}

/* The channel of the sums that an element goes into. */
static int64_t channel_of(const convgen_problem *p, int64_t a, int64_t b)
{
    if (p->op != CONVGEN_TRANSPOSED) return b;
    return b / (p->in_channels / p->groups) * (p->out_channels / p->groups) + a;
}

static void put_row(const weights_job *j, int64_t tap, int64_t a, double *row)
{
    for (int64_t b = 0; b < j->b; b++) row[b] *= j->scale[channel_of(j->p, a, b)];
    cg_types[j->p->type].write(j->to, (tap * j->a + a) * j->b, j->b, row);
}

/* Rows of one a, element by element or as one run. */
static void plain_rows(const weights_job *j, int64_t a, double *row)
{
    const cg_view *v = j->view;
    int64_t step = v->strides[v->rank - 1], first = a * v->strides[v->rank - 2];
    const cg_type_row *type = &cg_types[cg_type_named(v->type)];
    for (int64_t tap = 0; tap < j->taps; tap++) {
        int64_t at = first + tap_place(v, tap);
        if (step == 1) type->read(j->from, at, j->b, row);
        else
            for (int64_t b = 0; b < j->b; b++) type->read(j->from, at + b * step, 1, &row[b]);
        put_row(j, tap, a, row);
    }
}

/* Rows of as many a as a piece has taps of. */
static void joined_rows(const weights_job *j, int64_t a, int64_t count, double *rows)
{
    const cg_view *v = j->view;
    int64_t length = count * j->taps;
    double *row = rows + j->b * length;
    for (int64_t b = 0; b < j->b; b++)
        cg_types[cg_type_named(v->type)].read(j->from, b * v->strides[v->rank - 1] + a * j->taps, length, rows + b * length);
    for (int64_t i = 0; i < length; i++) {
        for (int64_t b = 0; b < j->b; b++) row[b] = rows[b * length + i];
        put_row(j, i % j->taps, a + i / j->taps, row);
    }
}

static void weights_share(void *task, long first, long last, int thread)
{
    const weights_job *j = task;
    double *rows = j->rows + (size_t)thread * (size_t)(j->b * (PIECE + 1));
    int64_t most = j->joined && j->taps <= PIECE ? 16 / j->taps > 1 ? 16 / j->taps : 1 : 0;
    for (int64_t a = first; a < last; a += most ? most : 1)
        if (most) joined_rows(j, a, last - a < most ? last - a : most, rows);
        else plain_rows(j, a, rows);
}

static cg_status put_weights(const weights_job *given, const cg_parallel *par)
{
    weights_job j = *given;
    size_t room;
    if (!cg_multiply((size_t)j.b * (PIECE + 1) * sizeof *j.rows, (size_t)par->threads, &room) || !(j.rows = cg_malloc(room)))
        return cg_fail(CONVGEN_NO_MEMORY, "no memory to prepare weights");
    cg_parallel_run(par, (long)j.a, weights_share, &j);
    cg_free(j.rows);
    return CONVGEN_OK;
}

/* What Lua says of the weights must be what the problem has. */
static cg_status check_view(const convgen_problem *p, const cg_view *v, int64_t *taps)
{
    bool transposed = p->op == CONVGEN_TRANSPOSED;
    int64_t a = transposed ? p->out_channels / p->groups : p->in_channels / p->groups, b = transposed ? p->in_channels : p->out_channels;
    *taps = 1;
    for (int i = 0; i + 2 < v->rank; i++) *taps *= v->dims[i];
    bool fits = v->rank >= 2 && *taps == p->kernel[0] * p->kernel[1] * p->kernel[2] && v->dims[v->rank - 2] == a && v->dims[v->rank - 1] == b;
    return fits ? CONVGEN_OK : cg_fail(CONVGEN_INTERNAL, "the weights' view is not that of the problem");
}

static void put_vectors(const convgen_problem *p, const cg_prepare *how, const void *file, const double *shift, const cg_prepared *to)
{
    if (to->bias) cg_types[p->type].write(to->bias, 0, p->out_channels, shift);
    for (int64_t c = 0; to->slope && c < p->out_channels; c++) cg_put(p->type, to->slope, c, constant_at(&how->slope, file, c));
}

cg_status cg_prepare_weights(const convgen_problem *p, const cg_prepare *how, const void *file, const cg_parallel *par, const cg_prepared *to)
{
    const cg_view *v = &how->weights.view;
    int64_t taps;
    cg_status status = check_view(p, v, &taps);
    if (status) return status;
    double *scale = cg_malloc(2 * (size_t)p->out_channels * sizeof *scale);
    if (!scale) return cg_fail(CONVGEN_NO_MEMORY, "no memory to prepare weights");
    double *shift = scale + p->out_channels;
    fold_all(p, how, file, scale, shift);
    put_vectors(p, how, file, shift, to);
    weights_job job = {.p = p, .view = v, .from = (const char *)file + how->weights.offset, .to = to->weights, .scale = scale, .taps = taps,
                       .a = v->dims[v->rank - 2], .b = v->dims[v->rank - 1], .joined = taps_are_joined(v, taps)};
    status = put_weights(&job, par);
    cg_free(scale);
    return status;
}

/* reference.c: the operations of a network that are no convolutions, in plain loops over views.
 *
 * One row an operation. All is computed in double, sums one after another; NaN is kept by max, min and everything built on them, and
 * argmax's is the first NaN. What attributes an operation has stands in gen/network/kernels.lua. */
#include "network/reference.h"
#include <math.h>
#include <string.h>

/* ---- elements ---- */

size_t cg_view_element(const cg_view *v) { return strcmp(v->type, "f32") ? 8 : 4; }

size_t cg_view_bytes(const cg_view *v)
{
    int64_t last = 0;
    for (int i = 0; i < v->rank; i++) {
        if (!v->dims[i]) return 0;
        last += (v->dims[i] - 1) * v->strides[i];
    }
    return (size_t)(last + 1) * cg_view_element(v);
}

bool cg_next_index(const cg_view *v, int64_t index[CG_RANK])
{
    for (int i = v->rank - 1; i >= 0; i--) {
        if (++index[i] < v->dims[i]) return true;
        index[i] = 0;
    }
    return false;
}

int64_t cg_view_at(const cg_view *v, const int64_t index[CG_RANK])
{
    int64_t at = 0;
    for (int i = 0; i < v->rank; i++) at += index[i] * v->strides[i];
    return at;
}

double cg_view_get(const cg_view *v, const void *data, const int64_t index[CG_RANK])
{
    int64_t at = cg_view_at(v, index);
    switch (v->type[0] == 'i' ? 'i' : v->type[1]) {
    case 'i': return (double)((const int64_t *)data)[at];
    case '3': return (double)((const float *)data)[at];
    default: return ((const double *)data)[at];
    }
}

/* An integer is cut towards zero; what is none, or beyond them, is the least one, as processors have it. */
static int64_t to_integer(double value) { return value >= -0x1p63 && value < 0x1p63 ? (int64_t)value : INT64_MIN; }

void cg_view_put(const cg_view *v, void *data, const int64_t index[CG_RANK], double value)
{
    int64_t at = cg_view_at(v, index);
    switch (v->type[0] == 'i' ? 'i' : v->type[1]) {
    case 'i': ((int64_t *)data)[at] = to_integer(value); return;
    case '3': ((float *)data)[at] = (float)value; return;
    default: ((double *)data)[at] = value;
    }
}

/* One operation's views and data. */
typedef struct job {
    const cg_operation *o;
    void *const *data;
} job;

static const cg_view *view(const job *j, int slot) { return &j->o->view[slot]; }
static double get(const job *j, int slot, const int64_t *index) { return cg_view_get(view(j, slot), j->data[slot], index); }
static void put(const job *j, const int64_t *index, double value) { cg_view_put(view(j, CG_OP_DST), j->data[CG_OP_DST], index, value); }

static double larger(double a, double b) { return isnan(a) || a > b ? a : b; }
static double smaller(double a, double b) { return isnan(a) || a < b ? a : b; }

/* Whether an axis is among the operation's. */
static bool among(const cg_integers *list, int axis)
{
    for (int i = 0; i < list->count; i++)
        if (list->at[i] == axis) return true;
    return false;
}

/* Steps to the next index of the axes of the operation; the others stay. */
static bool next_within(const job *j, const cg_view *v, int64_t *index)
{
    for (int i = v->rank - 1; i >= 0; i--) {
        if (!among(&j->o->axes, i)) continue;
        if (++index[i] < v->dims[i]) return true;
        index[i] = 0;
    }
    return false;
}

/* ---- element by element ---- */

static double step_operand(const job *j, const cg_step_operand *f, const int64_t *index, const double *results)
{
    if (f->kind == CG_OF_NUMBER) return f->value;
    return f->kind == CG_OF_STEP ? results[f->index - 1] : get(j, f->index, index);
}

static double neg(double x, const cg_step *s) { return (void)s, -x; }
static double absolute(double x, const cg_step *s) { return (void)s, fabs(x); }
static double root(double x, const cg_step *s) { return (void)s, sqrt(x); }
static double power(double x, const cg_step *s) { return pow(x, s->lo); }
static double elu(double x, const cg_step *s) { return x > 0 ? x : s->lo * expm1(x); }
static double softplus(double x, const cg_step *s) { return (void)s, larger(x, 0) + log1p(exp(-fabs(x))); }

static const struct unary {
    const char *name;
    double (*of)(double x, const cg_step *s);
} unary[] = {{"neg", neg}, {"abs", absolute}, {"sqrt", root}, {"pow", power}, {"elu", elu}, {"softplus", softplus}};

static double add(double a, double b) { return a + b; }
static double sub(double a, double b) { return a - b; }
static double mul(double a, double b) { return a * b; }
static double quotient(double a, double b) { return a / b; }

static const struct binary {
    const char *name;
    double (*of)(double a, double b);
} binary[] = {{"add", add}, {"sub", sub}, {"mul", mul}, {"div", quotient}, {"max", larger}, {"min", smaller}};

#define COUNT(list) ((int)(sizeof(list) / sizeof(list)[0]))

/* A function, or an activation, prelu too. False: there is none of that name. */
static bool other_step(const cg_step *s, double x, double slope, double *y)
{
    for (int i = 0; i < CG_FUNCTION_COUNT; i++)
        if (!strcmp(s->name, cg_math[i].name)) return *y = (double)cg_math[i].exact((long double)x), true;
    for (int a = CONVGEN_RELU; a < CG_ACTIVATION_COUNT; a++) {
        convgen_epilogue e = {.activation = (convgen_activation)a, .lo = s->lo, .hi = s->hi};
        if (strcmp(s->name, cg_activation_word(e.activation))) continue;
        *y = isnan(x) ? x : (double)cg_activation_exact(&e, CONVGEN_F64, slope, (long double)x);
        return true;
    }
    return false;
}

static bool step_value(const cg_step *s, const double *x, double *y)
{
    for (int i = 0; i < COUNT(unary); i++)
        if (!strcmp(s->name, unary[i].name)) return *y = unary[i].of(x[0], s), true;
    for (int i = 0; i < COUNT(binary); i++) {
        if (strcmp(s->name, binary[i].name)) continue;
        *y = x[0];
        for (int k = 1; k < s->count; k++) *y = binary[i].of(*y, x[k]);
        return true;
    }
    return other_step(s, x[0], s->count > 1 ? x[1] : 0, y);
}

static bool chain(const job *j)
{
    const cg_operation *o = j->o;
    int64_t index[CG_RANK] = {0};
    double results[CG_CHAIN], x[CG_STEP_OPERANDS];
    do {
        for (int i = 0; i < o->steps; i++) {
            for (int k = 0; k < o->step[i].count; k++) x[k] = step_operand(j, &o->step[i].operand[k], index, results);
            if (!step_value(&o->step[i], x, &results[i])) return false;
        }
        put(j, index, o->steps ? results[o->steps - 1] : get(j, CG_OP_SRC, index));
    } while (cg_next_index(view(j, CG_OP_DST), index));
    return true;
}

/* Bits are kept where types are the same. */
static bool copy(const job *j)
{
    const cg_view *from = view(j, CG_OP_SRC), *to = view(j, CG_OP_DST);
    int64_t index[CG_RANK] = {0};
    size_t size = cg_view_element(to);
    if (strcmp(from->type, to->type)) return chain(j);
    do {
        memcpy((char *)j->data[CG_OP_DST] + size * (size_t)cg_view_at(to, index),
               (const char *)j->data[CG_OP_SRC] + size * (size_t)cg_view_at(from, index), size);
    } while (cg_next_index(to, index));
    return true;
}

/* ---- windows ---- */

typedef struct sums {
    double sum, most;
    int64_t count;
} sums;

/* Adds tap `tap` of the output at `index`, which lies in the padding or not. */
static void add_tap(const job *j, const int64_t *index, const int64_t *tap, sums *s)
{
    const cg_operation *o = j->o;
    int64_t at[CG_RANK];
    memcpy(at, index, sizeof at);
    for (int i = 0; i < o->kernel.count; i++) {
        int64_t axis = o->axes.count ? o->axes.at[i] : i + 2;
        at[axis] = index[axis] * o->stride.at[i] - o->pad.at[i] + tap[i] * o->dilation.at[i];
        if (at[axis] < 0 || at[axis] >= view(j, CG_OP_SRC)->dims[axis]) return;
    }
    double x = get(j, CG_OP_SRC, at);
    s->sum += x, s->most = larger(x, s->most), s->count++;
}

static bool pool(const job *j)
{
    const cg_operation *o = j->o;
    cg_view taps = {.rank = o->kernel.count};
    if ((o->axes.count ? taps.rank != o->axes.count : taps.rank + 2 != view(j, CG_OP_SRC)->rank) || o->stride.count != taps.rank || o->pad.count != taps.rank || o->dilation.count != taps.rank) return false;
    int64_t index[CG_RANK] = {0}, all = 1;
    for (int i = 0; i < taps.rank; i++) all *= taps.dims[i] = o->kernel.at[i];
    do {
        int64_t tap[CG_RANK] = {0};
        sums s = {0, -INFINITY, 0};
        do add_tap(j, index, tap, &s);
        while (cg_next_index(&taps, tap));
        put(j, index, o->op[0] == 'm' ? s.most : s.sum / (double)(o->counted ? all : s.count));
    } while (cg_next_index(view(j, CG_OP_DST), index));
    return true;
}

/* ---- along axes ---- */

static sums sums_at(const job *j, const int64_t *index)
{
    int64_t at[CG_RANK];
    memcpy(at, index, sizeof at);
    sums s = {0, -INFINITY, 0};
    do {
        double x = get(j, CG_OP_SRC, at);
        s.sum += x, s.most = larger(x, s.most), s.count++;
    } while (next_within(j, view(j, CG_OP_SRC), at));
    return s;
}

static bool reduce(const job *j)
{
    int64_t index[CG_RANK] = {0};
    const char *what = j->o->op + strlen("reduce_");
    do {
        sums s = sums_at(j, index);
        put(j, index, !strcmp(what, "max") ? s.most : !strcmp(what, "sum") ? s.sum : s.sum / (double)s.count);
    } while (cg_next_index(view(j, CG_OP_DST), index));
    return true;
}

static bool argmax(const job *j)
{
    int64_t index[CG_RANK] = {0}, size = view(j, CG_OP_SRC)->dims[j->o->axes.at[0]];
    do {
        int64_t at[CG_RANK], best = 0;
        memcpy(at, index, sizeof at);
        double most = get(j, CG_OP_SRC, at);
        for (int64_t i = 1; i < size && !isnan(most); i++) {
            at[j->o->axes.at[0]] = i;
            double x = get(j, CG_OP_SRC, at);
            if (x > most || isnan(x)) most = x, best = i;
        }
        put(j, index, (double)best);
    } while (cg_next_index(view(j, CG_OP_DST), index));
    return true;
}

/* Calls with each index whose axes of the operation are 0: it has to make the elements along them. */
static void each_line(const job *j, void (*line)(const job *j, int64_t *index))
{
    int64_t index[CG_RANK] = {0};
    const cg_view *v = view(j, CG_OP_DST);
    do {
        bool first = true;
        for (int i = 0; i < v->rank; i++) first = first && !(among(&j->o->axes, i) && index[i]);
        if (first) line(j, index);
    } while (cg_next_index(v, index));
}

static void softmax_line(const job *j, int64_t *index)
{
    bool logarithm = j->o->op[0] == 'l';
    double most = sums_at(j, index).most, sum = 0;
    do sum += exp(get(j, CG_OP_SRC, index) - most);
    while (next_within(j, view(j, CG_OP_SRC), index));
    do {
        double x = get(j, CG_OP_SRC, index) - most;
        put(j, index, logarithm ? x - log(sum) : exp(x) / sum);
    } while (next_within(j, view(j, CG_OP_SRC), index));
}

static void norm_line(const job *j, int64_t *index)
{
    sums s = sums_at(j, index);
    double mean = s.sum / (double)s.count, squares = 0;
    do {
        double x = get(j, CG_OP_SRC, index) - mean;
        squares += x * x;
    } while (next_within(j, view(j, CG_OP_SRC), index));
    double deviation = sqrt(squares / (double)s.count + j->o->epsilon);
    do {
        double y = (get(j, CG_OP_SRC, index) - mean) / deviation;
        if (view(j, CG_OP_WEIGHTS)->type[0]) y *= get(j, CG_OP_WEIGHTS, index);
        if (view(j, CG_OP_RESIDUAL)->type[0]) y += get(j, CG_OP_RESIDUAL, index);
        put(j, index, y);
    } while (next_within(j, view(j, CG_OP_SRC), index));
}

static bool softmax(const job *j) { return each_line(j, softmax_line), true; }
static bool norm(const job *j) { return each_line(j, norm_line), true; }

/* ---- from other places ---- */

/* The place that an output of an axis is seen at, unclipped. */
static double seen(const job *j, int axis, int64_t at)
{
    double in = (double)view(j, CG_OP_SRC)->dims[axis], out = (double)view(j, CG_OP_DST)->dims[axis], i = (double)at;
    const char *how = j->o->coordinates;
    double factor = axis < j->o->factors.count ? j->o->factors.at[axis] : 0;
    if (!strcmp(how, "align_corners")) return out > 1 ? i * (in - 1) / (out - 1) : 0;
    if (factor > 0 && factor * in != out) { /* cut: the factor is another than that of the sizes */
        if (!strcmp(how, "asymmetric")) return i / factor;
        return !strcmp(how, "pytorch_half_pixel") && out == 1 ? 0 : (i + 0.5) / factor - 0.5;
    }
    if (!strcmp(how, "asymmetric")) return i * in / out;
    return !strcmp(how, "pytorch_half_pixel") && out == 1 ? 0 : ((2 * i + 1) * in - out) / (2 * out);
}

static double rounded(const char *how, double x)
{
    if (!strcmp(how, "floor")) return floor(x);
    if (!strcmp(how, "ceil")) return ceil(x);
    return strcmp(how, "round_prefer_ceil") ? ceil(x - 0.5) : floor(x + 0.5);
}

static double clipped(double x, int64_t size) { return fmin(fmax(x, 0), (double)(size - 1)); }

/* The sum of corners, from axis on. */
static double interpolated(const job *j, const int64_t *index, int64_t *at, int axis)
{
    const cg_view *from = view(j, CG_OP_SRC);
    if (axis == from->rank) return get(j, CG_OP_SRC, at);
    if (from->dims[axis] == view(j, CG_OP_DST)->dims[axis]) {
        at[axis] = index[axis];
        return interpolated(j, index, at, axis + 1);
    }
    double x = seen(j, axis, index[axis]);
    if (j->o->mode[0] == 'n') {
        at[axis] = (int64_t)clipped(rounded(j->o->rounding, x), from->dims[axis]);
        return interpolated(j, index, at, axis + 1);
    }
    x = clipped(x, from->dims[axis]);
    double low = floor(x), share = x - low;
    at[axis] = (int64_t)low;
    double a = interpolated(j, index, at, axis + 1);
    at[axis] = (int64_t)clipped(low + 1, from->dims[axis]);
    return a * (1 - share) + interpolated(j, index, at, axis + 1) * share;
}

static bool resize(const job *j)
{
    int64_t index[CG_RANK] = {0}, at[CG_RANK] = {0};
    do put(j, index, interpolated(j, index, at, 0));
    while (cg_next_index(view(j, CG_OP_DST), index));
    return true;
}

/* The place of a padded axis that is outside by some elements. */
static int64_t mirrored(int64_t at, int64_t size)
{
    while (at < 0 || at >= size) at = size == 1 ? 0 : at < 0 ? -at : 2 * (size - 1) - at;
    return at;
}

static bool pad(const job *j)
{
    const cg_view *from = view(j, CG_OP_SRC);
    int64_t index[CG_RANK] = {0}, at[CG_RANK] = {0};
    do {
        bool inside = true;
        for (int i = 0; i < from->rank; i++) {
            at[i] = index[i] - j->o->before.at[i];
            if (j->o->mode[0] == 'r') at[i] = mirrored(at[i], from->dims[i]);
            if (j->o->mode[0] == 'e') at[i] = (int64_t)clipped((double)at[i], from->dims[i]);
            inside = inside && at[i] >= 0 && at[i] < from->dims[i];
        }
        put(j, index, inside ? get(j, CG_OP_SRC, at) : j->o->value);
    } while (cg_next_index(view(j, CG_OP_DST), index));
    return true;
}

static bool gather(const job *j)
{
    int axis = (int)j->o->axes.at[0];
    int64_t index[CG_RANK] = {0}, at[CG_RANK], size = view(j, CG_OP_SRC)->dims[axis];
    do {
        int64_t which[CG_RANK] = {index[axis]};
        memcpy(at, index, sizeof at);
        int64_t i = j->o->indices.count ? j->o->indices.at[which[0]] : (int64_t)get(j, CG_OP_WEIGHTS, which);
        at[axis] = (int64_t)clipped((double)(i < 0 ? i + size : i), size);
        put(j, index, get(j, CG_OP_SRC, at));
    } while (cg_next_index(view(j, CG_OP_DST), index));
    return true;
}

static bool matmul(const job *j)
{
    int64_t index[CG_RANK] = {0};
    int rank = view(j, CG_OP_DST)->rank;
    if (rank < 2) return false;
    do {
        int64_t a[CG_RANK], b[CG_RANK];
        double sum = 0;
        memcpy(a, index, sizeof a), memcpy(b, index, sizeof b);
        for (int64_t k = 0; k < view(j, CG_OP_SRC)->dims[rank - 1]; k++) {
            a[rank - 1] = b[rank - 2] = k;
            sum += get(j, CG_OP_SRC, a) * get(j, CG_OP_WEIGHTS, b);
        }
        put(j, index, sum);
    } while (cg_next_index(view(j, CG_OP_DST), index));
    return true;
}

/* ---- all ---- */

static const struct row {
    const char *op;
    bool (*run)(const job *j);
} rows[] = {
    {"copy", copy},           {"chain", chain},           {"maxpool", pool},    {"avgpool", pool},      {"reduce_sum", reduce},
    {"reduce_mean", reduce},  {"reduce_max", reduce},     {"argmax", argmax},   {"softmax", softmax},   {"logsoftmax", softmax},
    {"instancenorm", norm},   {"layernorm", norm},        {"resize", resize},   {"pad", pad},           {"gather", gather},
    {"matmul", matmul},
};

cg_status cg_operation_reference(const cg_operation *o, void *const data[CG_SLOTS])
{
    job j = {o, data};
    for (int i = 0; i < o->view[CG_OP_DST].rank; i++)
        if (!o->view[CG_OP_DST].dims[i]) return CONVGEN_OK;
    for (int i = 0; i < COUNT(rows); i++)
        if (!strcmp(rows[i].op, o->op)) {
            if (rows[i].run(&j)) return CONVGEN_OK;
            return cg_fail(CONVGEN_UNSUPPORTED, "%s: its attributes or steps do not fit its views", o->op);
        }
    return cg_fail(CONVGEN_UNSUPPORTED, "no reference is there for %s", o->op);
}

/* check.c: whether each operation of a network does what it says, where it stands: on the operands that the run gives it.
 *
 * The answer is that of plain loops: a convolution's by the library's reference, any other one's by reference.c. So a kernel that is wrong
 * is found, and so is an operand in a wrong place. Limit: weights are prepared by the same code that the network is opened with. */
#include "network/network.h"
#include <math.h>
#include <string.h>

static const double terms_of_a_check = 5e7; /* of one convolution's outputs that are looked at */
/* Of elements that are no sums of convolutions: roundings of the result. What is in a wrong place, or not there, is far beyond. */
static const double roundings = 1024;

/* ---- convolutions on dense copies of what they read ---- */

typedef struct cg_dense {
    cg_operands o;
    void *weights, *bias, *slope, *src, *residual, *dst;
} cg_dense;

static void free_dense(cg_dense *d)
{
    void *const all[] = {d->weights, d->bias, d->slope, d->src, d->residual, d->dst};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cg_free(all[i]);
}

static size_t dense_bytes(const convgen_problem *p, int tensor)
{
    size_t bytes[CG_TENSORS];
    convgen_problem dense = cg_problem_dense(p);
    cg_tensor_bytes(&dense, bytes);
    return bytes[tensor];
}

/* Between a tensor as it lies in the network and a dense one. */
static void move_pixels(const convgen_problem *p, int tensor, char *lying, char *dense, bool collect)
{
    cg_pixels x = cg_tensor_pixels(p, tensor);
    for (int64_t i = 0; i < x.count; i++, lying += x.apart, dense += x.bytes) {
        if (collect) memcpy(dense, lying, x.bytes);
        else memcpy(lying, dense, x.bytes);
    }
}

static void *collected(const convgen_problem *p, int tensor, void *lying)
{
    void *dense = cg_aligned(dense_bytes(p, tensor));
    if (dense) move_pixels(p, tensor, lying, dense, true);
    return dense;
}

static cg_status make_dense(const convgen_network *n, int i, const void *file, void *const at[CG_SLOTS], cg_dense *d)
{
    const convgen_problem *p = &n->runs[i].problem;
    bool residual = p->epilogue.residual, slope = p->epilogue.activation == CONVGEN_PRELU;
    *d = (cg_dense){.weights = cg_aligned(dense_bytes(p, CG_WEIGHTS)), .src = collected(p, CG_SRC, at[CG_OP_SRC]),
                    .dst = cg_aligned(dense_bytes(p, CG_DST)), .bias = cg_aligned(dense_bytes(p, CG_BIAS)), .slope = cg_aligned(dense_bytes(p, CG_BIAS)),
                    .residual = residual ? collected(p, CG_RESIDUAL, at[CG_OP_RESIDUAL]) : NULL};
    if (!d->weights || !d->src || !d->dst || !d->bias || !d->slope || (residual && !d->residual))
        return cg_fail(CONVGEN_NO_MEMORY, "no memory to check %s", n->plan.at[i].name);
    d->o = (cg_operands){{{.src = d->src, .weights = d->weights, .bias = p->bias ? d->bias : NULL, .dst = d->dst, .residual = d->residual,
                           .slope = slope ? d->slope : NULL}}, {0}};
    return cg_prepare_weights(p, n->plan.at[i].prepare, file, &n->context->parallel, &(cg_prepared){d->weights, d->o.bias, d->o.slope});
}

static void judge_convolution(const convgen_network *n, int i, const cg_measure *m, cg_checked *out)
{
    const cg_runs *r = &n->runs[i];
    convgen_figures got = cg_meter_read(&m->got), loop = cg_meter_read(&m->loop);
    double budget = 2 * cg_budget(r->problem.accuracy);
    bool sums = r->kernel->source.chains > 0;
    out->normwise = got.normwise;
    out->vs_loop = loop.normwise > 0 ? got.normwise / loop.normwise : NAN;
    out->of_bound = sums ? got.of_bound : NAN;
    out->wrong = sums ? !(got.of_bound <= 1) : !(got.normwise <= budget * loop.normwise);
    if (out->wrong && sums) snprintf(out->why, sizeof out->why, "its error is %.3g times the bound of its sums", got.of_bound);
    else if (out->wrong) snprintf(out->why, sizeof out->why, "its error is %.3g times the plain loop's, allowed is %.3g", out->vs_loop, budget);
}

static cg_status check_convolution(const convgen_network *n, int i, const void *file, const cg_network_memory *m, cg_checked *out)
{
    const convgen_problem *p = &n->runs[i].problem;
    void *at[CG_SLOTS];
    cg_dense d;
    cg_measure measure;
    cg_network_operands(n, i, m, at);
    cg_status status = make_dense(n, i, file, at, &d);
    if (!status) {
        cg_network_run_one(n, i, m);
        move_pixels(p, CG_DST, at[CG_OP_DST], d.dst, true);
        cg_spread s = cg_spread_over(cg_output_elements(p, false), cg_reference_terms(p, false), terms_of_a_check, 0x1p40);
        status = cg_measure_outputs(p, &d.o, false, &s, d.dst, &measure);
    }
    if (!status) judge_convolution(n, i, &measure, out);
    free_dense(&d);
    return status;
}

/* ---- any other operation ---- */

/* The same with a dense result in f64; its view, and memory for it. */
static cg_status expect(const cg_operation *o, void *const at[CG_SLOTS], cg_view *view, void **out)
{
    cg_operation *exact = cg_malloc(sizeof *exact);
    void *data[CG_SLOTS];
    int64_t step = 1;
    *view = o->view[CG_OP_DST];
    strcpy(view->type, cg_types[CONVGEN_F64].name);
    for (int i = view->rank - 1; i >= 0; step *= view->dims[i--]) view->strides[i] = step;
    *out = cg_aligned((size_t)step * sizeof(double));
    if (!exact || !*out) {
        cg_free(exact);
        return cg_fail(CONVGEN_NO_MEMORY, "no memory to check an operation");
    }
    *exact = *o;
    exact->view[CG_OP_DST] = *view;
    memcpy(data, at, sizeof data);
    data[CG_OP_DST] = *out;
    cg_status status = cg_operation_reference(exact, data);
    cg_free(exact);
    return status;
}

typedef struct cg_norms {
    double error2, exact2;
    bool apart; /* one is a NaN or an infinity that the other is not */
} cg_norms;

static void add_pair(cg_norms *s, double got, double exact)
{
    bool same = got == exact || (isnan(got) && isnan(exact));
    if (same && !isfinite(exact)) return;
    if (!isfinite(got) || !isfinite(exact)) s->apart = true;
    s->error2 += same ? 0 : (got - exact) * (got - exact);
    s->exact2 += exact * exact;
}

static double normwise(const cg_norms *s) { return s->error2 == 0 ? 0 : s->exact2 > 0 ? sqrt(s->error2 / s->exact2) : INFINITY; }

/* In f32 an exact value beyond its largest is infinite. */
static double as_stored(const cg_view *v, double exact)
{
    convgen_type type = cg_type_named(v->type);
    return type == CONVGEN_I64 ? trunc(exact) : fabs(exact) > 3e38 ? cg_rounded(type, exact) : exact;
}

static void compare(const cg_view *got_view, const void *got, const cg_view *view, const void *exact, cg_checked *out)
{
    int64_t index[CG_RANK] = {0};
    cg_norms s = {0};
    do add_pair(&s, cg_view_get(got_view, got, index), as_stored(got_view, cg_view_get(view, exact, index)));
    while (cg_next_index(view, index));
    convgen_type type = cg_type_named(got_view->type);
    double allowed = type == CONVGEN_I64 ? 0 : roundings * ldexp(1, -cg_types[type].digits);
    out->normwise = normwise(&s);
    out->vs_loop = out->of_bound = NAN;
    out->wrong = s.apart || !(out->normwise <= allowed);
    if (s.apart) snprintf(out->why, sizeof out->why, "it has a NaN or an infinity where the plain loop has none, or the other way round");
    else if (out->wrong) snprintf(out->why, sizeof out->why, "its normwise error is %.3g, allowed is %.3g", out->normwise, allowed);
}

static bool is_empty(const cg_view *v)
{
    for (int i = 0; i < v->rank; i++)
        if (!v->dims[i]) return true;
    return false;
}

static cg_status check_other(const convgen_network *n, int i, const cg_network_memory *m, cg_checked *out)
{
    const cg_operation *o = n->plan.at[i].operation;
    void *at[CG_SLOTS], *exact = NULL;
    cg_view view;
    if (is_empty(&o->view[CG_OP_DST])) return CONVGEN_OK;
    cg_network_operands(n, i, m, at);
    cg_status status = expect(o, at, &view, &exact);
    if (!status) cg_network_run_one(n, i, m);
    if (!status) compare(&o->view[CG_OP_DST], at[CG_OP_DST], &view, exact, out);
    cg_free(exact);
    return status;
}

cg_status cg_network_check_one(const convgen_network *n, int operation, const void *file, const cg_network_memory *m, cg_checked *out)
{
    *out = (cg_checked){.normwise = NAN, .vs_loop = NAN, .of_bound = NAN};
    return n->plan.at[operation].problem ? check_convolution(n, operation, file, m, out) : check_other(n, operation, m, out);
}

/* ---- all in plain loops ---- */

static cg_status loop_convolution(const convgen_network *n, int i, const void *file, void *const at[CG_SLOTS])
{
    const convgen_problem *p = &n->runs[i].problem;
    cg_dense d;
    cg_status status = make_dense(n, i, file, at, &d);
    if (!status) status = cg_reference(p, &d.o, CG_LOOP, 1, (cg_outputs){.count = cg_output_elements(p, false)}, d.dst);
    if (!status) move_pixels(p, CG_DST, at[CG_OP_DST], d.dst, false);
    free_dense(&d);
    return status;
}

/* Through a copy, since a result may stand where an operand was. */
static cg_status loop_other(const convgen_network *n, int i, void *const at[CG_SLOTS])
{
    const cg_operation *o = n->plan.at[i].operation;
    const cg_view *to = &o->view[CG_OP_DST];
    int64_t index[CG_RANK] = {0};
    void *exact = NULL;
    cg_view view;
    if (is_empty(to)) return CONVGEN_OK;
    cg_status status = expect(o, at, &view, &exact);
    if (!status) do cg_view_put(to, at[CG_OP_DST], index, cg_view_get(&view, exact, index));
        while (cg_next_index(&view, index));
    cg_free(exact);
    return status;
}

cg_status cg_network_run_plainly(const convgen_network *n, const void *file, const cg_network_memory *m)
{
    cg_status status = CONVGEN_OK;
    for (int i = 0; i < n->plan.count && !status; i++) {
        void *at[CG_SLOTS];
        cg_network_operands(n, i, m, at);
        status = n->plan.at[i].problem ? loop_convolution(n, i, file, at) : loop_other(n, i, at);
    }
    return status;
}

static double element(const convgen_port *p, const void *data, int64_t i)
{
    return p->type == CONVGEN_I64 ? (double)((const int64_t *)data)[i] : cg_get(p->type, data, i);
}

double cg_network_distance(const convgen_port *a_port, const void *a, const convgen_port *b_port, const void *b)
{
    cg_norms s = {0};
    int64_t count = cg_port_bytes(a_port) / (int64_t)cg_type_bytes(a_port->type);
    for (int64_t i = 0; i < count; i++) add_pair(&s, element(a_port, a, i), element(b_port, b, i));
    return s.apart ? INFINITY : normwise(&s);
}

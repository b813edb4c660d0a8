/* onednn.c: oneDNN's convolutions as contestants; the only file that sees dnnl.h.
 *
 * Three variants: blocked or whatever layout it likes best (any), activations in the problem's own layout (weights always
 * as it likes), and its Winograd where it has one. Reorders are done in load and fetch, not timed.
 * Limit: f32; no residual. What oneDNN does not have does not take part. */
#include "contest.h"
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

enum { ANY, PLAIN, WINOGRAD };

typedef struct peer {
    const task *t;
    int variant;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    dnnl_memory_t user[SLOTS], own[SLOTS]; /* the same one where it works in place */
    dnnl_exec_arg_t args[SLOTS];
    int arg_count;
} peer;

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static const struct {
    dnnl_query_t query;
    int index, arg;
} slots[3][SLOTS] = {
    [CONVGEN_FORWARD] = {{dnnl_query_src_md, 0, DNNL_ARG_SRC}, {dnnl_query_weights_md, 0, DNNL_ARG_WEIGHTS},
                         {dnnl_query_weights_md, 1, DNNL_ARG_BIAS}, {dnnl_query_dst_md, 0, DNNL_ARG_DST}},
    [CONVGEN_BACKWARD_DATA] = {{dnnl_query_diff_src_md, 0, DNNL_ARG_DIFF_SRC}, {dnnl_query_weights_md, 0, DNNL_ARG_WEIGHTS},
                               {dnnl_query_weights_md, 1, DNNL_ARG_BIAS}, {dnnl_query_diff_dst_md, 0, DNNL_ARG_DIFF_DST}},
    [CONVGEN_BACKWARD_WEIGHTS] = {{dnnl_query_src_md, 0, DNNL_ARG_SRC},
                                  {dnnl_query_diff_weights_md, 0, DNNL_ARG_DIFF_WEIGHTS},
                                  {dnnl_query_diff_weights_md, 1, DNNL_ARG_DIFF_BIAS},
                                  {dnnl_query_diff_dst_md, 0, DNNL_ARG_DIFF_DST}},
};

static bool volume(const task *t) { return t->p.in[0] > 1 || t->p.out[0] > 1 || t->p.kernel[0] > 1; }

/* Dense tensor: leading dimensions, then the spatial ones; `order` names dimensions from the slowest to the fastest. */
static dnnl_memory_desc_t dense(int n, const dnnl_dims_t dims, const int *order)
{
    dnnl_memory_desc_t md;
    dnnl_dims_t strides = {0};
    dnnl_dim_t step = 1;
    for (int i = n - 1; i >= 0; i--) {
        strides[order[i]] = step;
        step *= dims[order[i]];
    }
    dnnl_memory_desc_init_by_strides(&md, n, dims, dnnl_f32, strides);
    return md;
}

/* Activations [n, c, spatial]; weights [g, o, i, spatial], without g where there is one group. */
static dnnl_memory_desc_t user_desc(const task *t, int slot)
{
    const convgen_problem *p = &t->p;
    bool last = p->layout == CONVGEN_NHWC, grouped = p->groups > 1;
    const int64_t *space = slot == SRC ? p->in : slot == DST ? p->out : p->kernel;
    dnnl_dims_t dims = {p->out_channels};
    int n = 0, order[6] = {0}, at = 0;
    if (slot == BIAS) return dense(1, dims, order);
    if (slot == WEIGHTS) {
        if (grouped) dims[n++] = p->groups;
        dims[n++] = p->out_channels / p->groups, dims[n++] = p->in_channels / p->groups;
    } else
        dims[n++] = p->batch, dims[n++] = slot == SRC ? p->in_channels : p->out_channels;
    int lead = n;
    for (int i = volume(t) ? 0 : 1; i < 3; i++) dims[n++] = space[i];
    if (slot != WEIGHTS) order[at++] = 0;
    if (!last) /* n, c, spatial; g, o, i, spatial */
        for (int i = slot == WEIGHTS ? 0 : 1; i < lead; i++) order[at++] = i;
    for (int i = lead; i < n; i++) order[at++] = i;
    if (last && slot == WEIGHTS) { /* spatial, i, g, o */
        order[at++] = lead - 1;
        for (int i = 0; i < lead - 1; i++) order[at++] = i;
    } else if (last)
        order[at++] = 1;
    return dense(n, dims, order);
}

static dnnl_memory_desc_t wanted_desc(const peer *k, int slot)
{
    dnnl_memory_desc_t md = user_desc(k->t, slot), any;
    if (slot == BIAS || (k->variant == PLAIN && slot != WEIGHTS)) return md;
    dnnl_memory_desc_init_by_tag(&any, md.ndims, md.dims, dnnl_f32, dnnl_format_tag_any);
    return any;
}

static dnnl_primitive_attr_t epilogue(const convgen_problem *p)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    const convgen_epilogue *e = &p->epilogue;
    dnnl_primitive_attr_create(&attr);
    if (p->pass != CONVGEN_FORWARD || e->activation == CONVGEN_NONE) return attr;
    dnnl_post_ops_create(&ops);
    if (e->activation == CONVGEN_RELU) dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0);
    else dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_clip, (float)e->lo, (float)e->hi);
    dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
    return attr;
}

static bool describe(peer *k, convgen_pass pass, dnnl_prop_kind_t prop, dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out)
{
    const convgen_problem *p = &k->t->p;
    dnnl_memory_desc_t md[SLOTS], *bias = k->t->count[BIAS] ? &md[BIAS] : NULL;
    dnnl_alg_kind_t alg = k->variant == WINOGRAD ? dnnl_convolution_winograd : dnnl_convolution_direct;
    dnnl_dims_t stride, dilation, left, right;
    dnnl_convolution_desc_t cd;
    dnnl_status_t bad;
    for (int i = 0; i < SLOTS; i++) md[i] = wanted_desc(k, i);
    for (int i = volume(k->t) ? 0 : 1, n = 0; i < 3; i++, n++) {
        int64_t over = (p->out[i] - 1) * p->stride[i] + (p->kernel[i] - 1) * p->dilation[i] + 1 - p->in[i] - p->pad[i];
        stride[n] = p->stride[i], dilation[n] = p->dilation[i] - 1, left[n] = p->pad[i];
        right[n] = over > 0 ? over : 0; /* a stride may leave trailing pixels unread */
    }
    if (pass == CONVGEN_FORWARD)
        bad = dnnl_dilated_convolution_forward_desc_init(&cd, prop, alg, &md[SRC], &md[WEIGHTS], bias, &md[DST], stride,
                                                         dilation, left, right);
    else if (pass == CONVGEN_BACKWARD_DATA)
        bad = dnnl_dilated_convolution_backward_data_desc_init(&cd, alg, &md[SRC], &md[WEIGHTS], &md[DST], stride, dilation,
                                                               left, right);
    else
        bad = dnnl_dilated_convolution_backward_weights_desc_init(&cd, alg, &md[SRC], &md[WEIGHTS], bias, &md[DST], stride,
                                                                  dilation, left, right);
    if (bad) return false;
    dnnl_primitive_attr_t attr = epilogue(p);
    bad = dnnl_primitive_desc_create(out, &cd, attr, engine, hint);
    dnnl_primitive_attr_destroy(attr);
    return !bad;
}

static bool describe_pass(peer *k)
{
    dnnl_primitive_desc_t hint = NULL;
    if (k->t->p.pass == CONVGEN_FORWARD) return describe(k, CONVGEN_FORWARD, dnnl_forward_inference, NULL, &k->pd);
    bool good = describe(k, CONVGEN_FORWARD, dnnl_forward_training, NULL, &hint)
             && describe(k, k->t->p.pass, dnnl_backward, hint, &k->pd);
    if (hint) dnnl_primitive_desc_destroy(hint);
    return good;
}

static bool attach(peer *k, int slot)
{
    convgen_pass pass = k->t->p.pass;
    dnnl_memory_desc_t user = user_desc(k->t, slot);
    const dnnl_memory_desc_t *own = dnnl_primitive_desc_query_md(k->pd, slots[pass][slot].query, slots[pass][slot].index);
    if (!own || dnnl_memory_create(&k->user[slot], &user, engine, k->t->at[slot])) return false;
    if (dnnl_memory_desc_equal(own, &user)) k->own[slot] = k->user[slot];
    else if (dnnl_memory_create(&k->own[slot], own, engine, DNNL_MEMORY_ALLOCATE)) return false;
    k->args[k->arg_count++] = (dnnl_exec_arg_t){slots[pass][slot].arg, k->own[slot]};
    return true;
}

static void peer_free(void *state)
{
    peer *k = state;
    for (int i = 0; i < SLOTS; i++) {
        if (k->own[i] && k->own[i] != k->user[i]) dnnl_memory_destroy(k->own[i]);
        if (k->user[i]) dnnl_memory_destroy(k->user[i]);
    }
    if (k->primitive) dnnl_primitive_destroy(k->primitive);
    if (k->pd) dnnl_primitive_desc_destroy(k->pd);
    free(k);
}

static void *peer_make(const task *t, int variant)
{
    peer *k = calloc(1, sizeof *k);
    if (!k || t->p.type != CONVGEN_F32 || t->p.epilogue.residual) return free(k), NULL;
    if (!engine && (dnnl_engine_create(&engine, dnnl_cpu, 0) || dnnl_stream_create(&stream, engine, dnnl_stream_default_flags)))
        return free(k), NULL;
    k->t = t, k->variant = variant;
    bool good = describe_pass(k) && !dnnl_primitive_create(&k->primitive, k->pd);
    for (int i = 0; i < SLOTS && good; i++) good = !t->count[i] || attach(k, i);
    return good ? k : (peer_free(k), NULL);
}

static void reorder(dnnl_memory_t from, dnnl_memory_t to)
{
    const dnnl_memory_desc_t *a, *b;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t r;
    dnnl_memory_get_memory_desc(from, &a), dnnl_memory_get_memory_desc(to, &b);
    if (dnnl_reorder_primitive_desc_create(&pd, a, engine, b, engine, NULL)) return; /* the comparison will tell */
    if (!dnnl_primitive_create(&r, pd)) {
        dnnl_primitive_execute(r, stream, 2, (dnnl_exec_arg_t[]){{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
        dnnl_stream_wait(stream);
        dnnl_primitive_destroy(r);
    }
    dnnl_primitive_desc_destroy(pd);
}

static void peer_load(void *state)
{
    peer *k = state;
    for (int i = 0; i < SLOTS; i++)
        if (k->own[i] != k->user[i] && !output_slot(k->t, i)) reorder(k->user[i], k->own[i]);
}

static void peer_fetch(void *state)
{
    peer *k = state;
    for (int i = 0; i < SLOTS; i++)
        if (k->own[i] != k->user[i] && output_slot(k->t, i)) reorder(k->own[i], k->user[i]);
}

static void peer_run(void *state)
{
    peer *k = state;
    dnnl_primitive_execute(k->primitive, stream, k->arg_count, k->args);
    dnnl_stream_wait(stream);
}

static const char *peer_how(void *state)
{
    const char *name = NULL;
    dnnl_primitive_desc_query(((peer *)state)->pd, dnnl_query_impl_info_str, 0, &name);
    return name;
}

#define PEER peer_make, peer_load, peer_run, peer_fetch, peer_how, peer_free
const contestant onednn_any = {"onednn.any", ANY, false, PEER};
const contestant onednn_plain = {"onednn.plain", PLAIN, false, PEER};
const contestant onednn_winograd = {"onednn.winograd", WINOGRAD, true, PEER};

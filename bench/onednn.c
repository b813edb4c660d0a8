/* onednn.c: oneDNN's convolutions and deconvolutions as contestants; the only file that sees dnnl.h.
 *
 * Three variants: blocked or whatever layout it likes best (any), activations in the problem's own layout (weights always
 * as it likes), and its Winograd where it has one. Reorders are done in load and fetch, not timed.
 * It is compiled for the oneDNN of this system, and once more, as a module, for that of Debian's unstable release (bench/onednn3), whose
 * interface is another one: what differs stands in the first section.
 * Limit: f32; no residual; activations whose results on integers are exact. What oneDNN does not have does not take part. */
#include "contest.h"
#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

/* ---- what differs between the versions ---- */

typedef struct spaces {
    dnnl_dims_t stride, dilation, left, right;
} spaces;

#if DNNL_VERSION_MAJOR >= 3 /* descriptions are handles, and nothing stands between them and a primitive's */
typedef const_dnnl_memory_desc_t reference;
#define OF(md) (md)
#define describe_strides dnnl_memory_desc_create_with_strides
#define describe_tag dnnl_memory_desc_create_with_tag
#define release(md) dnnl_memory_desc_destroy(md)
#define append_eltwise(ops, kind, a, b) dnnl_post_ops_append_eltwise(ops, kind, a, b)

#define PRIMITIVE_DESC(kind)                                                                                                          \
    static dnnl_status_t kind##_desc(dnnl_primitive_desc_t *out, convgen_pass pass, dnnl_prop_kind_t prop, dnnl_alg_kind_t alg,         \
                                     const dnnl_memory_desc_t *md, bool bias, const spaces *s, dnnl_primitive_desc_t hint,              \
                                     dnnl_primitive_attr_t attr, dnnl_engine_t engine)                                                 \
    {                                                                                                                                  \
        if (pass == CONVGEN_FORWARD)                                                                                                   \
            return dnnl_##kind##_forward_primitive_desc_create(out, engine, prop, alg, md[SRC], md[WEIGHTS], bias ? md[BIAS] : NULL,   \
                                                               md[DST], s->stride, s->dilation, s->left, s->right, attr);              \
        if (pass == CONVGEN_BACKWARD_DATA)                                                                                             \
            return dnnl_##kind##_backward_data_primitive_desc_create(out, engine, alg, md[SRC], md[WEIGHTS], md[DST], s->stride,       \
                                                                     s->dilation, s->left, s->right, hint, attr);                      \
        return dnnl_##kind##_backward_weights_primitive_desc_create(out, engine, alg, md[SRC], md[WEIGHTS], bias ? md[BIAS] : NULL,    \
                                                                    md[DST], s->stride, s->dilation, s->left, s->right, hint, attr);   \
    }
#else
typedef const dnnl_memory_desc_t *reference;
#define OF(md) (&(md))
#define describe_strides dnnl_memory_desc_init_by_strides
#define describe_tag dnnl_memory_desc_init_by_tag
#define release(md) ((void)(md))
#define append_eltwise(ops, kind, a, b) dnnl_post_ops_append_eltwise(ops, 1, kind, a, b)

#define PRIMITIVE_DESC(kind)                                                                                                          \
    static dnnl_status_t kind##_desc(dnnl_primitive_desc_t *out, convgen_pass pass, dnnl_prop_kind_t prop, dnnl_alg_kind_t alg,         \
                                     const dnnl_memory_desc_t *md, bool bias, const spaces *s, dnnl_primitive_desc_t hint,              \
                                     dnnl_primitive_attr_t attr, dnnl_engine_t engine)                                                 \
    {                                                                                                                                  \
        const dnnl_memory_desc_t *bias_md = bias ? &md[BIAS] : NULL;                                                                   \
        dnnl_##kind##_desc_t cd;                                                                                                       \
        dnnl_status_t bad;                                                                                                             \
        if (pass == CONVGEN_FORWARD)                                                                                                   \
            bad = dnnl_dilated_##kind##_forward_desc_init(&cd, prop, alg, &md[SRC], &md[WEIGHTS], bias_md, &md[DST], s->stride,        \
                                                          s->dilation, s->left, s->right);                                            \
        else if (pass == CONVGEN_BACKWARD_DATA)                                                                                        \
            bad = dnnl_dilated_##kind##_backward_data_desc_init(&cd, alg, &md[SRC], &md[WEIGHTS], &md[DST], s->stride, s->dilation,    \
                                                                s->left, s->right);                                                   \
        else                                                                                                                           \
            bad = dnnl_dilated_##kind##_backward_weights_desc_init(&cd, alg, &md[SRC], &md[WEIGHTS], bias_md, &md[DST], s->stride,     \
                                                                   s->dilation, s->left, s->right);                                   \
        return bad ? bad : dnnl_primitive_desc_create(out, &cd, attr, engine, hint);                                                   \
    }
#endif

PRIMITIVE_DESC(convolution)
PRIMITIVE_DESC(deconvolution)

/* ---- the contestants ---- */

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

/* Dense tensor: leading dimensions, then the spatial ones; `order` names dimensions from the slowest to the fastest. NULL: as oneDNN likes. */
static dnnl_memory_desc_t dense(int n, const dnnl_dims_t dims, const int *order)
{
    dnnl_memory_desc_t md;
    dnnl_dims_t strides = {0};
    dnnl_dim_t step = 1;
    if (!order) return describe_tag(&md, n, dims, dnnl_f32, dnnl_format_tag_any), md;
    for (int i = n - 1; i >= 0; i--) {
        strides[order[i]] = step;
        step *= dims[order[i]];
    }
    describe_strides(&md, n, dims, dnnl_f32, strides);
    return md;
}

/* Activations [n, c, spatial]; weights [g, o, i, spatial], without g where there is one group. */
static dnnl_memory_desc_t tensor_desc(const task *t, int slot, bool any)
{
    const convgen_problem *p = &t->p;
    bool last = p->layout == CONVGEN_NHWC, grouped = p->groups > 1, turned = slot == WEIGHTS && p->op == CONVGEN_TRANSPOSED;
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
    if (!last && turned) order[at - 2] = lead - 1, order[at - 1] = lead - 2; /* g, i, o, spatial */
    for (int i = lead; i < n; i++) order[at++] = i;
    if (last && slot == WEIGHTS) { /* spatial, i, g, o */
        order[at++] = turned ? lead - 2 : lead - 1; /* transposed: spatial, o, g, i */
        for (int i = 0; i < lead - 2; i++) order[at++] = i;
        order[at++] = turned ? lead - 1 : lead - 2;
    } else if (last)
        order[at++] = 1;
    return dense(n, dims, any ? NULL : order);
}

static dnnl_memory_desc_t user_desc(const task *t, int slot) { return tensor_desc(t, slot, false); }

static dnnl_memory_desc_t wanted_desc(const peer *k, int slot)
{
    return tensor_desc(k->t, slot, slot == WEIGHTS || (slot != BIAS && k->variant != PLAIN));
}

/* The activations that both compute exactly on integers. */
static bool eltwise(const convgen_epilogue *e, dnnl_alg_kind_t *kind, float *a, float *b)
{
    *kind = e->activation == CONVGEN_CLAMP ? dnnl_eltwise_clip : dnnl_eltwise_relu;
    *a = e->activation == CONVGEN_RELU ? 0 : (float)e->lo, *b = (float)e->hi;
    return e->activation == CONVGEN_RELU || e->activation == CONVGEN_CLAMP || (e->activation == CONVGEN_LEAKY && isinf(e->hi));
}

static bool has_epilogue(const convgen_problem *p)
{
    dnnl_alg_kind_t kind;
    float a, b;
    const convgen_epilogue *e = &p->epilogue;
    return !e->residual && (e->activation == CONVGEN_NONE || eltwise(e, &kind, &a, &b));
}

static dnnl_primitive_attr_t epilogue(const convgen_problem *p)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    dnnl_alg_kind_t kind;
    float a, b;
    dnnl_primitive_attr_create(&attr);
    if (p->pass != CONVGEN_FORWARD || !eltwise(&p->epilogue, &kind, &a, &b)) return attr;
    dnnl_post_ops_create(&ops);
    append_eltwise(ops, kind, a, b);
    dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
    return attr;
}

static bool describe(peer *k, convgen_pass pass, dnnl_prop_kind_t prop, dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *out)
{
    const convgen_problem *p = &k->t->p;
    bool turned = p->op == CONVGEN_TRANSPOSED;
    dnnl_alg_kind_t alg = turned ? dnnl_deconvolution_direct : k->variant == WINOGRAD ? dnnl_convolution_winograd : dnnl_convolution_direct;
    if (turned && k->variant == WINOGRAD) return false;
    dnnl_memory_desc_t md[SLOTS];
    spaces s;
    for (int i = volume(k->t) ? 0 : 1, n = 0; i < 3; i++, n++) {
        int64_t windows = turned ? p->in[i] : p->out[i], room = turned ? p->out[i] : p->in[i];
        int64_t over = (windows - 1) * p->stride[i] + (p->kernel[i] - 1) * p->dilation[i] + 1 - room - p->pad[i];
        s.stride[n] = p->stride[i], s.dilation[n] = p->dilation[i] - 1, s.left[n] = p->pad[i];
        s.right[n] = over > 0 || turned ? over : 0; /* a stride may leave trailing pixels unread; an output padding is below 0 */
    }
    for (int i = 0; i < SLOTS; i++) md[i] = wanted_desc(k, i);
    dnnl_primitive_attr_t attr = epilogue(p);
    dnnl_status_t bad = (turned ? deconvolution_desc : convolution_desc)(out, pass, prop, alg, md, k->t->count[BIAS], &s, hint, attr, engine);
    dnnl_primitive_attr_destroy(attr);
    for (int i = 0; i < SLOTS; i++) release(md[i]);
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
    reference own = dnnl_primitive_desc_query_md(k->pd, slots[pass][slot].query, slots[pass][slot].index);
    bool good = own && !dnnl_memory_create(&k->user[slot], OF(user), engine, k->t->at[slot]);
    if (good && dnnl_memory_desc_equal(own, OF(user))) k->own[slot] = k->user[slot];
    else if (good) good = !dnnl_memory_create(&k->own[slot], own, engine, DNNL_MEMORY_ALLOCATE);
    release(user);
    k->args[k->arg_count++] = (dnnl_exec_arg_t){slots[pass][slot].arg, k->own[slot]};
    return good;
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
    if (!k || t->p.type != CONVGEN_F32 || !has_epilogue(&t->p)) return free(k), NULL;
    if (!engine && (dnnl_engine_create(&engine, dnnl_cpu, 0) || dnnl_stream_create(&stream, engine, dnnl_stream_default_flags)))
        return free(k), NULL;
    k->t = t, k->variant = variant;
    bool good = describe_pass(k) && !dnnl_primitive_create(&k->primitive, k->pd);
    for (int i = 0; i < SLOTS && good; i++) good = !t->count[i] || attach(k, i);
    return good ? k : (peer_free(k), NULL);
}

static void reorder(dnnl_memory_t from, dnnl_memory_t to)
{
    reference a, b;
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
#if DNNL_VERSION_MAJOR >= 3
const contestant onednn3_any = {"onednn3.any", ANY, false, PEER};
const contestant onednn3_plain = {"onednn3.plain", PLAIN, false, PEER};
#else
const contestant onednn_any = {"onednn.any", ANY, false, PEER};
const contestant onednn_plain = {"onednn.plain", PLAIN, false, PEER};
const contestant onednn_winograd = {"onednn.winograd", WINOGRAD, true, PEER};
#endif

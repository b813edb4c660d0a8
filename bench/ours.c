/* ours.c: convgen as a contestant, through convgen.h alone, and the plain loop.
 *
 * convgen takes the measured plan (tuned at the first time, recalled from the store later), and with extras the same on one
 * thread, the plan that was only estimated, and the best that does not transform. Weights that do not change are packed beforehand, as they are for the peers.
 * Another build of the library can take part as `before`, with a store of its own: what a change does to speed is seen in one run. */
#include "contest.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- convgen ---- */

enum { TUNED, ONE_THREAD, ESTIMATED, PROVEN, BEFORE, VARIANTS };
static convgen_context *contexts[VARIANTS];

/* The functions of a build of the library: this program's own, or that of --before. */
#define FUNCTIONS(F) F(open) F(error) F(plan_create) F(plan_free) F(plan_packed) F(plan_workspace) F(plan_info) F(pack) F(run)
typedef struct library {
#define FIELD(name) __typeof__(convgen_##name) *name;
    FUNCTIONS(FIELD)
} library;
#define OWN(name) convgen_##name,
static const library own = {FUNCTIONS(OWN)};

static const library *library_of(int variant)
{
    static library before;
    if (variant != BEFORE || before.open) return variant == BEFORE ? &before : &own;
    void *file = dlopen(set.before, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
#define FIND(name) if (file) before.name = (__typeof__(before.name))dlsym(file, "convgen_" #name);
    FUNCTIONS(FIND)
    if (!before.open || before.open == own.open) {
        fprintf(stderr, "--before=%s: %s\n", set.before, before.open ? "is the library that this program has itself; copy it elsewhere" : dlerror());
        exit(2);
    }
    return &before;
}

typedef struct ours {
    const library *of;
    const task *t;
    convgen_plan *plan;
    convgen_tensors tensors;
} ours;

static convgen_context *context(int variant)
{
    char store[4096];
    convgen_options o = {.struct_size = sizeof o, .threads = variant == ONE_THREAD ? 1 : set.threads, .target = set.target};
    if (contexts[variant]) return contexts[variant];
    if (variant == ESTIMATED) { /* nothing is remembered here */
        o.store = "/dev/null";
        setenv("CONVGEN_TUNED", "/dev/null", 1);
    }
    if (variant == BEFORE) { /* what each remembers is its own */
        snprintf(store, sizeof store, "%s.before", getenv("CONVGEN_STORE"));
        o.store = store;
    }
    if (library_of(variant)->open(&o, &contexts[variant])) {
        fprintf(stderr, "convgen: %s\n", library_of(variant)->error(NULL));
        exit(1);
    }
    return contexts[variant];
}

static void ours_free(void *at)
{
    ours *s = at;
    s->of->plan_free(s->plan);
    free(s->tensors.packed);
    free(s->tensors.workspace);
    free(s);
}

static void *ours_make(const task *t, int variant)
{
    convgen_effort effort = variant == ESTIMATED ? CONVGEN_ESTIMATE : set.effort;
    if (variant == BEFORE && !set.before) return NULL;
    ours *s = calloc(1, sizeof *s);
    convgen_context *c = s ? context(variant) : NULL;
    if (!s) return NULL;
    s->of = library_of(variant), s->t = t;
    convgen_problem p = t->p;
    if (variant == PROVEN) p.accuracy = CONVGEN_PROVEN;
    if (effort != CONVGEN_ESTIMATE) fprintf(stderr, "%s: planning\n", t->text);
    if (s->of->plan_create(c, &p, effort, 0, &s->plan)) {
        fprintf(stderr, "%s: %s\n", t->text, s->of->error(c));
        return free(s), NULL;
    }
    size_t packed = s->of->plan_packed(s->plan), workspace = s->of->plan_workspace(s->plan);
    s->tensors = (convgen_tensors){.src = t->at[SRC], .weights = t->at[WEIGHTS], .bias = t->at[BIAS], .dst = t->at[DST],
                                   .packed = t->p.weights == CONVGEN_WEIGHTS_FIXED ? pages(packed) : NULL,
                                   .workspace = pages(workspace)};
    return s;
}

static void ours_load(void *at)
{
    ours *s = at;
    if (s->tensors.packed && s->of->pack(s->plan, s->t->at[WEIGHTS], s->tensors.packed)) fprintf(stderr, "%s\n", s->of->error(NULL));
}

static void ours_run(void *at)
{
    ours *s = at;
    if (s->of->run(s->plan, &s->tensors)) {
        fprintf(stderr, "%s: %s\n", s->t->text, s->of->error(NULL));
        exit(1);
    }
}

static const char *ours_how(void *at) { return ((ours *)at)->of->plan_info(((ours *)at)->plan)->schedule; }
double error_vs_loop(const void *at) { return ((const ours *)at)->of->plan_info(((const ours *)at)->plan)->error_vs_loop; }
static void nothing(void *at) { (void)at; }

/* Whether a plan transforms is not for its user to know: all of them may. */
#define OURS true, ours_make, ours_load, ours_run, nothing, ours_how, ours_free
const contestant convgen_tuned = {"convgen", TUNED, OURS};
const contestant convgen_one_thread = {"convgen.1t", ONE_THREAD, OURS};
const contestant convgen_estimated = {"convgen.estimate", ESTIMATED, OURS};
const contestant convgen_proven = {"convgen.proven", PROVEN, OURS};
const contestant convgen_before = {"before", BEFORE, OURS};

/* ---- the plain loop: the definition, written down ---- */

typedef struct axes { /* steps in elements */
    int64_t n, c, space[3];
} axes;

static axes activation(const task *t, const int64_t *space, int64_t channels)
{
    bool last = t->p.layout == CONVGEN_NHWC;
    int64_t pixel = last ? channels : 1, all = space[0] * space[1] * space[2];
    return (axes){all * channels, last ? 1 : all, {space[1] * space[2] * pixel, space[2] * pixel, pixel}};
}

/* n: a step of the output channel, c: of the input channel. */
static axes kernel(const task *t)
{
    const convgen_problem *p = &t->p;
    bool last = p->layout == CONVGEN_NHWC;
    const int64_t *k = p->kernel;
    int64_t oc = p->out_channels, ic = p->in_channels / p->groups, tap = last ? ic * oc : 1;
    return (axes){last ? 1 : ic * k[0] * k[1] * k[2], last ? oc : k[0] * k[1] * k[2], {k[1] * k[2] * tap, k[2] * tap, tap}};
}

#define FOR(i, count) for (int64_t i = 0; i < (count); i++)
#define IN(axis, o, k) int64_t i##axis = o * p->stride[axis] + k * p->dilation[axis] - p->pad[axis]; \
                       if (i##axis < 0 || i##axis >= p->in[axis]) continue
#define LOOP(T, name)                                                                                                      \
    static void name(const task *t)                                                                                        \
    {                                                                                                                      \
        const convgen_problem *p = &t->p;                                                                                  \
        const int64_t ic = p->in_channels / p->groups, oc = p->out_channels / p->groups;                                   \
        const axes s = activation(t, p->in, p->in_channels), d = activation(t, p->out, p->out_channels), w = kernel(t);    \
        T *src = t->at[SRC], *wei = t->at[WEIGHTS], *bias = t->at[BIAS], *dst = t->at[DST];                                \
        FOR(n, p->batch) FOR(od, p->out[0]) FOR(oh, p->out[1]) FOR(ow, p->out[2]) FOR(o, p->out_channels) {                \
            T *y = dst + n * d.n + od * d.space[0] + oh * d.space[1] + ow * d.space[2] + o * d.c, sum = 0, dy = *y;        \
            FOR(kd, p->kernel[0]) {                                                                                        \
                IN(0, od, kd);                                                                                             \
                FOR(kh, p->kernel[1]) {                                                                                    \
                    IN(1, oh, kh);                                                                                         \
                    FOR(kw, p->kernel[2]) {                                                                                \
                        IN(2, ow, kw);                                                                                     \
                        T *x = src + n * s.n + i0 * s.space[0] + i1 * s.space[1] + i2 * s.space[2] + o / oc * ic * s.c;    \
                        T *a = wei + kd * w.space[0] + kh * w.space[1] + kw * w.space[2] + o * w.n;                        \
                        if (p->pass == CONVGEN_FORWARD) FOR(i, ic) sum += x[i * s.c] * a[i * w.c];                         \
                        else if (p->pass == CONVGEN_BACKWARD_DATA) FOR(i, ic) x[i * s.c] += dy * a[i * w.c];               \
                        else FOR(i, ic) a[i * w.c] += dy * x[i * s.c];                                                     \
                    }                                                                                                      \
                }                                                                                                          \
            }                                                                                                              \
            if (p->pass == CONVGEN_BACKWARD_WEIGHTS && bias) bias[o] += dy;                                                \
            if (p->pass != CONVGEN_FORWARD) continue;                                                                      \
            sum += bias ? bias[o] : 0;                                                                                     \
            *y = p->epilogue.activation == CONVGEN_RELU && 0 > sum ? 0 : sum;                                              \
        }                                                                                                                  \
    }
LOOP(float, loop_f32)
LOOP(double, loop_f64)

static void *loop_make(const task *t, int variant)
{
    bool fit = t->p.op == CONVGEN_CONVOLUTION && t->flops / 2 <= set.loop_limit && !t->p.epilogue.residual && t->p.epilogue.activation != CONVGEN_CLAMP;
    (void)variant;
    return fit ? (void *)t : NULL;
}

static void loop_run(void *at)
{
    const task *t = at;
    if (t->p.pass != CONVGEN_FORWARD)
        for (int i = 0; i < SLOTS; i++)
            if (output_slot(t, i)) memset(t->at[i], 0, t->count[i] * t->element);
    (t->p.type == CONVGEN_F32 ? loop_f32 : loop_f64)(t);
}

static const char *loop_how(void *at) { return (void)at, "plain"; }

const contestant loop = {"loop", 0, false, loop_make, nothing, loop_run, nothing, loop_how, nothing};

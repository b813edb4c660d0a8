/* verify.c: code -> trusted.
 *
 * Judges a kernel: every output must be the canonical chain's, on random data and on small integers with a NaN in one place of
 * the data and one of the weights, with poisoned outputs and workspace, and with nothing written (or, between guard pages, read)
 * beyond an operand. A refusal names the output or the operand.
 *
 * Transforming families (chains 0) have no canonical bits. They are judged by their error over the loop's (budget.c), on
 * smaller integers, where every output must be right after rounding to the nearest, and with a NaN and an infinity among these: an
 * output whose receptive field has one must show it, other outputs of the same tile may, and no others. (Relu and clamp turn
 * an infinity, and what became of it in its tile, into numbers.) Their bias gradient is a plain sum, and canonical.
 *
 * Limit: outside the command's worker, reads beyond an operand show only when they reach a result; a kernel that crashes takes
 * the process with it. */
#include "trial.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- judging -------------------------------------------------------------------------------------------------------------------- */

cg_status cg_refuse(cg_verdict *v, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(v->why, sizeof v->why, format, list);
    va_end(list);
    v->ok = false;
    return CONVGEN_OK;
}

static void say_place(const convgen_problem *p, bool bias, int64_t element, char *text, size_t size)
{
    int64_t x[5];
    cg_output_place(p, bias, element, x);
    int in = p->op == CONVGEN_TRANSPOSED ? 4 : 0;
    if (bias) snprintf(text, size, "bias gradient %" PRId64, element);
    else if (p->pass == CONVGEN_BACKWARD_WEIGHTS)
        snprintf(text, size, "output %" PRId64 " (kd %" PRId64 ", kh %" PRId64 ", kw %" PRId64 ", i %" PRId64 ", c %" PRId64 ")",
                 element, x[1], x[2], x[3], x[in], x[4 - in]);
    else
        snprintf(text, size, "output %" PRId64 " (n %" PRId64 ", d %" PRId64 ", h %" PRId64 ", w %" PRId64 ", c %" PRId64 ")",
                 element, x[0], x[1], x[2], x[3], x[4]);
}

/* Where a NaN comes from, by its payload; arithmetic only sets its quiet bit. */
static const char *poison_means(convgen_type type, const void *value)
{
    uint32_t high, quiet = cg_types[type].nan.quiet;
    memcpy(&high, (const char *)value + cg_types[type].nan.at, sizeof high);
    for (int i = 0; i < POISONS; i++)
        if ((high | quiet) == (poisons[i].word | quiet)) return poisons[i].means;
    return NULL;
}

const void *cg_output_of(const cg_trial *t, kind which, bool bias)
{
    return t->sets[which].tensor[cg_output_tensor(&t->p, bias)].data;
}

bool cg_never_written(const cg_trial *t, const void *value)
{
    return poison_means(cg_output_type(&t->p, false), value) == poisons[OUTPUT].means;
}

typedef bool same_fn(double got, double want);

static bool same(double got, double want) { return got == want || (isnan(got) && isnan(want)); }

/* For a transforming family: right after rounding. */
static bool same_rounded(double got, double want)
{
    return got == want || nearbyint(got) == want; /* the bounds of a clamp need not be integers */
}

/* The same behind an activation, which may be half as steep again as the sum. */
static bool same_activated(double got, double want) { return fabs(got - want) <= 0.75; }

static same_fn *same_small(const convgen_problem *p) { return cg_activation_rounds(p->epilogue.activation) ? same_activated : same_rounded; }

static bool is_random(kind which) { return which == RANDOM || which == SKETCH; }

enum { GLIMPSE = 8, BLOCK = 512 }; /* elements that are read at once: where the last one differed the next may; all the others */

/* The first of elements [from, n) that differs; n: none. */
static int64_t first_unequal(convgen_type type, const void *got, const void *want, int64_t from, int64_t n, same_fn *equal)
{
    double a[BLOCK], b[BLOCK];
    for (int64_t i = from, step = GLIMPSE; i < n; i += step, step = BLOCK) {
        int64_t count = n - i < step ? n - i : step;
        cg_types[type].read(got, i, count, a);
        cg_types[type].read(want, i, count, b);
        for (int64_t k = 0; k < count; k++)
            if (!equal(a[k], b[k])) return i + k;
    }
    return n;
}

/* An element of an output: what is there is not `want`. */
static cg_status refuse_output(cg_trial *t, kind which, bool bias, int64_t element, double want, cg_verdict *v)
{
    char where[160];
    const set *s = &t->sets[which];
    const void *got = cg_output_of(t, which, bias);
    convgen_type type = cg_output_type(&t->p, bias);
    double a = cg_get(type, got, element);
    const char *means = isnan(a) ? poison_means(type, (const char *)got + (size_t)element * cg_types[type].bytes) : NULL;
    say_place(&t->p, bias, element, where, sizeof where);
    if (means) return cg_refuse(v, "%s %s (%s data)", where, means, is_random(which) ? "random" : "integer");
    if (which == INTEGERS && isnan(a) && s->weight_nan >= 0)
        return cg_refuse(v, "%s is NaN: the NaN at element %" PRId64 " of %s, or at %" PRId64 " of weights, spread beyond its receptive "
                      "field", where, s->nan.element, cg_tensor_name(s->nan.tensor), s->weight_nan);
    if (which == INTEGERS && isnan(a))
        return cg_refuse(v, "%s is NaN: the NaN at element %" PRId64 " of %s spread beyond its receptive field", where,
                      s->nan.element, cg_tensor_name(s->nan.tensor));
    if (which == SMALL) return cg_refuse(v, "%s is %.17g and not %.17g after rounding (integer data)", where, a, want);
    return cg_refuse(v, "%s is %.17g, the canonical order gives %.17g (%s data)", where, a, want,
                  is_random(which) ? "random" : "integer");
}

/* Those outputs against as many of `want`. */
static bool compare(cg_trial *t, kind which, cg_outputs some, const void *want, same_fn *equal, cg_verdict *v)
{
    convgen_type type = cg_output_type(&t->p, some.bias);
    const char *got = (const char *)cg_output_of(t, which, some.bias) + (size_t)some.first * cg_types[type].bytes;
    int64_t i = first_unequal(type, got, want, 0, some.count, equal);
    if (i < some.count) refuse_output(t, which, some.bias, some.first + i, cg_get(type, want, i), v);
    return i == some.count;
}

bool cg_same_sums(cg_trial *t, kind which, cg_outputs some, const void *want, cg_verdict *v)
{
    return compare(t, which, some, want, same, v);
}

cg_status cg_unwritten(cg_trial *t, kind which, bool bias, int64_t element, cg_verdict *v)
{
    return refuse_output(t, which, bias, element, NAN, v);
}

static cg_status set_expect(cg_trial *t, set *s, int chains)
{
    if (s->expected[0] && s->chains == chains) return CONVGEN_OK;
    for (int i = 0; i < cg_output_count(&t->p); i++) {
        int64_t count = cg_output_elements(&t->p, i);
        if (!s->expected[i]) s->expected[i] = cg_malloc((size_t)count * cg_types[cg_output_type(&t->p, i)].bytes);
        if (!s->expected[i]) return cg_fail(CONVGEN_NO_MEMORY, "no memory for %" PRId64 " expected outputs", count);
        s->chains = 0;
        cg_status status = cg_reference(&t->p, &s->o, CG_CANONICAL, chains, (cg_outputs){i, 0, count}, s->expected[i]);
        if (status) return status;
    }
    s->chains = chains;
    return CONVGEN_OK;
}

/* Poisoned, as this kernel needs it; and one run in it. */
cg_status cg_bench_fit(cg_trial *t, const cg_kernel *k, int threads, bool right, uint32_t word)
{
    bench *b = &t->bench;
    bool fixed = t->p.weights == CONVGEN_WEIGHTS_FIXED && k->source.packed > 0;
    if (!fixed) cg_block_free(&b->packed);
    cg_status status = cg_block_fit(&b->workspace, cg_kernel_workspace(k, threads), right, 64, t->guards);
    if (!status && fixed) status = cg_block_fit(&b->packed, cg_round64(k->source.packed), right, 64, t->guards);
    if (status) return status;
    cg_fill_words(b->workspace.data, b->workspace.size, word);
    cg_fill_words(b->packed.data, b->packed.size, word);
    return CONVGEN_OK;
}

static cg_status run_once(const cg_kernel *k, const cg_parallel *par, const cg_operands *o, const bench *b, uint32_t word, double *seconds)
{
    cg_operands given = *o;
    if (b->packed.data) {
        cg_kernel_pack(k, par, given.weights, b->packed.data, b->workspace.data);
        cg_fill_words(b->workspace.data, b->workspace.size, word);
        given.weights = NULL;
    }
    double start = cg_now();
    cg_status status = cg_kernel_run_in_time(k, par, &given, b->packed.data, b->workspace.data);
    *seconds = cg_now() - start;
    return status;
}

static bool overrun(const block *b, const char *name, cg_verdict *v)
{
    const char *where = cg_block_overrun(b);
    if (where) cg_refuse(v, "wrote %s of %s", where, name);
    return where;
}

/* Collects the results that are slices; false: something was written that is none. */
bool cg_taken(cg_trial *t, set *s, bool integers, cg_verdict *v)
{
    int tensor = cg_set_take(t, s, integers);
    if (tensor >= 0) cg_refuse(v, "wrote between the channels of %s%s", cg_tensor_name(tensor), t->role_of[tensor] == CG_INPUT ? ", or into them" : "");
    return tensor < 0;
}

/* Zones and inputs after a run. A damaged set is made afresh for the next candidate. */
bool cg_untouched(cg_trial *t, kind which, bool inputs, cg_verdict *v)
{
    set *s = &t->sets[which];
    const bench *b = &t->bench;
    bool bad = overrun(&b->workspace, "the workspace", v) || overrun(&b->packed, "the packed weights", v);
    if (bad) return false;
    for (int i = 0; i < CG_TENSORS && !bad; i++) bad = overrun(&s->tensor[i], cg_tensor_name(i), v) || overrun(&s->wide[i], cg_tensor_name(i), v);
    for (int i = 0; i < CG_TENSORS && !bad && inputs; i++) {
        bad = t->role_of[i] == CG_INPUT && cg_fast_hash(s->tensor[i].data, t->bytes[i]) != s->hash[i];
        if (bad) cg_refuse(v, "wrote into its input %s", cg_tensor_name(i));
    }
    if (bad) cg_set_free(s);
    return !bad;
}

/* A residual may stand where the outputs go: kernels meet it there among random data, and apart among the others. */
static void put_in_place(const cg_trial *t, cg_operands *given)
{
    size_t bytes[CG_TENSORS];
    if (!t->p.epilogue.residual || !given->residual) return;
    cg_tensor_bytes(&t->asked, bytes);
    memcpy(given->dst, given->residual, bytes[CG_DST]);
    given->residual = given->dst;
}

static cg_status run_on(cg_trial *t, kind which, const cg_kernel *k, const cg_parallel *par, bool inputs, cg_verdict *v)
{
    set *s = &t->sets[which];
    bool integers = which == INTEGERS || which == SMALL;
    uint32_t word = integers ? LARGE : poisons[UNWRITTEN].word;
    cg_status status = cg_bench_fit(t, k, par->threads, which == RANDOM, word);
    if (!status) {
        for (int i = 0; i < CG_TENSORS; i++)
            if (t->role_of[i] == CG_RESULT)
                cg_fill_words(s->tensor[i].data, t->bytes[i], integers ? LARGE : poisons[OUTPUT].word);
        double seconds;
        cg_old_put(&t->p, &s->o);
        cg_set_put(t, s, integers);
        cg_operands given = s->given;
        if (which == RANDOM) put_in_place(t, &given);
        status = run_once(k, par, &given, &t->bench, word, &seconds);
        if (which == RANDOM) v->seconds = seconds;
        if (!status) v->ok = cg_taken(t, s, integers, v) && cg_untouched(t, which, inputs, v);
    }
    return status;
}

static cg_status take_figures(cg_trial *t, const void *got, double budget, cg_verdict *v, int64_t *outputs)
{
    cg_measure m;
    int64_t total = cg_output_elements(&t->p, false);
    cg_spread s = cg_spread_over(total, cg_reference_terms(&t->p, false), budget, 65536);
    cg_status status = cg_measure_outputs(&t->p, &t->sets[RANDOM].o, false, &s, got, &m);
    if (status) return status;
    double mine = cg_meter_read(&m.got).normwise, loop = cg_meter_read(&m.loop).normwise;
    *outputs = m.outputs;
    v->error_normwise = mine;
    v->error_vs_loop = mine == loop ? 1 : mine / loop;
    v->error_vs_bound = m.got.of_bound;
    return CONVGEN_OK;
}

/* The outputs of a summing family are the canonical ones, so its figures are theirs: measured once. */
static cg_status judge_figures(cg_trial *t, const cg_kernel *k, const void *got, double budget, cg_verdict *v)
{
    int chains = k->source.chains;
    int64_t outputs;
    cg_status status = CONVGEN_OK;
    if (t->figures_chains != chains) {
        status = take_figures(t, got, budget, &t->figures, &outputs);
        t->figures_chains = status ? 0 : chains;
    }
    if (status) return status;
    v->error_normwise = t->figures.error_normwise;
    v->error_vs_loop = t->figures.error_vs_loop;
    v->error_vs_bound = t->figures.error_vs_bound;
    if (!(v->error_vs_bound <= 1)) return cg_refuse(v, "the error is %g times the a-priori bound", v->error_vs_bound);
    return CONVGEN_OK;
}

static void compare_all(cg_trial *t, kind which, bool bias, same_fn *equal, cg_verdict *v)
{
    const set *s = &t->sets[which];
    v->ok = compare(t, which, (cg_outputs){bias, 0, cg_output_elements(&t->p, bias)}, s->expected[bias], equal, v);
}

/* All outputs of one kind of data. */
static cg_status judge_all(cg_trial *t, kind which, const cg_kernel *k, const cg_parallel *par, cg_verdict *v)
{
    set *s = &t->sets[which];
    cg_status status = cg_set_make(t, which);
    if (!status) status = set_expect(t, s, k->source.chains);
    if (!status) cg_set_hash(t, s);
    if (!status) status = run_on(t, which, k, par, true, v);
    for (int i = 0; i < cg_output_count(&t->p) && !status && v->ok; i++) compare_all(t, which, i, same, v);
    if (!status && v->ok && which == RANDOM) status = judge_figures(t, k, cg_output_of(t, which, 0), 1e7, v);
    return status;
}

static cg_status judge_sums(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verdict *v)
{
    cg_status status = judge_all(t, RANDOM, k, par, v);
    return status || !v->ok ? status : judge_all(t, INTEGERS, k, par, v);
}

/* ---- transforming families ------------------------------------------------------------------------------------------------------ */

/* Along one axis, the outputs x that an input reaches: low <= x * unit <= high and (high - x * unit) % step == 0. */
typedef struct reach {
    int64_t unit, low, high, step;
} reach;

/* p: a convolution; of a transposed one its dual. */
static reach reach_of(const convgen_problem *p, int axis, int64_t in)
{
    int64_t s = p->stride[axis], d = p->dilation[axis], from = in + p->pad[axis];
    if (p->pass == CONVGEN_FORWARD) return (reach){s, from - (p->kernel[axis] - 1) * d, from, d};
    if (p->pass == CONVGEN_BACKWARD_WEIGHTS) return (reach){d, from - (p->out[axis] - 1) * s, from, s};
    int64_t first = in * s - p->pad[axis];
    return (reach){1, first, first + (p->kernel[axis] - 1) * d, d};
}

/* Whether an input at `in` reaches the output at `out` (of its receptive field; tile not NULL: or of a tile that meets it). */
static bool reaches(const convgen_problem *asked, const int64_t in[5], const int64_t out[5], const int64_t *tile)
{
    const convgen_problem c = cg_dual(asked), *p = &c;
    int64_t icg = p->in_channels / p->groups, ocg = p->out_channels / p->groups;
    bool weights = p->pass == CONVGEN_BACKWARD_WEIGHTS, data = p->pass == CONVGEN_BACKWARD_DATA;
    if (weights ? in[4] / icg != out[4] / ocg || in[4] % icg != out[0]
                : in[0] != out[0] || in[4] / (data ? ocg : icg) != out[4] / (data ? icg : ocg))
        return false;
    for (int i = 0; i < 3; i++) {
        reach r = reach_of(p, i, in[1 + i]);
        int64_t x = out[1 + i] * r.unit, more = tile ? (tile[i] - 1) * r.unit : 0;
        if (x < r.low - more || x > r.high + more || (!tile && (r.high - x) % r.step != 0)) return false;
    }
    return true;
}

/* How many outputs have the input in their receptive field. */
static int64_t reached(const convgen_problem *asked, const int64_t in[5])
{
    const convgen_problem c = cg_dual(asked), *p = &c;
    const int64_t *size = p->pass == CONVGEN_FORWARD ? p->out : p->pass == CONVGEN_BACKWARD_DATA ? p->in : p->kernel;
    int64_t count = (p->pass == CONVGEN_BACKWARD_DATA ? p->in_channels : p->out_channels) / p->groups;
    for (int i = 0; i < 3; i++) {
        reach r = reach_of(p, i, in[1 + i]);
        int64_t along = 0;
        for (int64_t x = 0; x < size[i]; x++) {
            int64_t at = x * r.unit;
            along += at >= r.low && at <= r.high && (r.high - at) % r.step == 0;
        }
        count *= along;
    }
    return count;
}

/* One NaN, one infinity, and how many outputs were seen to show them. */
typedef struct strays {
    poison nan, infinite;
    int64_t nan_shown, infinite_shown;
} strays;

/* An output that differs from the right one: only those near a stray may. */
static bool may_differ(cg_trial *t, const int64_t tile[3], strays *s, const void *want, int64_t element, cg_verdict *v)
{
    const convgen_problem *p = &t->p;
    const void *got = cg_output_of(t, SMALL, false);
    convgen_type type = cg_output_type(p, false);
    double value = cg_get(type, got, element);
    int64_t out[5];
    char where[160];
    cg_output_place(p, false, element, out);
    bool near_infinite = reaches(p, s->infinite.place, out, tile), activated = near_infinite && p->epilogue.activation;
    bool near = near_infinite || reaches(p, s->nan.place, out, tile);
    s->infinite_shown += !isfinite(value) && reaches(p, s->infinite.place, out, NULL);
    s->nan_shown += isnan(value) && reaches(p, s->nan.place, out, NULL);
    bool must_show = reaches(p, s->nan.place, out, NULL) || reaches(p, s->infinite.place, out, NULL); /* counted */
    if (must_show || (near && (activated || !isfinite(value)))) return true;
    if (isfinite(value) || poison_means(type, (const char *)got + (size_t)element * cg_types[type].bytes)) {
        refuse_output(t, SMALL, false, element, cg_get(type, want, element), v);
        return false;
    }
    say_place(p, false, element, where, sizeof where);
    cg_refuse(v, "%s is %g: the NaN at element %" PRId64 " of %s or the infinity at element %" PRId64 " spread beyond its tile", where,
           value, s->nan.element, cg_tensor_name(s->nan.tensor), s->infinite.element);
    return false;
}

static void judge_strays(cg_trial *t, const int64_t tile[3], strays *s, cg_verdict *v)
{
    const void *got = cg_output_of(t, SMALL, false), *want = t->sets[SMALL].expected[0];
    int64_t count = cg_output_elements(&t->p, false);
    for (int64_t i = -1; v->ok && (i = first_unequal(cg_output_type(&t->p, false), got, want, i + 1, count, same_small(&t->p))) < count;)
        v->ok = may_differ(t, tile, s, want, i, v);
    if (!v->ok) return;
    const char *name = cg_tensor_name(s->nan.tensor);
    int64_t nan = reached(&t->p, s->nan.place), infinite = t->p.epilogue.activation ? 0 : reached(&t->p, s->infinite.place);
    if (s->nan_shown < nan)
        cg_refuse(v, "%" PRId64 " of the %" PRId64 " outputs that the NaN at element %" PRId64 " of %s reaches do not show it",
               nan - s->nan_shown, nan, s->nan.element, name);
    else if (s->infinite_shown < infinite)
        cg_refuse(v, "%" PRId64 " of the %" PRId64 " outputs that the infinity at element %" PRId64 " of %s reaches do not show it",
               infinite - s->infinite_shown, infinite, s->infinite.element, name);
}

/* The small integers again, with a NaN and an infinity among them for this one run. */
static cg_status judge_poisoned(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verdict *v)
{
    strays s = {.infinite = cg_poison_place(t, &t->sets[SMALL], INFINITY, 1)};
    s.nan = cg_poison_place(t, &t->sets[SMALL], NAN, 0);
    cg_status status = run_on(t, SMALL, k, par, false, v);
    if (!status && v->ok) judge_strays(t, k->source.tile, &s, v);
    if (!t->sets[SMALL].made) return status; /* damaged and gone */
    cg_poison_take_back(t, &t->sets[SMALL], &s.nan);
    cg_poison_take_back(t, &t->sets[SMALL], &s.infinite);
    return status;
}

static bool all_written(cg_trial *t, kind which, cg_verdict *v)
{
    const void *got = cg_output_of(t, which, false);
    int64_t count = cg_output_elements(&t->p, false);
    for (int64_t i = 0; i < count && v->ok; i++)
        if (isnan(cg_get(cg_output_type(&t->p, false), got, i))) refuse_output(t, which, false, i, NAN, v);
    return v->ok;
}

/* Uniform data without a reference; but a bias gradient is canonical whatever the family. */
static cg_status judge_written(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verdict *v)
{
    set *s = &t->sets[RANDOM];
    cg_status status = cg_set_make(t, RANDOM);
    if (!status) cg_set_hash(t, s);
    if (!status) status = run_on(t, RANDOM, k, par, true, v);
    if (status || !v->ok || !all_written(t, RANDOM, v) || cg_output_count(&t->p) < 2) return status;
    if (!s->expected[1]) status = set_expect(t, s, 1);
    if (!status) compare_all(t, RANDOM, true, same, v);
    return status;
}

static cg_status judge_small(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verdict *v)
{
    set *s = &t->sets[SMALL];
    cg_status status = cg_set_make(t, SMALL);
    if (!status) status = set_expect(t, s, 1);
    if (!status) cg_set_hash(t, s);
    if (!status) status = run_on(t, SMALL, k, par, true, v);
    for (int i = 0; i < cg_output_count(&t->p) && !status && v->ok; i++) compare_all(t, SMALL, i, i ? same : same_small(&t->p), v);
    return status;
}

static cg_status judge_transform(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verdict *v)
{
    cg_status status = judge_written(t, k, par, v);
    if (!status && v->ok) status = judge_small(t, k, par, v);
    if (!status && v->ok) status = judge_poisoned(t, k, par, v);
    if (!status && v->ok && !t->pool) status = cg_pool_new(&t->asked, &t->pool);
    cg_room room;
    if (!status && v->ok) status = cg_trial_room(t, k, par, &room);
    if (!status && v->ok) status = cg_pool_judge(t->pool, k, par, &room, v);
    return status;
}

cg_status cg_verify(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verify_level level, cg_verdict *out)
{
    *out = (cg_verdict){.ok = true, .error_normwise = NAN, .error_vs_loop = NAN, .error_vs_bound = NAN};
    for (int i = 0; i < CONVGEN_DATA_KINDS; i++) out->vs_loop[i] = NAN;
    if (t->p.accuracy == CONVGEN_PROVEN && k->source.chains != 1)
        return cg_refuse(out, "proven admits only sums in canonical order");
    if (level != CG_VERIFY_FULL) return cg_sample(t, k, par, out);
    return k->source.chains ? judge_sums(t, k, par, out) : judge_transform(t, k, par, out);
}

/* verify.c: code -> trusted.
 *
 * Judges a kernel: every output must be the canonical chain's, on random data and on small integers with a NaN in one place of
 * the data and one of the weights, with poisoned outputs and workspace, and with nothing written (or, between guard pages, read) beyond an operand. A refusal
 * names the output or the operand.
 *
 * Limit: outside the command's worker, reads beyond an operand show only when they reach a result; a kernel that crashes takes
 * the process with it. Transforming families (chains 0) are judged by their normwise error and on integers after rounding. */
#include "internal.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- memory that tells when it was overrun ----------------------------------------------------------------------------- */

/* NaNs in either type, all different, so that a wrong output tells where it came from. */
static const struct {
    uint32_t word;
    const char *means;
} poisons[] = {
    {0x7FF5A5A5, "was never written"},
    {0x7FF6B6B6, "comes from workspace that was never written"},
    {0x7FF7C7C7, "comes from memory beyond an operand"},
};
enum { OUTPUT, UNWRITTEN, BEYOND, POISONS };
enum { LARGE = 0x7E5A5A5A }; /* a large number: maxima and comparisons lose a NaN */
enum { ZONE = 4096 };

typedef struct block {
    char *data;
    size_t size;
    cg_guarded guarded;
    char *heap; /* NULL: between guard pages */
    size_t heap_size;
} block;

static void fill_words(void *data, size_t size, uint32_t word)
{
    char *at = data;
    for (size_t i = 0; i + sizeof word <= size; i += sizeof word) memcpy(at + i, &word, sizeof word);
}

/* Flush right ends at a page (or a red zone) with the alignment of an element, flush left begins there. */
static cg_status block_new(block *b, size_t size, bool right, size_t alignment, bool guards)
{
    memset(b, 0, sizeof *b);
    b->size = size;
    if (guards) {
        cg_status status = cg_guarded_new(size, right, alignment, &b->guarded);
        b->data = b->guarded.data;
        return status;
    }
    b->heap_size = ZONE + cg_round64(size) + ZONE;
    b->heap = cg_aligned(b->heap_size);
    if (!b->heap) return cg_fail(CONVGEN_NO_MEMORY, "no memory for an operand of %zu bytes", size);
    b->data = b->heap + ZONE + (right ? cg_round64(size) - size : 0);
    fill_words(b->heap, b->heap_size, poisons[BEYOND].word);
    return CONVGEN_OK;
}

static void block_free(block *b)
{
    b->heap ? cg_free(b->heap) : cg_guarded_free(&b->guarded);
    memset(b, 0, sizeof *b);
}

static bool zone_intact(const char *from, const char *to)
{
    for (; from < to; from += sizeof(uint32_t))
        if (memcmp(from, &poisons[BEYOND].word, sizeof(uint32_t)) != 0) return false;
    return true;
}

/* NULL: nothing outside of the block was written. */
static const char *block_overrun(const block *b)
{
    if (!b->heap) return NULL; /* it would have crashed */
    if (!zone_intact(b->heap, b->data)) return "before the start";
    if (!zone_intact(b->data + b->size, b->heap + b->heap_size)) return "beyond the end";
    return NULL;
}

/* ---- data --------------------------------------------------------------------------------------------------------------- */

enum { SRC, WEIGHTS, BIAS, DST, RESIDUAL, TENSORS };
static const char *const tensor_name[TENSORS] = {"src", "weights", "bias", "dst", "residual"};

typedef enum { ABSENT, INPUT, RESULT } role;

static void roles(const convgen_problem *p, role role_of[TENSORS])
{
    static const role of_pass[3][TENSORS] = {
        [CONVGEN_FORWARD] = {INPUT, INPUT, INPUT, RESULT, INPUT},
        [CONVGEN_BACKWARD_DATA] = {RESULT, INPUT, ABSENT, INPUT, ABSENT},
        [CONVGEN_BACKWARD_WEIGHTS] = {INPUT, RESULT, RESULT, INPUT, ABSENT},
    };
    memcpy(role_of, of_pass[p->pass], sizeof of_pass[0]);
    if (!p->bias) role_of[BIAS] = ABSENT;
    if (!p->epilogue.residual) role_of[RESIDUAL] = ABSENT;
}

static void tensor_bytes(const convgen_problem *p, size_t bytes[TENSORS])
{
    cg_sizes s = cg_problem_sizes(p);
    const int64_t count[TENSORS] = {s.src, s.weights, s.bias, s.dst, s.dst};
    for (int i = 0; i < TENSORS; i++) bytes[i] = (size_t)count[i] * s.element;
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* The i-th number of a stream, any order: splitmix64 by its counter, so that filling vectorises. */
static inline uint64_t number(uint64_t seed, size_t i)
{
    return mix(seed + (uint64_t)i * 0x9E3779B97F4A7C15u);
}

static void fill_uniform(convgen_type type, void *data, size_t bytes, uint64_t seed)
{
    if (type == CONVGEN_F32)
        for (size_t i = 0; i < bytes / sizeof(float); i++)
            ((float *)data)[i] = (float)(int32_t)(number(seed, i) >> 40) * 0x1p-23f - 1;
    else
        for (size_t i = 0; i < bytes / sizeof(double); i++)
            ((double *)data)[i] = (double)(int64_t)(number(seed, i) >> 11) * 0x1p-52 - 1;
}

/* Integers of -m to m such that no sum leaves the range of exact integers; beyond that range with m = 1 only a share of them is
 * not zero (then the sums stay small because the signs vary: by many standard deviations). */
static void fill_integers(const convgen_problem *p, void *data, size_t bytes, uint64_t seed)
{
    double range = p->type == CONVGEN_F32 ? 0x1p23 : 0x1p50, terms = (double)cg_reference_terms(p, false) + 2;
    double m = floor(fmin(sqrt(range / terms), p->type == CONVGEN_F32 ? 16 : 256)), share = fmin(1, range / terms);
    if (m < 1) m = 1;
    uint64_t values = (uint64_t)(2 * m + 1), limit = (uint64_t)(share * 0x1p31);
    for (size_t i = 0; i < bytes / (p->type == CONVGEN_F32 ? sizeof(float) : sizeof(double)); i++) {
        uint64_t z = number(seed, i);
        double value = (z & 0x7FFFFFFF) < limit ? (double)((z >> 32) * values >> 32) - m : 0;
        if (p->type == CONVGEN_F32) ((float *)data)[i] = (float)value;
        else ((double *)data)[i] = value;
    }
}

/* Eight bytes a step: operands are large and hashed after every run. */
static uint64_t fast_hash(const void *data, size_t size)
{
    uint64_t h = 0x9E3779B97F4A7C15u, word;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, (const char *)data + i, 8);
        h = (h ^ word) * 0xD6E8FEB86659FD93u;
        h ^= h >> 29;
    }
    return cg_hash((const char *)data + i, size - i, h);
}

typedef enum { RANDOM, INTEGERS, PLAIN, SETS } kind; /* flush right, flush left, 64-byte aligned and without zones */

/* One problem's operands, with what they give. */
typedef struct set {
    bool made, hashed;
    block tensor[TENSORS];
    uint64_t hash[TENSORS];
    cg_operands o;
    void *expected[2]; /* the output, the bias gradient */
    int chains;        /* of expected */
    int64_t nan_at;    /* INTEGERS: element of the NaN, in nan_in */
    int nan_in;
    int64_t weight_nan_at; /* and of the one in the weights; -1: none */
} set;

struct cg_trial {
    convgen_problem p;
    bool guards;
    role role_of[TENSORS];
    size_t bytes[TENSORS], element;
    set sets[SETS];
    cg_verdict figures; /* of the canonical chain split into figures_chains; 0: not yet */
    int figures_chains;
};

cg_status cg_trial_new(const convgen_problem *p, bool guards, cg_trial **out)
{
    cg_trial *t = cg_calloc(1, sizeof *t);
    *out = t;
    if (!t) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a trial");
    t->p = *p;
    t->guards = guards;
    t->element = p->type == CONVGEN_F32 ? sizeof(float) : sizeof(double);
    roles(p, t->role_of);
    tensor_bytes(p, t->bytes);
    return CONVGEN_OK;
}

static void set_free(set *s)
{
    for (int i = 0; i < TENSORS; i++) block_free(&s->tensor[i]);
    cg_free(s->expected[0]);
    cg_free(s->expected[1]);
    memset(s, 0, sizeof *s);
}

void cg_trial_free(cg_trial *t)
{
    if (!t) return;
    for (int i = 0; i < SETS; i++) set_free(&t->sets[i]);
    cg_free(t);
}

const convgen_problem *cg_trial_problem(const cg_trial *t)
{
    return &t->p;
}

static void put_nan(const cg_trial *t, set *s, int tensor, int64_t element)
{
    char *at = s->tensor[tensor].data + (size_t)element * t->element;
    if (t->p.type == CONVGEN_F32) *(float *)at = NAN;
    else *(double *)at = NAN;
}

/* The weights' NaN reaches one channel of the result, all but the outputs that have its tap in the padding: so that some have,
 * the tap is the first one. Another channel must be left to be compared. */
static int64_t weight_nan(const cg_trial *t)
{
    const convgen_problem *p = &t->p;
    int64_t taps = p->kernel[0] * p->kernel[1] * p->kernel[2];
    int64_t channels = (int64_t)(t->bytes[WEIGHTS] / t->element) / taps, channel = (int64_t)(mix(t->bytes[WEIGHTS]) % (uint64_t)channels);
    if (t->role_of[WEIGHTS] != INPUT || (p->pass == CONVGEN_FORWARD ? p->out_channels : p->in_channels) == 1) return -1;
    return p->layout == CONVGEN_NHWC ? channel : channel * taps;
}

static void place_nans(const cg_trial *t, set *s)
{
    s->nan_in = t->p.pass == CONVGEN_BACKWARD_DATA ? DST : SRC;
    s->nan_at = (int64_t)(mix(t->bytes[s->nan_in]) % (t->bytes[s->nan_in] / t->element));
    put_nan(t, s, s->nan_in, s->nan_at);
    s->weight_nan_at = weight_nan(t);
    if (s->weight_nan_at >= 0) put_nan(t, s, WEIGHTS, s->weight_nan_at);
}

static void set_fill(const cg_trial *t, kind which, set *s)
{
    for (int i = 0; i < TENSORS; i++) {
        if (t->role_of[i] != INPUT) continue;
        if (which == INTEGERS) fill_integers(&t->p, s->tensor[i].data, t->bytes[i], mix(100 + i));
        else fill_uniform(t->p.type, s->tensor[i].data, t->bytes[i], mix(1 + i));
    }
    if (which == INTEGERS) place_nans(t, s);
}

/* Only a full check compares the inputs. */
static void set_hash(const cg_trial *t, set *s)
{
    if (s->hashed) return;
    for (int i = 0; i < TENSORS; i++)
        if (t->role_of[i] == INPUT) s->hash[i] = fast_hash(s->tensor[i].data, t->bytes[i]);
    s->hashed = true;
}

static cg_status set_make(cg_trial *t, kind which)
{
    set *s = &t->sets[which];
    void **const slot[TENSORS] = {&s->o.src, &s->o.weights, &s->o.bias, &s->o.dst, &s->o.residual};
    cg_status status = CONVGEN_OK;
    if (s->made) return CONVGEN_OK;
    for (int i = 0; i < TENSORS && !status; i++) {
        if (t->role_of[i] == ABSENT) continue;
        status = block_new(&s->tensor[i], t->bytes[i], which == RANDOM, t->element, t->guards && which != PLAIN);
        *slot[i] = s->tensor[i].data;
    }
    if (status) {
        set_free(s);
        return status;
    }
    set_fill(t, which, s);
    s->made = true;
    return CONVGEN_OK;
}

cg_status cg_trial_data(cg_trial *t, cg_operands *out)
{
    cg_status status = set_make(t, PLAIN);
    *out = t->sets[PLAIN].o;
    return status;
}

/* Output 0 is the pass's tensor, 1 the bias gradient. */
static int output_tensor(const convgen_problem *p, bool bias)
{
    static const int of_pass[3] = {DST, SRC, WEIGHTS};
    return bias ? BIAS : of_pass[p->pass];
}

static int output_count(const convgen_problem *p)
{
    return 1 + (p->pass == CONVGEN_BACKWARD_WEIGHTS && p->bias);
}

/* ---- judging -------------------------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static cg_status refuse(cg_verdict *v, const char *format, ...)
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
    if (bias) snprintf(text, size, "bias gradient %" PRId64, element);
    else if (p->pass == CONVGEN_BACKWARD_WEIGHTS)
        snprintf(text, size, "output %" PRId64 " (kd %" PRId64 ", kh %" PRId64 ", kw %" PRId64 ", i %" PRId64 ", c %" PRId64 ")",
                 element, x[1], x[2], x[3], x[0], x[4]);
    else
        snprintf(text, size, "output %" PRId64 " (n %" PRId64 ", d %" PRId64 ", h %" PRId64 ", w %" PRId64 ", c %" PRId64 ")",
                 element, x[0], x[1], x[2], x[3], x[4]);
}

/* Where a NaN comes from, by its payload; arithmetic only sets its quiet bit. */
static const char *poison_means(convgen_type type, const void *value)
{
    uint32_t high;
    memcpy(&high, (const char *)value + (type == CONVGEN_F32 ? 0 : sizeof high), sizeof high); /* little-endian */
    uint32_t quiet = type == CONVGEN_F32 ? 0x00400000 : 0x00080000;
    for (int i = 0; i < POISONS; i++)
        if ((high | quiet) == (poisons[i].word | quiet)) return poisons[i].means;
    return NULL;
}

static double at(convgen_type type, const void *data, int64_t i)
{
    return type == CONVGEN_F32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

static bool same(convgen_type type, const void *got, const void *want, int64_t i)
{
    double a = at(type, got, i), b = at(type, want, i);
    return a == b || (isnan(a) && isnan(b));
}

/* For a transforming family: right after rounding, and a NaN may reach its whole tile. */
static bool same_rounded(convgen_type type, const void *got, const void *want, int64_t i)
{
    double a = at(type, got, i), b = at(type, want, i);
    return isnan(a) || isnan(b) || nearbyint(a) == b;
}

typedef bool same_fn(convgen_type type, const void *got, const void *want, int64_t i);

static cg_status refuse_output(cg_trial *t, kind which, bool bias, const void *got, const void *want, int64_t i, int64_t element,
                               cg_verdict *v)
{
    char place[160];
    const set *s = &t->sets[which];
    double a = at(t->p.type, got, i), b = at(t->p.type, want, i);
    const char *means = isnan(a) ? poison_means(t->p.type, (const char *)got + (size_t)i * t->element) : NULL;
    say_place(&t->p, bias, element, place, sizeof place);
    if (means) return refuse(v, "%s %s (%s data)", place, means, which == RANDOM ? "random" : "integer");
    if (which == INTEGERS && isnan(a) && s->weight_nan_at >= 0)
        return refuse(v, "%s is NaN: the NaN at element %" PRId64 " of %s, or at %" PRId64 " of weights, spread beyond its receptive field",
                      place, s->nan_at, tensor_name[s->nan_in], s->weight_nan_at);
    if (which == INTEGERS && isnan(a))
        return refuse(v, "%s is NaN: the NaN at element %" PRId64 " of %s spread beyond its receptive field", place, s->nan_at,
                      tensor_name[s->nan_in]);
    return refuse(v, "%s is %.17g, the canonical order gives %.17g (%s data)", place, a, b,
                  which == RANDOM ? "random" : "integer");
}

/* Elements [first, first+n) of a tensor against want[0..n). */
static bool compare(cg_trial *t, kind which, bool bias, const void *got, const void *want, int64_t first, int64_t n,
                    same_fn *equal, cg_verdict *v)
{
    const void *from = (const char *)got + (size_t)first * t->element;
    for (int64_t i = 0; i < n; i++)
        if (!equal(t->p.type, from, want, i)) {
            refuse_output(t, which, bias, from, want, i, first + i, v);
            return false;
        }
    return true;
}

static cg_status set_expect(cg_trial *t, set *s, int chains)
{
    if (s->expected[0] && s->chains == chains) return CONVGEN_OK;
    for (int i = 0; i < output_count(&t->p); i++) {
        int64_t count = cg_output_elements(&t->p, i);
        if (!s->expected[i]) s->expected[i] = cg_malloc((size_t)count * t->element);
        if (!s->expected[i]) return cg_fail(CONVGEN_NO_MEMORY, "no memory for %" PRId64 " expected outputs", count);
        s->chains = 0;
        cg_status status = cg_reference(&t->p, &s->o, CG_CANONICAL, chains, i, 0, count, s->expected[i]);
        if (status) return status;
    }
    s->chains = chains;
    return CONVGEN_OK;
}

/* A workspace (and packed weights) of its own, poisoned, and one run in them. */
typedef struct bench {
    block workspace, packed;
} bench;

static void bench_free(bench *b)
{
    block_free(&b->workspace);
    block_free(&b->packed);
}

static cg_status bench_new(const cg_trial *t, const cg_kernel *k, int threads, bool right, uint32_t word, bench *b)
{
    bool fixed = t->p.weights == CONVGEN_WEIGHTS_FIXED && k->source.packed > 0;
    memset(b, 0, sizeof *b);
    cg_status status = block_new(&b->workspace, cg_kernel_workspace(k, threads), right, 64, t->guards);
    if (!status && fixed) status = block_new(&b->packed, cg_round64(k->source.packed), right, 64, t->guards);
    if (status) return status;
    fill_words(b->workspace.data, b->workspace.size, word);
    fill_words(b->packed.data, b->packed.size, word);
    return CONVGEN_OK;
}

static double run_once(const cg_kernel *k, const cg_parallel *par, const cg_operands *o, const bench *b, uint32_t word)
{
    cg_operands given = *o;
    if (b->packed.data) {
        cg_kernel_pack(k, par, o->weights, b->packed.data, b->workspace.data);
        fill_words(b->workspace.data, b->workspace.size, word);
        given.weights = NULL;
    }
    double start = cg_now();
    cg_kernel_run(k, par, &given, b->packed.data, b->workspace.data);
    return cg_now() - start;
}

static bool overrun(const block *b, const char *name, cg_verdict *v)
{
    const char *where = block_overrun(b);
    if (where) refuse(v, "wrote %s of %s", where, name);
    return where;
}

/* Zones and inputs after a run. A damaged set is made afresh for the next candidate. */
static bool untouched(cg_trial *t, set *s, const bench *b, bool inputs, cg_verdict *v)
{
    bool bad = overrun(&b->workspace, "the workspace", v) || overrun(&b->packed, "the packed weights", v);
    if (bad) return false;
    for (int i = 0; i < TENSORS && !bad; i++) bad = overrun(&s->tensor[i], tensor_name[i], v);
    for (int i = 0; i < TENSORS && !bad && inputs; i++) {
        bad = t->role_of[i] == INPUT && fast_hash(s->tensor[i].data, t->bytes[i]) != s->hash[i];
        if (bad) refuse(v, "wrote into its input %s", tensor_name[i]);
    }
    if (bad) set_free(s);
    return !bad;
}

static cg_status run_on(cg_trial *t, kind which, const cg_kernel *k, const cg_parallel *par, bool inputs, cg_verdict *v)
{
    set *s = &t->sets[which];
    bench b;
    uint32_t word = which == INTEGERS ? LARGE : poisons[UNWRITTEN].word;
    cg_status status = bench_new(t, k, par->threads, which == RANDOM, word, &b);
    if (!status) {
        for (int i = 0; i < TENSORS; i++)
            if (t->role_of[i] == RESULT)
                fill_words(s->tensor[i].data, t->bytes[i], which == INTEGERS ? LARGE : poisons[OUTPUT].word);
        double seconds = run_once(k, par, &s->o, &b, word);
        if (which == RANDOM) v->seconds = seconds;
        v->ok = untouched(t, s, &b, inputs, v);
    }
    bench_free(&b);
    return status;
}

/* How far a transforming family may be from the loop's normwise error. */
static double allowed(const convgen_problem *p)
{
    static const double of_tier[] = {[CONVGEN_LOOP] = 1.25, [CONVGEN_PROVEN] = 0, [CONVGEN_2X] = 2.1, [CONVGEN_8X] = 8};
    return of_tier[p->accuracy];
}

static cg_status take_figures(cg_trial *t, const void *got, double budget, cg_verdict *v)
{
    cg_measure m;
    int64_t total = cg_output_elements(&t->p, false);
    cg_spread s = cg_spread_over(total, cg_reference_terms(&t->p, false), budget, 65536);
    cg_status status = cg_measure_outputs(&t->p, &t->sets[RANDOM].o, false, &s, got, &m);
    if (status) return status;
    double mine = cg_meter_read(&m.got).normwise, loop = cg_meter_read(&m.loop).normwise;
    v->error_normwise = mine;
    v->error_vs_loop = mine == loop ? 1 : mine / loop;
    v->error_vs_bound = m.got.of_bound;
    return CONVGEN_OK;
}

/* The outputs of a summing family are the canonical ones, so its figures are theirs: measured once. */
static cg_status judge_figures(cg_trial *t, const cg_kernel *k, const void *got, double budget, cg_verdict *v)
{
    int chains = k->source.chains;
    cg_status status = CONVGEN_OK;
    if (!chains || t->figures_chains != chains) {
        status = take_figures(t, got, budget, &t->figures);
        t->figures_chains = status ? 0 : chains;
    }
    if (status) return status;
    v->error_normwise = t->figures.error_normwise;
    v->error_vs_loop = t->figures.error_vs_loop;
    v->error_vs_bound = chains ? t->figures.error_vs_bound : NAN;
    if (chains && !(v->error_vs_bound <= 1)) return refuse(v, "the error is %g times the a-priori bound", v->error_vs_bound);
    if (!chains && !(v->error_vs_loop <= allowed(&t->p)))
        return refuse(v, "the error is %.3g times the loop's, %s allows %.3g", v->error_vs_loop, cg_accuracy_name(t->p.accuracy),
                      allowed(&t->p));
    return CONVGEN_OK;
}

static const void *output_of(const cg_trial *t, kind which, bool bias)
{
    return t->sets[which].tensor[output_tensor(&t->p, bias)].data;
}

/* All outputs of one kind of data. */
static cg_status judge_all(cg_trial *t, kind which, const cg_kernel *k, const cg_parallel *par, cg_verdict *v)
{
    set *s = &t->sets[which];
    int chains = k->source.chains;
    cg_status status = set_make(t, which);
    if (!status && (chains || which == INTEGERS)) status = set_expect(t, s, chains ? chains : 1);
    if (!status) set_hash(t, s);
    if (!status) status = run_on(t, which, k, par, true, v);
    for (int i = 0; i < output_count(&t->p) && !status && v->ok && (chains || which == INTEGERS); i++)
        v->ok = compare(t, which, i, output_of(t, which, i), s->expected[i], 0, cg_output_elements(&t->p, i),
                        chains ? same : same_rounded, v);
    if (!status && v->ok && which == RANDOM) status = judge_figures(t, k, output_of(t, which, 0), 1e7, v);
    return status;
}

/* A few outputs: the first, the last, and random ones between. */
enum { FEW = 512 };
static const double few_terms = 3e5;

static cg_status judge_few(cg_trial *t, const cg_kernel *k, bool bias, cg_verdict *v)
{
    double want[32];
    cg_status status = CONVGEN_OK;
    cg_spread s = cg_spread_over(cg_output_elements(&t->p, bias), cg_reference_terms(&t->p, bias), few_terms, FEW);
    if (s.length > 32) s.length = 32, s.ranges = (s.total + 31) / 32;
    for (int64_t i = 0; i < s.ranges && !status && v->ok; i++) {
        int64_t first, n = cg_spread_range(&s, i, &first);
        status = cg_reference(&t->p, &t->sets[RANDOM].o, CG_CANONICAL, k->source.chains, bias, first, n, want);
        if (!status) v->ok = compare(t, RANDOM, bias, output_of(t, RANDOM, bias), want, first, n, same, v);
    }
    return status;
}

static cg_status judge_sample(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verdict *v)
{
    cg_status status = set_make(t, RANDOM);
    if (!status) status = run_on(t, RANDOM, k, par, false, v);
    if (!status && v->ok && !k->source.chains) return judge_figures(t, k, output_of(t, RANDOM, 0), few_terms, v);
    for (int i = 0; i < output_count(&t->p) && !status && v->ok; i++) status = judge_few(t, k, i, v);
    return status;
}

cg_status cg_verify(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verify_level level, cg_verdict *out)
{
    *out = (cg_verdict){.ok = true, .error_normwise = NAN, .error_vs_loop = NAN, .error_vs_bound = NAN};
    if (t->p.accuracy == CONVGEN_PROVEN && k->source.chains != 1)
        return refuse(out, "proven admits only sums in canonical order");
    if (level == CG_VERIFY_SAMPLE) return judge_sample(t, k, par, out);
    cg_status status = judge_all(t, RANDOM, k, par, out);
    if (!status && out->ok) status = judge_all(t, INTEGERS, k, par, out);
    return status;
}

/* sample.c: code -> trusted, as far as ESTIMATE goes: some outputs, of data that are made for them alone.
 *
 * A small problem runs whole. Of a larger one run the stages that others read from (they pack and copy), and of the last ones the tasks with
 * which each of their parts begins and ends, where borders, ragged tiles and the last channels are; the multiply-adds, and the bytes that are
 * filled, are bounded: the former by what making another kernel would take, where that is more. All inputs are there and zero where they
 * are not filled, so what a task reads elsewhere is known as well.
 * What is compared are outputs that these tasks wrote: at the beginning and the end of each axis, and some between. The tensor's
 * first and last output have to be among them. A kernel of one chain gives the canonical bits; a transform's error is within its budget.
 *
 * Limit: an output that no task of these should have written is not missed. */
#include "trial.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { PLACES = 128, FEW = 512, WIDEST = 32 };
static const double most_macs = 2e7, most_bytes = 4 << 20, few_terms = 3e5;
static const double macs_of_byte = 1e4; /* that machine code does while the generator writes a byte of it, or more */
static const size_t some_bytes = 1 << 20; /* of inputs are filled where not all are */

/* ---- how much is run ------------------------------------------------------------------------------------------------------------------ */

/* The stage that has the multiply-adds. */
static int computes(const cg_kernel *k)
{
    int last = 0;
    for (int i = 0; i < k->source.stage_count; i++) {
        if (!strcmp(k->source.stage[i].name, "compute")) return i;
        if (!k->source.stage[i].pack) last = i;
    }
    return last;
}

/* Of the whole problem; a transform of data has fewer products than sums have terms. */
static double all_macs(const convgen_problem *p, const cg_kernel *k)
{
    double macs = cg_problem_sizes(p).macs;
    for (int i = 0; i < 3 && !k->source.chains && p->pass != CONVGEN_BACKWARD_WEIGHTS; i++) {
        double tile = (double)k->source.tile[i], taps = (double)p->kernel[i];
        macs *= fmin((tile + taps - 1) / (tile * taps), 1);
    }
    return macs;
}

static double macs_of_task(const convgen_problem *p, const cg_kernel *k)
{
    const cg_stage *s = &k->source.stage[computes(k)];
    double macs = all_macs(p, k);
    return cg_stage_is_last(k, computes(k)) && s->tasks ? macs / (double)s->tasks : macs;
}

/* What the tasks may take. Beyond it another kernel is made, of a smaller problem: until that is less work, machine code runs. */
static double affordable_macs(const cg_kernel *k)
{
    return fmax(most_macs, k->machine ? macs_of_byte * (double)k->source.length : 0);
}

double cg_sample_excess(const convgen_problem *p, const cg_kernel *k)
{
    const cg_stage *s = &k->source.stage[computes(k)];
    double macs = all_macs(p, k), tasks = cg_stage_is_last(k, computes(k)) ? fmax(s->ends, 2) : 1;
    return fmin(macs, tasks * macs_of_task(p, k)) / affordable_macs(k);
}

static bool is_small(const cg_trial *t)
{
    double bytes = 0;
    for (int i = 0; i < CG_TENSORS; i++) bytes += t->role_of[i] == CG_ABSENT ? 0 : (double)t->bytes[i];
    return bytes <= most_bytes;
}

/* ---- places: outputs that may be compared ---------------------------------------------------------------------------------------------- */

typedef struct run {
    int64_t first, n; /* outputs side by side */
} run;

typedef struct places {
    run at[PLACES];
    int count;
    int64_t length; /* of one */
    int64_t outputs; /* to compare */
} places;

/* An end of an axis, or from one inwards, more often near it. */
static int64_t coordinate(int64_t size, uint64_t *state)
{
    uint64_t kind = cg_random(state) % 4;
    double u = 0.5 + 0.5 * cg_uniform(state);
    int64_t step = kind < 2 ? 0 : (int64_t)((double)size * u * u * u);
    return kind % 2 ? size - 1 - step : step;
}

static void add_place(places *c, int64_t total, int64_t first)
{
    if (first > total - c->length) first = total - c->length;
    if (c->count < PLACES) c->at[c->count++] = (run){first, c->length};
}

static places no_places(const cg_trial *t, bool bias)
{
    double affordable = fmax(fmin(few_terms / (double)cg_reference_terms(&t->p, bias), FEW), 2);
    double length = fmin(fmax(affordable / 16, 1), fmin(WIDEST, (double)cg_output_elements(&t->p, bias)));
    return (places){.outputs = (int64_t)affordable, .length = (int64_t)length};
}

/* The first and the last, then corners and what is near them, then any. */
static places places_of(const cg_trial *t, bool bias)
{
    int64_t size[5], total = cg_output_elements(&t->p, bias);
    places c = no_places(t, bias);
    cg_output_sizes(&t->p, bias, size);
    add_place(&c, total, 0);
    add_place(&c, total, total - c.length);
    uint64_t state = (uint64_t)total;
    for (int i = 0; i < PLACES * 3 / 4; i++) {
        int64_t first = 0;
        for (int a = 0; a < 5; a++) first = first * size[a] + coordinate(size[a], &state);
        add_place(&c, total, first);
    }
    while (c.count < PLACES) add_place(&c, total, (int64_t)(cg_random(&state) % (uint64_t)total));
    return c;
}

/* In the whole tensor, then in the first and the last quarter, and so on: so that an error is measured where what was written is as
 * likely to be looked at in one place of a tile as in another. */
enum { WINDOWS = 4, IN_WINDOW = PLACES / WINDOWS };

static places windows_of(const cg_trial *t)
{
    int64_t total = cg_output_elements(&t->p, false);
    places c = no_places(t, false);
    uint64_t state = (uint64_t)total + 1;
    for (int i = 0; i < PLACES; i++) {
        int64_t window = total >> 2 * (i / IN_WINDOW), at = (int64_t)(cg_random(&state) % (uint64_t)(window + 1));
        add_place(&c, total, i % 2 && at < total ? total - 1 - at : at);
    }
    return c;
}

static char *output_at(const cg_trial *t, bool bias, int64_t element)
{
    return t->sets[SKETCH].tensor[cg_output_tensor(&t->p, bias)].data + (size_t)element * cg_types[cg_output_type(&t->p, bias)].bytes;
}

/* What an output of a place is added to: -0 shows any sum; every second one, and not the last of the tensor, has a value, which shows that
 * it is added. */
static void put_old(const cg_trial *t, bool bias, run place)
{
    convgen_type type = cg_output_type(&t->p, bias);
    for (int64_t i = place.first; i < place.first + place.n; i++) {
        bool value = i % 2 && i + 1 < cg_output_elements(&t->p, bias);
        cg_put(type, (void *)t->sets[SKETCH].o.old[bias], i, value ? (double)(1 + cg_mix((uint64_t)i) % 1024) / 1024 : -0.0);
        cg_put(type, output_at(t, bias, 0), i, cg_get(type, t->sets[SKETCH].o.old[bias], i));
    }
}

static void poison_places(const cg_trial *t, bool bias, const places *c)
{
    for (int i = 0; i < c->count; i++)
        if (t->p.accumulate) put_old(t, bias, c->at[i]);
        else cg_fill_words(output_at(t, bias, c->at[i].first), (size_t)c->at[i].n * cg_types[cg_output_type(&t->p, bias)].bytes, poisons[OUTPUT].word);
}

/* Whether an output is as it was before the run. */
static bool never_written(const cg_trial *t, bool bias, bool whole, int64_t element)
{
    size_t bytes = cg_types[cg_output_type(&t->p, bias)].bytes;
    const char *got = output_at(t, bias, element);
    if (!t->p.accumulate) return cg_never_written(t, got);
    return !whole && !memcmp(got, (const char *)t->sets[SKETCH].o.old[bias] + (size_t)element * bytes, bytes);
}

/* The run of written outputs from the first written one of a place on; n 0: none. */
static run written(const cg_trial *t, bool bias, bool whole, run place)
{
    run r = place;
    while (r.n && never_written(t, bias, whole, r.first)) r.first++, r.n--;
    for (int64_t i = 0; i < r.n; i++)
        if (never_written(t, bias, whole, r.first + i)) r.n = i;
    return r;
}

/* Keeps what was written, as much of it as is compared. `must`: the tensor's ends belong to it; false: they do not. */
static bool keep_written(cg_trial *t, bool bias, bool whole, bool must, places *c, cg_verdict *v)
{
    int kept = 0;
    int64_t outputs = 0, end[2] = {0, cg_output_elements(&t->p, bias) - 1};
    for (int i = 0; i < 2 && must; i++)
        if (never_written(t, bias, whole, end[i])) return cg_unwritten(t, SKETCH, bias, end[i], v), false;
    for (int i = 0; i < c->count && outputs < c->outputs; i++) {
        run r = written(t, bias, whole, c->at[i]);
        if (whole && r.n < c->length) return cg_unwritten(t, SKETCH, bias, c->at[i].first + (r.first == c->at[i].first ? r.n : 0), v), false;
        if (r.n) c->at[kept++] = r;
        outputs += r.n;
    }
    c->count = kept;
    if (!kept) cg_refuse(v, "the tasks with which its parts begin and end wrote none of %d outputs that were looked at", PLACES);
    return kept;
}

/* Keeps what was written in the widest window that has enough of it, or in the one that has most. */
static void keep_window(const cg_trial *t, bool whole, places *c)
{
    places best = {.count = 0};
    int64_t most = 0;
    for (int w = 0; w < WINDOWS && most < c->outputs / 4; w++) {
        places here = {.count = 0};
        int64_t outputs = 0;
        for (int i = w * IN_WINDOW; i < (w + 1) * IN_WINDOW && outputs < c->outputs; i++) {
            run r = written(t, false, whole, c->at[i]);
            if (r.n) here.at[here.count++] = r;
            outputs += r.n;
        }
        if (outputs > most) most = outputs, best = here;
    }
    *c = best;
}

/* ---- a run ----------------------------------------------------------------------------------------------------------------------------- */

static cg_status pack(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_operands *o)
{
    bench *b = &t->bench;
    if (!b->packed.data) return CONVGEN_OK;
    cg_kernel_pack(k, par, o->weights, b->packed.data, b->workspace.data);
    cg_fill_words(b->workspace.data, b->workspace.size, poisons[UNWRITTEN].word);
    o->weights = NULL;
    return CONVGEN_OK;
}

/* How many tasks of each last stage are run. */
static long affordable_tasks(const cg_trial *t, const cg_kernel *k)
{
    double tasks = affordable_macs(k) / macs_of_task(&t->p, k);
    return tasks < 1 ? 1 : tasks > CG_ENDS ? CG_ENDS : (long)tasks;
}

static cg_status run_some(cg_trial *t, const cg_kernel *k, const cg_parallel *par, bool whole, cg_verdict *v)
{
    cg_operands o = t->sets[SKETCH].given;
    cg_parallel one = {.threads = 1};
    cg_status status = cg_bench_fit(t, k, whole ? par->threads : 1, true, poisons[UNWRITTEN].word);
    if (!status) status = pack(t, k, whole ? par : &one, &o);
    cg_ends ends = {.most = affordable_tasks(t, k), .counted = computes(k), .ran = v->tasks};
    double start = cg_now();
    cg_set_put(t, &t->sets[SKETCH], false);
    if (!status && whole) status = cg_kernel_run_in_time(k, par, &o, t->bench.packed.data, t->bench.workspace.data);
    else if (!status)
        status = cg_kernel_run_ends(k, &o, t->bench.packed.data, t->bench.workspace.data, &ends);
    v->seconds = cg_now() - start;
    v->tasks = ends.ran;
    v->macs = whole ? all_macs(&t->p, k) : macs_of_task(&t->p, k) * (double)v->tasks;
    v->filled = t->filled;
    if (!status) v->ok = cg_taken(t, &t->sets[SKETCH], false, v) && cg_untouched(t, SKETCH, false, v);
    return status;
}

/* ---- judging --------------------------------------------------------------------------------------------------------------------------- */

static cg_status judge_sums(cg_trial *t, const cg_kernel *k, bool bias, const places *c, cg_verdict *v)
{
    double want[WIDEST];
    cg_status status = CONVGEN_OK;
    int chains = k->source.chains ? k->source.chains : 1;
    for (int i = 0; i < c->count && !status && v->ok; i++) {
        cg_outputs some = {bias, c->at[i].first, c->at[i].n};
        status = cg_reference(&t->p, &t->sets[SKETCH].o, CG_CANONICAL, chains, some, want);
        if (!status) v->ok = cg_same_sums(t, SKETCH, some, want, v);
    }
    return status;
}

/* Squares of errors and of exact values. Outputs at the rim, whose receptive field is for a good part padding, are many of a sample and few
 * of a tensor: a transform's error there is that of whole sums, the loop's is not. */
typedef struct squares {
    double mine, loop, exact;
    int64_t n;
} squares;

static double square(double x) { return isnan(x) ? INFINITY : x * x; }

static cg_status add_squares(cg_trial *t, run r, squares *whole, squares *rim)
{
    double high[WIDEST], low[WIDEST], magnitude[WIDEST], loop[WIDEST];
    int64_t terms[WIDEST], most = cg_reference_terms(&t->p, false);
    const cg_operands *o = &t->sets[SKETCH].o;
    cg_outputs some = {false, r.first, r.n};
    cg_status status = cg_reference_exact(&t->p, o, some, (cg_exact_sums){high, low, magnitude, terms});
    if (!status) status = cg_reference(&t->p, o, CG_LOOP, 1, some, loop);
    for (int64_t i = 0; i < r.n && !status; i++) {
        squares *of = terms[i] * 4 >= most * 3 ? whole : rim;
        of->mine += square((cg_get(cg_output_type(&t->p, false), output_at(t, false, r.first), i) - high[i]) - low[i]);
        of->loop += square((cg_get(cg_output_type(&t->p, false), loop, i) - high[i]) - low[i]);
        of->exact += square(high[i]);
        of->n++;
    }
    return status;
}

static double mean(double sum, int64_t n) { return n ? sum / (double)n : 0; }
static double ratio(double mine, double loop) { return mine == loop ? 1 : sqrt(mine / loop); }

enum { WORST = 4 }; /* how much beyond the tensor's the error of its corners and rims may be */

static cg_status refuse_error(const cg_trial *t, int64_t outputs, double error, double allowed, cg_verdict *v)
{
    v->inexact = true;
    return cg_refuse(v, "the error of %" PRId64 " outputs is %.3g times the loop's, %s allows so few %.3g", outputs, error,
                     cg_accuracy_name(t->p.accuracy), allowed);
}

/* The ratio of some outputs is known to some deviations of 1 / sqrt(their number): a sample allows four more. */
static cg_status judge_transform(cg_trial *t, const places *corners, const places *windows, cg_verdict *v)
{
    squares all[3] = {{0}}, *whole = &all[0], *rim = &all[1];
    cg_status status = CONVGEN_OK;
    for (int i = 0; i < windows->count && !status; i++) status = add_squares(t, windows->at[i], whole, rim);
    if (whole->n < rim->n / 4) whole = &all[1], rim = &all[0]; /* a small image is all rim */
    for (int i = 0; i < corners->count && !status; i++) status = add_squares(t, corners->at[i], rim, rim);
    if (status) return status;
    double allowed = cg_budget(t->p.accuracy) * (1 + 4 / sqrt((double)(whole->n ? whole->n : 1)));
    double loop = whole->n ? mean(whole->loop, whole->n) : mean(rim->loop, rim->n), at_rim = ratio(mean(rim->mine, rim->n), loop);
    v->error_normwise = whole->mine == 0 ? 0 : sqrt(whole->mine / whole->exact);
    v->error_vs_loop = ratio(whole->mine, whole->loop);
    if (!(v->error_vs_loop <= allowed)) return refuse_error(t, whole->n, v->error_vs_loop, allowed, v);
    if (rim->n && !(at_rim <= WORST * allowed)) return refuse_error(t, rim->n, at_rim, WORST * allowed, v);
    return CONVGEN_OK;
}

static bool all_written(cg_trial *t, cg_verdict *v)
{
    int64_t count = cg_output_elements(&t->p, false);
    for (int64_t i = 0; i < count && v->ok; i++)
        if (isnan(cg_get(cg_output_type(&t->p, false), output_at(t, false, 0), i))) cg_unwritten(t, SKETCH, false, i, v);
    return v->ok;
}

/* The error of a transform is that of whole sums: no input of them may be left zero. */
static cg_status make_data(cg_trial *t, const cg_kernel *k)
{
    t->whole = is_small(t);
    size_t most = k->source.chains && !t->whole ? some_bytes : SIZE_MAX;
    if (t->sets[SKETCH].made && t->sketched < most) cg_set_free(&t->sets[SKETCH]);
    if (!t->sets[SKETCH].made) t->sketched = most;
    return cg_set_make(t, SKETCH);
}

/* What is looked at: places of each output, and windows of a transform's; the problem may run whole. */
typedef struct sight {
    bool whole;
    places c[2], windows;
} sight;

/* Poisoned as far as they are looked at; of a problem that runs whole, all of them. */
static void poison_outputs(const cg_trial *t, const sight *s)
{
    for (int i = 0; i < cg_output_count(&t->p); i++)
        if (s->whole) cg_fill_words(output_at(t, i, 0), t->bytes[cg_output_tensor(&t->p, i)], poisons[OUTPUT].word);
        else poison_places(t, i, &s->c[i]);
    if (!s->whole) poison_places(t, false, &s->windows);
    else cg_old_put(&t->p, &t->sets[SKETCH].o);
}

static cg_status judge_output(cg_trial *t, const cg_kernel *k, bool bias, sight *s, cg_verdict *v)
{
    if (k->source.chains || bias) return judge_sums(t, k, bias, &s->c[bias], v);
    keep_window(t, s->whole, &s->windows);
    return judge_transform(t, &s->c[bias], &s->windows, v);
}

/* Whether the tensor's ends are written: by tasks that are run, or because all are whose results another stage finishes. */
static bool meets_ends(const cg_trial *t, const cg_kernel *k)
{
    int i = computes(k);
    return !cg_stage_is_last(k, i) || k->source.stage[i].ends <= affordable_tasks(t, k);
}

cg_status cg_sample(cg_trial *t, const cg_kernel *k, const cg_parallel *par, cg_verdict *v)
{
    bool whole = is_small(t) && cg_problem_sizes(&t->p).macs <= most_macs, ends = whole || meets_ends(t, k);
    sight s = {.whole = whole, .windows = windows_of(t)};
    for (int i = 0; i < cg_output_count(&t->p); i++) s.c[i] = places_of(t, i);
    cg_status status = make_data(t, k);
    if (!status) poison_outputs(t, &s);
    if (!status) status = run_some(t, k, par, whole, v);
    if (status || !v->ok || (!k->source.chains && whole && !all_written(t, v))) return status;
    for (int i = 0; i < cg_output_count(&t->p) && !status && v->ok; i++) {
        v->ok = keep_written(t, i, whole, ends && (!i || whole), &s.c[i], v);
        if (v->ok) status = judge_output(t, k, i, &s, v);
    }
    return status;
}

/* example_selfcheck.c: every layer, on every target that runs here, against plain loops.
 *
 *   example_selfcheck [LAYER...]
 *
 * Twice each: on small integers, where the result must be exact, and on random numbers, where the error must stay within the
 * bound; once with packed weights and once without. Outputs are surrounded by guards, as packed weights and workspace end at one;
 * what is written begins as NaNs, and what is read must stay as it was.
 * Of large layers a spread of the outputs is checked. Exit status: 0 when all pass. Made by convgen 0.1.0. */
#include "example_layers.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double most_terms = 2e8; /* of plain loops for a layer and a kind of data */
enum { GUARD = 64 };

/* ---- plain loops --------------------------------------------------------------------------------------------------- */

static double at(const layer *l, const void *data, long i)
{
    return l->f64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

/* Elements of an image, of weights: where they stand. */
static long image(const layer *l, const long size[3], long channels, long n, const long x[3], long c)
{
    if (l->nchw) return (((n * channels + c) * size[0] + x[0]) * size[1] + x[1]) * size[2] + x[2];
    return (((n * size[0] + x[0]) * size[1] + x[1]) * size[2] + x[2]) * channels + c;
}

static long weight(const layer *l, const long k[3], long i, long c)
{
    const long icg = l->ic / l->groups;
    if (l->nchw) return (((c * icg + i) * l->kernel[0] + k[0]) * l->kernel[1] + k[1]) * l->kernel[2] + k[2];
    return (((k[0] * l->kernel[1] + k[1]) * l->kernel[2] + k[2]) * icg + i) * l->oc + c;
}

static long volume(const long size[3]) { return size[0] * size[1] * size[2]; }

static void split(long number, const long size[3], long x[3])
{
    x[2] = number % size[2], x[1] = number / size[2] % size[1], x[0] = number / size[2] / size[1];
}

/* Channel and place of an element of an image. */
static long parts(const layer *l, const long size[3], long channels, long element, long *n, long x[3])
{
    const long pixels = volume(size);
    *n = element / (channels * pixels);
    element %= channels * pixels;
    split(l->nchw ? element % pixels : element / channels, size, x);
    return l->nchw ? element / pixels : element % channels;
}

typedef struct sum {
    double value, rest, magnitude, loop; /* exact enough, with what rounding left; of |a||b|; one accumulator of the type, for transforms */
    long terms;
} sum;

/* The sum and the errors of its roundings: twice the digits of a double (Ogita, Rump and Oishi 2005, algorithm 5.3). */
static void add(const layer *l, sum *s, double a, double b)
{
    const double product = a * b, before = s->value, after = before + product, part = after - before;
    s->value = after;
    s->rest += fma(a, b, -product) + ((before - (after - part)) + (product - part));
    s->magnitude += fabs(a * b);
    s->loop = l->f64 ? s->loop + a * b : (double)((float)s->loop + (float)a * (float)b);
    s->terms++;
}

static void finish(const layer *l, sum *s)
{
    double *const each[2] = { &s->value, &s->loop };
    s->value += s->rest, s->rest = 0;
    for (int i = 0; i < 2; i++) {
        if (l->activation == 1 && *each[i] < 0) *each[i] = 0;
        if (l->activation == 2) *each[i] = *each[i] < l->lo ? l->lo : *each[i] > l->hi ? l->hi : *each[i];
    }
}

/* What is done with a sum of channel c. */
static void epilogue(const layer *l, void *const t[OPERANDS], long c, long element, sum *s)
{
    if (l->bias) add(l, s, at(l, t[BIAS], c), 1);
    if (l->residual) add(l, s, at(l, t[RESIDUAL], element), 1);
    finish(l, s);
}

static sum forward(const layer *l, void *const t[OPERANDS], long element)
{
    sum s = { 0, 0, 0, 0, 0 };
    long n, o[3], k[3], x[3];
    const long c = parts(l, l->out, l->oc, element, &n, o), icg = l->ic / l->groups, g = c / (l->oc / l->groups);
    for (long tap = 0; tap < volume(l->kernel); tap++) {
        int inside = 1;
        split(tap, l->kernel, k);
        for (int a = 0; a < 3; a++) {
            x[a] = o[a] * l->stride[a] + k[a] * l->dilation[a] - l->pad[a];
            inside &= x[a] >= 0 && x[a] < l->in[a];
        }
        for (long i = 0; inside && i < icg; i++)
            add(l, &s, at(l, t[SRC], image(l, l->in, l->ic, n, x, g * icg + i)), at(l, t[WEIGHTS], weight(l, k, i, c)));
    }
    epilogue(l, t, c, element, &s);
    return s;
}

static sum backward_data(const layer *l, void *const t[OPERANDS], long element)
{
    sum s = { 0, 0, 0, 0, 0 };
    long n, x[3], k[3], o[3];
    const long ci = parts(l, l->in, l->ic, element, &n, x), icg = l->ic / l->groups, ocg = l->oc / l->groups, g = ci / icg;
    for (long tap = 0; tap < volume(l->kernel); tap++) {
        int inside = 1;
        split(tap, l->kernel, k);
        for (int a = 0; a < 3; a++) {
            const long scaled = x[a] + l->pad[a] - k[a] * l->dilation[a];
            o[a] = scaled / l->stride[a];
            inside &= scaled >= 0 && scaled % l->stride[a] == 0 && o[a] < l->out[a];
        }
        for (long c = g * ocg; inside && c < (g + 1) * ocg; c++)
            add(l, &s, at(l, t[DST], image(l, l->out, l->oc, n, o, c)), at(l, t[WEIGHTS], weight(l, k, ci % icg, c)));
    }
    epilogue(l, t, ci, element, &s);
    return s;
}

static sum backward_weights(const layer *l, void *const t[OPERANDS], long element)
{
    sum s = { 0, 0, 0, 0, 0 };
    long k[3], x[3], o[3], i, c;
    const long icg = l->ic / l->groups, taps = volume(l->kernel);
    if (l->nchw) split(element % taps, l->kernel, k), i = element / taps % icg, c = element / taps / icg;
    else split(element / l->oc / icg, l->kernel, k), i = element / l->oc % icg, c = element % l->oc;
    for (long n = 0; n < l->batch; n++)
        for (long pixel = 0; pixel < volume(l->out); pixel++) {
            int inside = 1;
            split(pixel, l->out, o);
            for (int a = 0; a < 3; a++) {
                x[a] = o[a] * l->stride[a] + k[a] * l->dilation[a] - l->pad[a];
                inside &= x[a] >= 0 && x[a] < l->in[a];
            }
            if (inside)
                add(l, &s, at(l, t[SRC], image(l, l->in, l->ic, n, x, c / (l->oc / l->groups) * icg + i)),
                    at(l, t[DST], image(l, l->out, l->oc, n, o, c)));
        }
    return s;
}

static sum bias_gradient(const layer *l, void *const t[OPERANDS], long c)
{
    sum s = { 0, 0, 0, 0, 0 };
    const long *const size = l->transposed ? l->in : l->out;
    long o[3];
    for (long n = 0; n < l->batch; n++)
        for (long pixel = 0; pixel < volume(size); pixel++) {
            split(pixel, size, o);
            add(l, &s, at(l, t[l->transposed ? SRC : DST], image(l, size, l->transposed ? l->ic : l->oc, n, o, c)), 1);
        }
    return s;
}

/* ---- operands ------------------------------------------------------------------------------------------------------ */

static size_t element_size(const layer *l) { return l->f64 ? sizeof(double) : sizeof(float); }

static long elements(const layer *l, int slot)
{
    switch (slot) {
    case SRC: return l->batch * l->ic * volume(l->in);
    case WEIGHTS: return l->oc * (l->ic / l->groups) * volume(l->kernel);
    case BIAS: return !l->bias ? 0 : l->transposed ? l->ic : l->oc;
    case DST: return l->batch * l->oc * volume(l->out);
    case RESIDUAL: return l->residual ? elements(l, l->transposed ? SRC : DST) : 0;
    case SLOPE: return l->activation != 4 ? 0 : l->transposed ? l->ic : l->oc;
    default: return 0;
    }
}

static int is_output(const layer *l, int slot)
{
    return l->pass == FORWARD ? slot == DST : l->pass == BACKWARD_DATA ? slot == SRC : slot == WEIGHTS || slot == BIAS;
}

/* Tensors stand off their element's alignment only, and end where their memory ends, but for the guards of outputs. */
typedef struct memory {
    char *base[OPERANDS];
    void *at[OPERANDS];
} memory;

static void *get(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return p;
}

static void *aligned(char **base, size_t bytes)
{
    *base = get(bytes + 64 + GUARD);
    return *base + (64 - (uintptr_t)*base % 64) % 64;
}

static void get_memory(const layer *l, memory *m)
{
    const size_t e = element_size(l);
    for (int slot = SRC; slot < PACKED; slot++) {
        const size_t bytes = (size_t)elements(l, slot) * e;
        m->base[slot] = get(bytes + e + GUARD);
        m->at[slot] = bytes ? m->base[slot] + (is_output(l, slot) ? GUARD / 2 + e : GUARD + e) : NULL;
    }
    m->at[PACKED] = aligned(&m->base[PACKED], l->packed);
    m->at[WORKSPACE] = aligned(&m->base[WORKSPACE], l->workspace);
}

static void free_memory(memory *m)
{
    for (int slot = 0; slot < OPERANDS; slot++) free(m->base[slot]);
}

static uint64_t state;
static double random_number(int integers) /* integers of -3 to 3, or uniform in [-1, 1) */
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return integers ? (double)((state >> 33) % 7) - 3 : (double)(int64_t)(state & ~(uint64_t)0xfff) * 0x1p-63;
}

/* Fills what is read, or only looks whether it still is what it was filled with. */
static int fill(const layer *l, const memory *m, int integers, int only_look)
{
    int same = 1;
    state = 20111;
    for (int slot = SRC; slot < PACKED; slot++)
        for (long i = 0; i < elements(l, slot); i++) {
            const double x = random_number(integers);
            if (is_output(l, slot)) break;
            if (only_look) same &= at(l, m->at[slot], i) == (l->f64 ? x : (double)(float)x);
            else if (l->f64) ((double *)m->at[slot])[i] = x;
            else ((float *)m->at[slot])[i] = (float)x;
        }
    return same;
}

/* Outputs and the workspace are NaNs; so are the guards. */
static void poison(const layer *l, const memory *m)
{
    for (int slot = SRC; slot < PACKED; slot++)
        if (is_output(l, slot)) memset(m->base[slot], 0xFF, (size_t)elements(l, slot) * element_size(l) + element_size(l) + GUARD);
    memset(m->at[PACKED], 0xFF, l->packed + GUARD);
    memset(m->at[WORKSPACE], 0xFF, l->workspace + GUARD);
}

static int untouched(const void *from, const void *to)
{
    for (const unsigned char *p = from; p < (const unsigned char *)to; p++)
        if (*p != 0xFF) return 0;
    return 1;
}

/* What was written beside what may be, or NULL. */
static const char *overwritten(const layer *l, const memory *m)
{
    for (int slot = SRC; slot < PACKED; slot++) {
        const char *const first = m->at[slot], *const last = first ? first + (size_t)elements(l, slot) * element_size(l) : NULL;
        if (is_output(l, slot) && first && !(untouched(m->base[slot], first) && untouched(last, last + GUARD / 2)))
            return "it wrote outside of its output";
    }
    const char *const packed = (const char *)m->at[PACKED] + l->packed, *const workspace = (const char *)m->at[WORKSPACE] + l->workspace;
    if (!untouched(packed, packed + GUARD)) return "it wrote beyond its packed weights";
    return untouched(workspace, workspace + GUARD) ? NULL : "it wrote beyond its workspace";
}

/* ---- judgement ------------------------------------------------------------------------------------------------------ */

typedef struct figures {
    double of_bound, error, loop, exact; /* the largest share of the bound; sums of squares */
    long checked, outputs, wrong;
    double got, expected; /* of the first wrong one */
} figures;

static void judge(const layer *l, figures *f, const sum *s, double got, int integers, double budget)
{
    const double u = l->f64 ? 0x1p-53 : 0x1p-24, k = (double)s->terms * (l->f64 ? 2 : 1); /* f64: these loops err as well */
    const double right = s->value + s->rest, error = fabs(got - right), bound = k * u / (1 - k * u) * s->magnitude + (l->f64 ? 0 : 1e-9 * u);
    int wrong = !(budget > 0 ? !integers || error < 0.5 : integers ? got == right : error <= bound); /* NaN is wrong */
    if (budget > 0 && !(error <= 1e30)) wrong = 1;
    if (wrong && !f->wrong++) f->got = got, f->expected = right;
    if (error > 0 && bound > 0 && error / bound > f->of_bound) f->of_bound = error / bound;
    f->error += error * error, f->loop += (s->loop - right) * (s->loop - right), f->exact += right * right;
    f->checked++;
}

static void check_tensor(const layer *l, const memory *m, int slot, int integers, double budget, figures *f)
{
    sum (*const by_pass[3])(const layer *, void *const *, long) = { forward, backward_data, backward_weights };
    sum (*const loops)(const layer *, void *const *, long) = slot == BIAS ? bias_gradient : by_pass[l->pass];
    const long count = elements(l, slot);
    const double terms = l->pass == BACKWARD_WEIGHTS ? (double)l->batch * (double)volume(l->out)
                       : (double)volume(l->kernel) * (double)(l->pass == FORWARD ? l->ic : l->oc) / (double)l->groups;
    long step = (long)((double)count * terms / most_terms) + 1;
    if (step > 1) step |= 1; /* odd: not always the same channel */
    f->outputs += count;
    for (long i = 0; i < count; i += i + step < count || i == count - 1 ? step : count - 1 - i) {
        const sum s = loops(l, m->at, i);
        judge(l, f, &s, at(l, m->at[slot], i), integers, budget);
    }
}

/* The reason why not, or NULL. */
static const char *check_run(const layer *l, const memory *m, int target, int integers, int packed, figures *f)
{
    static char why[160];
    poison(l, m);
    if (packed) {
        l->run(m->at, PACK, THREADS);
        memset(m->at[WORKSPACE], 0xFF, l->workspace);
    }
    l->run(m->at, packed ? WITH_PACKED : WHOLE, THREADS);
    const char *const beside = overwritten(l, m);
    if (beside) return beside;
    if (!fill(l, m, integers, 1)) return "it changed what it may only read";
    memset(f, 0, sizeof *f);
    for (int slot = SRC; slot < PACKED; slot++)
        if (is_output(l, slot) && m->at[slot]) check_tensor(l, m, slot, integers, l->budget[target], f);
    if (f->wrong) {
        snprintf(why, sizeof why, "%ld of %ld outputs are wrong%s, the first is %.9g in place of %.9g", f->wrong, f->checked,
                 integers ? " on integers" : "", f->got, f->expected);
        return why;
    }
    /* Twice the budget: it is for much data of many channels, and this layer's may be neither. */
    if (l->budget[target] > 0 && !integers && f->error > 4 * l->budget[target] * l->budget[target] * f->loop) {
        snprintf(why, sizeof why, "the normwise error is %.2f times that of a plain loop", sqrt(f->error / f->loop));
        return why;
    }
    return NULL;
}

static int check(const layer *l, const memory *m, int target)
{
    figures f = { 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    const char *why = NULL;
    for (int integers = 1; integers >= 0 && !why; integers--) {
        fill(l, m, integers, 0);
        for (int packed = 0; packed <= (l->pass != BACKWARD_WEIGHTS) && !why; packed++)
            why = check_run(l, m, target, integers, packed, &f);
    }
    printf("%-28s %-9s ", l->name, target_names[target]);
    if (why) printf("FAIL: %s\n", why);
    else if (l->budget[target] > 0)
        printf("pass: %ld of %ld outputs, error %.2f of a plain loop's\n", f.checked, f.outputs, f.loop > 0 ? sqrt(f.error / f.loop) : 0.0);
    else printf("pass: %ld of %ld outputs, error at most %.2g of the bound\n", f.checked, f.outputs, f.of_bound);
    return !why;
}

static int wanted(const layer *l, int count, char **names)
{
    for (int i = 1; i < count; i++)
        if (!strcmp(names[i], l->name)) return 1;
    return count < 2;
}

int main(int argc, char **argv)
{
    int failed = 0, checked = 0, runs[TARGETS];
    const char *best = example_target();
    for (int t = 0; t < TARGETS; t++)
        if (!(runs[t] = !example_choose(target_names[t]))) printf("%s does not run here: not checked\n", target_names[t]);
    for (int i = 0; i < LAYERS; i++) {
        memory m;
        if (!wanted(&layers[i], argc, argv)) continue;
        get_memory(&layers[i], &m);
        for (int t = 0; t < TARGETS; t++) {
            if (!runs[t]) continue;
            example_choose(target_names[t]);
            failed += !check(&layers[i], &m, t);
            checked++;
        }
        free_memory(&m);
    }
    printf("%s: %d kernels checked, %d failed; %s is chosen here\n", failed || !checked ? "FAIL" : "pass", checked, failed, best);
    return failed || !checked;
}

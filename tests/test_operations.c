/* Operations of a network: kernels of random operations on random views against plain loops in double; memory between and beyond the
 * elements stays as it was; the bits are those of every other target and number of threads. CONVGEN_SEED=n runs the same again,
 * CONVGEN_TRIALS=n so many of each operation, CONVGEN_OP=name that one alone. */
#include "check/check.h"
#include "compile/compile.h"
#include "network/reference.h"
#include "suite.h"
#include <math.h>
#include <time.h>

enum { SOUGHT = 3, POISON = 0xA5 };
static const char *const sought[SOUGHT] = {"avx512", "avx2", "portable"};

static cg_script *script;
static cg_target targets[SOUGHT];
static int target_count;
static bool compiles; /* there is a system compiler */
static uint64_t state;

static int64_t drawn(int64_t low, int64_t high) { return low + (int64_t)(cg_random(&state) % (uint64_t)(high - low + 1)); }
static bool one_of(int n) { return drawn(1, n) == 1; }

static void begin(void)
{
    static cg_machine machine;
    const char *given = getenv("CONVGEN_SEED");
    state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("seed %llu\n", (unsigned long long)state);
    cg_machine_detect(&machine);
    ck_assert_int_eq(cg_script_new(&script), CONVGEN_OK);
    target_count = 0;
    compiles = !system("command -v cc >/dev/null 2>&1");
    if (!compiles) printf("skipped: cc is not installed, so that it compiles nothing here\n");
    for (int i = 0; i < SOUGHT; i++) {
        if (!cg_script_target(script, &machine, sought[i], &targets[target_count])) target_count++;
        else printf("left out: %s\n", cg_error_text());
    }
}

static void end(void) { cg_script_free(script); }

/* ---- views ---- */

/* Strides for dims in a random order of the axes, with room between. */
static void stride_view(cg_view *v, bool apart)
{
    int order[CG_RANK];
    int64_t step = 1;
    for (int i = 0; i < v->rank; i++) order[i] = i;
    for (int i = v->rank - 1; i > 0 && one_of(2); i--) {
        int other = (int)drawn(0, i), kept = order[i];
        order[i] = order[other], order[other] = kept;
    }
    if (apart && one_of(4)) step = drawn(2, 3);
    for (int i = v->rank - 1; i >= 0; i--) {
        v->strides[order[i]] = step;
        step *= v->dims[order[i]];
        if (apart && one_of(3)) step += drawn(1, 9);
    }
}

static cg_view new_view(const char *type, int rank, const int64_t *dims)
{
    cg_view v = {.rank = rank};
    strcpy(v.type, type);
    memcpy(v.dims, dims, (size_t)rank * sizeof *dims);
    if (one_of(3) && rank > 2) { /* channels last */
        int64_t step = dims[1];
        v.strides[1] = 1;
        for (int i = rank - 1; i >= 0; i--)
            if (i != 1) v.strides[i] = step, step *= dims[i];
    } else {
        stride_view(&v, one_of(2));
    }
    return v;
}

/* The same dims, some of them of one element for all. */
static cg_view broadcast_view(const cg_view *of)
{
    int64_t dims[CG_RANK];
    for (int i = 0; i < of->rank; i++) dims[i] = one_of(3) ? 1 : of->dims[i];
    cg_view v = new_view(of->type, of->rank, dims);
    for (int i = 0; i < of->rank; i++)
        if (dims[i] != of->dims[i]) v.dims[i] = of->dims[i], v.strides[i] = 0;
    return v;
}

/* ---- data ---- */

typedef struct trial {
    cg_operation o;
    double rounds, size; /* the error may be so many roundings of the result plus a size; 0: none */
    enum { REAL, INTEGERS, POSITIVE, HARD, LARGE } data;
} trial;

static double datum(const trial *t)
{
    static const double hard[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 1, -1, 88, -104, 1e30, -1e30, 1e-40};
    if (t->data == HARD && one_of(3)) return hard[drawn(0, (int64_t)(sizeof hard / sizeof hard[0]) - 1)];
    if (t->data == INTEGERS) return (double)drawn(-8, 8);
    double x = cg_uniform(&state) * 4;
    if (t->data == LARGE) return ldexp(x, (int)drawn(-3, 66)); /* beyond the integers, too */
    return t->data == POSITIVE ? fabs(x) + 0.01 : x;
}

typedef struct memory {
    cg_guarded block[CG_SLOTS];
    void *at[CG_SLOTS];
} memory;

static void fill(const trial *t, int slot, memory *m)
{
    const cg_view *v = &t->o.view[slot];
    int64_t index[CG_RANK] = {0};
    ck_assert_int_eq(cg_guarded_new(cg_view_bytes(v), true, cg_view_element(v), &m->block[slot]), CONVGEN_OK);
    m->at[slot] = m->block[slot].data;
    memset(m->at[slot], POISON, cg_view_bytes(v));
    if (slot == CG_OP_DST) return;
    if (v->type[0] != 'i' || slot == CG_OP_SRC)
        do cg_view_put(v, m->at[slot], index, datum(t));
        while (cg_next_index(v, index));
    else
        do cg_view_put(v, m->at[slot], index, (double)drawn(-t->o.view[0].dims[t->o.axes.at[0]], t->o.view[0].dims[t->o.axes.at[0]] - 1));
        while (cg_next_index(v, index));
}

static void release(memory *m)
{
    for (int i = 0; i < CG_SLOTS; i++) cg_guarded_free(&m->block[i]);
}

/* ---- running ---- */

static void describe(const trial *t, char *text, size_t size)
{
    int n = snprintf(text, size, "%s", t->o.op);
    for (int i = 0; i < t->o.steps; i++) n += snprintf(text + n, size - (size_t)n, " %s", t->o.step[i].name);
    for (int s = 0; s < CG_SLOTS; s++) {
        const cg_view *v = &t->o.view[s];
        if (!v->type[0]) continue;
        n += snprintf(text + n, size - (size_t)n, ", %s %s", cg_slot_name[s], v->type);
        for (int i = 0; i < v->rank; i++) n += snprintf(text + n, size - (size_t)n, "%s%ld:%ld", i ? "x" : " ", (long)v->dims[i], (long)v->strides[i]);
    }
}

/* Each thread's share is run one after another. */
static void run_kernel(const trial *t, const cg_target *target, const char *compiler, int threads, void *const at[CG_SLOTS], const char *what)
{
    char why[CG_WHY];
    cg_source source;
    cg_kernel kernel;
    cg_parallel par = {threads, NULL, NULL};
    cg_operation_request r = {&t->o, what, target->name, cg_form(target, compiler), threads};
    ck_assert_msg(!cg_script_operation(script, &r, &source, why), "%s, %s: %s", what, target->name, why);
    ck_assert_msg(!cg_kernel_compile(&source, &(cg_making){t->o.op, compiler, target->flags}, &kernel, why), "%s, %s: %s", what, target->name, why);
    void *workspace = cg_page_aligned(cg_kernel_workspace(&kernel, threads) + 64);
    ck_assert_ptr_nonnull(workspace);
    memset(workspace, 0xFF, cg_kernel_workspace(&kernel, threads));
    cg_operands o = {{{at[CG_OP_SRC], at[CG_OP_WEIGHTS], at[CG_OP_BIAS], at[CG_OP_DST], at[CG_OP_RESIDUAL], at[CG_OP_SLOPE]}}, {NULL}};
    cg_kernel_run(&kernel, &par, &o, NULL, workspace);
    cg_free(workspace);
    cg_kernel_free(&kernel);
}

static double unit(const cg_view *v) { return strcmp(v->type, "f32") ? 0x1p-53 : 0x1p-24; }

static void compare(const trial *t, memory *m, const char *what)
{
    cg_operation exact = t->o;
    cg_view *v = &exact.view[CG_OP_DST], *result = v;
    const cg_view as_it_was = t->o.view[CG_OP_DST];
    int64_t step = 1, index[CG_RANK] = {0};
    if (v->type[0] != 'i') strcpy(v->type, "f64");
    for (int i = v->rank - 1; i >= 0; i--) v->strides[i] = step, step *= v->dims[i];
    double *expected = cg_malloc(cg_view_bytes(result) + 8);
    void *at[CG_SLOTS];
    memcpy(at, m->at, sizeof at);
    at[CG_OP_DST] = expected;
    ck_assert_msg(!cg_operation_reference(&exact, at), "%s: %s", what, cg_error_text());
    do {
        double want = cg_view_get(v, expected, index), got = cg_view_get(&as_it_was, m->at[CG_OP_DST], index);
        double rounds = t->rounds > 0 && cg_view_element(&as_it_was) == 8 ? t->rounds + 2 : t->rounds; /* the reference rounds as well */
        double rounded = cg_view_element(&as_it_was) == 4 ? (double)(float)want : want;
        bool good = isnan(want) ? isnan(got) : got == rounded || fabs(got - want) <= rounds * unit(&as_it_was) * (fabs(want) + t->size);
        if (t->data == HARD) good = good || (isnan(want) == isnan(got) && (!isfinite(want) || fabs(want) > 1e30));
        ck_assert_msg(good, "%s: at %ld %ld %ld %ld %ld: %.9g, and not %.9g", what, (long)index[0], (long)index[1], (long)index[2], (long)index[3],
                      (long)index[4], got, want);
    } while (cg_next_index(v, index));
    cg_free(expected);
}

/* What is no element is as it was. */
static void look_between(const trial *t, const memory *m, const char *what)
{
    const cg_view *v = &t->o.view[CG_OP_DST];
    size_t bytes = cg_view_bytes(v), size = cg_view_element(v);
    int64_t index[CG_RANK] = {0};
    unsigned char *copy = cg_malloc(bytes + 1);
    memcpy(copy, m->at[CG_OP_DST], bytes);
    do memset(copy + size * (size_t)cg_view_at(v, index), POISON, size);
    while (cg_next_index(v, index));
    for (size_t i = 0; i < bytes; i++) ck_assert_msg(copy[i] == POISON, "%s: byte %zu between the elements was written", what, i);
    cg_free(copy);
}

static bool same_bits(const cg_view *v, const void *a, const void *b, const int64_t *index)
{
    size_t size = cg_view_element(v), at = size * (size_t)cg_view_at(v, index);
    return !memcmp((const char *)a + at, (const char *)b + at, size) || (isnan(cg_view_get(v, a, index)) && isnan(cg_view_get(v, b, index)));
}

/* The kernel of a target by a compiler: nothing between the elements is written, the bits are those of `first`. */
static void try_target(const trial *t, const cg_target *target, const char *compiler, int threads, memory *m, const void *first, const char *what)
{
    char where[2200];
    const cg_view *v = &t->o.view[CG_OP_DST];
    int64_t index[CG_RANK] = {0};
    snprintf(where, sizeof where, "%.1400s, %s, %s, %d threads", what, target->name, compiler, threads);
    memset(m->at[CG_OP_DST], POISON, cg_view_bytes(v));
    run_kernel(t, target, compiler, threads, m->at, what);
    look_between(t, m, where);
    if (!first) {
        compare(t, m, where);
        return;
    }
    do ck_assert_msg(same_bits(v, first, m->at[CG_OP_DST], index), "%s: other bits than %s's: %.9g, %.9g", where, targets[0].name,
                     cg_view_get(v, m->at[CG_OP_DST], index), cg_view_get(v, first, index));
    while (cg_next_index(v, index));
}

/* Where the result may lie in src's place, it has the same bits there. */
static void try_in_place(const trial *t, const memory *m, const void *first, const char *what)
{
    static const char *const allowed[] = {"chain", "softmax", "logsoftmax", "instancenorm", "layernorm"};
    const cg_view *v = &t->o.view[CG_OP_DST];
    bool may = !memcmp(v, &t->o.view[CG_OP_SRC], sizeof *v), found = false;
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) found = found || !strcmp(t->o.op, allowed[i]);
    if (!may || !found) return;
    void *at[CG_SLOTS];
    int64_t index[CG_RANK] = {0};
    memcpy(at, m->at, sizeof at);
    at[CG_OP_SRC] = at[CG_OP_DST] = cg_malloc(cg_view_bytes(v));
    memcpy(at[CG_OP_DST], m->at[CG_OP_SRC], cg_view_bytes(v));
    run_kernel(t, &targets[drawn(0, target_count - 1)], "tcc", 2, at, what);
    do ck_assert_msg(same_bits(v, first, at[CG_OP_DST], index), "%s: other bits in place: %.9g, %.9g", what, cg_view_get(v, at[CG_OP_DST], index),
                     cg_view_get(v, first, index));
    while (cg_next_index(v, index));
    cg_free(at[CG_OP_DST]);
}

/* by_system: a system compiler's code of the C form as well. */
static void try_it(const trial *t, bool by_system)
{
    char what[2048];
    memory m = {0};
    const cg_view *v = &t->o.view[CG_OP_DST];
    describe(t, what, sizeof what);
    for (int i = 0; i < CG_SLOTS; i++)
        if (t->o.view[i].type[0]) fill(t, i, &m);
    void *first = cg_malloc(cg_view_bytes(v) + 1);
    try_target(t, &targets[0], "tcc", 1, &m, NULL, what);
    memcpy(first, m.at[CG_OP_DST], cg_view_bytes(v));
    for (int i = 0; i < target_count; i++) {
        if (i) try_target(t, &targets[i], "tcc", 1, &m, first, what);
        try_target(t, &targets[i], "tcc", 3, &m, first, what);
        if (by_system) try_target(t, &targets[i], "cc", 1, &m, first, what);
    }
    try_in_place(t, &m, first, what);
    cg_free(first);
    release(&m);
}

/* ---- the operations ---- */

static const char *draw_type(void) { return one_of(4) ? "f64" : "f32"; }

static int draw_dims(int64_t *dims, int least, int most, int64_t largest)
{
    int rank = (int)drawn(least, most);
    for (int i = 0; i < rank; i++) dims[i] = one_of(4) ? 1 : drawn(1, one_of(3) ? largest : largest / 4 + 1);
    return rank;
}

static trial new_trial(const char *op)
{
    trial t = {.o = {.op = ""}};
    strcpy(t.o.op, op);
    return t;
}

static void set_view(trial *t, int slot, cg_view v) { t->o.view[slot] = v; }

static trial draw_copy(void)
{
    trial t = new_trial("copy");
    int64_t dims[CG_RANK];
    const char *type = draw_type();
    int rank = draw_dims(dims, 0, 5, 20);
    set_view(&t, CG_OP_SRC, new_view(type, rank, dims));
    set_view(&t, CG_OP_DST, new_view(type, rank, dims));
    if (one_of(3)) t.data = HARD;
    return t;
}

/* What is next to each other is not so in the result: squares are turned. */
static trial draw_turn(void)
{
    trial t = new_trial("copy");
    int64_t dims[CG_RANK] = {drawn(1, 2), drawn(1, 70), drawn(1, 9), drawn(1, 70)};
    const char *type = one_of(8) ? "i64" : draw_type();
    set_view(&t, CG_OP_SRC, new_view(type, 4, dims));
    set_view(&t, CG_OP_DST, new_view(type, 4, dims));
    int64_t *s = t.o.view[one_of(2) ? CG_OP_SRC : CG_OP_DST].strides;
    s[1] = 1, s[3] = dims[1] + drawn(0, 2), s[2] = s[3] * dims[3], s[0] = s[2] * dims[2];
    return t;
}

/* Long rows, of which threads have blocks. */
static trial draw_rows(void)
{
    trial t = new_trial("chain");
    int64_t dims[CG_RANK] = {drawn(1, 3), drawn(1, 70000)};
    set_view(&t, CG_OP_DST, new_view("f32", 2, dims));
    set_view(&t, CG_OP_SRC, one_of(2) ? t.o.view[CG_OP_DST] : broadcast_view(&t.o.view[CG_OP_DST]));
    t.o.steps = 1;
    t.o.step[0] = (cg_step){"relu", 1, {{CG_OF_SLOT, CG_OP_SRC, 0}}, 0, 0};
    return t;
}

static const struct step_row {
    const char *name;
    int operands;
    double lo, hi, rounds, size; /* what a step may lose */
    int data;
} step_rows[] = {
    {"add", 2, 0, 0, 1, 0, REAL},        {"sub", 2, 0, 0, 1, 0, REAL},         {"mul", 3, 0, 0, 2, 0, REAL},       {"div", 2, 0, 0, 1, 0, REAL},
    {"max", 2, 0, 0, 0, 0, HARD},        {"min", 3, 0, 0, 0, 0, HARD},         {"neg", 1, 0, 0, 0, 0, HARD},       {"abs", 1, 0, 0, 0, 0, HARD},
    {"exp", 1, 0, 0, 4, 0, HARD},        {"log", 1, 0, 0, 4, 0, HARD},         {"erf", 1, 0, 0, 4, 0, HARD},       {"relu", 1, 0, 0, 0, 0, HARD},
    {"clamp", 1, -1, 2, 0, 0, HARD},     {"leaky", 1, 0.1, -INFINITY, 4, 0, HARD}, {"sigmoid", 1, 0, 0, 8, 1e-6, HARD}, {"tanh", 1, 0, 0, 8, 1e-6, HARD},
    {"hardsigmoid", 1, 0.2, 0.5, 8, 1, HARD}, {"hardswish", 1, 0, 0, 8, 1, REAL}, {"silu", 1, 0, 0, 8, 1e-6, HARD},  {"gelu", 1, 0, 0, 8, 1e-6, HARD},
    {"prelu", 2, 0, 0, 4, 0, REAL},      {"sqrt", 1, 0, 0, 0, 0, HARD},        {"elu", 1, 1.5, 0, 8, 0, HARD},     {"softplus", 1, 0, 0, 8, 0, HARD},
    {"pow", 1, 2, 0, 1, 0, HARD},        {"pow", 1, 3, 0, 3, 0, REAL},         {"pow", 1, -1, 0, 1, 0, HARD},      {"pow", 1, 0.5, 0, 1, 0, POSITIVE},
    {"pow", 1, -2.5, 0, 6, 0, POSITIVE}, {"pow", 1, 1.3, 0, 20, 0, POSITIVE},  {"pow", 1, 11, 0, 16, 0, REAL},     {"pow", 1, 0, 0, 0, 0, HARD},
};
enum { STEP_ROWS = sizeof step_rows / sizeof step_rows[0] };

/* One step of each kind, then chains of the usual ones. */
static trial draw_step(const struct step_row *row)
{
    trial t = new_trial("chain");
    int64_t dims[CG_RANK];
    int rank = draw_dims(dims, 0, 5, 24);
    set_view(&t, CG_OP_DST, new_view(draw_type(), rank, dims));
    t.o.steps = 1;
    cg_step *s = &t.o.step[0];
    strcpy(s->name, row->name);
    s->count = row->operands, s->lo = row->lo, s->hi = row->hi;
    for (int i = 0; i < s->count; i++) {
        s->operand[i] = (cg_step_operand){CG_OF_SLOT, i, 0};
        if (i && one_of(4)) s->operand[i] = (cg_step_operand){CG_OF_NUMBER, 0, (double)(float)datum(&t)};
        set_view(&t, i, one_of(2) ? broadcast_view(&t.o.view[CG_OP_DST]) : t.o.view[CG_OP_DST]);
    }
    t.rounds = row->rounds, t.size = row->size, t.data = row->data;
    return t;
}

static trial draw_chain(void)
{
    trial t = new_trial("chain");
    int64_t dims[CG_RANK];
    int rank = draw_dims(dims, 2, 5, 24);
    set_view(&t, CG_OP_DST, new_view(draw_type(), rank, dims));
    for (int i = 0; i < 3; i++) set_view(&t, i, one_of(2) ? broadcast_view(&t.o.view[CG_OP_DST]) : new_view(t.o.view[CG_OP_DST].type, rank, dims));
    static const cg_step steps[] = {
        {"mul", 2, {{CG_OF_SLOT, CG_OP_SRC, 0}, {CG_OF_SLOT, CG_OP_WEIGHTS, 0}}, 0, 0},
        {"add", 3, {{CG_OF_NUMBER, 0, 3}, {CG_OF_STEP, 1, 0}, {CG_OF_SLOT, CG_OP_RESIDUAL, 0}}, 0, 0},
        {"sigmoid", 1, {{CG_OF_STEP, 2, 0}}, 0, 0},
        {"max", 3, {{CG_OF_STEP, 3, 0}, {CG_OF_STEP, 1, 0}, {CG_OF_NUMBER, 0, -2}}, 0, 0},
        {"mul", 2, {{CG_OF_STEP, 4, 0}, {CG_OF_STEP, 2, 0}}, 0, 0},
    };
    t.o.steps = (int)drawn(2, 5);
    memcpy(t.o.step, steps, (size_t)t.o.steps * sizeof steps[0]);
    t.rounds = 40, t.size = 30;
    return t;
}

/* Some axes of a view's; at least one. */
static void draw_axes(trial *t, int rank)
{
    int always = (int)drawn(0, rank - 1);
    for (int i = 0; i < rank; i++)
        if (i == always || one_of(3)) t->o.axes.at[t->o.axes.count++] = i;
}

/* A usual layout, with the sizes of real networks now and then, or any. */
static cg_view draw_image(const char *type, int rank)
{
    int64_t dims[CG_RANK];
    (void)draw_dims(dims, rank, rank, 24);
    if (one_of(3)) dims[rank - 1] = drawn(1, 300);
    return new_view(type, rank, dims);
}

static trial draw_reduce(void)
{
    static const char *const ops[] = {"reduce_sum", "reduce_mean", "reduce_max"};
    trial t = new_trial(ops[drawn(0, 2)]);
    int rank = (int)drawn(1, 4);
    int64_t dims[CG_RANK];
    set_view(&t, CG_OP_SRC, draw_image(draw_type(), rank));
    draw_axes(&t, rank);
    memcpy(dims, t.o.view[CG_OP_SRC].dims, sizeof dims);
    for (int i = 0; i < t.o.axes.count; i++) dims[t.o.axes.at[i]] = 1;
    set_view(&t, CG_OP_DST, new_view(t.o.view[CG_OP_SRC].type, rank, dims));
    t.data = t.o.op[7] == 'm' && t.o.op[8] == 'a' ? HARD : one_of(2) ? INTEGERS : REAL;
    if (t.data == REAL) t.rounds = 100, t.size = t.o.op[7] == 's' ? 400 : 1;
    if (t.data == INTEGERS) t.rounds = 0.5;
    return t;
}

static trial draw_softmax(void)
{
    trial t = new_trial(one_of(3) ? "logsoftmax" : "softmax");
    int rank = (int)drawn(1, 4);
    set_view(&t, CG_OP_SRC, draw_image(draw_type(), rank));
    const cg_view *src = &t.o.view[CG_OP_SRC];
    set_view(&t, CG_OP_DST, one_of(2) ? *src : new_view(src->type, rank, src->dims));
    t.o.axes = (cg_integers){1, {one_of(2) ? rank - 1 : drawn(0, rank - 1)}};
    t.rounds = 60, t.size = t.o.op[0] == 'l' ? 1 : 0;
    return t;
}

static trial draw_norm(void)
{
    trial t = new_trial(one_of(2) ? "instancenorm" : "layernorm");
    int rank = (int)drawn(2, 4), first = t.o.op[0] == 'i' ? 2 : (int)drawn(0, rank - 1);
    set_view(&t, CG_OP_SRC, draw_image(draw_type(), rank < 3 && first == 2 ? 3 : rank));
    const cg_view *src = &t.o.view[CG_OP_SRC];
    rank = src->rank;
    for (int i = first; i < rank; i++) t.o.axes.at[t.o.axes.count++] = i;
    int64_t dims[CG_RANK];
    for (int i = 0; i < rank; i++) dims[i] = (t.o.op[0] == 'i' ? i == 1 : i >= first) ? src->dims[i] : 1;
    for (int slot = CG_OP_WEIGHTS; slot <= CG_OP_RESIDUAL; slot++) {
        cg_view v = new_view(src->type, rank, dims);
        for (int i = 0; i < rank; i++)
            if (dims[i] != src->dims[i]) v.dims[i] = src->dims[i], v.strides[i] = 0;
        if (slot == CG_OP_WEIGHTS || one_of(2)) set_view(&t, slot, v);
    }
    set_view(&t, CG_OP_DST, one_of(2) ? *src : new_view(src->type, rank, src->dims));
    t.o.epsilon = 1e-3;
    t.rounds = 200, t.size = 20;
    return t;
}

static trial draw_pool(void)
{
    trial t = new_trial(one_of(2) ? "maxpool" : "avgpool");
    int rank = (int)drawn(one_of(4) ? 3 : 4, one_of(4) ? 5 : 4), first = one_of(4) ? 1 : 2;
    int64_t dims[CG_RANK], out[CG_RANK];
    (void)draw_dims(dims, rank, rank, rank > 4 ? 9 : 20);
    if (one_of(2)) dims[first == 2 ? 1 : rank - 1] = drawn(1, 90);
    memcpy(out, dims, sizeof out);
    for (int i = 0; i < rank - 2; i++) {
        int axis = first + i;
        int64_t kernel = drawn(1, 4), pad = drawn(0, kernel - 1), after = drawn(0, kernel - 1), dilation = one_of(4) ? 2 : 1, stride = drawn(1, 3);
        int64_t reach = (kernel - 1) * dilation + 1, all = dims[axis] + pad + after;
        if (all < reach) dims[axis] += reach - all, all = reach;
        out[axis] = (all - reach) / stride + 1;
        t.o.axes.at[i] = axis, t.o.kernel.at[i] = kernel, t.o.stride.at[i] = stride, t.o.pad.at[i] = pad, t.o.dilation.at[i] = dilation;
    }
    t.o.axes.count = t.o.kernel.count = t.o.stride.count = t.o.pad.count = t.o.dilation.count = rank - 2;
    const char *type = draw_type();
    set_view(&t, CG_OP_SRC, new_view(type, rank, dims));
    set_view(&t, CG_OP_DST, new_view(type, rank, out));
    if (one_of(2)) { /* as networks have it */
        for (int slot = 0; slot < CG_SLOTS; slot += CG_OP_DST) {
            cg_view *v = &t.o.view[slot];
            int channel = first == 2 ? 1 : rank - 1;
            int64_t step = v->dims[channel];
            v->strides[channel] = 1;
            for (int i = rank - 1; i >= 0; i--)
                if (i != channel) v->strides[i] = step, step *= v->dims[i];
        }
    }
    t.o.counted = one_of(2);
    t.data = t.o.op[0] == 'm' ? HARD : REAL;
    if (t.o.op[0] == 'a') t.rounds = 70, t.size = 4;
    return t;
}

static trial draw_resize(void)
{
    static const char *const coordinates[] = {"half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"};
    static const char *const rounding[] = {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"};
    trial t = new_trial("resize");
    int rank = (int)drawn(3, one_of(4) ? 5 : 4);
    const char *type = draw_type();
    int64_t dims[CG_RANK], out[CG_RANK];
    (void)draw_dims(dims, rank, rank, 12);
    if (one_of(2)) dims[1] = drawn(1, 200);
    memcpy(out, dims, sizeof out);
    int64_t times = drawn(2, 3);
    for (int i = 2; i < rank; i++) {
        if (one_of(3)) { /* a factor that sizes are cut for */
            t.o.factors.at[i] = one_of(2) ? 1.7 : 2.5;
            out[i] = (int64_t)floor((double)dims[i] * t.o.factors.at[i]);
        } else if (!one_of(4)) {
            out[i] = one_of(3) ? drawn(1, 30) : dims[i] * times;
        }
    }
    t.o.factors.count = rank;
    set_view(&t, CG_OP_SRC, new_view(type, rank, dims));
    set_view(&t, CG_OP_DST, new_view(type, rank, out));
    strcpy(t.o.mode, one_of(2) ? "nearest" : "linear");
    strcpy(t.o.coordinates, coordinates[drawn(0, 3)]);
    strcpy(t.o.rounding, rounding[drawn(0, 3)]);
    if (one_of(3)) { /* as networks have it: runs of pixels that are alike */
        for (int i = 2; i < rank; i++) dims[i] = drawn(3, 7), out[i] = dims[i] * times, t.o.factors.at[i] = 0;
        set_view(&t, CG_OP_SRC, new_view(type, rank, dims));
        set_view(&t, CG_OP_DST, new_view(type, rank, out));
        strcpy(t.o.mode, "linear"), strcpy(t.o.coordinates, "half_pixel");
    }
    if (t.o.mode[0] == 'l') t.rounds = 12, t.size = 4;
    return t;
}

static trial draw_pad(void)
{
    static const char *const modes[] = {"", "reflect", "edge"};
    trial t = new_trial("pad");
    int64_t dims[CG_RANK], out[CG_RANK];
    int rank = draw_dims(dims, 1, 4, 12);
    const char *type = draw_type();
    strcpy(t.o.mode, modes[drawn(0, 2)]);
    for (int i = 0; i < rank; i++) {
        int64_t most = t.o.mode[0] == 'r' ? dims[i] - 1 : 4;
        t.o.before.at[i] = one_of(2) ? 0 : drawn(0, most);
        out[i] = dims[i] + t.o.before.at[i] + (one_of(2) ? 0 : drawn(0, most));
    }
    t.o.before.count = rank;
    t.o.value = (double)drawn(-3, 3);
    set_view(&t, CG_OP_SRC, new_view(type, rank, dims));
    set_view(&t, CG_OP_DST, new_view(type, rank, out));
    return t;
}

static trial draw_gather(void)
{
    trial t = new_trial("gather");
    int64_t dims[CG_RANK];
    int rank = draw_dims(dims, 1, 4, 40), axis = (int)drawn(0, rank - 1);
    const char *type = draw_type();
    t.o.axes = (cg_integers){1, {axis}};
    set_view(&t, CG_OP_SRC, new_view(type, rank, dims));
    int64_t size = dims[axis];
    dims[axis] = drawn(1, 12);
    set_view(&t, CG_OP_DST, new_view(type, rank, dims));
    if (one_of(2)) set_view(&t, CG_OP_WEIGHTS, new_view("i64", 1, &dims[axis]));
    else for (t.o.indices.count = 0; t.o.indices.count < dims[axis];) t.o.indices.at[t.o.indices.count++] = drawn(-size, size - 1);
    return t;
}

static trial draw_argmax(void)
{
    trial t = new_trial("argmax");
    int rank = (int)drawn(1, 4);
    int64_t dims[CG_RANK];
    set_view(&t, CG_OP_SRC, draw_image(draw_type(), rank));
    memcpy(dims, t.o.view[CG_OP_SRC].dims, sizeof dims);
    t.o.axes = (cg_integers){1, {one_of(2) ? rank - 1 : drawn(0, rank - 1)}};
    dims[t.o.axes.at[0]] = 1;
    set_view(&t, CG_OP_DST, new_view("i64", rank, dims));
    t.data = one_of(3) ? HARD : one_of(2) ? INTEGERS : REAL;
    return t;
}

static trial draw_matmul(void)
{
    trial t = new_trial("matmul");
    int rank = (int)drawn(2, 4);
    int64_t dims[CG_RANK], m = drawn(1, 45), n = drawn(1, one_of(3) ? 150 : 45), k = drawn(1, 40);
    const char *type = draw_type();
    for (int i = 0; i < rank - 2; i++) dims[i] = drawn(1, 3);
    dims[rank - 2] = m, dims[rank - 1] = n;
    set_view(&t, CG_OP_DST, new_view(type, rank, dims));
    dims[rank - 1] = k;
    set_view(&t, CG_OP_SRC, new_view(type, rank, dims));
    dims[rank - 2] = k, dims[rank - 1] = n;
    set_view(&t, CG_OP_WEIGHTS, new_view(type, rank, dims));
    if (rank > 2 && one_of(3)) t.o.view[CG_OP_WEIGHTS].strides[0] = 0; /* shared by a batch */
    t.data = one_of(2) ? INTEGERS : REAL;
    if (t.data == REAL) t.rounds = 60, t.size = 40;
    return t;
}

static trial draw_cast(void)
{
    static const char *const types[] = {"f32", "f64", "i64"};
    trial t = new_trial("copy");
    int64_t dims[CG_RANK];
    int rank = draw_dims(dims, 1, 4, 20), from = (int)drawn(0, 2), to = (from + (int)drawn(1, 2)) % 3;
    set_view(&t, CG_OP_SRC, new_view(types[from], rank, dims));
    set_view(&t, CG_OP_DST, new_view(types[to], rank, dims));
    t.data = one_of(2) ? HARD : LARGE;
    return t;
}

static const struct {
    const char *name;
    trial (*draw)(void);
} operations[] = {{"copy", draw_copy}, {"turn", draw_turn}, {"rows", draw_rows}, {"chain", draw_chain}, {"reduce", draw_reduce}, {"softmax", draw_softmax}, {"norm", draw_norm},
    {"pool", draw_pool}, {"resize", draw_resize}, {"pad", draw_pad}, {"gather", draw_gather},
    {"cast", draw_cast}, {"argmax", draw_argmax}, {"matmul", draw_matmul}};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

static int trials(int usual) { return getenv("CONVGEN_TRIALS") ? atoi(getenv("CONVGEN_TRIALS")) : usual; }
static bool wanted(const char *name) { return !getenv("CONVGEN_OP") || !strcmp(getenv("CONVGEN_OP"), name); }

START_TEST(test_steps)
{
    for (int i = 0; i < trials(2) && wanted(step_rows[_i].name); i++) {
        trial t = draw_step(&step_rows[_i]);
        try_it(&t, !i && compiles);
    }
}
END_TEST

START_TEST(test_operations)
{
    for (int i = 0; i < trials(4) && wanted(operations[_i].name); i++) {
        trial t = operations[_i].draw();
        try_it(&t, !i && compiles);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operations");
    TCase *steps = test_case(suite, "steps", 20), *all = test_case(suite, "operations", 60);
    tcase_add_checked_fixture(steps, begin, end);
    tcase_add_checked_fixture(all, begin, end);
    tcase_add_loop_test(steps, test_steps, 0, STEP_ROWS);
    tcase_add_loop_test(all, test_operations, 0, OPERATIONS);
    return test_run(suite);
}

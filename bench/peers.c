/* peers.c: convgen beside its peers, in one interleaved run.
 *
 * For each problem: the contestants are made, their outputs compared on small integers (where sums are exact), and then
 * they take turns of a few milliseconds, the FMA peak among them, so that a change of the machine's speed meets all of them.
 * Minimum and median are over all samples of a contestant; ratios are of minima, with medians beside.
 * Pinned to as many cores as threads. Warm: a turn begins with 3 ms of runs that do not count. Cold: the caches are swept before
 * every run. The process starts itself again with the variables that hold the peers to the same target and threads.
 * Limit: convgen.h alone is known of convgen; a wrong contestant is named, left out, and makes the exit status 1. */
#define _GNU_SOURCE
#include "contest.h"
#include <dlfcn.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

setting set = {.threads = 1, .effort = CONVGEN_MEASURE, .seconds = 0.3, .loop_limit = 1e8};

enum { SAMPLES = 4096, LEAST_ROUNDS = 3, ENTRANTS = 14 };
static const double warm_seconds = 3e-3, turn_seconds = 4e-3, measurable = 20e-6;

/* convgen's own first; then the peers; then what is no peer. The ratio is over the best of those with `counts`. */
static struct {
    const contestant *who; /* NULL: not there */
    bool counts, extra;
    const char *in_module; /* its name there; NULL: it is of this program */
} field[] = {
    {&convgen_tuned, false, false, NULL}, {&convgen_one_thread, false, true, NULL}, {&convgen_estimated, false, true, NULL},
    {&convgen_proven, false, true, NULL}, {&convgen_before, true, false, NULL},     {&onednn_any, true, false, NULL},
    {&onednn_plain, true, false, NULL},   {NULL, true, false, "onednn3_any"},       {NULL, true, false, "onednn3_plain"},
    {&gemm, true, false, NULL},           {&onednn_winograd, false, false, NULL},   {&loop, false, false, NULL},
};
enum { FIELD = sizeof field / sizeof field[0] };

typedef struct entrant {
    const contestant *who; /* NULL: the FMA peak */
    bool counts;
    void *state;
    long repeats;
    int count;
    double samples[SAMPLES], min, median; /* seconds */
} entrant;

/* ---- small things ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("peers: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(2);
}

/* Whether `name` or its part before the dot is in the comma-separated list. */
static bool listed(const char *list, const char *name)
{
    for (size_t n; list && *list; list += n + (list[n] == ',')) {
        n = strcspn(list, ",");
        if (strncmp(list, name, n) == 0 && (name[n] == 0 || name[n] == '.')) return true;
    }
    return false;
}

/* ---- the problems ---- */

typedef struct text_list {
    struct line {
        char text[1024]; /* options and problem, as convgen_problem_parse reads them */
        int times;       /* how often the layer occurs in its network */
    } *at;
    int count;
} text_list;

static char overrides[256];
static const char *directions, *match;
static int every = 1;

static void add_text(text_list *l, const char *options, const char *direction, const char *problem)
{
    bool forward = !direction || strncmp(direction, "FWD", 3) == 0;
    char text[1024] = "", copy[800] = "";
    strncat(copy, options, sizeof copy - sizeof overrides - 1);
    strcat(copy, overrides);
    for (char *w = strtok(copy, " "); w; w = strtok(NULL, " ")) /* an epilogue is the forward pass's */
        if (forward || strncmp(w, "--epilogue", 10) != 0) strcat(strcat(text, w), " ");
    if (direction) strcat(strcat(strcat(text, "--dir="), direction), " ");
    if (strlen(text) + strlen(problem) >= sizeof text) die("%s: too long", problem);
    strcat(text, problem);
    l->at = realloc(l->at, (size_t)(l->count + 1) * sizeof *l->at);
    if (!l->at) die("no memory for a list");
    l->at[l->count].times = 1;
    strcpy(l->at[l->count++].text, text);
}

static void add_problem(text_list *l, const char *options, const char *problem)
{
    char copy[64] = "";
    if (match && !strstr(problem, match)) return;
    if (!directions) return add_text(l, options, NULL, problem);
    strncat(copy, directions, sizeof copy - 1);
    for (char *at = copy, *d; (d = strsep(&at, ",")); ) add_text(l, options, d, problem);
}

/* benchdnn's lists: options hold from their place on; *N says how often the layer before it occurs. */
static void read_list(text_list *l, const char *path)
{
    char line[1024], options[512] = "";
    int layer = 0;
    FILE *f = fopen(path, "r");
    if (!f) die("cannot read %s", path);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "#\n")] = 0;
        char *rest = line;
        int before = l->count;
        for (char *w; (w = strsep(&rest, " \t")); ) {
            if (strcmp(w, "--reset") == 0) options[0] = 0;
            else if (*w == '-' && strlen(options) + strlen(w) + 2 < sizeof options) strcat(strcat(options, " "), w);
            else if (*w == '*') for (int i = before; i < l->count; i++) l->at[i].times = atoi(w + 1);
            else if (*w && *w != '-') {
                before = l->count;
                if (layer++ % every == 0) add_problem(l, options, w);
            }
        }
    }
    fclose(f);
}

static int64_t product(const int64_t *v) { return v[0] * v[1] * v[2]; }

bool output_slot(const task *t, int slot)
{
    static const int outputs[] = {[CONVGEN_FORWARD] = 1 << DST, [CONVGEN_BACKWARD_DATA] = 1 << SRC,
                                  [CONVGEN_BACKWARD_WEIGHTS] = 1 << WEIGHTS | 1 << BIAS};
    return outputs[t->p.pass] >> slot & 1;
}

static void task_free(task *t)
{
    for (int i = 0; i < SLOTS; i++) free(t->at[i]);
}

void *pages(size_t bytes) { return bytes ? aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE) : NULL; }

static bool task_set_up(task *t, const char *text)
{
    const char *name = strchr(text, '"');
    *t = (task){0};
    if (convgen_problem_parse(text, &t->p)) die("%s: %s", text, convgen_error(NULL));
    if (name) snprintf(t->name, sizeof t->name, "%.*s", (int)strcspn(name + 1, "\""), name + 1);
    convgen_problem *p = &t->p;
    if (p->pass != CONVGEN_BACKWARD_WEIGHTS) p->weights = CONVGEN_WEIGHTS_FIXED;
    convgen_problem_format(p, t->text, sizeof t->text);
    t->element = p->type == CONVGEN_F32 ? sizeof(float) : sizeof(double);
    bool turned = p->op == CONVGEN_TRANSPOSED; /* each pixel of its input meets all taps */
    int64_t kernel = product(p->kernel) * ((turned ? p->out_channels : p->in_channels) / p->groups);
    t->count[SRC] = (size_t)(p->batch * p->in_channels * product(p->in));
    t->count[DST] = (size_t)(p->batch * p->out_channels * product(p->out));
    t->count[WEIGHTS] = (size_t)(kernel * (turned ? p->in_channels : p->out_channels));
    t->count[BIAS] = p->bias ? (size_t)p->out_channels : 0;
    t->flops = 2.0 * (double)kernel * (double)t->count[turned ? SRC : DST];
    for (int i = 0; i < SLOTS; i++) {
        if (t->count[i] && !(t->at[i] = pages(t->count[i] * t->element))) die("%s: no memory", text);
    }
    return true;
}

/* ---- like with like: the same results ---- */

static double get(const task *t, int slot, size_t i)
{
    return t->p.type == CONVGEN_F32 ? (double)((float *)t->at[slot])[i] : ((double *)t->at[slot])[i];
}

static void put(const task *t, int slot, size_t i, double value)
{
    if (t->p.type == CONVGEN_F32) ((float *)t->at[slot])[i] = (float)value;
    else ((double *)t->at[slot])[i] = value;
}

/* Inputs: integers from -2 to 2, or uniform in [-1, 1]; outputs: NaN. */
static void fill(const task *t, bool integers)
{
    uint64_t x = 88172645463325252u;
    for (int slot = 0; slot < SLOTS; slot++)
        for (size_t i = 0; i < t->count[slot]; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            double u = (double)(x >> 11) * 0x1p-53;
            put(t, slot, i, output_slot(t, slot) ? NAN : integers ? floor(5 * u) - 2 : 2 * u - 1);
        }
}

static size_t outputs(const task *t)
{
    size_t sum = 0;
    for (int i = 0; i < SLOTS; i++) sum += output_slot(t, i) ? t->count[i] : 0;
    return sum;
}

static void results_of(const task *t, const entrant *e, double *out)
{
    fill(t, true);
    e->who->load(e->state);
    e->who->run(e->state);
    e->who->fetch(e->state);
    for (int slot = 0; slot < SLOTS; slot++)
        for (size_t i = 0; output_slot(t, slot) && i < t->count[slot]; i++) {
            double y = get(t, slot, i);
            *out++ = e->who->transforms ? round(y) : y;
        }
}

/* Drops whoever differs from the first. */
static bool compare_all(const task *t, entrant *all, int *count)
{
    size_t n = outputs(t);
    double *first = malloc(n * sizeof *first), *other = malloc(n * sizeof *other);
    int kept = 0;
    bool same = true;
    if (!first || !other) die("%s: no memory to compare", t->text);
    for (int i = 0; i < *count; i++) {
        size_t wrong = 0;
        results_of(t, &all[i], kept ? other : first);
        for (size_t j = 0; kept && j < n; j++) wrong += !(first[j] == other[j]);
        if (!wrong) {
            if (kept != i) all[kept] = all[i];
            kept++;
            continue;
        }
        fprintf(stderr, "%s: %s differs from %s in %zu of %zu outputs\n", t->text, all[i].who->name, all[0].who->name, wrong, n);
        all[i].who->free(all[i].state);
        same = false;
    }
    *count = kept;
    free(first), free(other);
    return same;
}

/* ---- time ---- */

static char *sweep_memory;
static size_t sweep_bytes;

static void sweep(void)
{
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (!sweep_memory) {
        sweep_bytes = l3 > 32 << 20 && l3 < 128 << 20 ? 2 * (size_t)l3 : (size_t)64 << 20;
        if (!(sweep_memory = calloc(1, sweep_bytes))) die("no memory to sweep the caches with");
    }
#pragma omp parallel num_threads(set.threads) if (set.threads > 1) /* each thread all of it: private caches hold data as well */
    for (size_t i = 0; i < sweep_bytes; i += 64) __atomic_fetch_add(&sweep_memory[i], 1, __ATOMIC_RELAXED);
}

static void run(const task *t, const entrant *e)
{
    if (e->who) e->who->run(e->state);
    else fma_peak_run(t->p.type);
}

static double sample(const task *t, const entrant *e)
{
    if (set.cold && e->who) sweep();
    double start = now();
    for (long i = 0; i < e->repeats; i++) run(t, e);
    return (now() - start) / (double)e->repeats;
}

/* Others' turns have displaced from the last cache what a run reads there: it is warm after some runs that do not count. */
static void turn(const task *t, entrant *e)
{
    if (set.threads > 1) usleep(5000); /* another runtime's idle threads spin for a while */
    double until = now() + warm_seconds, seconds;
    if (!set.cold || !e->who)
        do run(t, e);
        while (now() < until);
    until = now() + turn_seconds;
    do {
        seconds = sample(t, e);
        if (seconds * (double)e->repeats < measurable && (!set.cold || !e->who)) e->repeats *= 2;
        else if (e->count < SAMPLES) e->samples[e->count++] = seconds;
    } while (now() < until);
    e->min = seconds;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(entrant *e)
{
    qsort(e->samples, (size_t)e->count, sizeof *e->samples, ascending);
    e->min = e->samples[0]; /* noise only ever adds time */
    e->median = (e->samples[(e->count - 1) / 2] + e->samples[e->count / 2]) / 2;
}

/* Who needs many turns' time for one run takes part in the first rounds only. */
static void time_all(const task *t, entrant *all, int count)
{
    double until = now() + set.seconds * count;
    for (int round = 0; round < LEAST_ROUNDS || now() < until; round++)
        for (int i = 0; i < count; i++) {
            entrant *e = &all[(round + i) % count];
            if (round < LEAST_ROUNDS || e->min < 8 * turn_seconds) turn(t, e);
        }
    for (int i = 0; i < count; i++) summarise(&all[i]);
}

/* ---- results ---- */

static const char *const passes[] = {"forward", "backward_data", "backward_weights"}, *const types[] = {"f32", "f64"},
                  *const layouts[] = {"nhwc", "nchw"};

typedef struct result {
    const task *t;
    const entrant *at[FIELD], *peak, *best, *best_median; /* at: NULL did not take part */
    double ratio_min, ratio_median;                        /* NaN without convgen or a peer */
} result;

static result judge(const task *t, const entrant *all, int count)
{
    result r = {.t = t, .ratio_min = NAN, .ratio_median = NAN};
    for (int i = 0; i < count; i++) {
        const entrant *e = &all[i];
        if (!e->who) r.peak = e;
        for (int f = 0; f < FIELD; f++)
            if (e->who && field[f].who == e->who) r.at[f] = e;
        if (e->counts && (!r.best || e->min < r.best->min)) r.best = e;
        if (e->counts && (!r.best_median || e->median < r.best_median->median)) r.best_median = e;
    }
    if (r.at[0] && r.best) r.ratio_min = r.best->min / r.at[0]->min, r.ratio_median = r.best_median->median / r.at[0]->median;
    return r;
}

/* What is held to the problem's layout is named by it: onednn.nhwc for onednn.plain. Until the next call. */
static const char *shown(const contestant *who, const task *t)
{
    static char text[32];
    size_t n = strcspn(who->name, ".");
    if (strcmp(who->name + n, ".plain") != 0) return who->name;
    snprintf(text, sizeof text, "%.*s.%s", (int)n, who->name, layouts[t->p.layout]);
    return text;
}

static void print_json(const result *r)
{
    const task *t = r->t;
    double peak = r->peak ? fma_peak_flops(t->p.type) / r->peak->min * 1e-9 : 0;
    printf("{\"problem\":\"%s\",\"name\":\"%s\",\"pass\":\"%s\",\"dt\":\"%s\",\"tag\":\"%s\",\"mb\":%lld,\"times\":%d,\"threads\":%d,\"target\":\"%s\","
           "\"cold\":%s,\"flops\":%.0f,\"peak_gflops\":%.2f,\"contestants\":{", t->text, t->name, passes[t->p.pass],
           types[t->p.type], layouts[t->p.layout], (long long)t->p.batch, t->times, set.threads, set.target, set.cold ? "true" : "false",
           t->flops, peak);
    const char *comma = "";
    for (int f = 0; f < FIELD; f++) {
        const entrant *e = r->at[f];
        if (!e) continue;
        printf("%s\"%s\":{\"ns_min\":%.1f,\"ns_median\":%.1f,\"gflops\":%.3f,\"how\":\"%s\"}", comma, shown(e->who, t), 1e9 * e->min,
               1e9 * e->median, t->flops / e->min * 1e-9, e->who->how(e->state));
        comma = ",";
    }
    printf("}");
    if (r->at[0] && !isnan(error_vs_loop(r->at[0]->state))) printf(",\"error_vs_loop\":%.4f", error_vs_loop(r->at[0]->state));
    if (!isnan(r->ratio_min))
        printf(",\"best_peer\":\"%s\",\"ratio_min\":%.4f,\"ratio_median\":%.4f", shown(r->best->who, t), r->ratio_min, r->ratio_median);
    printf("}\n");
}

/* Whether the table has a column for it. */
static bool shows(int f)
{
    if (field[f].who == &convgen_before) return set.before != NULL;
    return field[f].who && (!field[f].extra || set.extras);
}

static void print_head(void)
{
    printf("GFLOP/s, best median; ratio to the best of oneDNN (direct) and gemm, of minima and of medians; %% of the FMA peak\n");
    printf("%-34s %-4s", "layer", "pass");
    for (int f = 0; f < FIELD; f++)
        if (shows(f)) printf(" %15s", field[f].who->name);
    printf("   ratio        %% peak  schedule\n");
}

static void print_row(const result *r)
{
    static const char *const brief[] = {"fwd", "bwd", "bww"};
    const task *t = r->t;
    printf("%-34.34s %-4s", t->name[0] ? t->name : strrchr(t->text, ' ') ? strrchr(t->text, ' ') + 1 : t->text, brief[t->p.pass]);
    for (int f = 0; f < FIELD; f++) {
        if (!shows(f)) continue;
        if (r->at[f]) printf(" %7.1f %7.1f", t->flops / r->at[f]->min * 1e-9, t->flops / r->at[f]->median * 1e-9);
        else printf(" %15s", "-");
    }
    const entrant *main = r->at[0] ? r->at[0] : r->best;
    double share = main && r->peak ? t->flops / main->min / (fma_peak_flops(t->p.type) / r->peak->min) : NAN;
    printf("  %5.2f %5.2f  %6.1f  %s\n", r->ratio_min, r->ratio_median, 100 * share, main ? main->who->how(main->state) : "");
}

/* Geometric means of the ratios, by pass, type, layout. */
static struct mean {
    int layers;
    double min, median, least; /* sums of logarithms; the least ratio */
    char where[64];
} means[3][2][2];

static void add_to_mean(const result *r)
{
    struct mean *m = &means[r->t->p.pass][r->t->p.type][r->t->p.layout];
    if (isnan(r->ratio_min)) return;
    m->min += log(r->ratio_min), m->median += log(r->ratio_median);
    if (m->layers++ && r->ratio_min >= m->least) return;
    m->least = r->ratio_min;
    snprintf(m->where, sizeof m->where, "%.63s", r->t->name[0] ? r->t->name : r->t->text);
}

static void print_means(void)
{
    for (int i = 0; i < 12; i++) {
        const struct mean *m = &means[i / 4][i / 2 % 2][i % 2];
        if (m->layers)
            printf("%s %s %s: geometric mean of %d ratios %.3f (medians %.3f), least %.2f (%s)\n", passes[i / 4], types[i / 2 % 2],
                   layouts[i % 2], m->layers, exp(m->min / m->layers), exp(m->median / m->layers), m->least, m->where);
    }
}

/* ---- the story ---- */

static bool wanted(int f)
{
    const contestant *c = field[f].who;
    if (!c || (set.only && !listed(set.only, c->name)) || listed(set.without, c->name)) return false;
    return shows(f) && (c != &convgen_one_thread || set.threads > 1);
}

static int enter(const task *t, entrant *all)
{
    int count = 0;
    for (int f = 0; f < FIELD; f++) {
        const contestant *c = field[f].who;
        void *state = wanted(f) ? c->make(t, c->variant) : NULL;
        if (state) all[count++] = (entrant){.who = c, .counts = field[f].counts, .state = state, .repeats = 1};
    }
    return count;
}

static bool contest(const struct line *line)
{
    static entrant all[ENTRANTS];
    task t;
    task_set_up(&t, line->text);
    t.times = line->times;
    int count = enter(&t, all);
    bool same = compare_all(&t, all, &count);
    fill(&t, false);
    for (int i = 0; i < count; i++) all[i].who->load(all[i].state);
    int timed = count;
    if (fma_peak_run(t.p.type)) all[timed++] = (entrant){.repeats = 1};
    time_all(&t, all, timed);
    result r = judge(&t, all, timed);
    (set.json ? print_json : print_row)(&r);
    fflush(stdout);
    add_to_mean(&r);
    for (int i = 0; i < count; i++) all[i].who->free(all[i].state);
    task_free(&t);
    return same;
}

/* ---- the command line ---- */

static const char usage[] =
    "usage: peers [options] PROBLEM... | --batch=FILE\n"
    "  --dir=D[,D...] --dt=T --tag=T --mb=N --accuracy=A --epilogue=E   over what the list says\n"
    "  --every=N       of a list, only every Nth problem: 1, N+1, 2N+1 ...\n"
    "  --match=TEXT    of these, only problems with this text\n"
    "  --threads=N     --target=avx512|avx2     of convgen and of its peers\n"
    "  --effort=measure|exhaustive|estimate|recall   of convgen; measured once, then recalled ($CONVGEN_STORE, else beside this command)\n"
    "  --cold          the caches are swept before each run\n"
    "  --seconds=S     of timing for each contestant and layer (0.3)\n"
    "  --only=A,B --without=A,B   convgen, onednn (.any, .plain, .winograd), onednn3 (.any, .plain), gemm, loop\n"
    "  --before=LIB    also another build's libconvgen.so, with a store of its own; the ratio is to the best of it and the peers,\n"
    "                  so --only=convgen,before compares the two builds\n"
    "  --extras        also convgen on one thread, as only estimated, and with --accuracy=proven\n"
    "  --loop=N        the plain loop takes part up to this many multiply-adds (1e8)\n"
    "  --json          one JSON object a layer\n";

static const char *value_of(const char *word, const char *name)
{
    size_t n = strlen(name);
    return strncmp(word, name, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

static void take_effort(const char *value)
{
    static const char *const names[] = {"recall", "estimate", "measure", "exhaustive"};
    for (int i = 0; i < 4; i++)
        if (strcmp(value, names[i]) == 0) {
            set.effort = (convgen_effort)i;
            return;
        }
    die("--effort=%s: recall, estimate, measure or exhaustive", value);
}

static void take_option(const char *word)
{
    const char *v;
    if ((v = value_of(word, "--dir"))) directions = v;
    else if ((v = value_of(word, "--threads"))) set.threads = atoi(v);
    else if ((v = value_of(word, "--target"))) set.target = v;
    else if ((v = value_of(word, "--seconds"))) set.seconds = atof(v);
    else if ((v = value_of(word, "--only"))) set.only = v;
    else if ((v = value_of(word, "--without"))) set.without = v;
    else if ((v = value_of(word, "--before"))) set.before = v;
    else if ((v = value_of(word, "--match"))) match = v;
    else if ((v = value_of(word, "--every"))) every = atoi(v);
    else if ((v = value_of(word, "--loop"))) set.loop_limit = atof(v);
    else if ((v = value_of(word, "--effort"))) take_effort(v);
    else if (strcmp(word, "--cold") == 0) set.cold = true;
    else if (strcmp(word, "--json") == 0) set.json = true;
    else if (strcmp(word, "--extras") == 0) set.extras = true;
    else if (strcmp(word, "--help") == 0) fputs(usage, stdout), exit(0);
    else if (value_of(word, "--dt") || value_of(word, "--tag") || value_of(word, "--mb") || value_of(word, "--accuracy") ||
             value_of(word, "--epilogue")) {
        if (strlen(overrides) + strlen(word) + 2 > sizeof overrides) die("too many options");
        strcat(strcat(overrides, " "), word);
    } else
        die("%s: unknown\n%s", word, usage);
}

static bool has_avx512(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

/* Starts again: with the C library of the root that bench/onednn3 made, where it is there, since the newest oneDNN needs that. */
static void start_again(const char *folder, char **words)
{
    char loader[4200], libraries[4200], self[4200], *list[256] = {loader, "--library-path", libraries, self};
    int n = 4;
    snprintf(loader, sizeof loader, "%s/onednn3/loader", folder);
    snprintf(libraries, sizeof libraries, "%s/onednn3/libraries", folder);
    snprintf(self, sizeof self, "%s/peers", folder);
    for (char **w = words + 1; *w && n < 255; w++) list[n++] = *w;
    if (access(loader, X_OK)) execv(self, words);
    else if (n < 255) execv(loader, list);
    die("cannot start again");
}

/* Libraries read these when they are loaded, so before main: the process starts once more. Variables that were set for
 * other programs must not hold a peer down; the store may be chosen. */
static void set_environment(char **words)
{
    char threads[16], store[4096], folder[3072] = ".";
    bool avx2 = strcmp(set.target, "avx2") == 0;
    if (getenv("CONVGEN_PEERS_READY")) return;
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (n > 0) folder[n] = 0, *strrchr(folder, '/') = 0;
    snprintf(threads, sizeof threads, "%d", set.threads);
    snprintf(store, sizeof store, "%s/bench-records", folder);
    setenv("CONVGEN_PEERS_READY", folder, 1);
    setenv("OMP_NUM_THREADS", threads, 1);
    setenv("OPENBLAS_NUM_THREADS", threads, 1);
    setenv("OPENBLAS_CORETYPE", avx2 ? "HASWELL" : "SKYLAKEX", 1); /* it does not know newer processors by their names */
    unsetenv("OPENBLAS_L2_SIZE");
    setenv("ONEDNN_MAX_CPU_ISA", avx2 ? "AVX2" : "ALL", 1);
    setenv("CONVGEN_STORE", store, 0);
    start_again(folder, words);
}

/* The oneDNN of Debian's unstable release stands in a module, which has its own library's functions before this program's. */
static void load_onednn3(void)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/onednn3.so", getenv("CONVGEN_PEERS_READY"));
    void *module = access(path, R_OK) ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    for (int f = 0; f < FIELD; f++)
        if (field[f].in_module) field[f].who = module ? dlsym(module, field[f].in_module) : NULL;
    if (module || (set.only && !listed(set.only, "onednn3")) || listed(set.without, "onednn3")) return;
    fprintf(stderr, "peers: oneDNN 3 does not take part: %s\n", access(path, R_OK) ? "bench/onednn3 fetches it" : dlerror());
}

/* The last cores: interrupts and other people prefer the first. */
static void pin(void)
{
    cpu_set_t allowed, chosen;
    CPU_ZERO(&chosen);
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    int wanted = set.threads;
    for (int i = CPU_SETSIZE - 1; i >= 0 && wanted; i--)
        if (CPU_ISSET(i, &allowed)) CPU_SET(i, &chosen), wanted--;
    if (wanted) die("--threads=%d: there are not so many cores", set.threads);
    sched_setaffinity(0, sizeof chosen, &chosen);
}

static int text_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The canonical texts tell that two lines are one problem (a list with three passes, and --dir). */
static bool seen_before(const char *text)
{
    static char **seen;
    static int count;
    convgen_problem p;
    char *canonical = malloc(512);
    if (!canonical || convgen_problem_parse(text, &p) || convgen_problem_format(&p, canonical, 512))
        die("%s: %s", text, convgen_error(NULL));
    if (count && bsearch(&canonical, seen, (size_t)count, sizeof *seen, text_order)) return free(canonical), true;
    seen = realloc(seen, (size_t)(count + 1) * sizeof *seen);
    if (!seen) die("no memory");
    seen[count++] = canonical;
    qsort(seen, (size_t)count, sizeof *seen, text_order);
    return false;
}

int main(int argc, char **argv)
{
    text_list list = {NULL, 0};
    const char *file;
    bool good = true;
    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '-' && !value_of(argv[i], "--batch")) take_option(argv[i]);
    if (!set.target) set.target = has_avx512() ? "avx512" : "avx2";
    if (set.threads < 1) die("--threads must be at least 1");
    if (every < 1) die("--every must be at least 1");
    set_environment(argv);
    load_onednn3();
    pin();
    for (int i = 1; i < argc; i++)
        if ((file = value_of(argv[i], "--batch"))) read_list(&list, file);
        else if (argv[i][0] != '-') add_problem(&list, "", argv[i]);
    if (!list.count) die("no problem\n%s", usage);
    if (!set.json) print_head();
    for (int i = 0; i < list.count; i++)
        if (!seen_before(list.at[i].text)) good = contest(&list.at[i]) && good;
    if (!set.json) print_means();
    free(list.at);
    return good ? 0 : 1;
}

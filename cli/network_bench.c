/* network_bench.c: how long a network takes, and which of its operations do.
 *
 * Runs as a whole take turns with runs whose operations are timed one by one, so that a change of the machine's speed meets both. What lies
 * between the sum of the operations and the whole is the difference of their minima: below 0 where the clock costs more than that. */
#include "cli.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEWEST = 3, MOST = 4000 };
static const double usual_seconds = 2;

typedef struct samples {
    int runs;
    double *whole, *each; /* seconds; each: run after run, one for each operation */
} samples;

typedef struct times {
    double ns_min, ns_median;
} times;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of `runs` values, `apart` from one to the next. */
static times times_of(const double *first, int runs, int apart, double *room)
{
    for (int i = 0; i < runs; i++)
        room[i] = first[(size_t)i * (size_t)apart];
    qsort(room, (size_t)runs, sizeof *room, ascending);
    return (times){ 1e9 * room[0], 1e9 * (room[(runs - 1) / 2] + room[runs / 2]) / 2 };
}

static cg_status time_whole(const convgen_network *n, const cli_arrays *x, double *seconds)
{
    double start = cg_now();
    cg_status status = convgen_network_run(n, (const void *const *)x->inputs, x->outputs, x->workspace);
    *seconds = cg_now() - start;
    return status;
}

static void time_each(const convgen_network *n, const cli_arrays *x, double *seconds)
{
    const cg_network_memory m = { (const void *const *)x->inputs, x->outputs, x->workspace };
    double before = cg_now();
    for (int i = 0; i < n->plan.count; i++) {
        cg_network_run_one(n, i, &m);
        double now = cg_now();
        seconds[i] = now - before;
        before = now;
    }
}

/* The first run of each kind only warms. */
static cg_status collect(const cli_arguments *a, const convgen_network *n, const cli_arrays *x, samples *s)
{
    double seconds = a->seconds < 0 ? usual_seconds : a->seconds, start = cg_now(), unused;
    cg_status status = time_whole(n, x, &unused);
    time_each(n, x, s->each);
    while (!status && s->runs < MOST && (s->runs < FEWEST || cg_now() - start < seconds) && !cli_interrupted()) {
        cli_progress("run %d", s->runs + 1);
        status = time_whole(n, x, &s->whole[s->runs]);
        time_each(n, x, s->each + (size_t)s->runs * (size_t)n->plan.count);
        s->runs++;
    }
    cli_progress_end();
    return status;
}

/* ---- told ---- */

typedef struct told {
    const convgen_network *n;
    times *each, whole;
    double sum, alone; /* of the minima; what records say of the convolutions, NaN where one has none */
    int runs;
} told;

static const char *kernel_of(const convgen_network *n, int i)
{
    const convgen_plan *plan = n->runs[i].plan;
    return plan ? convgen_plan_info(plan)->schedule : "";
}

static double gflops(const told *t, int i) { return t->n->plan.at[i].macs > 0 ? 2 * t->n->plan.at[i].macs / t->each[i].ns_min : NAN; }

static void print_row(const told *t, int i)
{
    const cg_planned *o = &t->n->plan.at[i];
    cli_json_begin();
    cli_json_text("name", o->name);
    cli_json_text("op", o->op);
    cli_json_number("ns_min", t->each[i].ns_min);
    cli_json_number("ns_median", t->each[i].ns_median);
    cli_json_number("share", t->each[i].ns_min / t->sum);
    cli_json_number("gflops", gflops(t, i));
    cli_json_number("gbytes_per_second", o->bytes / t->each[i].ns_min);
    cli_json_text("schedule", kernel_of(t->n, i));
    cli_json_text("problem", o->problem ? o->problem : "");
    cli_json_end();
}

static int print_json(const told *t)
{
    const convgen_network *n = t->n;
    for (int i = 0; i < n->plan.count; i++)
        print_row(t, i);
    cli_json_begin();
    cli_json_text("name", "network");
    cli_json_number("ns_min", t->whole.ns_min);
    cli_json_number("ns_median", t->whole.ns_median);
    cli_json_number("arena_bytes", (double)n->plan.arena_bytes);
    cli_json_number("arena_lower_bound", (double)n->plan.arena_lower_bound);
    cli_json_number("packed_bytes", (double)n->memory_bytes);
    cli_json_number("ns_sum", t->sum);
    cli_json_number("ns_convolutions_alone", t->alone);
    cli_json_number("threads", n->context->parallel.threads);
    cli_json_text("target", n->context->target.name);
    cli_json_number("runs", t->runs);
    cli_json_end();
    return CLI_DONE;
}

static void add_row(const told *t, cli_table *table, int i)
{
    const cg_planned *o = &t->n->plan.at[i];
    cli_cell(table, "%s", o->name);
    cli_cell(table, "%s", o->op);
    cli_cell(table, "%s", kernel_of(t->n, i));
    cli_cell_time(table, t->each[i].ns_min);
    cli_cell_time(table, t->each[i].ns_median);
    cli_cell_number(table, "%.1f", 100 * t->each[i].ns_min / t->sum);
    cli_cell_number(table, "%.2f", gflops(t, i));
    cli_cell_number(table, "%.2f", o->bytes / t->each[i].ns_min);
}

static void print_sum(const told *t)
{
    const convgen_network *n = t->n;
    char whole[24], median[24], sum[24], between[24], alone[24];
    double rest = t->whole.ns_min - t->sum;
    cli_time_text(whole, t->whole.ns_min);
    cli_time_text(median, t->whole.ns_median);
    cli_time_text(sum, t->sum);
    cli_time_text(between, fabs(rest));
    cli_time_text(alone, t->alone);
    printf("the whole: minimum %s, median %s of %d runs; sum of the operations %s, between them %s%s\n", whole, median, t->runs, sum, rest < 0 ? "-" : "", between);
    if (isfinite(t->alone))
        printf("its convolutions alone, as recorded: %s; the whole takes %.2f times that\n", alone, t->whole.ns_min / t->alone);
    printf("arena %lld bytes, %.3f of its lower bound; packed weights %zu bytes\n", (long long)n->plan.arena_bytes,
           (double)n->plan.arena_bytes / fmax((double)n->plan.arena_lower_bound, 1), n->memory_bytes);
}

static int print_table(const told *t)
{
    static const cli_column columns[] = { { "operation", false }, { "op", false },  { "schedule", false }, { "minimum", true },
                                          { "median", true },     { "share", true }, { "GFLOP/s", true },   { "GB/s", true } };
    cli_table table;
    cli_table_begin(&table, columns, sizeof columns / sizeof columns[0]);
    for (int i = 0; i < t->n->plan.count; i++)
        add_row(t, &table, i);
    int status = cli_table_end(&table);
    print_sum(t);
    return status;
}

static double recorded(const convgen_network *n)
{
    double sum = 0;
    for (int i = 0; i < n->plan.count; i++)
        if (n->runs[i].plan) {
            double ns = convgen_plan_info(n->runs[i].plan)->ns_min;
            sum += ns > 0 ? ns : NAN;
        }
    return n->distinct ? sum : NAN;
}

static int tell(const cli_arguments *a, const convgen_network *n, const samples *s, times *each)
{
    told t = { .n = n, .each = each, .alone = recorded(n), .runs = s->runs };
    double *room = cg_malloc((size_t)s->runs * sizeof *room);
    if (!room)
        return cli_wrong(a, "no memory for %d samples", s->runs);
    t.whole = times_of(s->whole, s->runs, 1, room);
    for (int i = 0; i < n->plan.count; i++) {
        each[i] = times_of(s->each + i, s->runs, n->plan.count, room);
        t.sum += each[i].ns_min;
    }
    cg_free(room);
    return a->json ? print_json(&t) : print_table(&t);
}

int cli_network_bench(const cli_arguments *a, const convgen_network *n)
{
    size_t count = (size_t)n->plan.count;
    cli_arrays x = { 0 };
    samples s = { .whole = cg_malloc(MOST * sizeof(double)), .each = cg_malloc(MOST * count * sizeof(double)) };
    times *each = cg_calloc(count, sizeof *each);
    int status = s.whole && s.each && each ? CLI_DONE : cli_wrong(a, "no memory for %d samples", MOST);
    if (!status && cli_arrays_new(n, &x))
        status = cli_failed(a);
    if (!status) {
        cli_arrays_fill(n, &x, 1);
        status = collect(a, n, &x, &s) ? cli_failed(a) : tell(a, n, &s, each);
    }
    cli_arrays_free(n, &x);
    cg_free(s.whole);
    cg_free(s.each);
    cg_free(each);
    return status;
}

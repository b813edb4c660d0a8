/* bench.c: convgen bench: times what is remembered.
 *
 * The problems take turns in rounds, so that a change of the machine's speed meets all of them; the minimum is over all
 * rounds, the median is the median round's. A layer that a network repeats is timed once. Nothing is written. */
#include "cli.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 5 };
static const double keep_bytes = 1e9; /* data of all problems is kept between rounds up to this, else made again for each turn */

typedef struct entry {
    const cg_named_problem *np;
    const struct entry *same; /* an entry before it that is the same but for its name, or NULL */
    cg_outcome outcome;
    convgen_plan *plan;
    cg_trial *trial;
    double min[ROUNDS], median[ROUNDS];
    double ns_min, ns_median;
} entry;

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(entry *e)
{
    qsort(e->min, ROUNDS, sizeof e->min[0], compare);
    qsort(e->median, ROUNDS, sizeof e->median[0], compare);
    e->ns_min = e->min[0]; /* noise only ever adds time */
    e->ns_median = e->median[ROUNDS / 2];
}

static double bytes_of(const entry *all, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++) {
        cg_sizes s = cg_problem_sizes(&all[i].np->problem);
        sum += (double)s.element * ((double)s.src + (double)s.weights + (double)s.dst);
    }
    return sum;
}

static cg_status time_turn(const cli_arguments *a, entry *e, int round, bool keep)
{
    cg_timing timing;
    double seconds = (a->seconds < 0 ? 0.5 : a->seconds) / ROUNDS;
    cg_status status = e->trial ? CONVGEN_OK : cg_trial_new(&e->np->problem, false, &e->trial);
    if (!status)
        status = cg_time(e->trial, cg_plan_kernel(e->plan), cg_plan_parallel(e->plan),
                         &(cg_stint){ .seconds = seconds, .cold = a->cold }, &timing);
    if (status)
        return status;
    e->min[round] = timing.ns_min;
    e->median[round] = timing.ns_median;
    if (!keep) {
        cg_trial_free(e->trial);
        e->trial = NULL;
    }
    return CONVGEN_OK;
}

static cg_status time_all(const cli_arguments *a, entry *all, int count)
{
    char label[CG_TEXT];
    bool keep = bytes_of(all, count) < keep_bytes;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < count; i++) {
            if (all[i].same)
                continue;
            cli_progress("round %d of %d: [%d/%d] %s", round + 1, ROUNDS, i + 1, count, cli_label(all[i].np, label));
            cg_status status = time_turn(a, &all[i], round, keep);
            if (status)
                return status;
        }
    for (int i = 0; i < count; i++)
        if (!all[i].same)
            summarise(&all[i]);
        else
            all[i].ns_min = all[i].same->ns_min, all[i].ns_median = all[i].same->ns_median; /* it stands before */
    cli_progress_end();
    return CONVGEN_OK;
}

static double peak_of(convgen_context *c, const entry *e)
{
    return cli_peak(c, e->outcome.record.target, e->np->problem.type, e->outcome.record.threads);
}

static void add_row(convgen_context *c, const entry *e, cli_table *t)
{
    char label[CG_TEXT];
    double gflops = cli_gflops(e->np, e->ns_min), peak = peak_of(c, e);
    cli_cell(t, "%s", cli_label(e->np, label));
    cli_cell(t, "%s", cg_pass_name(&e->np->problem));
    cli_cell(t, "%s", e->outcome.record.schedule);
    cli_cell_time(t, e->ns_min);
    cli_cell_time(t, e->ns_median);
    cli_cell_number(t, "%.2f", gflops);
    cli_cell_number(t, "%.1f", peak > 0 ? 100 * gflops / peak : NAN);
    cli_cell_time(t, e->outcome.record.ns_min);
    cli_cell(t, "%ld", e->np->multiplicity);
}

static void print_sum(const cli_arguments *a, const entry *all, int count)
{
    double min = 0, median = 0, flops = 0;
    long layers = 0;
    char shortest[24], typical[24];
    for (int i = 0; i < count; i++) {
        double times = (double)all[i].np->multiplicity;
        layers += all[i].np->multiplicity;
        min += times * all[i].ns_min;
        median += times * all[i].ns_median;
        flops += times * 2 * cg_problem_sizes(&all[i].np->problem).macs;
    }
    cli_time_text(shortest, min);
    cli_time_text(typical, median);
    printf("sum over %ld layer%s%s: minimum %s, median %s, %.2f GFLOP/s\n", layers, layers == 1 ? "" : "s",
           a->cold ? ", caches cold" : "", shortest, typical, flops / min);
}

static int print_table(const cli_arguments *a, convgen_context *c, const entry *all, int count)
{
    static const cli_column columns[] = { { "layer", false },   { "pass", false },     { "schedule", false },
                                          { "minimum", true },  { "median", true },    { "GFLOP/s", true },
                                          { "% of peak", true }, { "recorded", true },  { "count", true } };
    cli_table t;
    cli_table_begin(&t, columns, sizeof columns / sizeof columns[0]);
    for (int i = 0; i < count; i++)
        add_row(c, &all[i], &t);
    int status = cli_table_end(&t);
    print_sum(a, all, count);
    return status;
}

static int print_json(convgen_context *c, const entry *all, int count)
{
    for (int i = 0; i < count; i++)
        cli_json_result(&(cli_result){ .np = all[i].np, .record = &all[i].outcome.record, .ns_min = all[i].ns_min,
                                       .ns_median = all[i].ns_median, .peak = peak_of(c, &all[i]), .candidates = NAN,
                                       .refused = NAN, .seconds = NAN, .errors_recorded = true });
    return CLI_DONE;
}

static const entry *find_same(const entry *all, int i)
{
    const cg_named_problem *a = all[i].np;
    for (int j = 0; j < i; j++) {
        const cg_named_problem *b = all[j].np;
        if (a->threads == b->threads && !strcmp(a->target, b->target) && cg_problem_equal(&a->problem, &b->problem))
            return all[j].same ? all[j].same : &all[j];
    }
    return NULL;
}

static int bench_all(const cli_arguments *a, convgen_context *c, entry *all, int count)
{
    int how = CLI_SAMPLE | (a->effort && strcmp(a->effort, "estimate") == 0 ? CLI_ESTIMATE : 0);
    for (int i = 0; i < count; i++) {
        all[i].np = &a->problems.at[i];
        all[i].same = find_same(all, i);
        if (cli_plan(c, a, all[i].np, how, &all[i].outcome, &all[i].plan))
            return cli_failed(a);
    }
    if (time_all(a, all, count))
        return cli_failed(a);
    return a->json ? print_json(c, all, count) : print_table(a, c, all, count);
}

static int bench_network(const cli_arguments *a)
{
    convgen_network *n = NULL;
    int status = cli_network_open(a, &n) ? cli_failed(a) : cli_network_bench(a, n);
    convgen_network_free(n);
    return status;
}

static int check_options(const cli_arguments *a)
{
    if (a->peers)
        return cli_wrong(a, "--peers: this command is linked with no other library; `make bench` compares with them");
    if (a->network && (a->cold || a->schedule || a->compiler))
        return cli_usage(a, "--cold, --schedule and --compiler are for problems; a network is timed as it runs");
    if (!a->effort || strcmp(a->effort, "recall") == 0 || strcmp(a->effort, "estimate") == 0)
        return CLI_DONE;
    return cli_usage(a, "--effort=%s: bench takes recall or estimate; `convgen tune` measures", a->effort);
}

static int run(cli_arguments *a)
{
    convgen_context *c = NULL;
    int count = a->problems.count, status = check_options(a);
    if (!status && a->network)
        return bench_network(a);
    if (status)
        return status;
    entry *all = cg_calloc((size_t)count, sizeof *all);
    if (!all)
        return cli_wrong(a, "no memory for %d problems", count);
    status = cli_open(a, &c) ? cli_failed(a) : bench_all(a, c, all, count);
    for (int i = 0; i < count; i++) {
        cg_trial_free(all[i].trial);
        convgen_plan_free(all[i].plan);
    }
    convgen_close(c);
    cg_free(all);
    return status;
}

/* ---- the verb ---- */

static const cli_option options[] = {
    CLI_BATCH,
    CLI_COMPILER,
    OPTION("--effort", "E", CLI_TEXT, AT(effort),
           "recall (the default of problems) or estimate (that of a network): without a record, the schedule with the best estimate", .choices = "recall estimate"),
    OPTION("--seconds", "S", CLI_SECONDS, AT(seconds), "of timing for each problem (default 0.5), or for a network (default 2)"),
    OPTION("--cold", NULL, CLI_FLAG, AT(cold), "sweep the caches before each run"),
    OPTION("--peers", NULL, CLI_FLAG, AT(peers), "not in this command: `make bench` compares with other libraries"),
    OPTION("--schedule", "NAME", CLI_NAMES, 0, "this schedule, not the remembered or estimated one"),
    CLI_STORE,
    CLI_JSON,
    { .name = NULL },
};

const cli_verb cli_bench = {
    .name = "bench", .arguments = "[options] PROBLEM... | --batch=FILE | NETWORK.net", .summary = "time what is remembered",
    .text =
      "Times the remembered kernels in interleaved rounds: minimum and median of each, and the sum over all of them, each\n"
      "counted as often as its list says. Of a network, runs as a whole take turns with runs whose operations are timed one by\n"
      "one: a row for each operation, the sum, and what lies between them.",
    .options = options, .problems = true, .networks = true, .run = run,
};

/* tune.c: convgen tune: find, verify, time and remember the fastest kernel of each problem.
 *
 * What the store remembers is recalled first. The rest is judged in a worker process, which must be forked before any thread
 * exists: so nothing here may run a convolution. Ctrl-C stops between two candidates, kills the running one, and keeps what
 * is finished. */
#include "cli.h"
#include <math.h>
#include <string.h>

/* CUT: the best of those tried when it was interrupted; SAMPLED: the time was up before any was verified. Neither is remembered. */
typedef enum { MISSING, RECALLED, TUNED, CUT, SAMPLED, FAILED } state;
typedef struct layer {
    const cg_named_problem *np;
    cg_outcome outcome;
    state state;
    bool remembered; /* there is a record of it, which has to be sampled before it is used */
} layer;
typedef struct run {
    cli_arguments *a;
    convgen_context *c;
    cg_judge judge;
    layer *layers;
    int count, current;
    int tried, refused; /* of the current layer, for the progress line */
    double best, started;
    cli_report report;
} run;

static bool go_on(void *user)
{
    (void)user;
    return !cli_interrupted();
}

static void show_tried(void *user, const cg_tried *t)
{
    run *r = user;
    char label[CG_TEXT], best[24] = "-";
    if (r->a->report)
        cli_report_tried(&r->report, r->current, t);
    if (t->again)
        return;
    r->tried++;
    r->refused += t->ns_min <= 0;
    if (t->ns_min > 0 && t->ns_min < r->best)
        r->best = t->ns_min;
    if (isfinite(r->best))
        cli_time_text(best, r->best);
    cli_progress("[%d/%d] %s: best %s of %d tried, %d refused; %s", r->current + 1, r->count,
                 cli_label(r->layers[r->current].np, label), best, r->tried, r->refused, t->schedule->name);
}

/* ---- results ---- */

static bool has_result(const layer *l)
{
    return l->state == RECALLED || l->state == TUNED || l->state == CUT || l->state == SAMPLED;
}

static double peak_of(const run *r, const layer *l)
{
    return cli_peak(r->c, l->outcome.record.target, l->np->problem.type, l->outcome.record.threads);
}

static void print_json(const run *r, const layer *l)
{
    const cg_record *record = &l->outcome.record;
    bool fresh = l->state != RECALLED;
    cli_json_result(&(cli_result){ .np = l->np, .record = record, .ns_min = record->ns_min, .ns_median = record->ns_median,
                                   .peak = peak_of(r, l), .candidates = fresh ? l->outcome.candidates : NAN,
                                   .refused = fresh ? l->outcome.refused : NAN, .seconds = fresh ? l->outcome.seconds : NAN,
                                   .times_recorded = !fresh, .errors_recorded = !fresh });
}

static void add_row(const run *r, const layer *l, cli_table *t)
{
    char label[CG_TEXT];
    const cg_record *record = &l->outcome.record;
    double gflops = cli_gflops(l->np, record->ns_min), peak = peak_of(r, l);
    cli_cell(t, "%s", cli_label(l->np, label));
    cli_cell(t, "%s", cg_pass_name(&l->np->problem));
    cli_cell(t, "%s", record->schedule);
    cli_cell_time(t, record->ns_min);
    cli_cell_number(t, "%.2f", gflops);
    cli_cell_number(t, "%.1f", peak > 0 ? 100 * gflops / peak : NAN);
    cli_cell_number(t, "%.2f", record->error_vs_loop);
    if (l->state == RECALLED)
        cli_cell(t, record->shipped ? "shipped" : "recalled");
    else
        cli_cell(t, "%d%s", l->outcome.candidates, l->outcome.complete ? "" : ", cut");
    cli_cell_number(t, "%.0f", l->state == RECALLED ? NAN : l->outcome.refused);
    cli_cell(t, "%s", l->state == RECALLED ? "recorded" : "measured");
}

static int count_state(const run *r, state s)
{
    int n = 0;
    for (int i = 0; i < r->count; i++)
        n += r->layers[i].state == s;
    return n;
}

static int count_shipped(const run *r)
{
    int n = 0;
    for (int i = 0; i < r->count; i++)
        n += r->layers[i].state == RECALLED && r->layers[i].outcome.record.shipped;
    return n;
}

static void print_summary(const run *r)
{
    int recalled = count_state(r, RECALLED), tuned = count_state(r, TUNED), rest = r->count - recalled - tuned;
    int shipped = count_shipped(r), own = recalled - shipped;
    double seconds = cg_now() - r->started;
    const char *store = cg_store_path(r->c->store);
    printf("%d problem%s: ", r->count, r->count == 1 ? "" : "s");
    if (tuned + rest)
        printf("%d tuned, %d recalled", tuned, own);
    else if (own)
        printf("%d recalled from %s", own, store);
    if (shipped)
        printf("%s%d shipped with convgen", tuned + rest + own ? ", " : "", shipped);
    if (rest)
        printf(", %d not finished", rest);
    if (tuned)
        printf(" in %.1f s, remembered in %s\n", seconds, store);
    else if (rest)
        printf(" in %.1f s, nothing new is remembered\n", seconds);
    else
        printf("%s in %.2f s\n", shipped ? ", read" : "", seconds);
}

static int print_table(const run *r)
{
    static const cli_column columns[] = { { "layer", false }, { "pass", false },    { "schedule", false },
                                          { "time", true },   { "GFLOP/s", true },  { "% of peak", true },
                                          { "error/loop", true }, { "tried", true }, { "refused", true },
                                          { "figures", false } };
    cli_table t;
    cli_table_begin(&t, columns, sizeof columns / sizeof columns[0]);
    for (int i = 0; i < r->count; i++)
        if (has_result(&r->layers[i]))
            add_row(r, &r->layers[i], &t);
    int status = cli_table_end(&t);
    print_summary(r);
    return status;
}

/* ---- the work ---- */

static int recall_all(run *r)
{
    for (int i = 0; i < r->count && !r->a->again; i++) {
        layer *l = &r->layers[i];
        cg_recalled found;
        cg_status status = cli_recall(r->c, r->a, l->np, &found, &l->outcome);
        if (status && status != CONVGEN_NO_RECORD)
            return cli_failed(r->a);
        l->remembered = !status && !found.other_accuracy && !found.other_conditions && !found.record.partial && !found.record.cut_after; /* else a search may find a faster one */
        l->state = l->remembered && cg_recalled_usable(&l->np->problem, &found) ? RECALLED : MISSING;
    }
    return CLI_DONE;
}

/* Hours of tuning must not be lost to a store that cannot be written. Only a real write sees a read-only file system and a full
 * disk, so one is made before the first candidate. */
static int check_store(const run *r)
{
    return cg_store_check(r->c->store) ? cli_failed(r->a) : CLI_DONE;
}

static cg_status tune_one(run *r, layer *l)
{
    const cli_arguments *a = r->a;
    cg_tuning t = { .problem = &l->np->problem, .compiler = a->compiler,
                    .effort = a->effort && strcmp(a->effort, "exhaustive") == 0 ? CONVGEN_EXHAUSTIVE : CONVGEN_MEASURE,
                    .seconds = a->seconds > 0 ? a->seconds : 0, .threads = l->np->threads ? l->np->threads : 1,
                    .target = l->np->target[0] ? l->np->target : NULL, .network = a->network, .again = a->again, .finish = true, .strict = true,
                    .tried = show_tried, .go_on = go_on, .user = r };
    char label[CG_TEXT];
    r->tried = r->refused = 0;
    r->best = INFINITY;
    cli_progress("[%d/%d] %s", r->current + 1, r->count, cli_label(l->np, label));
    memset(&l->outcome, 0, sizeof l->outcome);
    return cg_tune(r->c, &r->judge, &t, &l->outcome);
}

static state state_of(const cg_outcome *o)
{
    return o->recalled ? RECALLED : cli_interrupted() && !o->complete ? CUT : o->sampled ? SAMPLED : TUNED;
}

/* The sentences of tuning name the problem by its text; a layer that has a name is known by it. */
static int say_failed(const run *r, const layer *l)
{
    return l->np->name[0] ? cli_wrong(r->a, "%s: %s%s", l->np->name, cg_error_text(), cli_advice(r->a)) : cli_failed(r->a);
}

static int say_sampled(const run *r, const layer *l)
{
    char label[CG_TEXT];
    return cli_wrong(r->a, "%s: the time of --seconds=%g was over before any schedule was verified; %s gives right answers on a sample and is not remembered",
                     cli_label(l->np, label), r->a->seconds, l->outcome.record.schedule);
}

/* A winner that could not be remembered is a result all the same. */
static cg_status tune_and_judge(run *r, layer *l)
{
    cg_status status = tune_one(r, l);
    bool kept = !status || (status == CONVGEN_STORE && l->outcome.record.schedule[0]);
    if (status != CONVGEN_CANCELLED)
        l->state = kept ? state_of(&l->outcome) : FAILED;
    return status;
}

/* A failed problem does not stop the others; a store that cannot be written does. */
static int tune_missing(run *r)
{
    int result = CLI_DONE;
    for (r->current = 0; r->current < r->count; r->current++) {
        layer *l = &r->layers[r->current];
        cg_status status = l->state == RECALLED || cli_interrupted() ? CONVGEN_OK : tune_and_judge(r, l);
        if (status && status != CONVGEN_CANCELLED)
            result = say_failed(r, l);
        else if (l->state == SAMPLED)
            result = say_sampled(r, l);
        if (r->a->json && has_result(l))
            print_json(r, l);
        if (status == CONVGEN_STORE)
            break;
    }
    return result;
}

static void say_missing(const run *r)
{
    char label[CG_TEXT];
    const char *comma = "";
    cli_progress_end();
    fprintf(stderr, "convgen tune: interrupted; %d of %d problems are finished and remembered in %s; missing:",
            count_state(r, TUNED) + count_state(r, RECALLED), r->count, cg_store_path(r->c->store));
    for (int i = 0; i < r->count; i++)
        if (r->layers[i].state == MISSING || r->layers[i].state == CUT) {
            fprintf(stderr, "%s %s%s%s", comma, cli_label(r->layers[i].np, label), r->layers[i].np->name[0] ? " " : "",
                    r->layers[i].np->name[0] ? cg_pass_name(&r->layers[i].np->problem) : "");
            comma = ",";
        }
    fputc('\n', stderr);
}

/* A search that time cut short is a result, but not its last word. */
static void say_cut(const run *r)
{
    char label[CG_TEXT];
    const layer *first = NULL;
    int cut = 0;
    for (int i = 0; i < r->count; i++)
        if (r->layers[i].state == TUNED && !r->layers[i].outcome.complete && !cut++)
            first = &r->layers[i];
    if (cut)
        cli_wrong(r->a, "--seconds=%g cut %d of %d searches short (%s: %d tried); what is the best so far is remembered, and a later tune goes on",
                  r->a->seconds, cut, r->count, cli_label(first->np, label), first->outcome.candidates);
}

/* Needs the worker only when something is missing or to be sampled, the store only when something is missing. */
static int tune_with_worker(run *r)
{
    int status = CLI_DONE, missing = 0;
    bool needed = count_state(r, RECALLED) < r->count;
    for (int i = 0; i < r->count; i++)
        missing += r->layers[i].state == MISSING && !r->layers[i].remembered;
    if (missing && (status = check_store(r)))
        return status;
    if (missing)
        cli_rates(r->c);
    if (needed && cg_worker_start(r->c, &r->judge))
        return cli_failed(r->a);
    cli_catch_interrupts(cg_worker_interrupt);
    status = tune_missing(r);
    if (needed)
        cg_worker_stop(&r->judge);
    cli_progress_end();
    say_cut(r);
    return status;
}

static int write_report(run *r)
{
    cli_report_row *rows = cg_calloc((size_t)r->count, sizeof *rows);
    if (!rows)
        return cli_wrong(r->a, "no memory for the report");
    for (int i = 0; i < r->count; i++) {
        const layer *l = &r->layers[i];
        bool good = has_result(l);
        rows[i] = (cli_report_row){ .np = l->np, .record = good ? &l->outcome.record : NULL, .peak = good ? peak_of(r, l) : 0,
                                    .recalled = l->state == RECALLED, .because = l->outcome.because ? l->outcome.because : "" };
    }
    r->report.hurry = cli_interrupted();
    int status = cli_report_write(r->a, r->c, &r->report, rows, r->count);
    cg_free(rows);
    return status;
}

static int tune_all(run *r)
{
    int status = recall_all(r);
    if (status)
        return status;
    status = tune_with_worker(r);
    int results = r->count - count_state(r, MISSING) - count_state(r, FAILED);
    if (!r->a->json && results && print_table(r))
        status = CLI_WRONG;
    if (r->a->report && write_report(r))
        status = CLI_WRONG;
    if (cli_interrupted() && count_state(r, MISSING) + count_state(r, CUT)) {
        say_missing(r);
        status = CLI_INTERRUPTED;
    }
    return status;
}

static int check_effort(const cli_arguments *a)
{
    if (!a->effort || strcmp(a->effort, "measure") == 0 || strcmp(a->effort, "exhaustive") == 0)
        return CLI_DONE;
    return cli_usage(a, "--effort=%s: tuning takes measure or exhaustive%s", a->effort,
                     strcmp(a->effort, "estimate") == 0 ? "; estimate never times, `convgen bench --effort=estimate` does" : "");
}

/* What it now is as a whole. */
static int time_network(const cli_arguments *a)
{
    cli_arguments of = *a;
    convgen_network *n = NULL;
    of.effort = NULL, of.seconds = -1;
    int status = cli_network_open(&of, &n) ? cli_failed(a) : cli_network_bench(&of, n);
    convgen_network_free(n);
    return status;
}

static int tune_problems(run *r)
{
    r->count = r->a->problems.count;
    r->layers = cg_calloc((size_t)r->count, sizeof *r->layers);
    if (!r->layers)
        return cli_wrong(r->a, "no memory for %d problems", r->count);
    for (int i = 0; i < r->count; i++)
        r->layers[i].np = &r->a->problems.at[i];
    return tune_all(r);
}

static int tune(cli_arguments *a)
{
    run r = { .a = a, .started = cg_now() };
    int status = check_effort(a);
    if (status)
        return status;
    if ((a->network ? cli_open_for_network : cli_open)(a, &r.c) || (a->network && cli_network_problems(a, r.c, &a->problems)))
        status = cli_failed(a);
    else
        status = tune_problems(&r);
    convgen_close(r.c);
    if (a->network && !status)
        status = time_network(a);
    cg_buffer_free(&r.report.trials);
    cg_free(r.layers);
    return status;
}

/* ---- the verb ---- */

static const cli_option options[] = {
    CLI_BATCH,
    CLI_COMPILER,
    OPTION("--effort", "E", CLI_TEXT, AT(effort),
           "measure (the default: the best estimates) or exhaustive (all that `convgen show` lists)", .choices = "measure exhaustive"),
    OPTION("--seconds", "S", CLI_SECONDS, AT(seconds),
           "at most this long for each problem: the best so far is kept, and a later tune goes on (0, the default: no limit)"),
    OPTION("--again", NULL, CLI_FLAG, AT(again), "tune also what is remembered; a new winner must be 3 % faster to replace it"),
    OPTION("--report", "FILE", CLI_TEXT, AT(report),
           "also write a page about it: HTML with drawings, in one file without scripts"),
    CLI_STORE,
    CLI_JSON,
    { .name = NULL },
};

const cli_verb cli_tune = {
    .name = "tune", .arguments = "[options] PROBLEM... | --batch=FILE | NETWORK.net", .summary = "find, verify, time and remember the fastest kernel of each problem",
    .text =
      "Every candidate is verified and timed by a worker process; one that crashes or hangs is refused and the search goes\n"
      "on. A problem that the store remembers is recalled, not tuned. The table at the end shows, per problem: the schedule,\n"
      "its best time, GFLOP/s, the share of the measured FMA peak, the normwise error over that of the plain loop, how many\n"
      "candidates were tried (\"cut\": until the time was up) and refused, and whether these figures were measured in this run\n"
      "or are those of a record. Ctrl-C keeps what is finished.",
    .options = options, .problems = true, .networks = true, .run = tune,
};

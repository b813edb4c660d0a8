/* records.c: convgen records: looks at the store and changes it.
 *
 * The store's format, lock and rewriting are the library's; here are the five things that one does with it. Lines that cannot
 * be read are named on stderr and kept. */
#include "cli.h"
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What --problem and --machine choose; "" is everything. */
typedef struct filter {
    char problem[CG_TEXT], machine[CG_KEY];
} filter;

typedef struct desk {
    const cli_arguments *a;
    convgen_context *c;
    filter filter;
} desk;

static bool chosen(const cg_record *r, void *user)
{
    const filter *f = user;
    return (!f->problem[0] || strcmp(f->problem, r->problem) == 0) && (!f->machine[0] || strcmp(f->machine, r->machine) == 0);
}

static int read_filter(desk *d)
{
    const cli_arguments *a = d->a;
    filter *f = &d->filter;
    convgen_problem p;
    if (a->problem && (convgen_problem_parse(a->problem, &p) || convgen_problem_format(&p, f->problem, sizeof f->problem)))
        return cli_failed(a);
    if (a->machine)
        snprintf(f->machine, sizeof f->machine, "%s", strcmp(a->machine, "this") == 0 ? d->c->machine.key : a->machine);
    return CLI_DONE;
}

static void name_bad_lines(const cli_arguments *a, const cg_record_list *list)
{
    for (int i = 0; i < list->bad_count; i++)
        cli_wrong(a, "%s", list->bad[i]);
}

/* Reads a store and names its bad lines; they are no failure: all others are there. */
static int read_records(const cli_arguments *a, const char *path, cg_record_list *list)
{
    memset(list, 0, sizeof *list);
    if (cg_records_read(path, list))
        return cli_failed(a);
    name_bad_lines(a, list);
    return CLI_DONE;
}

static bool parse_problem(const cg_record *r, cg_named_problem *out)
{
    memset(out, 0, sizeof *out);
    out->multiplicity = 1;
    out->threads = r->threads;
    snprintf(out->target, sizeof out->target, "%s", r->target);
    return convgen_problem_parse(r->problem, &out->problem) == CONVGEN_OK;
}

static const char *count_text(int n, char text[32])
{
    snprintf(text, 32, "%d record%s", n, n == 1 ? "" : "s");
    return text;
}

/* ---- list ---- */

static void add_row(cli_table *t, const cg_named_problem *np, const cg_record *r)
{
    cli_cell(t, "%s", r->problem);
    cli_cell(t, "%s", r->target);
    cli_cell(t, "%d", r->threads);
    cli_cell(t, "%s", r->schedule);
    cli_cell(t, "%s %s", r->form, r->compiler);
    cli_cell_time(t, r->ns_min);
    cli_cell_number(t, "%.2f", cli_gflops(np, r->ns_min));
    cli_cell_number(t, "%.2f", r->error_vs_loop);
    cli_cell(t, "%s%s", r->merged ? "merged" : r->partial ? "part" : r->cut_after ? "cut" : "own", r->network ? ", network" : "");
    cli_cell(t, "%s", r->machine);
}

static void print_json_record(const cg_named_problem *np, const cg_record *r)
{
    cli_json_result(&(cli_result){ .np = np, .record = r, .ns_min = r->ns_min, .ns_median = r->ns_median, .candidates = NAN,
                                   .refused = NAN, .seconds = NAN, .times_recorded = true, .errors_recorded = true });
}

static int list_records(desk *d)
{
    static const cli_column columns[] = { { "problem", false }, { "target", false }, { "threads", true },
                                          { "schedule", false }, { "form", false },  { "time", true },
                                          { "GFLOP/s", true },  { "error/loop", true }, { "from", false },
                                          { "machine", false } };
    cg_record_list list;
    cg_named_problem np;
    cli_table t;
    int status = read_records(d->a, cg_store_path(d->c->store), &list), shown = 0;
    char count[32];
    cli_table_begin(&t, columns, sizeof columns / sizeof columns[0]);
    for (int i = 0; i < list.count; i++) {
        if (!chosen(&list.at[i], &d->filter))
            continue;
        if (!parse_problem(&list.at[i], &np)) {
            cli_failed(d->a);
            continue;
        }
        shown++;
        if (d->a->json)
            print_json_record(&np, &list.at[i]);
        else
            add_row(&t, &np, &list.at[i]);
    }
    if (cli_table_end(&t))
        status = CLI_WRONG;
    if (!d->a->json && !status)
        printf("%s in %s; times and errors as recorded\n", count_text(shown, count), cg_store_path(d->c->store));
    cg_records_free(&list);
    return status;
}

/* ---- merge and export ---- */

static int merge_records(desk *d)
{
    const char *from = d->a->words[1], *path = cg_store_path(d->c->store);
    cg_record_list list;
    char count[32];
    if (access(from, F_OK))
        return cli_wrong(d->a, "%s: %s", from, strerror(errno));
    int status = read_records(d->a, from, &list);
    int found = list.count;
    cg_records_free(&list);
    if (status)
        return status;
    if (cg_store_merge(d->c->store, from))
        return cli_failed(d->a);
    printf("%s of %s merged into %s; each is sampled before it is used until `convgen records verify` has checked it\n",
           count_text(found, count), from, path);
    return CLI_DONE;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int export_to(desk *d, const cg_record_list *list, FILE *to, int *written)
{
    for (int i = 0; i < list->count; i++) {
        cg_buffer line = { 0 };
        if (!chosen(&list->at[i], &d->filter))
            continue;
        cg_record_format(&list->at[i], &line);
        if (line.failed)
            return cli_wrong(d->a, "no memory for a line");
        fwrite(line.text, 1, line.length, to);
        cg_buffer_free(&line);
        ++*written;
    }
    return CLI_DONE;
}

static int export_to_file(desk *d, const cg_record_list *list, const char *path)
{
    int written = 0;
    char count[32];
    FILE *to = fopen(path, "w");
    if (!to)
        return cli_wrong(d->a, "%s: %s", path, strerror(errno));
    int status = export_to(d, list, to, &written);
    bool whole = !ferror(to);
    if ((fclose(to) || !whole) && !status)
        status = cli_wrong(d->a, "%s: %s", path, strerror(errno));
    if (!status)
        printf("%s written to %s\n", count_text(written, count), path);
    return status;
}

static int export_records(desk *d)
{
    const char *path = d->a->words[1];
    cg_record_list list;
    int written = 0;
    if (strcmp(path, "-") != 0 && same_file(path, cg_store_path(d->c->store)))
        return cli_wrong(d->a, "%s is the store itself; export to another file", path);
    int status = read_records(d->a, cg_store_path(d->c->store), &list);
    if (!status)
        status = strcmp(path, "-") == 0 ? export_to(d, &list, stdout, &written) : export_to_file(d, &list, path);
    cg_records_free(&list);
    return status;
}

/* ---- forget ---- */

static int forget_records(desk *d)
{
    int dropped = 0;
    char count[32];
    bool filtered = d->filter.problem[0] || d->filter.machine[0];
    if (!filtered && !d->a->all)
        return cli_usage(d->a, "forget needs to know what: --problem=TEXT, --machine=KEY (or this), or --all");
    if (filtered && d->a->all)
        return cli_usage(d->a, "forget takes --all or a choice by --problem and --machine, not both");
    if (cg_store_forget(d->c->store, chosen, &d->filter, &dropped))
        return cli_failed(d->a);
    printf("%s dropped from %s\n", count_text(dropped, count), cg_store_path(d->c->store));
    return CLI_DONE;
}

/* ---- verify ---- */

typedef struct tally {
    int good, stale, failed, others, settled;
} tally;

/* What a record asks for; false: its problem is none. */
static bool job_of(const cg_record *r, cg_job *out)
{
    cg_named_problem np;
    if (!parse_problem(r, &np))
        return false;
    cg_recalled_job(&np.problem, r, out);
    out->level = CG_VERIFY_FULL;
    return true;
}

/* why "" when it holds; `judge` runs where a crash costs nothing. */
static cg_status verify_record(desk *d, const cg_judge *judge, const cg_record *r, bool *stale, cg_result *result, char why[CG_WHY])
{
    cg_job job;
    why[0] = 0;
    *stale = false;
    if (!job_of(r, &job)) {
        snprintf(why, CG_WHY, "%s", cg_error_text());
        return CONVGEN_OK;
    }
    cg_request request = { .problem = &job.problem, .machine = &d->c->machine, .target = r->target, .form = r->form, .threads = r->threads };
    cg_status status = cg_record_judge(d->c, &request, r, stale, why);
    if (status || why[0])
        return status;
    status = judge->verify(judge->self, &job, result);
    if (!status && (result->status || !result->verdict.ok))
        snprintf(why, CG_WHY, "%s", result->verdict.why[0] ? result->verdict.why : convgen_status_text(result->status));
    return status;
}

/* A merged record that holds becomes one of this store's own: with the errors just measured, and timed here. */
static cg_status settle(desk *d, const cg_judge *judge, const cg_record *r, const cg_result *verified, bool *settled)
{
    const double seconds = 20e-3;
    cg_result timed = { 0 };
    cg_record own = *r;
    cg_job job;
    *settled = false;
    if (!job_of(r, &job))
        return CONVGEN_OK;
    job.level = -1;
    job.seconds = seconds;
    job.network = r->network;
    cg_status status = judge->time(judge->self, &job, &timed);
    if (status || timed.status)
        return status;
    own.merged = false;
    own.cut_after = own.cut_after ? 1 : 0; /* how far its search came was counted in the list of whoever made it */
    snprintf(own.generator, sizeof own.generator, "%s", d->c->generator); /* whose kernel it was just now */
    own.ns_min = timed.timing.ns_min;
    own.ns_median = timed.timing.ns_median;
    own.error_normwise = verified->verdict.error_normwise;
    own.error_vs_loop = verified->verdict.error_vs_loop;
    own.error_vs_bound = verified->verdict.error_vs_bound;
    status = cg_store_settle(d->c->store, r, &own);
    *settled = !status;
    return status;
}

/* Those of this machine; with --all those of others too, whose target runs here: right is right on each. */
static bool can_verify(desk *d, const cg_record *r)
{
    cg_target t;
    if (strcmp(r->machine, d->c->machine.key) == 0)
        return true;
    return d->a->all && cg_script_target(d->c->script, &d->c->machine, r->target, &t) == CONVGEN_OK;
}

static cg_status verify_one(desk *d, const cg_judge *judge, const cg_record *r, tally *t)
{
    cg_result result = { 0 };
    char why[CG_WHY];
    bool stale, settled = false;
    cg_status status = verify_record(d, judge, r, &stale, &result, why);
    if (!status && !why[0] && r->merged && strcmp(r->machine, d->c->machine.key) == 0)
        status = settle(d, judge, r, &result, &settled);
    judge->forget(judge->self);
    if (status)
        return status;
    t->settled += settled;
    t->good += !why[0];
    t->stale += stale;
    t->failed += why[0] && !stale;
    if (why[0])
        cli_wrong(d->a, "%s %s %s: %s%s", r->problem, r->target, r->schedule, stale ? "stale: " : "", why);
    return CONVGEN_OK;
}

static int verify_list(desk *d, const cg_record_list *list)
{
    cg_judge judge;
    tally t = { 0 };
    int seen = 0;
    int64_t every = 1;
    char count[32];
    if (d->a->every && !cg_whole_number(d->a->every, 1, 1000000, &every))
        return cli_usage(d->a, "--every=%s: a whole number from 1 to 1000000 is allowed", d->a->every);
    if (cg_worker_start(d->c, &judge))
        return cli_failed(d->a);
    cg_status status = CONVGEN_OK;
    for (int i = 0; i < list->count && !status; i++) {
        const cg_record *r = &list->at[i];
        if (!chosen(r, &d->filter))
            continue;
        if (!can_verify(d, r)) {
            t.others++;
            continue;
        }
        if (seen++ % every)
            continue;
        cli_progress("[%d/%d] %s %s", i + 1, list->count, r->problem, r->schedule);
        status = verify_one(d, &judge, r, &t);
    }
    cg_worker_stop(&judge);
    cli_progress_end();
    if (status)
        return cli_failed(d->a);
    printf("%s verified, %d failed, %d stale, %d of other machines\n", count_text(t.good, count), t.failed, t.stale, t.others);
    if (t.settled)
        printf("%s had come by merge: timed here, and trusted from now on\n", count_text(t.settled, count));
    return t.failed || (t.stale && d->a->strict) ? CLI_WRONG : CLI_DONE;
}

static int verify_records(desk *d)
{
    cg_record_list list;
    int status = read_records(d->a, cg_store_path(d->c->store), &list);
    if (!status)
        status = verify_list(d, &list);
    cg_records_free(&list);
    return status;
}

/* ---- the table ---- */

static const struct {
    const char *name;
    int words; /* with its own */
    int (*run)(desk *d);
} actions[] = {
    { "list", 1, list_records },     { "merge", 2, merge_records },   { "export", 2, export_records },
    { "forget", 1, forget_records }, { "verify", 1, verify_records },
};

static int run(cli_arguments *a)
{
    desk d = { .a = a };
    size_t i = 0, count = sizeof actions / sizeof actions[0];
    if (a->word_count == 0)
        return cli_usage(a, "what to do? list, merge FILE, export FILE, forget or verify");
    while (i < count && strcmp(actions[i].name, a->words[0]) != 0)
        i++;
    if (i == count)
        return cli_usage(a, "unknown word %s; records takes list, merge FILE, export FILE, forget or verify", a->words[0]);
    if (a->word_count != actions[i].words)
        return cli_usage(a, "%s takes %s", actions[i].name, actions[i].words == 2 ? "one FILE" : "options only");
    int status = cli_open(a, &d.c) ? cli_failed(a) : read_filter(&d);
    if (!status && !*cg_store_path(d.c->store))
        status = cli_wrong(a, "there is no store: name one with --store=FILE, or set $CONVGEN_STORE, $XDG_CACHE_HOME or $HOME");
    if (!status)
        status = actions[i].run(&d);
    convgen_close(d.c);
    return status;
}

/* ---- the verb ---- */

static const cli_option options[] = {
    OPTION("--problem", "TEXT", CLI_TEXT, AT(problem), "only records of this problem: its options and itself, in one word"),
    OPTION("--machine", "KEY", CLI_TEXT, AT(machine),
           "only records of this machine; `this` is the one it runs on", .choices = "this"),
    OPTION("--all", NULL, CLI_FLAG, AT(all),
           "for forget: all records; for verify: those of other machines too, whose target runs here"),
    OPTION("--every", "N", CLI_TEXT, AT(every), "for verify: only every Nth"),
    OPTION("--strict", NULL, CLI_FLAG, AT(strict),
           "for verify: exit status 1 also for records of another version of their family"),
    CLI_STORE,
    CLI_JSON,
    { .name = NULL },
};

const cli_verb cli_records = {
    .name = "records", .arguments = "[options] list | merge FILE | export FILE | forget | verify", .summary = "look at and change the store",
    .text =
      "  list         prints the records; lines that cannot be read are named on stderr. Column `from`: own; cut, when its\n"
      "               search was cut short; part, when seen in the search for another accuracy; merged.\n"
      "               `network` behind it: timed as a network meets the layer, with its weights out of the caches\n"
      "  merge FILE   adds the records of FILE, marked: what was measured here stays before them, and each is sampled\n"
      "               before it is used until verify has checked it\n"
      "  export FILE  writes the records to FILE (- is stdout)\n"
      "  forget       drops the records that --problem and --machine choose, or --all\n"
      "  verify       builds and verifies each record of this machine again; exit status 1 when one fails, with --strict\n"
      "               also when one is of another version of its family. Merged ones that hold are timed here, and stay when\n"
      "               they are faster",
    .options = options, .words = "list merge export forget verify", .run = run,
};

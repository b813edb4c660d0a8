/* race.c: convgen race: the schedules of a problem timed against each other.
 *
 * All legal ones take part, also those that an estimate leaves out, or some that are drawn. Each is verified and timed briefly by
 * a worker process, as tune does it; the fastest, those asked for by name, and the one that an estimate would take are
 * then timed in turns, forth and back, so that each has two times: how far they differ is noise. Nothing is remembered. */
#include "cli.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FASTEST = 5, BRIEF_ROUNDS = 2, TURNS = 10, MOST_TURNS = 4 * TURNS };
/* Seconds of timing of a schedule: in a brief round; of the first turns together, unless told. */
static const double brief = 5e-3, in_turns = 0.1;
/* Who takes less than so many times the best, or ns, is timed briefly once more. */
static const double worth_another = 1.5, quick = 1e8;
static const double calm = 1.02; /* more turns are taken while the fastest differ more from themselves, which is noise */

typedef struct racer {
    cg_schedule schedule; /* why: refused by the generator, or by its verification */
    cg_verdict verdict;
    bool named, estimated, final; /* asked for; what an estimate takes; timed in turns */
    char asked[CG_NAME]; /* the name that it was asked for by, where that is not its own */
    double brief, min[2], median[MOST_TURNS]; /* ns; min: of the turns forth, of those back */
} racer;

typedef struct race {
    const cli_arguments *a;
    convgen_context *c;
    cg_judge judge;
    const cg_named_problem *np;
    char text[CG_TEXT]; /* of the problem */
    cg_job job;
    racer *at;
    int count, legal, drawn, turns;
    int64_t most, seed; /* of the draw */
} race;

/* ---- who takes part ---- */

static racer *find(race *r, const char *name)
{
    for (int i = 0; i < r->count; i++)
        if (!strcmp(r->at[i].schedule.name, name))
            return &r->at[i];
    return NULL;
}

static cg_status estimate(race *r, char name[CG_NAME])
{
    cg_outcome outcome;
    cg_tuning t = { .problem = &r->np->problem, .compiler = r->a->compiler, .effort = CONVGEN_ESTIMATE, .threads = r->job.threads,
                    .target = r->job.target, .again = true };
    cg_status status = cg_tune(r->c, &r->judge, &t, &outcome);
    if (!status)
        snprintf(name, CG_NAME, "%s", outcome.chosen.name);
    return status == CONVGEN_NO_CANDIDATE ? CONVGEN_OK : status; /* then nothing survives, and each says why */
}

/* A name that the list does not have takes part as refused. asked: as it was written. */
static void name_one(race *r, const char *name, const char *asked)
{
    racer *found = find(r, name);
    if (!found) {
        cg_request request = { .problem = &r->np->problem, .machine = &r->c->machine, .target = r->job.target, .form = r->job.form,
                               .threads = r->job.threads };
        found = &r->at[r->count++];
        snprintf(found->schedule.name, sizeof found->schedule.name, "%s", name);
        cli_why_unlisted(r->c, &request, name, found->schedule.why);
    }
    found->named = true;
    if (strcmp(found->schedule.name, asked) != 0)
        snprintf(found->asked, sizeof found->asked, "%s", asked);
}

/* The first of some names with commas between, and what follows. */
static const char *first_name(const char *names, char name[CG_NAME])
{
    size_t length = strcspn(names, ",");
    snprintf(name, CG_NAME, "%.*s", (int)length, names);
    return names + length + (names[length] == ',');
}

static void name_all(race *r)
{
    char name[CG_NAME], asked[CG_NAME];
    for (const char *at = r->a->schedule, *as = r->a->asked; at && *at;) {
        at = first_name(at, name), as = first_name(as, asked);
        if (*name)
            name_one(r, name, asked);
    }
}

/* Keeps `most` of the legal ones, each set of them equally likely, in their order, and whoever was chosen. */
static void draw(race *r)
{
    uint64_t state = cg_hash(r->text, strlen(r->text), (uint64_t)r->seed + 1);
    int64_t left = r->legal, wanted = r->most < r->legal ? r->most : r->legal;
    int kept = 0;
    for (int i = 0; i < r->count; i++) {
        racer *k = &r->at[i];
        bool legal = !k->schedule.why[0], taken = legal && (int64_t)(cg_random(&state) % (uint64_t)left) < wanted;
        left -= legal;
        wanted -= taken;
        if (taken || k->named || k->estimated)
            r->at[kept++] = *k;
        r->drawn += taken;
    }
    r->count = kept;
}

static int most_names(const char *names)
{
    int n = 1;
    for (; names && *names; names++)
        n += *names == ',';
    return n;
}

static cg_status enter(race *r, const cg_schedule_list *list)
{
    char chosen[CG_NAME] = "";
    if (!(r->at = cg_calloc((size_t)(list->count + most_names(r->a->schedule)), sizeof *r->at)))
        return cg_fail(CONVGEN_NO_MEMORY, "no memory for %d schedules", list->count);
    for (int i = 0; i < list->count; i++) {
        r->at[r->count++].schedule = list->at[i];
        r->legal += !list->at[i].why[0];
    }
    cg_status status = estimate(r, chosen);
    racer *estimated = find(r, chosen);
    if (estimated)
        estimated->estimated = true;
    name_all(r);
    draw(r);
    return status;
}

/* ---- trusted, timed ---- */

static bool refused(const racer *k)
{
    return k->schedule.why[0] != 0;
}

static cg_status verify(race *r, racer *k)
{
    cg_result result = { 0 };
    memcpy(r->job.schedule, k->schedule.name, sizeof r->job.schedule);
    r->job.level = CG_VERIFY_FULL;
    cg_status status = r->judge.verify(r->judge.self, &r->job, &result);
    k->verdict = result.verdict;
    if (!status && (result.status || !result.verdict.ok))
        snprintf(k->schedule.why, sizeof k->schedule.why, "%s",
                 result.verdict.why[0] ? result.verdict.why : "failed its verification");
    return status;
}

static cg_status time_one(race *r, racer *k, double seconds, cg_timing *out)
{
    cg_result result = { 0 };
    double run = k->brief > 0 ? k->brief * 1e-9 : k->verdict.seconds;
    memcpy(r->job.schedule, k->schedule.name, sizeof r->job.schedule);
    r->job.level = -1;
    r->job.seconds = cg_time_enough(run, seconds);
    cg_status status = r->judge.time(r->judge.self, &r->job, &result);
    *out = result.timing;
    if (!status && result.status)
        snprintf(k->schedule.why, sizeof k->schedule.why, "%s",
                 result.verdict.why[0] ? result.verdict.why : convgen_status_text(result.status));
    return status;
}

static cg_status time_briefly(race *r, racer *k)
{
    cg_timing t;
    cg_status status = time_one(r, k, brief, &t);
    if (!status && !refused(k))
        k->brief = k->brief > 0 ? fmin(k->brief, t.ns_min) : t.ns_min;
    return status;
}

static double best_of(const race *r)
{
    double best = INFINITY;
    for (int i = 0; i < r->count; i++)
        if (!refused(&r->at[i]) && r->at[i].brief > 0)
            best = fmin(best, r->at[i].brief);
    return best;
}

/* Something else may have had the processor for the whole of a first time. */
static cg_status try_all(race *r)
{
    cg_status status = CONVGEN_OK;
    for (int round = 0; round < BRIEF_ROUNDS; round++)
        for (int i = 0; i < r->count && !status; i++) {
            racer *k = &r->at[i];
            cli_progress("%s: round %d: [%d/%d] %s", r->text, round + 1, i + 1, r->count, k->schedule.name);
            if (!round && !refused(k))
                status = verify(r, k);
            if (!status && !refused(k) && (!round || k->brief <= fmax(worth_another * best_of(r), quick)))
                status = time_briefly(r, k);
        }
    return status;
}

static double time_of(const racer *k)
{
    return refused(k) ? INFINITY : k->final ? fmin(k->min[0], k->min[1]) : k->brief;
}

/* Those that were timed in turns, the fastest first, then the others, then the refused. */
static int order(const void *a, const void *b)
{
    const racer *x = a, *y = b;
    double s = time_of(x), t = time_of(y);
    if (x->final != y->final)
        return y->final - x->final;
    return s != t ? (s > t) - (s < t) : strcmp(x->schedule.name, y->schedule.name);
}

static void sort(race *r)
{
    qsort(r->at, (size_t)r->count, sizeof *r->at, order);
}

static cg_status one_turn(race *r, racer *k, int turn, double seconds)
{
    cg_timing t;
    double *min = &k->min[turn % 2];
    if (refused(k))
        return CONVGEN_OK;
    cg_status status = time_one(r, k, seconds, &t);
    *min = turn < 2 ? t.ns_min : fmin(*min, t.ns_min); /* noise only ever adds time */
    k->median[turn] = t.ns_median;
    return status;
}

/* How many times as long one of its two times is as the other. */
static double spread_of(const racer *k)
{
    return k->final && !refused(k) ? fmax(k->min[0], k->min[1]) / fmin(k->min[0], k->min[1]) : NAN;
}

static int choose_finalists(race *r)
{
    int finalists = 0;
    sort(r);
    for (int i = 0; i < r->count; i++)
        finalists += r->at[i].final = !refused(&r->at[i]) && (i < FASTEST || r->at[i].named || r->at[i].estimated);
    sort(r);
    return finalists;
}

static bool enough_turns(const race *r, int finalists)
{
    bool noisy = false;
    for (int i = 0; i < finalists; i++)
        noisy |= spread_of(&r->at[i]) > calm;
    return r->turns >= MOST_TURNS || (r->turns >= TURNS && r->turns % 2 == 0 && !noisy);
}

static cg_status in_final(race *r)
{
    cg_status status = CONVGEN_OK;
    double seconds = (r->a->seconds < 0 ? in_turns : r->a->seconds) / TURNS;
    int finalists = choose_finalists(r);
    for (; !status && !enough_turns(r, finalists); r->turns++)
        for (int i = 0; i < finalists && !status; i++) {
            racer *k = &r->at[r->turns % 2 ? finalists - 1 - i : i];
            cli_progress("%s: the fastest: turn %d: %s", r->text, r->turns + 1, k->schedule.name);
            status = one_turn(r, k, r->turns, seconds);
        }
    sort(r);
    return status;
}

/* ---- results ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(const racer *k, int turns)
{
    double all[MOST_TURNS];
    memcpy(all, k->median, sizeof all);
    qsort(all, (size_t)turns, sizeof *all, by_value);
    return (all[(turns - 1) / 2] + all[turns / 2]) / 2;
}

static void print_json(const race *r, const racer *k, double best)
{
    cg_record record = { .version = k->schedule.version, .threads = r->job.threads, .error_normwise = k->verdict.error_normwise,
                         .error_vs_loop = k->verdict.error_vs_loop, .error_vs_bound = k->verdict.error_vs_bound };
    bool timed = !refused(k);
    memcpy(record.problem, r->text, sizeof record.problem);
    memcpy(record.schedule, k->schedule.name, sizeof record.schedule);
    memcpy(record.family, k->schedule.family, sizeof record.family);
    memcpy(record.target, r->job.target, sizeof record.target);
    memcpy(record.form, r->job.form, sizeof record.form);
    memcpy(record.compiler, r->job.compiler, sizeof record.compiler);
    cli_json_result_begin(&(cli_result){ .np = r->np, .record = &record, .ns_min = timed ? time_of(k) : 0,
                                         .ns_median = timed && k->final ? median_of(k, r->turns) : 0, .candidates = NAN,
                                         .refused = NAN, .seconds = NAN });
    cli_json_number("cycles", k->schedule.cycles > 0 ? k->schedule.cycles : NAN);
    cli_json_flag("final", k->final);
    cli_json_flag("estimated", k->estimated);
    cli_json_flag("named", k->named);
    cli_json_text("asked", k->asked);
    cli_json_number("over_best", timed ? time_of(k) / best : NAN);
    cli_json_number("spread", spread_of(k));
    cli_json_number("turns", k->final ? r->turns : NAN);
    cli_json_number("legal", r->legal);
    cli_json_number("drawn", r->drawn);
    cli_json_number("seed", (double)r->seed);
    cli_json_text("why", k->schedule.why);
    cli_json_end();
}

static void add_row(const racer *k, double best, cli_table *t)
{
    bool timed = !refused(k);
    cli_cell(t, "%s", k->schedule.name);
    cli_cell_number(t, "%.4g", k->schedule.cycles > 0 ? k->schedule.cycles : NAN);
    cli_cell_time(t, timed ? time_of(k) : 0);
    cli_cell_number(t, "%.3f", timed ? time_of(k) / best : NAN);
    cli_cell_number(t, "%.3f", spread_of(k));
    cli_cell(t, "%s%s%s%s", k->schedule.why, k->estimated ? "taken by estimate" : "", k->estimated && k->named ? ", " : "",
             k->named && timed ? "asked for" : "");
}

static int print(const race *r)
{
    static const cli_column columns[] = { { "schedule", false }, { "estimate", true }, { "time", true },
                                          { "over best", true }, { "spread", true },   { "note", false } };
    char label[CG_TEXT];
    double best = r->count ? time_of(&r->at[0]) : NAN;
    cli_table t;
    if (!r->a->json) {
        printf("%s on %s: %d of %d legal schedules, drawn with seed %lld\n", cli_label(r->np, label), r->job.target, r->drawn,
               r->legal, (long long)r->seed);
        cli_table_begin(&t, columns, sizeof columns / sizeof columns[0]);
    }
    for (int i = 0; i < r->count; i++)
        if (r->a->json)
            print_json(r, &r->at[i], best);
        else
            add_row(&r->at[i], best, &t);
    return r->a->json ? CLI_DONE : cli_table_end(&t);
}

/* ---- the story ---- */

static cg_status prepare(race *r, cg_schedule_list *list)
{
    cg_target target;
    cg_request request;
    cg_status status = cli_request(r->c, r->a, r->np, &target, &request);
    if (status)
        return status;
    r->job = (cg_job){ .problem = r->np->problem, .threads = request.threads };
    snprintf(r->job.target, sizeof r->job.target, "%s", request.target);
    snprintf(r->job.form, sizeof r->job.form, "%s", request.form);
    snprintf(r->job.compiler, sizeof r->job.compiler, "%s", cli_compiler(r->a));
    request.all = true;
    status = convgen_problem_format(&r->np->problem, r->text, sizeof r->text);
    return status ? status : cg_script_schedules(r->c->script, &request, list);
}

static int race_one(race *r)
{
    cg_schedule_list list = { 0 };
    cg_status status = prepare(r, &list); /* problem -> all schedules */
    if (!status)
        status = enter(r, &list); /* -> those that take part */
    if (!status)
        status = try_all(r); /* -> verified, timed briefly */
    if (!status)
        status = in_final(r); /* -> the fastest and the chosen timed in turns */
    cli_progress_end();
    int result = status == CONVGEN_CANCELLED ? CLI_INTERRUPTED : status ? cli_failed(r->a) : print(r);
    r->judge.forget(r->judge.self);
    cg_free(r->at);
    cg_free(list.at);
    return result;
}

static int race_all(race *common)
{
    int status = CLI_DONE;
    if (cg_worker_start(common->c, &common->judge))
        return cli_failed(common->a);
    cli_catch_interrupts(cg_worker_interrupt);
    for (int i = 0; i < common->a->problems.count && !status; i++) {
        race r = *common;
        r.np = &common->a->problems.at[i];
        status = race_one(&r);
    }
    cg_worker_stop(&common->judge);
    return status;
}

static int check_options(const cli_arguments *a, race *r)
{
    r->most = INT32_MAX;
    r->seed = 1;
    if (a->draw && !cg_whole_number(a->draw, 0, INT32_MAX, &r->most))
        return cli_usage(a, "--draw=%s: a number of schedules, 0 or more", a->draw);
    if (a->seed && !cg_whole_number(a->seed, 0, INT32_MAX, &r->seed))
        return cli_usage(a, "--seed=%s: a whole number from 0 to %d", a->seed, INT32_MAX);
    return CLI_DONE;
}

static int run(cli_arguments *a)
{
    race r = { .a = a };
    int status = check_options(a, &r);
    if (status)
        return status;
    status = cli_open(a, &r.c) ? cli_failed(a) : race_all(&r);
    convgen_close(r.c);
    return status;
}

/* ---- the verb ---- */

static const cli_option options[] = {
    CLI_BATCH,
    CLI_COMPILER,
    OPTION("--seconds", "S", CLI_SECONDS, AT(seconds),
           "of timing for each of the fastest schedules (default 0.1; up to four times as long while noise is above 2 %)"),
    OPTION("--draw", "N", CLI_TEXT, AT(draw),
           "N of the legal schedules, drawn at random, where there are more (default: all take part)"),
    OPTION("--seed", "S", CLI_TEXT, AT(seed), "of the draw (default 1)"),
    OPTION("--schedule", "A,B", CLI_NAMES, 0, "these are among those timed in turns, drawn or not, fast or not"),
    CLI_STORE,
    CLI_JSON,
    { .name = NULL },
};

const cli_verb cli_race = {
    .name = "race", .arguments = "[options] PROBLEM... | --batch=FILE", .summary = "time the schedules of each problem against each other",
    .text =
      "All legal schedules take part, also those that their estimates leave out of `convgen show`. Each is verified and timed\n"
      "briefly by a worker process; then the five fastest, the one that an estimate takes and those of --schedule are timed\n"
      "in turns. The table shows, per schedule: the estimate in cycles, its best time, that over the best schedule's, and how\n"
      "far apart its times in two series of turns are, which is noise. Nothing is remembered.",
    .options = options, .problems = true, .run = run,
};

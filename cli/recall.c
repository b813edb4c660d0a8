/* recall.c: a problem -> the schedule that is remembered, asked for, or estimated to be the best, and its plan.
 *
 * Nothing is timed here, and nothing is written to the store but the measured peak. */
#include "cli.h"
#include <string.h>

const char *cli_compiler(const cli_arguments *a)
{
    return a->compiler ? a->compiler : "tcc";
}

const char *cli_label(const cg_named_problem *np, char text[CG_TEXT])
{
    if (np->name[0])
        return np->name;
    return convgen_problem_format(&np->problem, text, CG_TEXT) ? "?" : text;
}

cg_status cli_request(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, cg_target *target, cg_request *out)
{
    *target = c->target;
    if (np->target[0]) {
        cg_status status = cg_script_target(c->script, &c->machine, np->target, target);
        if (status)
            return status;
    }
    *out = (cg_request){ .problem = &np->problem, .machine = &c->machine, .target = target->name, .form = cg_form(target, cli_compiler(a)),
                         .threads = np->threads ? np->threads : 1, .unrolls = strcmp(cli_compiler(a), "tcc") != 0 };
    return CONVGEN_OK;
}

static cg_status key_of(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, cg_record *key)
{
    cg_target target;
    cg_request r;
    cg_status status = cli_request(c, a, np, &target, &r);
    if (status)
        return status;
    memset(key, 0, sizeof *key);
    snprintf(key->machine, sizeof key->machine, "%s", c->machine.key);
    snprintf(key->target, sizeof key->target, "%s", r.target);
    snprintf(key->form, sizeof key->form, "%s", r.form);
    snprintf(key->compiler, sizeof key->compiler, "%s", cli_compiler(a));
    snprintf(key->generator, sizeof key->generator, "%s", c->generator);
    key->threads = r.threads;
    key->network = a->network;
    return convgen_problem_format(&np->problem, key->problem, sizeof key->problem);
}

static void fill_chosen(cg_outcome *out)
{
    const cg_record *r = &out->record;
    snprintf(out->chosen.name, sizeof out->chosen.name, "%s", r->schedule);
    snprintf(out->chosen.family, sizeof out->chosen.family, "%s", r->family);
    out->chosen.version = r->version;
    out->complete = true;
}

cg_status cli_recall(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, cg_recalled *found, cg_outcome *out)
{
    cg_record key;
    memset(out, 0, sizeof *out);
    memset(found, 0, sizeof *found);
    cg_status status = key_of(c, a, np, &key);
    if (!status)
        status = cg_recall(c, &np->problem, &key, found);
    if (status)
        return status;
    out->record = found->record;
    fill_chosen(out);
    out->recalled = true;
    return CONVGEN_OK;
}

/* In a worker, where a crash costs nothing: no thread runs before the first plan does. */
cg_status cli_sample(convgen_context *c, const cg_named_problem *np, cg_recalled *found)
{
    cg_judge judge;
    if (cg_recalled_usable(&np->problem, found))
        return CONVGEN_OK;
    cg_status status = cg_worker_start(c, &judge);
    if (status)
        return status;
    status = cg_recalled_sample(&judge, &np->problem, found);
    cg_worker_stop(&judge);
    return status;
}

void cli_why_unlisted(convgen_context *c, const cg_request *r, const char *name, char why[CG_WHY])
{
    char family[16];
    int chains;
    if (cg_script_admits(c->script, r, name, family, &chains, why) == CONVGEN_OK)
        snprintf(why, CG_WHY, "the generator does not list it for this problem");
}

cg_status cli_unlisted(convgen_context *c, const cg_request *r, const char *name)
{
    char why[CG_WHY];
    cli_why_unlisted(c, r, name, why);
    bool named = strstr(why, name) != NULL;
    return cg_fail(CONVGEN_NO_CANDIDATE, "%s%s%s; `convgen show PROBLEM --stage=schedules` lists its schedules", named ? "" : name,
                   named ? "" : ": ", why);
}

static cg_status no_schedule(convgen_context *c, const cg_request *r, const cg_schedule_list *list, const char *name, const char *problem)
{
    for (int i = 0; i < list->count; i++)
        if (!name || strcmp(list->at[i].name, name) == 0)
            return cg_fail(CONVGEN_NO_CANDIDATE, "%s is refused for %s: %s", list->at[i].name, problem, list->at[i].why);
    return name ? cli_unlisted(c, r, name) : cg_fail(CONVGEN_NO_CANDIDATE, "%s has no schedule at all", problem);
}

cg_status cli_choose(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, const char *name, cg_outcome *out)
{
    cg_target target;
    cg_request r;
    cg_schedule_list list = { 0 };
    memset(out, 0, sizeof *out);
    cg_status status = key_of(c, a, np, &out->record);
    if (!status)
        status = cli_request(c, a, np, &target, &r);
    r.asked = name;
    r.steady = !name;
    if (!status)
        status = cg_script_schedules(c->script, &r, &list);
    if (status)
        return status;
    const cg_schedule *found = NULL;
    for (int i = 0; i < list.count && !found; i++)
        if (!list.at[i].why[0] && (!name || strcmp(list.at[i].name, name) == 0))
            found = &list.at[i];
    if (found) {
        cg_record *record = &out->record;
        snprintf(record->schedule, sizeof record->schedule, "%s", found->name);
        snprintf(record->family, sizeof record->family, "%s", found->family);
        record->version = found->version;
        record->error_normwise = record->error_vs_loop = record->error_vs_bound = 0.0 / 0.0; /* not measured */
        fill_chosen(out);
        out->chosen.cycles = found->cycles;
    } else
        status = no_schedule(c, &r, &list, name, out->record.problem);
    cg_free(list.at);
    return status;
}

static cg_status no_record(convgen_context *c, const cg_named_problem *np, const char *why)
{
    char text[CG_TEXT];
    if (why[0])
        return cg_fail(CONVGEN_NO_RECORD, "the record of %s is not used: %s; `convgen tune` makes a new one", cli_label(np, text), why);
    return cg_fail(CONVGEN_NO_RECORD, "%s is not remembered in %s; `convgen tune` finds and remembers a kernel", cli_label(np, text),
                   cg_store_path(c->store));
}

/* What there is, or why there is none. */
static cg_status remembered(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, bool sample, cg_outcome *out)
{
    cg_recalled found;
    cg_status status = cli_recall(c, a, np, &found, out);
    if (!status && sample)
        status = cli_sample(c, np, &found);
    return status == CONVGEN_NO_RECORD ? no_record(c, np, found.why) : status;
}

/* A remembered schedule that the generator knows and cannot make for the problem. */
static cg_status not_built(cg_status status)
{
    char said[CG_TEXT];
    if (!status || status == CONVGEN_NO_MEMORY || status == CONVGEN_NO_EXEC)
        return status;
    snprintf(said, sizeof said, "%s", cg_error_text());
    return cg_fail(status, "%s; `convgen tune --again` makes a new record", said);
}

cg_status cli_plan(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, int how, cg_outcome *outcome, convgen_plan **out)
{
    cg_status status = a->schedule ? cli_choose(c, a, np, a->schedule, outcome) : remembered(c, a, np, how & CLI_SAMPLE, outcome);
    if (status == CONVGEN_NO_RECORD && how & CLI_ESTIMATE)
        status = cli_choose(c, a, np, NULL, outcome);
    if (status)
        return status;
    status = cg_plan_for(c, outcome, &np->problem, out);
    return outcome->recalled ? not_built(status) : status;
}

typedef struct peak_of {
    char target[16]; /* "": this place is free */
    convgen_type type;
    double value;
} peak_of;

static bool is_of(const peak_of *p, const char *target, convgen_type type)
{
    return !strcmp(p->target, target) && p->type == type;
}

/* One process asks for few pairs, but once a table row: they are kept; the last place is for whichever comes. */
double cli_peak(convgen_context *c, const char *target, convgen_type type, int threads)
{
    static peak_of known[8];
    peak_of *p = known, *last = known + sizeof known / sizeof *known - 1;
    while (p < last && p->target[0] && !is_of(p, target, type))
        p++;
    if (!is_of(p, target, type)) {
        snprintf(p->target, sizeof p->target, "%s", target);
        p->type = type;
        if (cg_context_peak(c, target, type, &p->value))
            p->value = 0;
    }
    return p->value * threads;
}

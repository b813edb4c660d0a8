/* check.c: convgen check: the errors of a kernel beside those of a plain loop and of np.sum's order.
 *
 * The certificate runs the kernel in this process; --all verifies every schedule in the worker, since an unproven kernel may
 * crash. Nothing is timed or remembered. */
#include "cli.h"
#include <math.h>
#include <string.h>

/* ---- the certificate ---- */

typedef struct tensor {
    const char *name; /* as the field calls the outputs of the passes */
    int64_t outputs, terms;
    const convgen_figures *loop, *course, *plan;
} tensor;

static int tensors_of(const convgen_problem *p, const convgen_errors *e, tensor out[2])
{
    static const char *const names[] = { "Z", "dA", "dW" };
    out[0] = (tensor){ names[p->pass], e->outputs, e->terms, &e->loop, &e->course, &e->plan };
    if (e->has_bias_gradient)
        out[1] = (tensor){ "db", e->bias_outputs, e->bias_terms, &e->bias_loop, &e->bias_course, &e->bias_plan };
    return e->has_bias_gradient ? 2 : 1;
}

static void add_figures(cli_table *t, const char *tensor_name, const char *order, const convgen_figures *f)
{
    cli_cell(t, "%s", tensor_name);
    cli_cell(t, "%s", order);
    cli_cell_number(t, "%.4g", f->ulp_max);
    cli_cell_number(t, "%.4g", f->ulp_mean);
    cli_cell_number(t, "%.3e", f->normwise);
    cli_cell_number(t, "%.3g", f->of_bound);
}

static int print_table(const tensor *tensors, int count, const char *schedule)
{
    static const cli_column columns[] = { { "tensor", false },  { "order", false },   { "ulps max", true },
                                          { "ulps mean", true }, { "normwise", true }, { "of the bound", true } };
    cli_table t;
    char ours[CG_NAME + 16];
    snprintf(ours, sizeof ours, "convgen %s", schedule);
    cli_table_begin(&t, columns, sizeof columns / sizeof columns[0]);
    for (int i = 0; i < count; i++) {
        add_figures(&t, tensors[i].name, "loop", tensors[i].loop);
        add_figures(&t, tensors[i].name, "course (np.sum)", tensors[i].course);
        add_figures(&t, tensors[i].name, ours, tensors[i].plan);
    }
    return cli_table_end(&t);
}

/* On each kind of data, beside what a transforming family is allowed. */
static int print_kinds(const convgen_errors *e)
{
    static const cli_column columns[] = { { "data", false }, { "error/loop", true }, { "allowed", true } };
    cli_table t;
    cli_table_begin(&t, columns, sizeof columns / sizeof columns[0]);
    for (int i = 0; i < CONVGEN_DATA_KINDS; i++) {
        cli_cell(&t, "%s", cg_data_name(i));
        cli_cell_number(&t, "%.2f", e->vs_loop[i]);
        cli_cell_number(&t, "%.3g", i == CONVGEN_UNIFORM ? e->budget : 2 * e->budget);
    }
    return cli_table_end(&t);
}

/* "vs_loop_badly_scaled": ... */
static void add_json_kinds(const double vs_loop[CONVGEN_DATA_KINDS])
{
    for (int i = 0; i < CONVGEN_DATA_KINDS; i++) {
        char key[40];
        snprintf(key, sizeof key, "vs_loop_%s", cg_data_name(i));
        for (char *c = key; *c; c++)
            if (*c == ' ')
                *c = '_';
        cli_json_number(key, vs_loop[i]);
    }
}

static void print_head(const cg_named_problem *np, const cg_record *r, const char *how, const tensor *tensors, int count)
{
    printf("%s%s%s\n", np->name, np->name[0] ? ": " : "", r->problem);
    printf("%s on %s, %d thread%s, compiled by %s, %s\n", r->schedule, r->target, r->threads, r->threads == 1 ? "" : "s",
           r->compiler, how);
    for (int i = 0; i < count; i++)
        printf("%s: %lld outputs looked at, at most %lld terms each\n", tensors[i].name, (long long)tensors[i].outputs,
               (long long)tensors[i].terms);
}

static void print_json_figures(const cg_named_problem *np, const cg_record *r, const tensor *t, const char *order,
                               const convgen_figures *f, const convgen_errors *kinds)
{
    cli_json_begin();
    cli_json_text("name", np->name);
    cli_json_text("problem", r->problem);
    cli_json_text("tensor", t->name);
    cli_json_text("order", order);
    cli_json_text("schedule", r->schedule);
    cli_json_text("target", r->target);
    cli_json_text("compiler", r->compiler);
    cli_json_number("threads", r->threads);
    cli_json_number("outputs", (double)t->outputs);
    cli_json_number("terms", (double)t->terms);
    cli_json_number("ulp_max", f->ulp_max);
    cli_json_number("ulp_mean", f->ulp_mean);
    cli_json_number("normwise", f->normwise);
    cli_json_number("of_bound", f->of_bound);
    if (kinds) {
        cli_json_number("budget", kinds->budget);
        add_json_kinds(kinds->vs_loop);
    }
    cli_json_end();
}

/* Kinds of data are compared for the pass's tensor, the first one. */
static void print_json(const cg_named_problem *np, const cg_record *r, const tensor *tensors, int count, const convgen_errors *e)
{
    for (int i = 0; i < count; i++) {
        print_json_figures(np, r, &tensors[i], "loop", tensors[i].loop, NULL);
        print_json_figures(np, r, &tensors[i], "course", tensors[i].course, NULL);
        print_json_figures(np, r, &tensors[i], "convgen", tensors[i].plan, i ? NULL : e);
    }
}

static void print_legend(void)
{
    printf("Errors against the exact result: in units in the last place of it, normwise ||error|| / ||exact||, and the\n"
           "largest share of the a-priori bound gamma_K * sum |a||b| of K terms. Then the normwise error over that of loop on\n"
           "several kinds of data, and what a transforming family is allowed, which has no such bound.\n");
}

static int certify(const cli_arguments *a, convgen_context *c, const cg_named_problem *np, bool *legend)
{
    cg_outcome outcome;
    convgen_plan *plan = NULL;
    convgen_errors errors = { .struct_size = sizeof errors };
    tensor tensors[2];
    char label[CG_TEXT];
    int status = CLI_DONE;
    cli_progress("checking %s", cli_label(np, label));
    if (cli_plan(c, a, np, true, &outcome, &plan) || convgen_certificate(plan, &errors)) {
        status = cli_failed(a);
        goto done;
    }
    cli_progress_end();
    int count = tensors_of(&np->problem, &errors, tensors);
    if (a->json)
        print_json(np, &outcome.record, tensors, count, &errors);
    else {
        const char *how = outcome.recalled ? "remembered" : a->schedule ? "as asked for" : "not remembered: the best estimate";
        if (!*legend)
            print_legend();
        *legend = true;
        putchar('\n');
        print_head(np, &outcome.record, how, tensors, count);
        status = print_table(tensors, count, outcome.record.schedule);
        if (!status)
            status = print_kinds(&errors);
    }
done:
    convgen_plan_free(plan);
    return status;
}

static int certify_all(const cli_arguments *a, convgen_context *c)
{
    int status = CLI_DONE;
    bool legend = false;
    for (int i = 0; i < a->problems.count; i++)
        if (certify(a, c, &a->problems.at[i], &legend))
            status = CLI_WRONG;
    return status;
}

/* ---- --all: every schedule ---- */

typedef struct sweep {
    const cli_arguments *a;
    convgen_context *c;
    cg_judge judge;
    cli_table table;
    int failed, good, refused;
} sweep;

static void report(sweep *s, const cg_named_problem *np, const cg_schedule *schedule, const char *verdict, const char *why,
                   const cg_verdict *v)
{
    if (!s->a->json) {
        cli_cell(&s->table, "%s", schedule->name);
        cli_cell(&s->table, "%s", verdict);
        cli_cell_number(&s->table, "%.3e", v->error_normwise);
        cli_cell_number(&s->table, "%.2f", v->error_vs_loop);
        cli_cell_number(&s->table, "%.3g", v->error_vs_bound);
        cli_cell(&s->table, "%s", why);
        return;
    }
    char text[CG_TEXT] = "";
    (void)convgen_problem_format(&np->problem, text, sizeof text);
    cli_json_begin();
    cli_json_text("name", np->name);
    cli_json_text("problem", text);
    cli_json_text("family", schedule->family);
    cli_json_text("schedule", schedule->name);
    cli_json_text("verdict", verdict);
    cli_json_text("why", why);
    cli_json_number("error_normwise", v->error_normwise);
    cli_json_number("error_vs_loop", v->error_vs_loop);
    cli_json_number("error_vs_bound", v->error_vs_bound);
    add_json_kinds(v->vs_loop);
    cli_json_end();
}

/* A schedule that the generator refuses is information; one that it calls legal and that then fails is a fault. */
static cg_status verify_one(sweep *s, const cg_named_problem *np, const cg_request *r, const cg_schedule *schedule)
{
    cg_result result = { .verdict = { .error_normwise = NAN, .error_vs_loop = NAN, .error_vs_bound = NAN } };
    for (int i = 0; i < CONVGEN_DATA_KINDS; i++)
        result.verdict.vs_loop[i] = NAN;
    cg_job job = { .problem = np->problem, .threads = r->threads, .level = CG_VERIFY_FULL };
    if (schedule->why[0]) {
        s->refused++;
        report(s, np, schedule, "refused", schedule->why, &result.verdict);
        return CONVGEN_OK;
    }
    snprintf(job.schedule, sizeof job.schedule, "%s", schedule->name);
    snprintf(job.target, sizeof job.target, "%s", r->target);
    snprintf(job.form, sizeof job.form, "%s", r->form);
    snprintf(job.compiler, sizeof job.compiler, "%s", cli_compiler(s->a));
    cg_status status = s->judge.verify(s->judge.self, &job, &result);
    if (status)
        return status;
    bool ok = result.status == CONVGEN_OK && result.verdict.ok;
    const char *why = ok ? "" : result.verdict.why[0] ? result.verdict.why : convgen_status_text(result.status);
    s->good += ok;
    s->failed += !ok;
    report(s, np, schedule, ok ? "ok" : "FAILED", why, &result.verdict);
    return CONVGEN_OK;
}

static cg_status verify_list(sweep *s, const cg_named_problem *np, const cg_request *r, const cg_schedule_list *list)
{
    cg_status status = CONVGEN_OK;
    for (int i = 0; i < list->count && !status; i++) {
        if (s->a->schedule && strcmp(s->a->schedule, list->at[i].name) != 0)
            continue;
        cli_progress("[%d/%d] verifying %s", i + 1, list->count, list->at[i].name);
        status = verify_one(s, np, r, &list->at[i]);
    }
    s->judge.forget(s->judge.self);
    return status;
}

static int verify_problem(sweep *s, const cg_named_problem *np)
{
    static const cli_column columns[] = { { "schedule", false },  { "verdict", false },     { "normwise", true },
                                          { "error/loop", true }, { "of the bound", true }, { "why", false } };
    cg_target target;
    cg_request r;
    cg_schedule_list list = { 0 };
    char label[CG_TEXT];
    int status = CLI_DONE;
    cli_table_begin(&s->table, columns, sizeof columns / sizeof columns[0]);
    if (cli_request(s->c, s->a, np, &target, &r) || cg_script_schedules(s->c->script, &r, &list) || verify_list(s, np, &r, &list))
        status = cli_failed(s->a);
    cli_progress_end();
    if (!s->a->json)
        printf("%s on %s, compiled by %s\n", cli_label(np, label), r.target, cli_compiler(s->a));
    if (cli_table_end(&s->table))
        status = CLI_WRONG;
    cg_free(list.at);
    return status;
}

static int verify_all(const cli_arguments *a, convgen_context *c)
{
    sweep s = { .a = a, .c = c };
    int status = CLI_DONE;
    if (cg_worker_start(c, &s.judge))
        return cli_failed(a);
    for (int i = 0; i < a->problems.count && !status; i++)
        status = verify_problem(&s, &a->problems.at[i]);
    cg_worker_stop(&s.judge);
    if (!a->json)
        printf("%d ok, %d failed, %d refused by the generator\n", s.good, s.failed, s.refused);
    if (s.failed + s.good + s.refused == 0 && !status)
        return cli_wrong(a, "no schedule %s; `convgen show PROBLEM --stage=schedules` lists them", a->schedule ? a->schedule : "at all");
    return s.failed ? CLI_WRONG : status;
}

int cli_check(cli_arguments *a)
{
    convgen_context *c = NULL;
    int status = cli_open(a, &c) ? cli_failed(a) : a->all ? verify_all(a, c) : certify_all(a, c);
    convgen_close(c);
    return status;
}

/* check.c: convgen check: the errors of a kernel beside those of a plain loop and of np.sum's order.
 *
 * Schedules are verified in the worker, since an unproven kernel may crash: one before its certificate, which runs it in this
 * process, all of them with --all. Nothing is timed or remembered. */
#include "cli.h"
#include <math.h>
#include <string.h>

/* ---- verification ---- */

/* Every output; the threads are the problem's. */
static cg_status verify(const cg_judge *judge, const cg_request *r, const char *schedule, const char *compiler, cg_result *out)
{
    cg_job job = { .problem = *r->problem, .threads = r->threads, .level = CG_VERIFY_FULL };
    snprintf(job.schedule, sizeof job.schedule, "%s", schedule);
    snprintf(job.target, sizeof job.target, "%s", r->target);
    snprintf(job.form, sizeof job.form, "%s", r->form);
    snprintf(job.compiler, sizeof job.compiler, "%s", compiler);
    return judge->verify(judge->self, &job, out);
}

/* NULL: the answers are right. */
static const char *what_is_wrong(const cg_result *r)
{
    if (r->status == CONVGEN_OK && r->verdict.ok)
        return NULL;
    return r->verdict.why[0] ? r->verdict.why : convgen_status_text(r->status);
}

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

static int print(const cli_arguments *a, const cg_named_problem *np, const cg_outcome *outcome, const convgen_errors *errors, bool *legend)
{
    tensor tensors[2];
    int count = tensors_of(&np->problem, errors, tensors);
    if (a->json) {
        print_json(np, &outcome->record, tensors, count, errors);
        return CLI_DONE;
    }
    if (!*legend)
        print_legend();
    *legend = true;
    putchar('\n');
    const char *origin = a->schedule ? "as asked for" : !outcome->recalled ? "not remembered: the best estimate"
                       : outcome->record.shipped ? "shipped with convgen" : "remembered";
    print_head(np, &outcome->record, origin, tensors, count);
    int status = print_table(tensors, count, outcome->record.schedule);
    return status ? status : print_kinds(errors);
}

typedef struct layer {
    const cg_named_problem *np;
    cg_outcome outcome;
    convgen_plan *plan; /* NULL: there is none, and it was said why */
    cg_result result;   /* of its verification */
} layer;

static int prepare(const cli_arguments *a, convgen_context *c, const cg_judge *judge, layer *l)
{
    const cg_record *r = &l->outcome.record;
    char label[CG_TEXT];
    cli_progress("verifying %s", cli_label(l->np, label));
    if (cli_plan(c, a, l->np, CLI_ESTIMATE, &l->outcome, &l->plan))
        return cli_failed(a);
    cg_request request = { .problem = &l->np->problem, .target = r->target, .form = r->form, .threads = r->threads };
    cg_status status = verify(judge, &request, r->schedule, r->compiler, &l->result);
    judge->forget(judge->self);
    if (!status)
        return CLI_DONE;
    convgen_plan_free(l->plan);
    l->plan = NULL;
    return cli_failed(a);
}

/* Wrong answers have figures too, but a kernel that came to no end in the worker does not run here. */
static int certify(const cli_arguments *a, const layer *l, bool *legend)
{
    convgen_errors errors = { .struct_size = sizeof errors };
    char label[CG_TEXT];
    const char *wrong = what_is_wrong(&l->result);
    int status = CLI_DONE;
    cli_progress("checking %s", cli_label(l->np, label));
    if (l->result.status == CONVGEN_OK) {
        if (convgen_certificate(l->plan, &errors))
            return cli_failed(a);
        cli_progress_end();
        status = print(a, l->np, &l->outcome, &errors, legend);
    }
    return wrong ? cli_wrong(a, "%s: %s fails verification: %s", cli_label(l->np, label), l->outcome.record.schedule, wrong) : status;
}

/* All are verified before the first certificate: its threads would be missing in a worker that is forked after it. */
static int certify_layers(const cli_arguments *a, convgen_context *c, layer *layers, int count)
{
    cg_judge judge;
    int status = CLI_DONE;
    bool legend = false;
    if (cg_worker_start(c, &judge))
        return cli_failed(a);
    for (int i = 0; i < count; i++)
        if (prepare(a, c, &judge, &layers[i]))
            status = CLI_WRONG;
    cg_worker_stop(&judge);
    for (int i = 0; i < count; i++)
        if (layers[i].plan && certify(a, &layers[i], &legend))
            status = CLI_WRONG;
    return status;
}

static int certify_all(const cli_arguments *a, convgen_context *c)
{
    int count = a->problems.count;
    layer *layers = cg_calloc((size_t)count, sizeof *layers);
    if (!layers)
        return cli_wrong(a, "no memory for %d problems", count);
    for (int i = 0; i < count; i++)
        layers[i].np = &a->problems.at[i];
    int status = certify_layers(a, c, layers, count);
    for (int i = 0; i < count; i++)
        convgen_plan_free(layers[i].plan);
    cg_free(layers);
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
    if (schedule->why[0]) {
        s->refused++;
        report(s, np, schedule, "refused", schedule->why, &result.verdict);
        return CONVGEN_OK;
    }
    cg_status status = verify(&s->judge, r, schedule->name, cli_compiler(s->a), &result);
    if (status)
        return status;
    const char *why = what_is_wrong(&result);
    s->good += !why;
    s->failed += why != NULL;
    report(s, np, schedule, why ? "FAILED" : "ok", why ? why : "", &result.verdict);
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

static int none_listed(const cli_arguments *a, convgen_context *c, const cg_named_problem *np)
{
    cg_target target;
    cg_request r;
    if (!a->schedule)
        return cli_wrong(a, "no schedule at all");
    if (!cli_request(c, a, np, &target, &r))
        (void)cli_unlisted(c, &r, a->schedule);
    return cli_wrong(a, "%s", cg_error_text());
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
        return none_listed(a, c, &a->problems.at[0]);
    return s.failed ? CLI_WRONG : status;
}

static int run(cli_arguments *a)
{
    convgen_context *c = NULL;
    if (a->network)
        return cli_network_check(a);
    int status = cli_open(a, &c) ? cli_failed(a) : a->all ? verify_all(a, c) : certify_all(a, c);
    convgen_close(c);
    return status;
}

/* ---- the verb ---- */

static const cli_option options[] = {
    CLI_BATCH,
    CLI_COMPILER,
    OPTION("--all", NULL, CLI_FLAG, AT(all),
           "verify every schedule that `convgen show` lists; exit status 1 when a legal one fails. Of a network: a row for each operation"),
    OPTION("--input", "NAME=FILE", CLI_MANY, AT(inputs), "of a network: an input's array (.npy); others are random"),
    OPTION("--schedule", "NAME", CLI_NAMES, 0, "this schedule, not the remembered or estimated one"),
    CLI_STORE,
    CLI_JSON,
    { .name = NULL },
};

const cli_verb cli_check = {
    .name = "check", .arguments = "[options] PROBLEM... | --batch=FILE | NETWORK.net", .summary = "print the error of a kernel against the exact result",
    .text =
      "The certificate: the errors of a plain loop, of np.sum's order and of the chosen kernel against the exact result, for\n"
      "each tensor that the pass computes. The kernel is the remembered one, else the one with the best estimate; one whose\n"
      "answers fail verification is named, with exit status 1.\n"
      "Of a network: each operation beside plain loops in f64 on the operands of a run (--all: a row each), then the outputs beside\n"
      "those of the same network in f64 with proven kernels, and how far plain loops are from these.",
    .options = options, .problems = true, .networks = true, .run = run,
};

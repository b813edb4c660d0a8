/* network_check.c: convgen check of a network: is every operation right, and how exact is the whole?
 *
 * Operations run one after another on the operands that a run gives them, each beside plain loops in f64; the first that is wrong is named.
 * Then the whole, beside the same network in f64 with `proven` kernels, and beside plain loops in the network's own types. */
#include "cli.h"
#include <math.h>
#include <string.h>

typedef struct checking {
    const cli_arguments *a;
    convgen_network *n, *exact; /* exact: in f64 */
    cli_arrays x, exact_x;
    void *file; /* the weights' */
    cli_table table;
    int first; /* that is wrong; -1: none */
    char why[CG_WHY];
} checking;

/* ---- operations ---- */

static void tell_one(checking *k, int i, const cg_checked *c)
{
    const cg_planned *o = &k->n->plan.at[i];
    if (!k->a->json) {
        cli_cell(&k->table, "%s", o->name);
        cli_cell(&k->table, "%s", o->op);
        cli_cell(&k->table, "%s", c->wrong ? "WRONG" : "ok");
        cli_cell_number(&k->table, "%.3e", c->normwise);
        cli_cell_number(&k->table, "%.2f", c->vs_loop);
        cli_cell_number(&k->table, "%.3g", c->of_bound);
        cli_cell(&k->table, "%s", c->why);
        return;
    }
    cli_json_begin();
    cli_json_text("name", o->name);
    cli_json_text("op", o->op);
    cli_json_text("verdict", c->wrong ? "wrong" : "ok");
    cli_json_number("error_normwise", c->normwise);
    cli_json_number("error_vs_loop", c->vs_loop);
    cli_json_number("error_vs_bound", c->of_bound);
    cli_json_text("why", c->why);
    cli_json_end();
}

static cg_status check_operations(checking *k)
{
    const cg_network_memory m = { (const void *const *)k->x.inputs, k->x.outputs, k->x.workspace };
    cg_status status = CONVGEN_OK;
    for (int i = 0; i < k->n->plan.count && !status && (k->first < 0 || k->a->all); i++) {
        cg_checked c;
        cli_progress("[%d/%d] %s", i + 1, k->n->plan.count, k->n->plan.at[i].name);
        status = cg_network_check_one(k->n, i, k->file, &m, &c);
        if (!status && k->a->all)
            tell_one(k, i, &c);
        if (!status && c.wrong && k->first < 0) {
            k->first = i;
            memcpy(k->why, c.why, sizeof k->why);
        }
    }
    cli_progress_end();
    return status;
}

static int operations(checking *k)
{
    static const cli_column columns[] = { { "operation", false }, { "op", false },       { "verdict", false }, { "normwise", true },
                                          { "error/loop", true }, { "of the bound", true }, { "why", false } };
    cli_table_begin(&k->table, columns, sizeof columns / sizeof columns[0]);
    cg_status status = check_operations(k);
    if (cli_table_end(&k->table))
        return CLI_WRONG;
    return status ? cli_failed(k->a) : CLI_DONE;
}

/* ---- the whole ---- */

/* The same numbers, as f64 has them. */
static void copy_inputs(const checking *k)
{
    for (int i = 0; i < k->n->plan.inputs.count; i++) {
        const convgen_port *from = &k->n->inputs[i], *to = &k->exact->inputs[i];
        if (from->type == to->type)
            memcpy(k->exact_x.inputs[i], k->x.inputs[i], (size_t)cg_port_bytes(from));
        else
            cg_retype(from->type, k->x.inputs[i], to->type, k->exact_x.inputs[i], cg_port_bytes(from) / (int64_t)cg_type_bytes(from->type));
    }
}

static cg_status open_exact(checking *k)
{
    const cg_network_how how = { .effort = CONVGEN_ESTIMATE, .accuracy = CONVGEN_PROVEN, .doubled = true };
    cli_progress("making the network in f64");
    cg_status status = cg_network_open(k->n->context, k->a->network, &how, &k->exact);
    if (!status)
        status = cli_arrays_new(k->exact, &k->exact_x);
    if (!status) {
        copy_inputs(k);
        status = convgen_network_run(k->exact, (const void *const *)k->exact_x.inputs, k->exact_x.outputs, k->exact_x.workspace);
    }
    return status;
}

static void distances(const checking *k, const cli_arrays *x, double *out)
{
    for (int i = 0; i < k->n->plan.outputs.count; i++)
        out[i] = cg_network_distance(&k->n->outputs[i], x->outputs[i], &k->exact->outputs[i], k->exact_x.outputs[i]);
}

static cg_status measure(checking *k, double *ours, double *plain)
{
    const cg_network_memory m = { (const void *const *)k->x.inputs, k->x.outputs, k->x.workspace };
    cg_status status = open_exact(k);
    if (!status)
        status = convgen_network_run(k->n, m.inputs, m.outputs, m.arena);
    if (status)
        return status;
    distances(k, &k->x, ours);
    cli_progress("running plain loops");
    status = cg_network_run_plainly(k->n, k->file, &m);
    distances(k, &k->x, plain);
    cli_progress_end();
    return status;
}

static void print_row(const checking *k, cli_table *t, int i, double ours, double plain)
{
    const char *name = k->n->outputs[i].name;
    double ratio = plain > 0 ? ours / plain : NAN;
    if (!k->a->json) {
        cli_cell(t, "%s", name);
        cli_cell_number(t, "%.3e", ours);
        cli_cell_number(t, "%.3e", plain);
        cli_cell_number(t, "%.2f", ratio);
        return;
    }
    cli_json_begin();
    cli_json_text("name", "network");
    cli_json_text("output", name);
    cli_json_number("error_normwise", ours);
    cli_json_number("loop_normwise", plain);
    cli_json_number("error_vs_loop", ratio);
    cli_json_end();
}

static int certify(checking *k)
{
    static const cli_column columns[] = { { "output", false }, { "normwise", true }, { "plain loops", true }, { "error/loop", true } };
    int count = k->n->plan.outputs.count;
    double *ours = cg_malloc(2 * (size_t)count * sizeof *ours);
    cli_table t;
    if (!ours)
        return cli_wrong(k->a, "no memory for %d outputs", count);
    cg_status status = measure(k, ours, ours + count);
    cli_table_begin(&t, columns, sizeof columns / sizeof columns[0]);
    for (int i = 0; i < count && !status; i++)
        print_row(k, &t, i, ours[i], ours[count + i]);
    int ended = cli_table_end(&t);
    cg_free(ours);
    return status ? cli_failed(k->a) : ended;
}

/* ---- the story ---- */

static int wrong(const checking *k)
{
    const cg_planned *o = &k->n->plan.at[k->first];
    return cli_wrong(k->a, "%s is the first operation that is wrong: %s (%s)", o->name, k->why, o->sentence);
}

static int check_all(checking *k)
{
    int status = operations(k);
    if (status || k->first >= 0)
        return status ? status : wrong(k);
    if (!k->a->json)
        printf("all %d operations are right; the whole, beside the same network in f64 with proven kernels:\n", k->n->plan.count);
    return certify(k);
}

int cli_network_check(const cli_arguments *a)
{
    checking k = { .a = a, .first = -1 };
    int status = CLI_DONE;
    if (a->schedule || a->compiler)
        return cli_usage(a, "--schedule and --compiler are for problems; a network is checked as it runs");
    if (cli_network_open(a, &k.n) || cli_arrays_new(k.n, &k.x) || cg_weights_read(a->network, &k.n->plan, &k.file))
        status = cli_failed(a);
    if (!status) {
        cli_arrays_fill(k.n, &k.x, 1);
        status = cli_arrays_read(a, k.n, &k.x, false);
    }
    if (!status)
        status = check_all(&k);
    cli_arrays_free(k.n, &k.x);
    cli_arrays_free(k.exact, &k.exact_x);
    convgen_network_free(k.exact);
    convgen_network_free(k.n);
    cg_free(k.file);
    return status;
}

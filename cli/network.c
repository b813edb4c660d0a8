/* network.c: a network in place of problems: opened as the words say, and arrays for a run of it. */
#include "cli.h"
#include <string.h>

convgen_status cli_open_for_network(const cli_arguments *a, convgen_context **out)
{
    const char *target = a->target ? a->target : a->options.target[0] ? a->options.target : NULL;
    convgen_options o = { .struct_size = sizeof o, .threads = a->options.threads, .target = target, .store = a->store };
    cg_status status = convgen_open(&o, out);
    if (!status)
        (void)cg_rates_recall((*out)->store, &(*out)->machine);
    return status;
}

static convgen_effort effort_of(const cli_arguments *a)
{
    return !a->effort || strcmp(a->effort, "estimate") == 0 ? CONVGEN_ESTIMATE : CONVGEN_RECALL;
}

/* The problem of an operation, as its text and the words say. */
convgen_status cli_network_problem(const cli_arguments *a, const cg_planned *o, cg_named_problem *np)
{
    memset(np, 0, sizeof *np);
    np->multiplicity = 1;
    np->threads = a->options.threads;
    snprintf(np->target, sizeof np->target, "%s", a->options.target);
    snprintf(np->name, sizeof np->name, "%s", o->name);
    cg_status status = convgen_problem_parse(o->problem, &np->problem);
    np->problem.accuracy = a->options.base.accuracy;
    return status ? status : cg_problem_normalise(&np->problem);
}

static cg_status add_problem(cg_problem_list *list, const cg_named_problem *np)
{
    for (int i = 0; i < list->count; i++)
        if (cg_problem_equal(&list->at[i].problem, &np->problem)) {
            list->at[i].multiplicity++;
            return CONVGEN_OK;
        }
    return cg_list_add(list, np);
}

convgen_status cli_network_problems(const cli_arguments *a, convgen_context *c, cg_problem_list *out)
{
    cg_network_plan plan;
    cg_named_problem np;
    cg_status status = cg_network_plan_of(c, a->network, &plan);
    for (int i = 0; i < plan.count && !status; i++)
        if (plan.at[i].problem && !(status = cli_network_problem(a, &plan.at[i], &np)))
            status = add_problem(out, &np);
    cg_network_plan_free(&plan);
    return status;
}

static void show_next(void *user, int operation, const cg_planned *o)
{
    (void)user;
    cli_progress("opening: operation %d, %s", operation + 1, o->name);
}

convgen_status cli_network_open(const cli_arguments *a, convgen_network **out)
{
    convgen_context *c = NULL;
    const cg_network_how how = { .effort = effort_of(a), .accuracy = a->options.base.accuracy, .next = show_next };
    *out = NULL;
    cg_status status = cli_open_for_network(a, &c);
    if (!status)
        status = cg_network_open(c, a->network, &how, out);
    convgen_close(c);
    cli_progress_end();
    return status;
}

/* ---- arrays ---- */

static void **new_arrays(const convgen_port *ports, int count)
{
    void **list = cg_calloc((size_t)count, sizeof *list);
    for (int i = 0; list && i < count; i++)
        list[i] = cg_page_aligned((size_t)cg_port_bytes(&ports[i]));
    return list;
}

static bool are_there(void *const *list, int count)
{
    for (int i = 0; list && i < count; i++)
        if (!list[i])
            return false;
    return list;
}

convgen_status cli_arrays_new(const convgen_network *n, cli_arrays *out)
{
    int inputs = n->plan.inputs.count, outputs = n->plan.outputs.count;
    *out = (cli_arrays){ new_arrays(n->inputs, inputs), new_arrays(n->outputs, outputs), cg_page_aligned(convgen_network_workspace(n)) };
    if (are_there(out->inputs, inputs) && are_there(out->outputs, outputs) && out->workspace)
        return CONVGEN_OK;
    cli_arrays_free(n, out);
    return cg_fail(CONVGEN_NO_MEMORY, "no memory for the network's inputs and outputs, and a workspace of %zu bytes",
                   convgen_network_workspace(n));
}

static void free_list(void **list, int count)
{
    for (int i = 0; list && i < count; i++)
        cg_free(list[i]);
    cg_free(list);
}

void cli_arrays_free(const convgen_network *n, cli_arrays *x)
{
    if (!n)
        return;
    free_list(x->inputs, n->plan.inputs.count);
    free_list(x->outputs, n->plan.outputs.count);
    cg_free(x->workspace);
    *x = (cli_arrays){ 0 };
}

void cli_arrays_fill(const convgen_network *n, cli_arrays *x, uint64_t seed)
{
    for (int i = 0; i < n->plan.inputs.count; i++) {
        const convgen_port *p = &n->inputs[i];
        int64_t count = cg_port_bytes(p) / (int64_t)cg_type_bytes(p->type);
        if (p->type == CONVGEN_I64)
            memset(x->inputs[i], 0, (size_t)cg_port_bytes(p));
        else
            for (int64_t k = 0; k < count; k++)
                cg_put(p->type, x->inputs[i], k, cg_uniform(&seed));
    }
}

int cli_run_network(const cli_arguments *a, const convgen_network *n, const cli_arrays *x)
{
    return convgen_network_run(n, (const void *const *)x->inputs, x->outputs, x->workspace) ? cli_failed(a) : CLI_DONE;
}

/* ---- inputs from files ---- */

static int unknown_input(const cli_arguments *a, const convgen_network *n, const char *text)
{
    char names[CG_TEXT] = "";
    size_t used = 0;
    for (int i = 0; i < n->plan.inputs.count && used < sizeof names - 1; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%.100s", i ? ", " : "", n->inputs[i].name);
    return cli_usage(a, "--input=%s: no input of %s is called so; --input=NAME=FILE, and the names are: %s", text, a->network, names);
}

/* The input that "NAME=FILE" names, and the file; -1: none. */
static int input_of(const convgen_network *n, const char *text, const char **file)
{
    for (int i = 0; i < n->plan.inputs.count; i++) {
        size_t length = strlen(n->inputs[i].name);
        if (strncmp(text, n->inputs[i].name, length) == 0 && text[length] == '=') {
            *file = text + length + 1;
            return i;
        }
    }
    return -1;
}

static int read_given(const cli_arguments *a, const convgen_network *n, cli_arrays *x, bool *is_read)
{
    const char *file, *end = a->inputs.text ? a->inputs.text + a->inputs.length : NULL;
    for (const char *text = a->inputs.text; text && text < end; text += strlen(text) + 1) {
        int i = input_of(n, text, &file);
        if (i < 0)
            return unknown_input(a, n, text);
        if (is_read[i])
            return cli_usage(a, "--input=%s: %s is given twice", text, n->inputs[i].name);
        is_read[i] = true;
        if (cli_npy_read(file, &n->inputs[i], x->inputs[i]))
            return cli_failed(a);
    }
    return CLI_DONE;
}

int cli_arrays_read(const cli_arguments *a, const convgen_network *n, cli_arrays *x, bool all)
{
    char shape[CG_TEXT];
    bool *is_read = cg_calloc((size_t)n->plan.inputs.count, sizeof *is_read);
    if (!is_read)
        return cli_wrong(a, "no memory for the inputs");
    int status = read_given(a, n, x, is_read);
    for (int i = 0; i < n->plan.inputs.count && !status && all; i++)
        if (!is_read[i]) {
            cli_shape_text(&n->inputs[i], shape);
            status = cli_usage(a, "input %s (%s) is not given: --input=%s=FILE.npy", n->inputs[i].name, shape, n->inputs[i].name);
        }
    cg_free(is_read);
    return status;
}

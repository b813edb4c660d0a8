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

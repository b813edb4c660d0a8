/* network_show.c: convgen show of a network: any stage of the way from its file to its kernels.
 *
 * The texts are the generator's; nothing is compiled or run, and the weights are not read. */
#include "cli.h"
#include <string.h>

static const char stages[] = CG_NETWORK_SHOWN_LIST ", driver, source";

static bool is_of_kernels(const char *stage) { return strcmp(stage, "driver") == 0 || strcmp(stage, "source") == 0; }

static int put(const cli_arguments *a, cg_buffer *text)
{
    int status = text->failed ? cli_wrong(a, "no memory for the text") : CLI_DONE;
    if (!status && text->length) {
        fwrite(text->text, 1, text->length, stdout);
        if (text->text[text->length - 1] != '\n')
            putchar('\n');
    }
    cg_buffer_free(text);
    return status;
}

static int show_whole(const cli_arguments *a, convgen_context *c, const char *stage)
{
    cg_buffer file = { 0 }, text = { 0 };
    cg_status status = cg_network_read(a->network, &file);
    const cg_network_request r = { .text = file.text, .length = file.length, .name = a->network, .target = c->target.name,
                                   .form = cg_form(&c->target, cli_compiler(a)), .threads = c->parallel.threads };
    if (!status)
        status = cg_script_show_network(c->script, &r, stage, &text);
    cg_buffer_free(&file);
    return status ? cli_failed(a) : put(a, &text);
}

/* Of a convolution the remembered schedule, else the one with the best estimate. */
static int show_problem(const cli_arguments *a, convgen_context *c, const cg_named_problem *np, const char *stage)
{
    cg_target target;
    cg_request r;
    cg_recalled found;
    cg_outcome remembered;
    cg_buffer text = { 0 };
    cg_status status = cli_recall(c, a, np, &found, &remembered);
    const char *schedule = status ? NULL : remembered.record.schedule;
    if (status == CONVGEN_NO_RECORD)
        status = CONVGEN_OK;
    if (!status)
        status = cli_request(c, a, np, &target, &r);
    if (!status)
        status = cg_script_show(c->script, &r, schedule, stage, &text);
    return status ? cli_failed(a) : put(a, &text);
}

static int show_operation(const cli_arguments *a, convgen_context *c, const cg_planned *o, const char *stage)
{
    const cg_operation_request r = { .operation = o->operation, .sentence = o->sentence, .target = c->target.name,
                                     .form = cg_form(&c->target, cli_compiler(a)), .threads = c->parallel.threads };
    cg_buffer text = { 0 };
    return cg_script_show_operation(c->script, &r, stage, &text) ? cli_failed(a) : put(a, &text);
}

static int show_kernels(const cli_arguments *a, convgen_context *c, const char *stage)
{
    cg_network_plan plan;
    cg_named_problem np;
    int status = cg_network_plan_of(c, a->network, &plan) ? cli_failed(a) : CLI_DONE;
    for (int i = 0; i < plan.count && !status; i++) {
        const cg_planned *o = &plan.at[i];
        printf("%s/* ---- %s: %s ---- */\n", i ? "\n" : "", o->name, o->sentence);
        if (!o->problem)
            status = show_operation(a, c, o, stage);
        else
            status = cli_network_problem(a, o, &np) ? cli_failed(a) : show_problem(a, c, &np, stage);
    }
    cg_network_plan_free(&plan);
    return status;
}

int cli_network_show(const cli_arguments *a)
{
    static const char *const whole[] = CG_NETWORK_SHOWN_NAMES;
    const char *stage = a->stage ? a->stage : whole[0];
    convgen_context *c = NULL;
    int i = 0;
    while (i < CG_NETWORK_SHOWN_COUNT && strcmp(stage, whole[i]) != 0)
        i++;
    if (i == CG_NETWORK_SHOWN_COUNT && !is_of_kernels(stage))
        return cli_usage(a, "--stage=%s: the stages of a network are %s", stage, stages);
    if (a->schedule || a->all)
        return cli_usage(a, "--schedule and --all are for problems; a network has many");
    int status = cli_open_for_network(a, &c) ? cli_failed(a) : is_of_kernels(stage) ? show_kernels(a, c, stage) : show_whole(a, c, stage);
    convgen_close(c);
    return status;
}

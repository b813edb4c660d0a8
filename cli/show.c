/* show.c: convgen show: prints any stage of the way from the problem to the code.
 *
 * The texts are the generator's; nothing is compiled or run. */
#include "cli.h"
#include <string.h>

static const char *const stages[] = CG_SHOWN_NAMES;

static int check_stage(const cli_arguments *a)
{
    int i = 0;
    while (a->stage && i < CG_SHOWN_COUNT && strcmp(a->stage, stages[i]) != 0)
        i++;
    if (i == CG_SHOWN_COUNT)
        return cli_usage(a, "--stage=%s: the stages are " CG_SHOWN_LIST, a->stage);
    if (a->schedule && i == 0)
        return cli_usage(a, "--schedule=%s is for the stages behind --stage=%s, which lists all schedules", a->schedule, stages[0]);
    if (a->all && i > 0)
        return cli_usage(a, "--all is for --stage=%s: it lists also those that their estimates leave out", stages[0]);
    return CLI_DONE;
}

static int show_one(const cli_arguments *a, convgen_context *c, const cg_named_problem *np)
{
    cg_target target;
    cg_request r;
    cg_buffer text = { 0 };
    int status = CLI_DONE;
    cg_status failed = cli_request(c, a, np, &target, &r);
    r.all = a->all;
    if (failed || cg_script_show(c->script, &r, a->schedule, a->stage ? a->stage : stages[0], &text))
        status = cli_failed(a);
    else if (text.failed)
        status = cli_wrong(a, "no memory for the text");
    else if (text.length) {
        fwrite(text.text, 1, text.length, stdout);
        if (text.text[text.length - 1] != '\n')
            putchar('\n');
    }
    cg_buffer_free(&text);
    return status;
}

static int run(cli_arguments *a)
{
    convgen_context *c = NULL;
    if (a->network)
        return cli_network_show(a);
    int status = check_stage(a);
    if (status)
        return status;
    status = cli_open(a, &c) ? cli_failed(a) : CLI_DONE;
    for (int i = 0; i < a->problems.count && !status; i++)
        status = show_one(a, c, &a->problems.at[i]);
    convgen_close(c);
    return status;
}

/* ---- the verb ---- */

static const cli_option options[] = {
    CLI_BATCH,
    CLI_COMPILER,
    OPTION("--schedule", "NAME", CLI_NAMES, 0, "this schedule, not the remembered or estimated one"),
    OPTION("--all", NULL, CLI_FLAG, AT(all), "for --stage=schedules: also the legal ones that their estimates leave out"),
    OPTION("--stage", "STAGE", CLI_TEXT, AT(stage),
           CG_SHOWN_LIST "; the first is the default", .choices = CG_SHOWN_WORDS),
    CLI_STORE,
    { .name = NULL },
};

const cli_verb cli_show = {
    .name = "show", .arguments = "[options] PROBLEM... | NETWORK.net --stage=STAGE", .summary = "print any stage of the way from the problem to the code",
    .text =
      "Of a network the stages are " CG_NETWORK_SHOWN_LIST ", and driver and source of its operations.\n"
      "Without --schedule it shows the schedule with the best estimate. What libtcc gets on a processor with AVX2 or AVX-512\n"
      "is machine code in data directives: --stage=code lists it as instructions, and --compiler=cc shows what a system\n"
      "compiler gets instead: C.",
    .options = options, .problems = true, .networks = true, .run = run,
};

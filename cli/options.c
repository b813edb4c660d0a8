/* options.c: the words of the command line -> arguments.
 *
 * An option is one row of its verb's table. The options of problems are read by notation.c, in lists as well; they hold
 * for the problems that follow them. Nothing is opened here but lists. */
#include "cli.h"
#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_OPTIONS = 24 }; /* of problems */

/* What cg_option_take reads, for the help, the completion and a missing value. */
static const cli_option *problem_options(void)
{
    static cli_option rows[MOST_OPTIONS + 1];
    const cg_option_text *o;
    for (int i = 0; i < MOST_OPTIONS && (o = cg_option_at(i)); i++)
        rows[i] = (cli_option){ .name = o->key, .value = o->value, .help = o->help, .choices = o->choices, .of_problems = true };
    return rows;
}

static const cli_option *find(const cli_option *rows, const char *name)
{
    for (; rows->name; rows++)
        if (!strcmp(rows->name, name))
            return rows;
    return NULL;
}

const cli_option *cli_option_at(const cli_verb *verb, int n)
{
    for (const cli_option *o = verb->options; o->name; o++)
        if (n-- == 0)
            return o;
    for (const cli_option *o = problem_options(); o->name && verb->problems; o++)
        if (!find(verb->options, o->name) && n-- == 0) /* a verb may mean something else by it */
            return o;
    return NULL;
}

static void help_line(const cli_option *o)
{
    char left[32];
    snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? "=" : "", o->value ? o->value : "");
    printf("  %-18s %s\n", left, o->help);
}

const char cli_notation[] = "[gX][mbX]icX[idX][ihX][iwX]ocX[odX][ohX][owX]kdXkhXkwX[sdX..][pdX..][ddX..][n\"name\"]";

static int help(const cli_verb *verb)
{
    printf("usage: convgen %s %s\n\n%c%s.\n%s\n\noptions:\n", verb->name, verb->arguments, toupper(verb->summary[0]),
           verb->summary + 1, verb->text);
    const cli_option *o;
    int i = 0;
    for (; (o = cli_option_at(verb, i)) && !o->of_problems; i++)
        help_line(o);
    if (!verb->problems)
        return CLI_DONE;
    printf("\nA PROBLEM is written as benchdnn writes it:\n  %s\n"
           "for example mb10ic3ih100oc10kh5ph2. The options of problems hold for those after them:\n", cli_notation);
    for (; (o = cli_option_at(verb, i)); i++)
        help_line(o);
    return CLI_DONE;
}

/* Whether `word` is `name` or `name=...`; *value is what stands after '=', NULL without. */
static bool is_option(const char *word, const char *name, const char **value)
{
    size_t n = strlen(name);
    if (strncmp(word, name, n) != 0 || (word[n] && word[n] != '='))
        return false;
    *value = word[n] ? word + n + 1 : NULL;
    return true;
}

static int read_seconds(cli_arguments *a, const cli_option *o, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 1e6))
        return cli_usage(a, "%s=%s: not a number of seconds from 0 to 1000000", o->name, text);
    a->seconds = value;
    return CLI_GO_ON;
}

static int read_list(cli_arguments *a, const char *path)
{
    int before = a->problems.count;
    if (cg_list_read(path, &a->options, &a->problems))
        return cli_failed(a);
    if (a->problems.count == before)
        return cli_wrong(a, "%s: no problem in this list", path);
    a->idle = NULL;
    return CLI_GO_ON;
}

/* As schedules are called now. */
static int read_names(cli_arguments *a, const cli_option *o, const char *names)
{
    cg_buffer_free(&a->names);
    for (const char *at = names; *at; at += *at == ',') {
        char name[CG_NAME];
        size_t length = strcspn(at, ",");
        if (length >= sizeof name)
            return cli_usage(a, "%s=%.20s...: names have at most %d letters", o->name, at, CG_NAME - 1);
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        cg_schedule_rename(name);
        at += length;
        cg_buffer_printf(&a->names, "%s%s", name, *at ? "," : "");
    }
    a->schedule = a->names.text, a->asked = names;
    return a->names.failed ? cli_wrong(a, "no memory for the words") : CLI_GO_ON;
}

static int add_text(const cli_arguments *a, cg_buffer *b, const char *text)
{
    cg_buffer_add(b, text, strlen(text) + 1);
    return b->failed ? cli_wrong(a, "no memory for the words") : CLI_GO_ON;
}

/* An option of problems that a verb without problems has. */
static int read_notation(cli_arguments *a, const cli_option *o, const char *value)
{
    char word[CG_TEXT];
    snprintf(word, sizeof word, "%s=%s", o->name, value);
    return cg_option_take(&a->options, &a->initial, word) ? cli_usage(a, "%s", cg_error_text()) : CLI_GO_ON;
}

static int take(cli_arguments *a, const cli_option *o, const char *value)
{
    if (!o->value && value)
        return cli_usage(a, "%s takes no value", o->name);
    if (o->value && (!value || !*value))
        return cli_usage(a, "%s needs a value: %s=%s", o->name, o->name, o->value);
    switch (o->kind) {
    case CLI_FLAG: *(bool *)((char *)a + o->place) = true; return CLI_GO_ON;
    case CLI_TEXT: *(const char **)((char *)a + o->place) = value; return CLI_GO_ON;
    case CLI_SECONDS: return read_seconds(a, o, value);
    case CLI_LIST: return read_list(a, value);
    case CLI_NAMES: return read_names(a, o, value);
    case CLI_MANY: return add_text(a, (cg_buffer *)((char *)a + o->place), value);
    case CLI_OF_PROBLEMS: return read_notation(a, o, value);
    }
    return CLI_GO_ON;
}

static int unknown_option(const cli_arguments *a, const char *word)
{
    int length = (int)strcspn(word, "=");
    return cli_usage(a, "unknown option %.*s; `convgen %s --help` lists them", length, word, a->verb->name);
}

static int read_problem_option(cli_arguments *a, const char *word)
{
    const char *value;
    for (const cli_option *o = problem_options(); o->name; o++)
        if (o->value && is_option(word, o->name, &value) && !(value && *value))
            return cli_usage(a, "%s needs a value: %s=%s", o->name, o->name, o->value);
    cg_status status = cg_option_take(&a->options, &a->initial, word);
    if (status == CONVGEN_UNSUPPORTED)
        return unknown_option(a, word);
    if (status)
        return cli_usage(a, "%s", cg_error_text());
    a->idle = word;
    return CLI_GO_ON;
}

static int read_option(cli_arguments *a, const char *word)
{
    const char *value;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return help(a->verb);
    for (const cli_option *o = a->verb->options; o->name; o++)
        if (is_option(word, o->name, &value))
            return take(a, o, value);
    return a->verb->problems ? read_problem_option(a, word) : unknown_option(a, word);
}

static bool is_network(const char *word)
{
    size_t length = strlen(word);
    return length > 4 && strcmp(word + length - 4, ".net") == 0;
}

static int read_network(cli_arguments *a, const char *word)
{
    if (a->network)
        return cli_usage(a, "%s: a second network; one at a time", word);
    a->network = word;
    return CLI_GO_ON;
}

static int read_word(cli_arguments *a, const char *word)
{
    if (a->verb->networks && is_network(word))
        return read_network(a, word);
    if (a->verb->problems) {
        cg_named_problem np;
        if (cg_problem_parse(word, &a->options, &np) || cg_list_add(&a->problems, &np))
            return cli_failed(a);
        a->idle = NULL;
    } else if (a->word_count == CLI_WORDS)
        return cli_usage(a, "%s is one word too many; `convgen %s --help` tells what it takes", word, a->verb->name);
    else
        a->words[a->word_count++] = word;
    return CLI_GO_ON;
}

/* Of the options of problems a network has three. */
static int complete_network(const cli_arguments *a)
{
    convgen_problem rest = a->options.base;
    rest.accuracy = a->initial.base.accuracy;
    if (a->problems.count)
        return cli_usage(a, "%s and problems: a network stands alone", a->network);
    if (memcmp(&rest, &a->initial.base, sizeof rest) || a->options.mb)
        return cli_usage(a, "%s: of the options of problems, --accuracy, --threads and --target are those of networks", a->network);
    return CLI_GO_ON;
}

/* What can only be said when all words are read. */
static int complete(const cli_arguments *a)
{
    if (a->network)
        return complete_network(a);
    if (!a->verb->problems)
        return CLI_GO_ON;
    if (a->problems.count == 0)
        return cli_usage(a, "no problem is given; `convgen %s --help` tells how one is written", a->verb->name);
    if (a->idle)
        return cli_usage(a, "%s stands after the last problem and would change nothing; options of problems stand before them", a->idle);
    return CLI_GO_ON;
}

int cli_read(cli_arguments *a, const cli_verb *verb, int count, char **words)
{
    memset(a, 0, sizeof *a);
    a->verb = verb;
    a->seconds = -1;
    cg_options_default(&a->initial);
    a->options = a->initial;
    for (int i = 0; i < count; i++) {
        const cli_option *apart = find(verb->options, words[i]);
        int status = apart && words[i][1] != '-' && i + 1 < count ? take(a, apart, words[++i]) /* -o DIR */
                   : words[i][0] == '-' && words[i][1] ? read_option(a, words[i]) : read_word(a, words[i]);
        if (status != CLI_GO_ON)
            return status;
    }
    return complete(a);
}

void cli_arguments_free(cli_arguments *a)
{
    cg_list_free(&a->problems);
    cg_buffer_free(&a->names);
    cg_buffer_free(&a->inputs);
}

convgen_status cli_open(const cli_arguments *a, convgen_context **out)
{
    convgen_options o = { .struct_size = sizeof o, .target = a->target, .store = a->store };
    cg_status status = convgen_open(&o, out);
    if (!status)
        (void)cg_rates_recall((*out)->store, &(*out)->machine); /* none: what the target's row assumes */
    return status;
}

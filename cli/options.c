/* options.c: the words of the command line -> arguments.
 *
 * An option is one row of a table. The options of problems are read by notation.c, in lists as well; they hold
 * for the problems that follow them. Nothing is opened here but lists. */
#include "cli.h"
#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum { FLAG, TEXT, SECONDS, LIST, NAMES } kind;
typedef struct option {
    const char *name, *value; /* "--seconds", "S"; value NULL: a flag */
    unsigned verbs;
    kind kind;
    size_t place; /* in cli_arguments */
    const char *help;
} option;

#define TARGET_HELP CLI_TARGETS "; default $CONVGEN_TARGET, else the best of this machine"
#define AT(field) offsetof(cli_arguments, field)
static const option options[] = {
    { "--batch", "FILE", CLI_PROBLEMS, LIST, 0, "a list of problems and options, one or more a line, # comments; may be repeated" },
    { "-o", "DIR", CLI_EMIT, TEXT, AT(output), "the directory to write; it must be new or empty" },
    { "--prefix", "NAME", CLI_EMIT, TEXT, AT(prefix), "what all names in C and all files begin with" },
    { "--target", "T,T", CLI_EMIT, TEXT, AT(targets),
      "avx512, avx2, portable: chosen among at run time; portable is always in (default: the best of this machine)" },
    { "--form", "FORM", CLI_EMIT, TEXT, AT(form), "c (the default), or asm: x86 kernels as the instructions that libtcc's form is tuned in" },
    { "--threads", "T", CLI_EMIT, TEXT, AT(sharing), "none (the default), or openmp: calls take a number of threads" },
    { "--machine", "FILE", CLI_EMIT, TEXT, AT(machine), "for another machine: FILE is what `convgen machine --json` printed there" },
    { "--force", NULL, CLI_EMIT, FLAG, AT(force), "replace a directory that emit made" },
    { "--compiler", "CC", CLI_EMIT, TEXT, AT(compiler), "form c: whose records are looked for (default cc)" },
    { "--compiler", "CC", CLI_PROBLEMS & ~CLI_EMIT, TEXT, AT(compiler),
      "tcc (the default: in memory), or a system compiler such as cc, which gets C in place of machine code" },
    { "--effort", "E", CLI_TUNE, TEXT, AT(effort), "measure (the default: the best estimates) or exhaustive (all that `convgen show` lists)" },
    { "--effort", "E", CLI_BENCH, TEXT, AT(effort),
      "recall (the default) or estimate: without a record, the schedule with the best estimate" },
    { "--seconds", "S", CLI_TUNE, SECONDS, AT(seconds), "at most this long for each problem: the best so far is kept, and a later tune goes on (0, the default: no limit)" },
    { "--seconds", "S", CLI_BENCH, SECONDS, AT(seconds), "of timing for each problem (default 0.5)" },
    { "--seconds", "S", CLI_RACE, SECONDS, AT(seconds), "of timing for each of the fastest schedules (default 0.1; up to four times as long while noise is above 2 %)" },
    { "--draw", "N", CLI_RACE, TEXT, AT(draw), "N of the legal schedules, drawn at random, where there are more (default: all take part)" },
    { "--seed", "S", CLI_RACE, TEXT, AT(seed), "of the draw (default 1)" },
    { "--schedule", "A,B", CLI_RACE, NAMES, 0, "these are among those timed in turns, drawn or not, fast or not" },
    { "--again", NULL, CLI_TUNE, FLAG, AT(again), "tune also what is remembered; a new winner must be 3 % faster to replace it" },
    { "--report", "FILE", CLI_TUNE, TEXT, AT(report), "also write a page about it: HTML with drawings, in one file without scripts" },
    { "--cold", NULL, CLI_BENCH, FLAG, AT(cold), "sweep the caches before each run" },
    { "--peers", NULL, CLI_BENCH, FLAG, AT(peers), "not in this command: `make bench` compares with other libraries" },
    { "--all", NULL, CLI_CHECK, FLAG, AT(all), "verify every schedule that `convgen show` lists; exit status 1 when a legal one fails" },
    { "--schedule", "NAME", CLI_BENCH | CLI_CHECK | CLI_SHOW, NAMES, 0, "this schedule, not the remembered or estimated one" },
    { "--all", NULL, CLI_SHOW, FLAG, AT(all), "for --stage=schedules: also the legal ones that their estimates leave out" },
    { "--stage", "STAGE", CLI_SHOW, TEXT, AT(stage), "schedules (the default), program, driver, source or code" },
    { "--problem", "TEXT", CLI_RECORDS, TEXT, AT(problem), "only records of this problem: its options and itself, in one word" },
    { "--machine", "KEY", CLI_RECORDS, TEXT, AT(machine), "only records of this machine; `this` is the one it runs on" },
    { "--all", NULL, CLI_RECORDS, FLAG, AT(all), "for forget: all records; for verify: those of other machines too, whose target runs here" },
    { "--every", "N", CLI_RECORDS, TEXT, AT(every), "for verify: only every Nth" },
    { "--strict", NULL, CLI_RECORDS, FLAG, AT(strict), "for verify: exit status 1 also for records of another version of their family" },
    { "--target", "T", CLI_MACHINE, TEXT, AT(target), TARGET_HELP },
    { "--store", "FILE", ~0u, TEXT, AT(store),
      "the store; default $CONVGEN_STORE, else $XDG_CACHE_HOME/convgen/records, else ~/.cache/convgen/records" },
    { "--json", NULL, ~(unsigned)(CLI_SHOW | CLI_EMIT), FLAG, AT(json), "one JSON object a line in place of the table" },
};
enum { OPTIONS = sizeof options / sizeof options[0] };

/* What cg_option_take reads; here only for the help and for a missing value. */
static const struct {
    const char *name, *value, *help;
} problem_options[] = {
    { "--dir", "DIR", "FWD_B (the default: with bias), FWD_D, FWD_I, BWD_D, BWD_W, BWD_WB" },
    { "--dt", "TYPE", "f32 (the default) or f64" },
    { "--tag", "TAG", "nhwc (the default: channels last) or nchw" },
    { "--mb", "N", "the batch size, whatever the problem says" },
    { "--accuracy", "A", "loop (the default: as good as a plain loop), proven, 2x, 8x" },
    { "--weights", "W", "changing (the default) or fixed: packed once, packing not in the time" },
    { "--epilogue", "E", "after the bias: relu, clamp:LO:HI, residual, residual+relu ... (default none)" },
    { "--threads", "N", "threads of one convolution, at most 1024 (default 1)" },
    { "--target", "T", TARGET_HELP },
    { "--reset", NULL, "back to the defaults" },
};
enum { PROBLEM_OPTIONS = sizeof problem_options / sizeof problem_options[0] };

/* The values that can be listed, for completion: the name is "" for words that are no options. */
#define TARGETS "avx512 avx2 portable"
static const struct {
    unsigned verbs;
    const char *name, *values;
} choices[] = {
    { CLI_EMIT, "--target", TARGETS },
    { CLI_EMIT, "--form", "c asm" },
    { CLI_EMIT, "--threads", "none openmp" },
    { CLI_EMIT, "--compiler", "cc gcc clang" },
    { CLI_PROBLEMS, "--compiler", "tcc cc gcc clang" },
    { CLI_TUNE, "--effort", "measure exhaustive" },
    { CLI_BENCH, "--effort", "recall estimate" },
    { CLI_SHOW, "--stage", "schedules program driver source code" },
    { CLI_RECORDS, "--machine", "this" },
    { CLI_RECORDS, "", "list merge export forget verify" },
    { CLI_MACHINE | CLI_PROBLEMS, "--target", TARGETS },
    { CLI_PROBLEMS, "--dir", "FWD_B FWD_D FWD_I BWD_D BWD_W BWD_WB" },
    { CLI_PROBLEMS, "--dt", "f32 f64" },
    { CLI_PROBLEMS, "--tag", "nhwc nchw" },
    { CLI_PROBLEMS, "--accuracy", "loop proven 2x 8x" },
    { CLI_PROBLEMS, "--weights", "changing fixed" },
    { CLI_PROBLEMS, "--epilogue", "relu clamp: residual residual+relu residual+clamp:" },
};

const char *cli_choices(const cli_verb *verb, const char *name)
{
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
        if ((choices[i].verbs & verb->bit) && strcmp(choices[i].name, name) == 0)
            return choices[i].values;
    return NULL;
}

static const option *find_option(const cli_verb *verb, const char *name)
{
    for (int i = 0; i < OPTIONS; i++)
        if ((options[i].verbs & verb->bit) && !strcmp(options[i].name, name))
            return &options[i];
    return NULL;
}

bool cli_option_at(const cli_verb *verb, int n, cli_option *out)
{
    for (int i = 0; i < OPTIONS; i++)
        if ((options[i].verbs & verb->bit) && n-- == 0) {
            *out = (cli_option){ options[i].name, options[i].value, options[i].help, false };
            return true;
        }
    for (int i = 0; i < PROBLEM_OPTIONS && (verb->bit & CLI_PROBLEMS); i++)
        if (!find_option(verb, problem_options[i].name) && n-- == 0) { /* a verb may mean something else by it */
            *out = (cli_option){ problem_options[i].name, problem_options[i].value, problem_options[i].help, true };
            return true;
        }
    return false;
}

static void help_line(const cli_option *o)
{
    char left[32];
    snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? "=" : "", o->value ? o->value : "");
    printf("  %-18s %s\n", left, o->help);
}

const char cli_notation[] = "[gX][mbX]icX[idX][ihX][iwX]ocX[odX][ohX][owX]kdXkhXkwX[sdX..][pdX..][ddX..][n\"name\"]";
const char cli_families[] = "depthwise direct plain planar winograd";

static int help(const cli_verb *verb)
{
    printf("usage: convgen %s %s\n\n%c%s.\n%s\n\noptions:\n", verb->name, verb->arguments, toupper(verb->summary[0]),
           verb->summary + 1, verb->text);
    cli_option o;
    int i = 0;
    for (; cli_option_at(verb, i, &o) && !o.of_problems; i++)
        help_line(&o);
    if (!(verb->bit & CLI_PROBLEMS))
        return CLI_DONE;
    printf("\nA PROBLEM is written as benchdnn writes it:\n  %s\n"
           "for example mb10ic3ih100oc10kh5ph2. The options of problems hold for those after them:\n", cli_notation);
    for (; cli_option_at(verb, i, &o); i++)
        help_line(&o);
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

static int read_seconds(cli_arguments *a, const option *o, const char *text)
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
static int read_names(cli_arguments *a, const option *o, const char *names)
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

static int take(cli_arguments *a, const option *o, const char *value)
{
    if (!o->value && value)
        return cli_usage(a, "%s takes no value", o->name);
    if (o->value && (!value || !*value))
        return cli_usage(a, "%s needs a value: %s=%s", o->name, o->name, o->value);
    switch (o->kind) {
    case FLAG: *(bool *)((char *)a + o->place) = true; return CLI_GO_ON;
    case TEXT: *(const char **)((char *)a + o->place) = value; return CLI_GO_ON;
    case SECONDS: return read_seconds(a, o, value);
    case LIST: return read_list(a, value);
    case NAMES: return read_names(a, o, value);
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
    for (int i = 0; i < PROBLEM_OPTIONS; i++)
        if (problem_options[i].value && is_option(word, problem_options[i].name, &value) && !(value && *value))
            return cli_usage(a, "%s needs a value: %s=%s", problem_options[i].name, problem_options[i].name, problem_options[i].value);
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
    for (int i = 0; i < OPTIONS; i++)
        if ((options[i].verbs & a->verb->bit) && is_option(word, options[i].name, &value))
            return take(a, &options[i], value);
    return a->verb->bit & CLI_PROBLEMS ? read_problem_option(a, word) : unknown_option(a, word);
}

static int read_word(cli_arguments *a, const char *word)
{
    if (a->verb->bit & CLI_PROBLEMS) {
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

/* What can only be said when all words are read. */
static int complete(const cli_arguments *a)
{
    if (!(a->verb->bit & CLI_PROBLEMS))
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
        const option *apart = find_option(verb, words[i]);
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
}

convgen_status cli_open(const cli_arguments *a, convgen_context **out)
{
    convgen_options o = { .struct_size = sizeof o, .target = a->target, .store = a->store };
    cg_status status = convgen_open(&o, out);
    if (!status)
        (void)cg_rates_recall((*out)->store, &(*out)->machine); /* none: what the target's row assumes */
    return status;
}

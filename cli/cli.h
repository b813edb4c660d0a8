/* cli.h: what the verbs of the convgen command promise each other.
 *
 * The command shows the inside of the library, so it may use all of it (network/network.h). Results go to stdout; sentences, and progress when
 * stderr is a terminal, to stderr. Nothing here allocates but through base/memory.c. */
#ifndef CONVGEN_CLI_H
#define CONVGEN_CLI_H

#include "network/network.h"
#include <stddef.h>

enum { CLI_DONE = 0, CLI_WRONG = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 }; /* exit statuses */
enum { CLI_GO_ON = -1 };                                                    /* cli_read: nothing to exit for */

/* ---- verbs ---- */

typedef struct cli_arguments cli_arguments;
typedef enum { CLI_FLAG, CLI_TEXT, CLI_SECONDS, CLI_LIST, CLI_NAMES, CLI_MANY, CLI_OF_PROBLEMS } cli_kind; /* MANY: a cg_buffer of texts, each ended by 0 */
typedef struct cli_option {
    const char *name, *value; /* "--seconds", "S"; value NULL: a flag */
    cli_kind kind;
    size_t place; /* in cli_arguments */
    const char *help;
    const char *choices; /* its values with blanks between; NULL: they cannot be listed */
    bool of_problems;
} cli_option;
typedef struct cli_verb {
    const char *name, *arguments, *summary, *text; /* arguments: what follows the name; summary: one line; text: a paragraph */
    const cli_option *options; /* its own; the last has no name */
    bool problems;             /* its words are problems */
    bool networks;             /* or a network's file, NAME.net, alone */
    const char *words;         /* that are no problems and no options, with blanks between; NULL: none to list */
    int (*run)(cli_arguments *a);
} cli_verb;
#define VERB(name) extern const cli_verb cli_##name;
#include "verbs.h"
#undef VERB

/* ---- options.c: words -> arguments --------------------------------------------------------------------------------- */

enum { CLI_WORDS = 4 };
struct cli_arguments {
    const cli_verb *verb;
    cg_options options, initial; /* as the words so far say; as benchdnn's defaults */
    const char *idle;            /* a problem option that no problem has followed yet */
    cg_problem_list problems;
    const char *network;         /* NULL: there is none; of its options accuracy, threads and target count */
    cg_buffer inputs;            /* NAME=FILE each */
    const char *words[CLI_WORDS]; /* of a verb that takes no problems */
    int word_count;
    const char *store, *compiler, *target, *effort, *stage, *schedule, *problem, *machine, *report; /* NULL: not given */
    cg_buffer names;   /* of schedules as they are called now, where `schedule` is */
    const char *asked; /* --schedule as it was written */
    const char *output, *prefix, *targets, *form, *sharing, *every, *draw, *seed;          /* every: of records verify */
    double seconds;                                                                        /* negative: not given */
    bool json, again, all, cold, peers, force, strict, no_portable;
};
/* Reads the words after the verb. CLI_GO_ON, or the status to exit with (0 after --help). */
int cli_read(cli_arguments *a, const cli_verb *verb, int count, char **words);
void cli_arguments_free(cli_arguments *a);
convgen_status cli_open(const cli_arguments *a, convgen_context **out);

/* The verb's nth option, its own before those of problems; NULL: it has no nth. */
const cli_option *cli_option_at(const cli_verb *verb, int n);

#define OPTION(name_, value_, kind_, place_, help_, ...) \
    { .name = name_, .value = value_, .kind = kind_, .place = place_, .help = help_, __VA_ARGS__ }
#define AT(field) offsetof(cli_arguments, field)
/* What several verbs have. */
#define CLI_TARGET_HELP CG_TARGET_LIST "; default $CONVGEN_TARGET, else the best of this machine"
#define CLI_BATCH \
    OPTION("--batch", "FILE", CLI_LIST, 0, "a list of problems and options, one or more a line, # comments; may be repeated")
#define CLI_COMPILER \
    OPTION("--compiler", "CC", CLI_TEXT, AT(compiler), \
           "tcc (the default: in memory), or a system compiler such as cc, which gets C in place of machine code", .choices = "tcc cc gcc clang")
#define CLI_STORE \
    OPTION("--store", "FILE", CLI_TEXT, AT(store), \
           "the store; default $CONVGEN_STORE, else $XDG_CACHE_HOME/convgen/records, else ~/.cache/convgen/records")
#define CLI_JSON OPTION("--json", NULL, CLI_FLAG, AT(json), "one JSON object a line in place of the table")
#define CLI_OF_A_PROBLEM(name_, value_, help_, ...) OPTION(name_, value_, CLI_OF_PROBLEMS, 0, help_, __VA_ARGS__)
extern const char cli_notation[]; /* of problems */

/* ---- manual.c: the same tables as a manual page and as bash's completion ------------------------------------------------ */

extern const char cli_statuses[]; /* of main.c: what the exit status means */
int cli_manual(const cli_verb *const *verbs, int count);
int cli_completion(const cli_verb *const *verbs, int count);

/* ---- recall.c: what is remembered, or estimated, of a problem -------------------------------------------------------- */

/* The generator's request; `target` keeps the name. */
cg_status cli_request(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, cg_target *target, cg_request *out);
/* A record that may be used once it is sampled, if it has to be. CONVGEN_NO_RECORD without a sentence when there is none. */
cg_status cli_recall(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, cg_recalled *found, cg_outcome *out);
cg_status cli_sample(convgen_context *c, const cg_named_problem *np, cg_recalled *found); /* CONVGEN_NO_RECORD: found->why */
/* Of a name that is not in the generator's list: why, and as an error's sentence. */
void cli_why_unlisted(convgen_context *c, const cg_request *r, const char *name, char why[CG_WHY]);
cg_status cli_unlisted(convgen_context *c, const cg_request *r, const char *name); /* CONVGEN_NO_CANDIDATE */
/* The legal schedule of that name; NULL: the one with the best estimate. */
cg_status cli_choose(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, const char *name, cg_outcome *out);
/* --schedule, else the record, else (CLI_ESTIMATE) the best estimate; else a sentence that names `convgen tune`. CLI_SAMPLE: as cli_sample. */
enum { CLI_ESTIMATE = 1, CLI_SAMPLE = 2 };
cg_status cli_plan(convgen_context *c, const cli_arguments *a, const cg_named_problem *np, int how, cg_outcome *outcome, convgen_plan **out);
/* Measured FMA peak of `threads` threads, GFLOP/s; 0 when it cannot be measured. */
double cli_peak(convgen_context *c, const char *target, convgen_type type, int threads);
/* machine.c: what the store does not have of rates and bandwidth is measured, kept where that can be, and is the context's machine's. */
void cli_rates(convgen_context *c);
double cli_bandwidth(convgen_context *c); /* GB/s read by one core */
const char *cli_compiler(const cli_arguments *a);
const char *cli_label(const cg_named_problem *np, char text[CG_TEXT]); /* its name, else the canonical text */

/* ---- network.c: a network in place of problems -------------------------------------------------------------------------- */

/* A context with its threads and target. */
convgen_status cli_open_for_network(const cli_arguments *a, convgen_context **out);
/* The network's file, opened with a->effort (NULL: estimate), in a context of its own. */
convgen_status cli_network_open(const cli_arguments *a, convgen_network **out);
/* Memory for its inputs, outputs and one run. */
typedef struct cli_arrays {
    void **inputs, **outputs, *workspace;
} cli_arrays;
convgen_status cli_arrays_new(const convgen_network *n, cli_arrays *out);
/* Of a->inputs; `all` have to be there, else those that are not stay as they are. */
int cli_arrays_read(const cli_arguments *a, const convgen_network *n, cli_arrays *x, bool all);
void cli_arrays_fill(const convgen_network *n, cli_arrays *x, uint64_t seed); /* inputs: uniform in [-1, 1); integers are 0 */
void cli_arrays_free(const convgen_network *n, cli_arrays *x);
int cli_run_network(const cli_arguments *a, const convgen_network *n, const cli_arrays *x);
/* Its distinct convolutions as problems, each as often as the network has it; nothing is compiled. */
convgen_status cli_network_problems(const cli_arguments *a, convgen_context *c, cg_problem_list *out);
convgen_status cli_network_problem(const cli_arguments *a, const cg_planned *o, cg_named_problem *np);
int cli_network_bench(const cli_arguments *a, const convgen_network *n); /* network_bench.c: a table, or rows, of its operations */
int cli_network_check(const cli_arguments *a);                          /* network_check.c */
int cli_network_show(const cli_arguments *a);                           /* network_show.c */
void cli_shape_text(const convgen_port *p, char text[CG_TEXT]); /* "f32 1x3x224x224" */

/* ---- npy.c: arrays in files, as NumPy writes them -------------------------------------------------------------------------- */

cg_status cli_npy_read(const char *path, const convgen_port *port, void *data);                      /* of exactly the port's type and shape */
cg_status cli_npy_format(const convgen_port *port, const void *data, cg_buffer *out);                /* the file's bytes */

/* ---- machine_file.c: another machine ------------------------------------------------------------------------------------ */

/* Reads what `convgen machine --json` printed there. */
cg_status cli_read_machine(const char *path, cg_machine *out);

/* ---- interrupt.c: Ctrl-C and its kin --------------------------------------------------------------------------------------- */

bool cli_interrupted(void); /* since they are caught */
void cli_catch_interrupts(void (*also)(void)); /* NULL; what the first one calls, from its handler */
void cli_leave_interrupts(void);

/* ---- folder.c: a directory that appears whole or not at all -------------------------------------------------------------- */

typedef struct cli_folder {
    char *path, *draft; /* the draft stands beside it until it is whole */
    bool replaces;
} cli_folder;
/* `force`: a directory that holds `mark`, and so was made by us, may be replaced. All: a sentence is set on failure;
 * CONVGEN_CANCELLED after SIGINT, SIGTERM or SIGHUP. */
cg_status cli_folder_begin(cli_folder *f, const char *path, bool force, const char *mark);
cg_status cli_folder_put(cli_folder *f, const char *name, const char *text, size_t length);
cg_status cli_folder_finish(cli_folder *f); /* now it is there */
void cli_folder_free(cli_folder *f);        /* what is not finished is gone */

/* ---- output.c: sentences, progress, tables, JSON --------------------------------------------------------------------- */

/* "convgen VERB: sentence" to stderr; the value is the status of the name. */
int cli_wrong(const cli_arguments *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_usage(const cli_arguments *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_failed(const cli_arguments *a); /* the library's last sentence */
const char *cli_advice(const cli_arguments *a); /* to be put after that sentence; "": none */

void cli_progress(const char *format, ...) __attribute__((format(printf, 1, 2))); /* rewrites one line of a terminal */
void cli_progress_end(void);

typedef struct cli_column {
    const char *title;
    bool right;
} cli_column;
enum { CLI_COLUMNS = 12 };
typedef struct cli_table {
    const cli_column *columns;
    int count, next, width[CLI_COLUMNS];
    cg_buffer cells; /* each ended by 0, row after row */
} cli_table;
void cli_table_begin(cli_table *t, const cli_column *columns, int count);
void cli_cell(cli_table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_cell_time(cli_table *t, double ns);                              /* "1.23 ms"; "-" for 0 */
void cli_cell_number(cli_table *t, const char *format, double value);     /* "-" when not finite */
int cli_table_end(cli_table *t);                                          /* prints to stdout and frees */
void cli_time_text(char text[24], double ns);

/* ---- report.c: a page about what was tuned ---------------------------------------------------------------------------- */

typedef struct cli_trial {
    int layer;
    char schedule[CG_NAME], why[CG_WHY];
    double ns; /* 0: refused, why tells; else its last time */
    cg_round round;
} cli_trial;
typedef struct cli_report {
    cg_buffer trials; /* of cli_trial, layer after layer */
    bool hurry;       /* interrupted: nothing more is run */
} cli_report;
typedef struct cli_report_row {
    const cg_named_problem *np;
    const cg_record *record; /* NULL: no result */
    double peak;
    bool recalled;
    const char *because; /* "", or why the chosen one is not the fastest of the final */
} cli_report_row;
void cli_report_tried(cli_report *report, int layer, const cg_tried *t);
int cli_report_write(const cli_arguments *a, convgen_context *c, const cli_report *report, const cli_report_row *rows, int count);

/* One JSON object a line. */
void cli_json_begin(void);
void cli_json_text(const char *key, const char *value);
void cli_json_number(const char *key, double value); /* null when not finite */
void cli_json_flag(const char *key, bool value);
void cli_json_end(void);

/* A timed problem, as tune, bench and records list report it. */
typedef struct cli_result {
    const cg_named_problem *np;
    const cg_record *record;
    double ns_min, ns_median, peak;      /* peak: GFLOP/s of all its threads; 0: not known */
    double candidates, refused, seconds; /* NaN: recalled */
    bool times_recorded, errors_recorded; /* the record's, not measured in this run */
} cli_result;
double cli_gflops(const cg_named_problem *np, double ns);
void cli_json_result(const cli_result *r);
void cli_json_result_begin(const cli_result *r); /* its fields; others may follow before cli_json_end */

#endif

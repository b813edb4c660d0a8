/* main.c: the convgen command: finds the verb and runs it.
 *
 * A verb is one row of the table; its options stand in options.c. */
#include "cli.h"
#include <errno.h>
#include <signal.h>
#include <string.h>

static const cli_verb verbs[] = {
    { "tune", CLI_TUNE, "[options] PROBLEM... | --batch=FILE", "find, verify, time and remember the fastest kernel of each problem",
      "Every candidate is verified and timed by a worker process; one that crashes or hangs is refused and the search goes\n"
      "on. A problem that the store remembers is recalled, not tuned. The table at the end shows, per problem: the schedule,\n"
      "its best time, GFLOP/s, the share of the measured FMA peak, the normwise error over that of the plain loop, how many\n"
      "candidates were tried (\"cut\": until the time was up) and refused, and whether these figures were measured in this run\n"
      "or are those of a record. Ctrl-C keeps what is finished.",
      cli_tune },
    { "bench", CLI_BENCH, "[options] PROBLEM... | --batch=FILE", "time what is remembered",
      "Times the remembered kernels in interleaved rounds: minimum and median of each, and the sum over all of them, each\n"
      "counted as often as its list says.",
      cli_bench },
    { "race", CLI_RACE, "[options] PROBLEM... | --batch=FILE", "time the schedules of each problem against each other",
      "All legal schedules take part, also those that their estimates leave out of `convgen show`. Each is verified and timed\n"
      "briefly by a worker process; then the five fastest, the one that an estimate takes and those of --schedule are timed\n"
      "in turns. The table shows, per schedule: the estimate in cycles, its best time, that over the best schedule's, and how\n"
      "far apart its times in two series of turns are, which is noise. Nothing is remembered.",
      cli_race },
    { "check", CLI_CHECK, "[options] PROBLEM... | --batch=FILE", "print the error of a kernel against the exact result",
      "The certificate: the errors of a plain loop, of np.sum's order and of the chosen kernel against the exact result, for\n"
      "each tensor that the pass computes. The kernel is the remembered one, else the one with the best estimate; one whose\n"
      "answers fail verification is named, with exit status 1.",
      cli_check },
    { "emit", CLI_EMIT, "[options] PROBLEM... | --batch=FILE -o DIR --prefix=NAME", "write C for a network that needs nothing of convgen",
      "Writes a directory: a header with a prototype for each layer, its kernels for each target, a self-check, a benchmark,\n"
      "CMakeLists.txt and a README. Schedules are the remembered ones, else those with the best estimate; what was tuned for\n"
      "the other form is said. What is emitted belongs to who emits it.", cli_emit },
    { "show", CLI_SHOW, "[options] PROBLEM... --stage=STAGE", "print any stage of the way from the problem to the code",
      "Without --schedule it shows the schedule with the best estimate. What libtcc gets on a processor with AVX2 or AVX-512\n"
      "is machine code in data directives: --stage=code lists it as instructions, and --compiler=cc shows what a system\n"
      "compiler gets instead: C.", cli_show },
    { "records", CLI_RECORDS, "[options] list | merge FILE | export FILE | forget | verify", "look at and change the store",
      "  list         prints the records; lines that cannot be read are named on stderr. Column `from`: own; cut, when its\n"
      "               search was cut short; part, when seen in the search for another accuracy; merged\n"
      "  merge FILE   adds the records of FILE, marked: what was measured here stays before them, and each is sampled\n"
      "               before it is used until verify has checked it\n"
      "  export FILE  writes the records to FILE (- is stdout)\n"
      "  forget       drops the records that --problem and --machine choose, or --all\n"
      "  verify       builds and verifies each record of this machine again; exit status 1 when one fails, with --strict\n"
      "               also when one is of another version of its family. Merged ones that hold are timed here, and stay when\n"
      "               they are faster",
      cli_records },
    { "machine", CLI_MACHINE, "[options]", "print what was detected, and the measured FMA peak, memory rates and bandwidth",
      "The measured values are kept in the store.", cli_machine },
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

const char cli_statuses[] = "0 done, 1 something was wrong with what was asked for, 2 usage, 130 interrupted.";

static void print_usage(FILE *to)
{
    fprintf(to, "usage: convgen VERB [options] ...\n\n"
                "Finds the fastest correct convolution for a given problem on this machine.\n\n");
    for (int i = 0; i < VERBS; i++)
        fprintf(to, "  %-9s%s\n", verbs[i].name, verbs[i].summary);
    fprintf(to, "\n`convgen VERB --help` tells more, `convgen --version` the version; `convgen --man` prints the manual page and\n"
                "`convgen --completion` the completion of bash.\nExit status: %s\n", cli_statuses);
}

static const cli_verb *find_verb(const char *name)
{
    for (int i = 0; i < VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance, of words of at most 15 letters (longer ones are far from every verb). */
static int distance(const char *a, const char *b)
{
    int row[16], m = (int)strlen(b);
    if (strlen(a) > 15 || m > 15)
        return 16;
    for (int j = 0; j <= m; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int corner = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int cost = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            row[j] = smaller(cost, smaller(row[j], row[j - 1]) + 1);
        }
    }
    return row[m];
}

static int unknown_verb(const char *name)
{
    int best = 0;
    for (int i = 1; i < VERBS; i++)
        if (distance(name, verbs[i].name) < distance(name, verbs[best].name))
            best = i;
    if (distance(name, verbs[best].name) <= 2)
        fprintf(stderr, "convgen: unknown verb %s; did you mean %s?\n", name, verbs[best].name);
    else
        fprintf(stderr, "convgen: unknown verb %s; `convgen --help` lists them\n", name);
    return CLI_USAGE;
}

/* A full disk behind stdout is an error too: output that is cut must not look complete. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "convgen: cannot write the output: %s\n", strerror(errno));
    return status ? status : CLI_WRONG;
}

static int run_verb(const cli_verb *verb, int count, char **words)
{
    cli_arguments a;
    int status = cli_read(&a, verb, count, words);
    if (status == CLI_GO_ON)
        status = verb->run(&a);
    cli_arguments_free(&a);
    return finish(status);
}

int main(int argc, char **argv)
{
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is then an error with a sentence, not a silent end */
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return finish(CLI_DONE);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("convgen %s\n", CONVGEN_VERSION);
        return finish(CLI_DONE);
    }
    if (strcmp(argv[1], "--man") == 0)
        return finish(cli_manual(verbs, VERBS));
    if (strcmp(argv[1], "--completion") == 0)
        return finish(cli_completion(verbs, VERBS));
    const cli_verb *verb = find_verb(argv[1]);
    return verb ? run_verb(verb, argc - 2, argv + 2) : unknown_verb(argv[1]);
}

/* main.c: the convgen command: finds the verb and runs it.
 *
 * A verb is one file, with its options, and one row of verbs.h. */
#include "cli.h"
#include <errno.h>
#include <signal.h>
#include <string.h>

static const cli_verb *const verbs[] = {
#define VERB(name) &cli_##name,
#include "verbs.h"
#undef VERB
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

const char cli_statuses[] = "0 done, 1 something was wrong with what was asked for, 2 usage, 130 interrupted.";

static void print_usage(FILE *to)
{
    fprintf(to, "usage: convgen VERB [options] ...\n\n"
                "Finds the fastest correct convolution for a given problem on this machine.\n\n");
    for (int i = 0; i < VERBS; i++)
        fprintf(to, "  %-9s%s\n", verbs[i]->name, verbs[i]->summary);
    fprintf(to, "\n`convgen VERB --help` tells more, `convgen --version` the version; `convgen --man` prints the manual page and\n"
                "`convgen --completion` the completion of bash.\nExit status: %s\n", cli_statuses);
}

static const cli_verb *find_verb(const char *name)
{
    for (int i = 0; i < VERBS; i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
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
        if (distance(name, verbs[i]->name) < distance(name, verbs[best]->name))
            best = i;
    if (distance(name, verbs[best]->name) <= 2)
        fprintf(stderr, "convgen: unknown verb %s; did you mean %s?\n", name, verbs[best]->name);
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

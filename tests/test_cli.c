/* test_cli.c: the built command as a user meets it: exit statuses, sentences, JSON, interruption.
 *
 * The command is $CONVGEN_COMMAND, else the one the build names. Every test has a folder of its own with the store in it. */
#define _GNU_SOURCE
#include "plan.h"
#include "processes.h"
#include "rights.h"
#include "suite.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CONVGEN_COMMAND
#define CONVGEN_COMMAND "./convgen"
#endif

extern char **environ;

enum { OUTPUT = 1 << 18, WORDS = 16 };
static char folder[64], store[96];
static char out[OUTPUT], err[OUTPUT]; /* of the last run */

static const char *command(void)
{
    const char *given = getenv("CONVGEN_COMMAND");
    return given ? given : CONVGEN_COMMAND;
}

static char *in_folder(const char *name)
{
    static char path[4][160];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

static void read_file(const char *path, char text[OUTPUT])
{
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, OUTPUT - 1, f) : 0;
    text[n] = 0;
    if (f)
        fclose(f);
}

static char terminal[64]; /* where errors and progress go; "": to a file */

static pid_t start(char *const words[])
{
    pid_t child;
    posix_spawn_file_actions_t files;
    posix_spawnattr_t as_usual; /* whoever runs the tests may ignore signals: nohup, a shell's background */
    sigset_t none, all;
    int flags = O_WRONLY | O_CREAT | O_TRUNC;
    sigemptyset(&none), sigfillset(&all);
    sigdelset(&all, SIGKILL), sigdelset(&all, SIGSTOP);
    posix_spawnattr_init(&as_usual);
    posix_spawnattr_setflags(&as_usual, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigdefault(&as_usual, &all);
    posix_spawnattr_setsigmask(&as_usual, &none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, in_folder("stdout"), flags, 0600);
    posix_spawn_file_actions_addopen(&files, 2, *terminal ? terminal : in_folder("stderr"), flags, 0600);
    ck_assert_int_eq(posix_spawn(&child, command(), &files, &as_usual, words, environ), 0);
    posix_spawnattr_destroy(&as_usual);
    posix_spawn_file_actions_destroy(&files);
    return child;
}

static int finish(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        ck_assert_int_eq(errno, EINTR);
    read_file(in_folder("stdout"), out);
    read_file(in_folder("stderr"), err);
    ck_assert_msg(WIFEXITED(status), "killed by signal %d; stderr: %s", WTERMSIG(status), err);
    return WEXITSTATUS(status);
}

/* Runs the command with the words up to NULL; returns its exit status. */
static int run(const char *first, ...)
{
    const char *words[WORDS] = { "convgen", first };
    va_list more;
    va_start(more, first);
    for (int i = 2; first && (words[i] = va_arg(more, const char *)); i++)
        ck_assert_int_lt(i, WORDS - 1);
    va_end(more);
    return finish(start((char *const *)words));
}

static int count_lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static bool store_is_there(void)
{
    return access(store, F_OK) == 0;
}

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/convgen-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(store, sizeof store, "%s/records", folder);
    setenv("CONVGEN_STORE", store, 1);
    setenv("CONVGEN_TUNED", folder, 1); /* no shipped records */
    unsetenv("CONVGEN_GEN_DIR");
}

static void teardown(void)
{
    char line[128];
    snprintf(line, sizeof line, "rm -rf %s", folder);
    ck_assert_int_eq(system(line), 0);
}

#define TINY "mb1ic3ih6oc4kh3ph1n\"tiny\""
#define TINY_TEXT "mb1ic3ih6oc4kh3ph1"

/* One sentence on stderr that contains `culprit`, nothing on stdout, the store untouched. */
static void assert_refused(int status, int expected, const char *culprit)
{
    ck_assert_msg(status == expected, "exit status %d, not %d; stderr: %s", status, expected, err);
    ck_assert_msg(count_lines(err) == 1, "not one sentence: %s", err);
    ck_assert_msg(strstr(err, culprit) != NULL, "\"%s\" is not named in: %s", culprit, err);
    ck_assert_str_eq(out, "");
    ck_assert(!store_is_there());
}

/* ---- bad input ---- */

static const struct {
    const char *word, *culprit;
    int status;
} bad_words[] = {
    { "ic3ih5oc4kh9", "kh9", 1 },
    { "ic0ih5oc4kh3", "ic0", 1 },
    { "g3ic4ih5oc6kh3", "g3", 1 },
    { "ic99999999999999999999ih5oc4kh3", "ic99999999999999999999", 1 },
    { "ic2000000000ih2000000000oc4kh3", "ic2000000000", 1 },
    { "kh3kh3", "kh", 1 },
    { "ic3ih5oc4kh3zz3", "zz3", 1 },
    { "--unknown", "--unknown", 2 },
    { "--threads=0", "--threads=0", 2 },
    { "--threads=x", "--threads=x", 2 },
    { "--threads", "--threads", 2 },
    { "--dt=f16", "--dt=f16", 2 },
    { "--dir=SIDEWAYS", "SIDEWAYS", 2 },
    { "--seconds=-1", "--seconds=-1", 2 },
    { "--seconds=", "--seconds", 2 },
    { "--json=1", "--json", 2 },
    { "--effort=some", "--effort=some", 2 },
    { "--effort=estimate", "--effort=estimate", 2 },
    { "--batch=/nonexistent/list", "/nonexistent/list", 1 },
    { "--batch=/", "/", 1 },
    { "--target=avx9", "avx9", 1 },
    { "--store=/", "/", 1 },
    { "--store=/nonexistent/records", "/nonexistent/records", 1 },
    { "--store=/dev/full", "/dev/full", 1 },
};

START_TEST(bad_word)
{
    int status = run("tune", bad_words[_i].word, TINY, NULL);
    assert_refused(status, bad_words[_i].status, bad_words[_i].culprit);
}
END_TEST

START_TEST(bad_line_of_a_list)
{
    write_file(in_folder("list"), "# one\n" TINY_TEXT "\n\n\n# five\n\nic3ih5oc4kh9\n");
    char word[200];
    snprintf(word, sizeof word, "--batch=%s", in_folder("list"));
    assert_refused(run("tune", word, NULL), 1, "list:7: ");
    write_file(in_folder("list"), "# nothing\n");
    assert_refused(run("tune", word, NULL), 1, "no problem");
}
END_TEST

START_TEST(usage)
{
    ck_assert_int_eq(run(NULL), 2);
    ck_assert_str_eq(out, "");
    ck_assert_ptr_nonnull(strstr(err, "usage: convgen"));
    assert_refused(run("tnue", NULL), 2, "did you mean tune?");
    assert_refused(run("wonderful", NULL), 2, "wonderful");
    assert_refused(run("tune", NULL), 2, "no problem");
    assert_refused(run("tune", TINY, "--dt=f64", NULL), 2, "--dt=f64");
    assert_refused(run("show", TINY, "--stage=nothing", NULL), 2, "nothing");
    assert_refused(run("show", TINY, "--stage=code", "--compiler=cc", "--schedule=plain", NULL), 1, "form");
    assert_refused(run("show", TINY, "--schedule=plain", NULL), 2, "--schedule=plain");
    assert_refused(run("show", TINY, "--stage=source", "--schedule=planar.i3.k4.v2", NULL), 1, "planar.i3.k4.v2");
    static const char *const verbs[] = { "check", "bench", "show" };
    for (int i = 0; i < 3; i++) /* what is wrong with a name, and what is allowed */
        assert_refused(run(verbs[i], i < 2 ? "--target=portable" : "--stage=driver", "--schedule=direct.p7.v1.row4", TINY, NULL), 1,
                       "'direct.p7.v1.row4' is no schedule: in place of .row4 there may be .rowsN");
    ck_assert_int_eq(run("check", "--all", "--schedule=direct.p7", TINY, NULL), 1);
    ck_assert_ptr_nonnull(strstr(err, "it ends where there must be .vN"));
    assert_refused(run("bench", "--schedule=planar.i3.k4.v2", TINY, NULL), 1, "planar.i3.k4.v2: the generator does not list it");
    char most[8 + CG_NAME + 16] = "--schedule=";
    memset(most + strlen(most), 'x', CG_NAME);
    assert_refused(run("show", "--stage=driver", most, TINY, NULL), 2, "names have at most");
    assert_refused(run("bench", TINY, "--effort=exhaustive", NULL), 2, "exhaustive");
    assert_refused(run("machine", "here", NULL), 2, "here");
    assert_refused(run("records", NULL), 2, "list");
    assert_refused(run("records", "burn", NULL), 2, "burn");
    assert_refused(run("records", "merge", NULL), 2, "FILE");
    assert_refused(run("records", "list", "list", NULL), 2, "list");
    assert_refused(run("records", "forget", NULL), 2, "--all");
    assert_refused(run("records", "merge", "/nonexistent/file", NULL), 1, "/nonexistent/file");
    assert_refused(run("bench", TINY, NULL), 1, "convgen tune");
    assert_refused(run("bench", TINY, "--peers", NULL), 1, "make bench");
    assert_refused(run("bench", "--schedule=fastest", TINY, NULL), 1, "fastest");
}
END_TEST

START_TEST(help)
{
    static const char *const verbs[] = { "tune", "bench", "check", "show", "records", "machine" };
    ck_assert_int_eq(run("--help", NULL), 0);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        ck_assert_ptr_nonnull(strstr(out, verbs[i]));
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        ck_assert_int_eq(run(verbs[i], "--help", NULL), 0);
        ck_assert_ptr_nonnull(strstr(out, "--store=FILE"));
        ck_assert_str_eq(err, "");
    }
    ck_assert_int_eq(run("--version", NULL), 0);
    ck_assert_str_eq(out, "convgen 0.1.0\n");
}
END_TEST

/* ---- the work ---- */

static const char *const keys[] = { "problem", "dir", "dt", "tag", "threads", "target", "weights", "family", "schedule", "form",
                                    "ns_min", "ns_median", "gflops", "peak_gflops", "accuracy", "error_normwise",
                                    "error_vs_loop", "error_vs_bound", "candidates", "refused", "seconds" };

static void assert_keys(void)
{
    char key[64];
    ck_assert_int_eq(out[0], '{');
    ck_assert_int_eq(out[strlen(out) - 2], '}');
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        snprintf(key, sizeof key, "\"%s\":", keys[i]);
        ck_assert_msg(strstr(out, key) != NULL, "no key %s in %s", key, out);
    }
    ck_assert_ptr_null(strstr(out, "nan"));
    ck_assert_ptr_null(strstr(out, "inf"));
}

START_TEST(tune_and_recall)
{
    ck_assert_msg(run("tune", TINY, "--dir=BWD_D", TINY, "--dir=BWD_WB", "--dt=f64", TINY, NULL) == 0, "%s", err);
    ck_assert_str_eq(err, ""); /* progress is for terminals */
    ck_assert_ptr_nonnull(strstr(out, "3 problems: 3 tuned, 0 recalled"));
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "1 problem: 1 recalled from"));
    ck_assert_ptr_nonnull(strstr(out, store));
    ck_assert_int_eq(run("records", "list", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "3 records in"));
    ck_assert_int_eq(run("tune", "--json", TINY, NULL), 0);
    assert_keys();
    ck_assert_ptr_nonnull(strstr(out, "\"candidates\":null,\"refused\":null,\"seconds\":null"));
    ck_assert_int_eq(run("tune", "--again", "--json", TINY, NULL), 0);
    assert_keys();
    ck_assert_ptr_null(strstr(out, "\"candidates\":null"));
}
END_TEST

START_TEST(bench)
{
    write_file(in_folder("list"), TINY " *3\n--dt=f64 mb1ic4ih5oc3kh2\n");
    char word[200];
    snprintf(word, sizeof word, "--batch=%s", in_folder("list"));
    ck_assert_int_eq(run("tune", word, NULL), 0);
    ck_assert_msg(run("bench", "--seconds=0.01", word, NULL) == 0, "%s", err);
    ck_assert_ptr_nonnull(strstr(out, "sum over 4 layers"));
    ck_assert_msg(run("bench", "--seconds=0", "--cold", "--json", word, NULL) == 0, "%s", err);
    ck_assert_int_eq(count_lines(out), 2);
    assert_keys();
    ck_assert_int_eq(run("bench", "--effort=estimate", "--seconds=0.01", "ic5ih5oc3kh2", NULL), 0);
}
END_TEST

static int count_texts(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        n++;
    return n;
}

/* The lines of `show` that are schedules, not refused ones: they begin with a number. */
static int count_legal(void)
{
    int n = 0;
    for (const char *line = out; *line; line = strchr(line, '\n') + 1)
        n += strchr("0123456789", line[strspn(line, " ")]) != NULL && line[0] == ' ';
    return n;
}

START_TEST(show_all)
{
    static const char problem[] = "mb1ic64ih56oc64kh3ph1";
    static char few[OUTPUT];
    ck_assert_int_eq(run("show", "--target=portable", "--accuracy=8x", problem, NULL), 0);
    int pruned = count_legal();
    memcpy(few, out, sizeof few);
    ck_assert_int_eq(run("show", "--target=portable", "--accuracy=8x", "--all", problem, NULL), 0);
    ck_assert_msg(count_legal() > pruned, "%d are legal, %d are left", count_legal(), pruned);
    for (char *line = strtok(few, "\n"); line; line = strtok(NULL, "\n"))
        ck_assert_msg(strstr(out, line) != NULL, "not among all: %s", line);
}
END_TEST

START_TEST(race)
{
    char count[32];
    ck_assert_int_eq(run("show", "--all", "--accuracy=8x", "--threads=2", "--target=portable", "mb1ic64ih8oc64kh3ph1", NULL), 0);
    int legal_of_wide = count_legal(); /* more than are left when they are pruned */
    ck_assert_int_eq(run("show", "--all", TINY, NULL), 0);
    int legal = count_legal();
    ck_assert_msg(run("race", "--seconds=0.001", TINY, NULL) == 0, "%s", err);
    ck_assert_ptr_nonnull(strstr(out, "taken by estimate"));
    ck_assert_int_eq(run("race", "--draw=0", "--seconds=0", "--accuracy=8x", "--threads=2", "--target=portable", "mb1ic64ih8oc64kh3ph1", NULL), 0);
    snprintf(count, sizeof count, "0 of %d legal", legal_of_wide);
    ck_assert_msg(strstr(out, count) != NULL, "not %s: %s", count, out);
    ck_assert_int_eq(run("race", "--json", "--seconds=0.001", TINY, NULL), 0);
    assert_keys();
    ck_assert_int_eq(count_lines(out), legal);
    ck_assert_int_eq(count_texts(out, "\"why\":\"\""), legal);
    ck_assert_int_eq(count_texts(out, "\"estimated\":true"), 1);
    ck_assert_int_ge(count_texts(out, "\"final\":true"), legal < 5 ? legal : 5);
    ck_assert_int_le(count_texts(out, "\"final\":true"), 6);
    ck_assert_int_ge(count_texts(out, "\"over_best\":1,"), 1);
    ck_assert(!store_is_there());
}
END_TEST

/* Names of the schedules that race, sorted: their order is that of their times. */
static void names_of_race(const char *seed, char names[8][CG_NAME])
{
    static const char key[] = "\"schedule\":\"";
    int count = 0;
    memset(names, 0, 8 * CG_NAME);
    ck_assert_msg(run("race", "--json", "--seconds=0", "--draw=2", seed, "--schedule=plain,nosuch.p1", TINY, NULL) == 0, "%s", err);
    for (const char *at = out; (at = strstr(at, key)) && count < 8; count++) {
        at += strlen(key);
        snprintf(names[count], CG_NAME, "%.*s", (int)strcspn(at, "\""), at);
    }
    qsort(names, 8, CG_NAME, (int (*)(const void *, const void *))strcmp);
    ck_assert_int_eq(count_texts(out, "\"drawn\":2,"), count);
    ck_assert_int_eq(count_texts(out, "\"named\":true"), 2);
    ck_assert_ptr_nonnull(strstr(out, "'nosuch.p1' is no schedule: in place of nosuch there may be "));
}

/* What a terminal of long lines is told, in `out`. */
static void run_at_terminal(char *const words[])
{
    struct winsize size = { .ws_row = 24, .ws_col = 1000 };
    size_t used = 0;
    int status, line = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert(line >= 0 && !grantpt(line) && !unlockpt(line) && !ptsname_r(line, terminal, sizeof terminal) && !ioctl(line, TIOCSWINSZ, &size));
    pid_t child = start(words);
    terminal[0] = 0;
    for (ssize_t n; used < OUTPUT - 1 && (n = read(line, out + used, OUTPUT - 1 - used)) > 0;) used += (size_t)n;
    out[used] = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    close(line);
}

/* The names of a turn of the final, in the order of their times. */
static int names_of_turn(int turn, char names[8][CG_NAME])
{
    char key[32];
    int count = 0;
    snprintf(key, sizeof key, ": the fastest: turn %d: ", turn);
    for (const char *at = out; (at = strstr(at, key)) && count < 8; count++) {
        at += strlen(key);
        snprintf(names[count], CG_NAME, "%.*s", (int)strcspn(at, "\033"), at);
    }
    return count;
}

/* Each turn begins with who ended the last: what drifts with time is in nobody's favour. */
START_TEST(turns_go_forth_and_back)
{
    char names[3][8][CG_NAME];
    run_at_terminal((char *const[]){ "convgen", "race", "--seconds=0", "--draw=3", TINY, NULL });
    int count = names_of_turn(1, names[0]);
    ck_assert_int_ge(count, 2);
    for (int turn = 1; turn < 3; turn++) {
        ck_assert_int_eq(names_of_turn(turn + 1, names[turn]), count);
        for (int i = 0; i < count; i++)
            ck_assert_str_eq(names[turn][i], names[turn - 1][count - 1 - i]);
    }
}
END_TEST

START_TEST(drawn_by_seed)
{
    char first[8][CG_NAME], again[8][CG_NAME], other[8][CG_NAME], seed[32];
    bool differs = false;
    names_of_race("--seed=7", first);
    ck_assert_ptr_nonnull(strstr(out, "\"seed\":7,"));
    names_of_race("--seed=7", again);
    ck_assert_mem_eq(first, again, sizeof first);
    for (int i = 0; i < 9 && !differs; i++) {
        snprintf(seed, sizeof seed, "--seed=%d", i);
        names_of_race(seed, other);
        differs = memcmp(first, other, sizeof first) != 0;
    }
    ck_assert_msg(differs, "nine seeds draw the same");
    assert_refused(run("race", "--draw=-1", TINY, NULL), 2, "--draw=-1");
    assert_refused(run("race", "--seed=x", TINY, NULL), 2, "--seed=x");
    assert_refused(run("show", "--all", "--stage=source", TINY, NULL), 2, "--all");
}
END_TEST

START_TEST(check)
{
    static const char *const tensors[][3] = { { "FWD_B", "Z ", NULL }, { "BWD_D", "dA ", NULL }, { "BWD_WB", "dW ", "db " } };
    for (int i = 0; i < 3; i++) {
        char dir[32];
        snprintf(dir, sizeof dir, "--dir=%s", tensors[i][0]);
        ck_assert_msg(run("check", dir, "--dt=f64", TINY, NULL) == 0, "%s", err);
        ck_assert_ptr_nonnull(strstr(out, "not remembered"));
        ck_assert_ptr_nonnull(strstr(out, "loop"));
        ck_assert_ptr_nonnull(strstr(out, "np.sum"));
        ck_assert_ptr_nonnull(strstr(out, "badly scaled"));
        for (int k = 1; k < 3 && tensors[i][k]; k++)
            ck_assert_ptr_nonnull(strstr(out, tensors[i][k]));
    }
    ck_assert_int_eq(run("check", "--json", "--dir=BWD_WB", TINY, NULL), 0);
    ck_assert_int_eq(count_lines(out), 6);
    ck_assert_ptr_nonnull(strstr(out, "\"budget\":null,\"vs_loop_uniform\":"));
    ck_assert_ptr_nonnull(strstr(out, "\"vs_loop_badly_scaled\":"));
    ck_assert_msg(run("check", "--all", TINY, NULL) == 0, "%s%s", out, err);
    ck_assert_ptr_nonnull(strstr(out, "plain"));
    ck_assert_ptr_nonnull(strstr(out, " 0 failed"));
    ck_assert(!store_is_there());
}
END_TEST

/* The generator with a file of its own changed by sed. */
static void change_generator(const char *file, const char *change)
{
    char line[1024];
    snprintf(line, sizeof line, "rm -rf %s/g && mkdir %s/g && cp -r %s/gen %s/templates %s/g && sed -i '%s' %s/g/gen/%s", folder, folder,
             CONVGEN_SOURCE_DIR, CONVGEN_SOURCE_DIR, folder, change, folder, file);
    ck_assert_int_eq(system(line), 0);
    snprintf(line, sizeof line, "cmp -s %s/gen/%s %s/g/gen/%s", CONVGEN_SOURCE_DIR, file, folder, file);
    ck_assert_msg(system(line) != 0, "%s changes nothing", change);
    setenv("CONVGEN_GEN_DIR", in_folder("g"), 1);
}

/* Forward kernels of plain that give NaNs, that take one weight for all channels, that crash; and right answers that are all zero. */
#define CHANNELS "s/{ p.ic \\/\\/ p.groups, src.c, weights.i }/"
START_TEST(check_of_wrong_kernels)
{
    static const struct {
        const char *file, *change, *why, *lines;
    } faults[] = {
        { "tile.lua", "s/^  if t.ending.stream/  if t.k.lanes == 1 and t.ending.epilogue.pass == \"forward\" then t.k:constant(sum, 3e38) "
          "t.k:mul(sum, sum, sum) t.k:sub(sum, sum, sum) end\\n&/", "nan, the canonical order gives", "Z " },
        { "families/plain.lua", CHANNELS "{ p.ic \\/\\/ p.groups, src.c, 0 }/", "output 0 (n 0, d 0, h 0, w 0, c 0) is", "Z " },
        { "families/plain.lua", CHANNELS "{ p.ic \\/\\/ p.groups, 1 << 30, weights.i }/", "crashed", "" },
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        change_generator(faults[i].file, faults[i].change);
        int status = run("check", "--schedule=plain", TINY, "--dir=BWD_D", TINY, NULL);
        ck_assert_msg(status == 1, "%s: exit status %d; %s", faults[i].change, status, out);
        ck_assert_msg(count_lines(err) == 1, "not one sentence: %s", err);
        ck_assert_msg(strstr(err, "tiny: plain fails verification: ") != NULL, "%s", err);
        ck_assert_msg(strstr(err, faults[i].why) != NULL, "%s", err);
        ck_assert_msg(strstr(out, faults[i].lines) != NULL && strstr(out, "dA "), "%s", out);
    }
    unsetenv("CONVGEN_GEN_DIR");
    static const char *const zeros[] = { "mb1ic2ih1oc2oh1kh1ph9", "mb1ic3ih2oc2oh1kh2dh3ph1", "mb1ic1ih1oc1kh1" };
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++)
        for (int k = 0; k < 3; k++) {
            static const char *const dirs[] = { "--dir=FWD_D", "--dir=BWD_D", "--dir=BWD_WB" };
            ck_assert_msg(run("check", dirs[k], zeros[i], NULL) == 0, "%s %s: %s", dirs[k], zeros[i], err);
        }
}
END_TEST

/* Of every schedule: one that fails is named, with its reason in JSON too, and the exit status says so, wherever it stands. */
START_TEST(check_all_of_a_wrong_kernel)
{
    change_generator("families/plain.lua", CHANNELS "{ p.ic \\/\\/ p.groups, src.c, 0 }/");
    for (int json = 0; json < 2; json++) {
        ck_assert_msg(run("check", "--all", TINY, "mb1ic2ih3oc2kh1", json ? "--json" : NULL, NULL) == 1, "%s", out);
        ck_assert_ptr_nonnull(strstr(out, json ? "\"schedule\":\"plain\",\"verdict\":\"FAILED\",\"why\":\"output 0 (n 0, d 0, h 0, w 0, c 0) is " : "FAILED"));
        if (!json)
            ck_assert_ptr_nonnull(strstr(out, " 2 failed, "));
    }
    ck_assert_int_eq(run("check", "--all", "--schedule=plain", TINY, NULL), 1);
    ck_assert_ptr_nonnull(strstr(out, "0 ok, 1 failed, 0 refused"));
    unsetenv("CONVGEN_GEN_DIR");
    ck_assert_int_eq(run("check", "--all", "--json", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "\"verdict\":\"ok\",\"why\":\"\","));
    ck_assert_ptr_null(strstr(out, "\"verdict\":\"ok\",\"why\":\"\",\"error_normwise\":null")); /* known when all outputs were looked at */
    ck_assert_ptr_nonnull(strstr(out, "\"verdict\":\"refused\",\"why\":\""));
    ck_assert_ptr_null(strstr(out, "\"verdict\":\"refused\",\"why\":\"\""));
}
END_TEST

/* What time cut short is said, in the table, in JSON and in a sentence; a later tune goes on and ends. */
START_TEST(cut_short)
{
    ck_assert_msg(run("tune", "--json", "--seconds=0.000001", TINY, NULL) == 0, "%s", err);
    assert_keys();
    ck_assert_ptr_nonnull(strstr(out, "\"complete\":false"));
    ck_assert_ptr_nonnull(strstr(err, "--seconds=1e-06 cut 1 of 1 searches short (tiny: 1 tried)"));
    ck_assert_int_eq(run("bench", "--json", "--seconds=0", TINY, NULL), 0); /* it is a record all the same */
    ck_assert_ptr_nonnull(strstr(out, "\"complete\":false"));
    static char page[OUTPUT];
    char word[200];
    snprintf(word, sizeof word, "--report=%s", in_folder("cut.html"));
    ck_assert_int_eq(run("tune", "--seconds=0.000001", word, TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "1, cut"));
    read_file(in_folder("cut.html"), page);
    ck_assert_ptr_nonnull(strstr(page, "1, cut"));
    ck_assert_int_eq(run("tune", "--json", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "\"complete\":true"));
    ck_assert_ptr_null(strstr(out, "\"candidates\":null"));
    ck_assert_str_eq(err, "");
    ck_assert_int_eq(run("tune", "--json", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "\"candidates\":null"));
    /* A long problem may not even be checked: then that is said, and nothing is remembered. */
    ck_assert_int_eq(run("tune", "--seconds=0.000001", "mb64ic64ih56oc64kh3ph1n\"long\"", NULL), 1);
    ck_assert_ptr_nonnull(strstr(err, "long: 1e-06 s are too few for"));
    ck_assert_int_eq(run("records", "list", "--json", NULL), 0);
    ck_assert_int_eq(count_lines(out), 1);
}
END_TEST

START_TEST(show)
{
    static const char *const stages[] = { "schedules", "program", "driver", "source" };
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        char word[32];
        snprintf(word, sizeof word, "--stage=%s", stages[i]);
        ck_assert_msg(run("show", word, TINY, NULL) == 0, "%s", err);
        ck_assert_int_gt(count_lines(out), 1);
    }
    ck_assert_int_eq(run("show", "--stage=source", "--schedule=plain", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "cg_stage"));
    ck_assert_int_eq(run("show", "--accuracy=8x", "--stage=source", "--schedule=winograd.2x2.t28.r4.v1.s1", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, " * schedule winograd.2x2.t28.s1/product.r4.v1, target ")); /* convgen 0.1 called it so */
    ck_assert_int_eq(run("show", "--target=portable", "--accuracy=8x", "mb1ic64ih56oc64kh3ph1", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "winograd.4x4."));
    ck_assert_ptr_nonnull(strstr(out, "2.25 of 9 products, 9.0 + 7.5 operations, error 1.8"));
    ck_assert_int_eq(run("show", "--target=portable", "--accuracy=8x", "--dir=BWD_W", "mb1ic64ih56oc64kh3ph1", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "2.25 of 9 products, 9.0 + 6.9 operations"));
    ck_assert(!store_is_there());
}
END_TEST

START_TEST(records)
{
    char *copy = in_folder("copy");
    char path[160];
    snprintf(path, sizeof path, "%s", copy);
    ck_assert_int_eq(run("records", "list", NULL), 0); /* an absent store is empty */
    ck_assert_int_eq(run("tune", TINY, "--dir=BWD_D", TINY, NULL), 0);
    ck_assert_int_eq(run("records", "export", path, NULL), 0);
    ck_assert_int_eq(run("records", "export", "-", NULL), 0);
    ck_assert_int_eq(count_lines(out), 2);
    ck_assert_int_eq(run("records", "export", store, NULL), 1);
    ck_assert_int_eq(run("records", "verify", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "2 records verified, 0 failed"));
    ck_assert_int_eq(run("records", "forget", "--problem=--dir=BWD_D " TINY_TEXT, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "1 record dropped"));
    ck_assert_int_eq(run("records", "merge", path, NULL), 0);
    ck_assert_int_eq(run("records", "list", "--json", NULL), 0);
    ck_assert_int_eq(count_lines(out), 2);
    assert_keys();
    ck_assert_int_eq(run("records", "forget", "--all", NULL), 0);
    ck_assert_int_eq(run("records", "list", "--json", NULL), 0);
    ck_assert_str_eq(out, "");
}
END_TEST

/* Adds 1 to the version of the family of the only record: as if another generator had made it. */
static void make_stale(void)
{
    cg_record_list list = { 0 };
    cg_store *s;
    ck_assert_int_eq(cg_records_read(store, &list), CONVGEN_OK);
    ck_assert_int_eq(list.count, 1);
    cg_record r = list.at[0];
    r.version++;
    ck_assert_int_eq(unlink(store) | cg_store_new(store, &s), 0);
    ck_assert_int_eq(cg_store_put(s, &r), CONVGEN_OK);
    cg_store_free(s);
    cg_records_free(&list);
}

/* In the place of the only record one that says more than its schedule can; with its first figures. */
static void forge(const char *schedule, const char *family)
{
    cg_record_list list = { 0 };
    cg_script *script;
    cg_store *s;
    ck_assert_int_eq(cg_records_read(store, &list), CONVGEN_OK);
    cg_record r = list.at[0];
    ck_assert_int_eq(cg_script_new(&script), CONVGEN_OK);
    ck_assert_int_eq(cg_script_family_version(script, family, &r.version), CONVGEN_OK);
    cg_script_free(script);
    snprintf(r.schedule, sizeof r.schedule, "%s", schedule);
    snprintf(r.family, sizeof r.family, "%s", family);
    r.error_vs_loop = 0.5;
    ck_assert_int_eq(unlink(store) | cg_store_new(store, &s), 0);
    ck_assert_int_eq(cg_store_put(s, &r), CONVGEN_OK);
    cg_store_free(s);
    cg_records_free(&list);
}

/* Nobody uses a record whose schedule is not its family's, or none: each says why, or looks on. */
START_TEST(forged_records)
{
    static const char *const schedules[] = { "plain", "winograd.6+2x6+2.t14.s1/product.r6.v2.a16", "nonsense" };
    for (size_t i = 0; i < sizeof schedules / sizeof schedules[0]; i++) {
        unlink(store);
        ck_assert_int_eq(run("tune", TINY, NULL), 0);
        forge(schedules[i], "direct");
        ck_assert_int_eq(run("bench", TINY, NULL), 1);
        ck_assert_msg(strstr(err, "the record of tiny is not used: ") != NULL, "%s", err);
        ck_assert_int_eq(run("bench", "--effort=estimate", "--json", TINY, NULL), 0);
        ck_assert_ptr_nonnull(strstr(out, "\"times\":\"measured\",\"errors\":null"));
        ck_assert_int_eq(run("check", TINY, NULL), 0);
        ck_assert_ptr_nonnull(strstr(out, "not remembered: the best estimate"));
        ck_assert_int_eq(run("records", "verify", NULL), 1);
        ck_assert_int_eq(run("emit", TINY, "--prefix=net", "--form=asm", "-o", in_folder("net"), "--force", NULL), 0);
        ck_assert_ptr_nonnull(strstr(err, "best estimates"));
        char word[96];
        snprintf(word, sizeof word, "--schedule=%s", schedules[i]);
        ck_assert_int_eq(run("show", TINY, "--stage=source", word, NULL), i != 0);
        ck_assert_int_eq(run("tune", TINY, NULL), 0);
        ck_assert_ptr_nonnull(strstr(out, "1 tuned, 0 recalled"));
    }
    forge("winograd.2x2.t28.r4.v1.s1", "winograd"); /* a name of convgen 0.1 is read as the one of now */
    ck_assert_int_eq(run("records", "list", "--json", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "\"winograd.2x2.t28.s1/product.r4.v1\""));
    forge("planar.i3.k4.v2", "planar"); /* it is one, of another pass */
    ck_assert_int_eq(run("bench", TINY, NULL), 1);
    ck_assert_ptr_nonnull(strstr(err, "`convgen tune --again` makes a new record"));
    ck_assert_int_eq(run("tune", "--again", TINY, NULL), 0);
    ck_assert_int_eq(run("bench", TINY, NULL), 0);
}
END_TEST

/* Figures of a record are called recorded wherever they are shown. */
START_TEST(recorded_figures)
{
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "measured"));
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "recorded"));
    ck_assert_ptr_null(strstr(out, "measured"));
    ck_assert_int_eq(run("tune", "--json", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "\"times\":\"recorded\",\"errors\":\"recorded\""));
    ck_assert_int_eq(run("bench", "--json", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "\"times\":\"measured\",\"errors\":\"recorded\""));
    ck_assert_int_eq(run("bench", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "recorded"));
    ck_assert_int_eq(run("records", "list", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "times and errors as recorded"));
    ck_assert_int_eq(run("records", "list", "--json", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "\"times\":\"recorded\",\"errors\":\"recorded\""));
    ck_assert_int_eq(run("emit", TINY, "--prefix=net", "--form=asm", "-o", in_folder("net"), NULL), 0);
    static char text[OUTPUT];
    read_file(in_folder("net/README.md"), text);
    ck_assert(!strstr(text, "tuned in this form") || strstr(text, "tuned in this form: recorded "));
    read_file(in_folder("net/net.h"), text);
    ck_assert_ptr_null(strstr(text, "measured on"));
    char word[200];
    snprintf(word, sizeof word, "--report=%s", in_folder("report.html"));
    ck_assert_int_eq(run("tune", word, TINY, NULL), 0);
    read_file(in_folder("report.html"), text);
    ck_assert_ptr_nonnull(strstr(text, "recalled, recorded"));
}
END_TEST

/* What comes by merge waits until it is checked; then it is this store's own, timed here. */
START_TEST(merged_records)
{
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    char elsewhere[160];
    snprintf(elsewhere, sizeof elsewhere, "%s", in_folder("elsewhere"));
    ck_assert_int_eq(rename(store, elsewhere), 0);
    ck_assert_int_eq(run("records", "merge", elsewhere, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "sampled before it is used"));
    ck_assert_int_eq(run("records", "list", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "merged"));
    ck_assert_int_eq(run("bench", TINY, NULL), 0);
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "1 recalled from"));
    ck_assert_int_eq(run("records", "verify", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "1 record had come by merge"));
    ck_assert_int_eq(run("records", "list", NULL), 0);
    ck_assert_ptr_null(strstr(out, "merged"));
    ck_assert_int_eq(run("records", "merge", elsewhere, NULL), 0); /* the own one stays before it */
    ck_assert_int_eq(run("records", "list", "--json", NULL), 0);
    ck_assert_int_eq(count_lines(out), 2);
}
END_TEST

/* A service has no home: everything works but remembering. */
START_TEST(no_home)
{
    const char *home = getenv("HOME");
    char before[512];
    snprintf(before, sizeof before, "%s", home ? home : "/");
    unsetenv("CONVGEN_STORE"), unsetenv("XDG_CACHE_HOME"), unsetenv("HOME");
    ck_assert_int_eq(run("machine", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "store      none"));
    ck_assert_int_eq(run("show", TINY, "--stage=schedules", NULL), 0);
    ck_assert_int_eq(run("check", TINY, NULL), 0);
    ck_assert_int_eq(run("bench", "--effort=estimate", TINY, NULL), 0);
    ck_assert_int_eq(run("emit", TINY, "--prefix=net", "-o", in_folder("net"), NULL), 0);
    ck_assert_int_eq(run("tune", TINY, NULL), 1); /* not hours for nothing */
    ck_assert_ptr_nonnull(strstr(err, "$CONVGEN_STORE"));
    ck_assert_int_eq(run("records", "list", NULL), 1);
    setenv("HOME", in_folder("nobody"), 1);
    ck_assert_int_eq(run("check", TINY, NULL), 0);
    ck_assert_int_eq(run("machine", NULL), 0);
    ck_assert_int_ne(access(in_folder("nobody"), F_OK), 0);
    setenv("HOME", before, 1);
    setenv("CONVGEN_STORE", store, 1);
}
END_TEST

/* A record of another version is not used, and everybody says so; the search begins with it. */
START_TEST(stale_records)
{
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    make_stale();
    ck_assert_int_eq(run("bench", TINY, NULL), 1);
    ck_assert_ptr_nonnull(strstr(err, "is not used: it is of another version of the family "));
    ck_assert_int_eq(run("records", "verify", NULL), 0);
    ck_assert_ptr_nonnull(strstr(err, "stale: it is of another version of the family "));
    ck_assert_ptr_nonnull(strstr(out, "0 records verified, 0 failed, 1 stale, 0 of other machines"));
    ck_assert_int_eq(run("records", "verify", "--strict", NULL), 1);
    ck_assert_ptr_nonnull(strstr(out, "0 failed, 1 stale"));
    ck_assert_int_eq(run("emit", TINY, "--prefix=net", "--form=asm", "-o", in_folder("net"), NULL), 0);
    bool portable = !strstr(err, "avx"); /* there emitted C is for cc, and the record of tcc */
    ck_assert_ptr_nonnull(strstr(err, portable ? "no record" : "1 of 1 layers have a record that is not used (it is of another version"));
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "1 tuned, 0 recalled"));
    ck_assert_int_eq(run("bench", TINY, NULL), 0);
    ck_assert_int_eq(run("records", "verify", "--strict", NULL), 0);
}
END_TEST

START_TEST(bad_lines_are_named)
{
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    FILE *f = fopen(store, "a");
    ck_assert_ptr_nonnull(f);
    fputs("garbage\n", f);
    fclose(f);
    ck_assert_int_eq(run("records", "list", NULL), 0);
    ck_assert_int_eq(count_lines(err), 1);
    ck_assert_ptr_nonnull(strstr(err, "records:"));
    ck_assert_ptr_nonnull(strstr(out, "1 record in"));
}
END_TEST

START_TEST(machine)
{
    ck_assert_int_eq(run("machine", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "FMA peak"));
    ck_assert_int_eq(run("machine", "--json", "--target=portable", NULL), 0);
    ck_assert_int_eq(count_lines(out), 1);
    ck_assert_ptr_nonnull(strstr(out, "\"target\":\"portable\""));
    ck_assert_ptr_nonnull(strstr(out, "\"peak_gflops_f64\":"));
    ck_assert_ptr_nonnull(strstr(out, "\"bandwidth_gbs\":"));
    ck_assert_ptr_nonnull(strstr(out, "\"rate_l2\":"));
}
END_TEST

/* The generator in place of an answer says what it is told of the machine. */
#define RATES "local r = request.machine.rates error((\"rates %s %s %s.\"):format(r.l2, r.l3, r.page))"

static void expect_rates(const char *expected, const char *machine)
{
    char option[256];
    snprintf(option, sizeof option, "--machine=%s", machine ? machine : "");
    ck_assert_int_ne(machine ? run("emit", TINY, "--prefix=net", "-o", in_folder("net"), option, NULL) : run("show", TINY, NULL), 0);
    ck_assert_msg(strstr(err, expected) != NULL, "%s in place of %s", err, expected);
}

static void keep_rates(const double rate[CG_RATES])
{
    cg_store *s;
    cg_machine m;
    cg_machine_detect(&m);
    memcpy(m.rate, rate, sizeof m.rate);
    m.bandwidth = 7;
    ck_assert_int_eq(cg_store_new(store, &s), CONVGEN_OK);
    ck_assert_int_eq(cg_rates_keep(s, &m), CONVGEN_OK);
    cg_store_free(s);
}

/* What the store has of rates is what the generator is told and `machine` prints; what cannot be right is assumed. */
START_TEST(rates_of_the_store)
{
    change_generator("convgen.lua", "s/^  return space.list/  " RATES " &/");
    expect_rates("rates nil nil nil.", NULL);
    keep_rates((double[]){1.25, 1e6, 14, 5, 18, 14, 14, 3.5});
    expect_rates("rates 1.25 nil 3.5.", NULL);
    unsetenv("CONVGEN_GEN_DIR");
    ck_assert_int_eq(run("machine", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "memory     7.0 GB/s"));
    ck_assert_ptr_nonnull(strstr(out, "rates      l2 1.25, memory 14, store_l3 5, store_memory 18, stream_l3 14, stream_memory 14, page 3.5; measured"));
    ck_assert_ptr_nonnull(strstr(out, "assumed    l3 "));
    ck_assert_int_eq(run("machine", "--json", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "\"rate_l2\":1.25,\"rate_l3\":null,\"rate_memory\":14,"));
}
END_TEST

/* The first search measures them, one with a store that keeps nothing too. */
START_TEST(tune_measures_rates)
{
    char text[OUTPUT];
    ck_assert_int_eq(run("show", TINY, "--stage=schedules", NULL), 0);
    ck_assert(!store_is_there()); /* an estimate does not */
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    read_file(store, text);
    for (int r = 0; r < CG_RATES; r++) {
        char name[64];
        snprintf(name, sizeof name, "name=\"rate %s\"", cg_rate_rows[r].name);
        char *at = strstr(text, name);
        ck_assert_msg(at != NULL, "%s is not kept", name);
        ck_assert_msg(strstr(at + 1, name) == NULL, "%s is kept twice", name);
    }
    keep_rates((double[]){1.25, 1e6, 14, 5, 18, 14, 14, 3.5}); /* measured, however badly */
    ck_assert_int_eq(run("tune", "--again", TINY, NULL), 0);
    ck_assert_int_eq(run("machine", "--json", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "\"rate_l2\":1.25,\"rate_l3\":null,"));
    ck_assert_int_eq(run("tune", "--store=/dev/null", TINY, NULL), 0);
}
END_TEST

#define ELSEWHERE "{\"machine\":\"m\",\"name\":\"n\",\"vendor\":\"v\",\"features\":\"\",\"l1d\":32768,\"l2\":1048576,\"l3\":0,\"line\":64"

/* Another machine's file may carry its rates; this machine's are none of its. */
START_TEST(rates_of_another_machine)
{
    static const struct {
        const char *file, *rates;
    } rows[] = {
        { ELSEWHERE "}", "rates nil nil nil." },
        { ELSEWHERE ",\"rate_l2\":2.5,\"rate_l3\":null,\"rate_page\":4}", "rates 2.5 nil 4.0." },
        { ELSEWHERE ",\"rate_l2\":1e9,\"rate_l3\":\"8\",\"rate_page\":-4}", "rates nil nil nil." },
    };
    char option[256];
    keep_rates((double[]){1.25, 5, 14, 5, 18, 14, 14, 3.5});
    change_generator("convgen.lua", "s/^  return space.list/  " RATES " &/");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_file(in_folder("machine.json"), rows[i].file);
        expect_rates(rows[i].rates, in_folder("machine.json"));
    }
    unsetenv("CONVGEN_GEN_DIR");
    ck_assert_int_eq(run("machine", "--json", NULL), 0);
    write_file(in_folder("machine.json"), out);
    snprintf(option, sizeof option, "--machine=%s", in_folder("machine.json"));
    ck_assert_int_eq(run("emit", TINY, "--prefix=net", "-o", in_folder("net"), option, NULL), 0);
}
END_TEST

/* Names and texts come from outside: JSON stays JSON, tables stay lines. */
START_TEST(hostile_name)
{
    ck_assert_msg(run("tune", "--json", "mb1ic3ih4oc2kh3ph1n\"a\\b\xff\xc3\xa9\"", NULL) == 0, "%s", err);
    ck_assert_msg(strstr(out, "\"name\":\"a\\\\b\\ufffd\xc3\xa9\"") != NULL, "%s", out);
    ck_assert_int_eq(count_lines(out), 1);
    ck_assert_int_eq(run("tune", "ic3\033[2J\nic4", NULL), 1);
    ck_assert_ptr_null(strchr(err, '\033'));
    ck_assert_int_eq(count_lines(err), 1);
}
END_TEST

/* ---- Ctrl-C ---- */

static void pause_until_one_record(void)
{
    static char text[OUTPUT];
    do { /* for ever: the suite ends what hangs */
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
        read_file(store, text);
    } while (!strstr(text, "schedule="));
}

/* A list too long to be finished is interrupted after its first record. */
START_TEST(interrupted)
{
    FILE *f = fopen(in_folder("list"), "w");
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < 300; i++)
        fprintf(f, "mb1ic%dih20oc16kh3ph1n\"layer%d\"\n", i + 3, i);
    fclose(f);
    char word[200];
    snprintf(word, sizeof word, "--batch=%s", in_folder("list"));
    pid_t child = start((char *const[]){ "convgen", "tune", word, NULL });
    pause_until_one_record();
    kill(child, SIGINT);
    int status = finish(child);
    ck_assert_msg(status == 130, "exit status %d; stderr: %s", status, err);
    ck_assert_ptr_nonnull(strstr(err, "interrupted"));
    ck_assert_ptr_nonnull(strstr(err, "layer299"));
    ck_assert_ptr_nonnull(strstr(out, "layer0"));
    ck_assert_int_eq(run("tune", "mb1ic3ih20oc16kh3ph1", NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "1 recalled from"));
}
END_TEST

/* Nobody looks in the store for what is in tuned/. */
START_TEST(shipped_is_not_remembered)
{
    ck_assert_msg(run("tune", TINY, NULL) == 0, "%s", err);
    ck_assert_int_eq(rename(store, in_folder("a.records")), 0);
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "  shipped  "));
    ck_assert_ptr_nonnull(strstr(out, "1 problem: 1 shipped with convgen, read in "));
    ck_assert_int_eq(run("check", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "compiled by tcc, shipped with convgen"));
    ck_assert_int_eq(run("tune", TINY, "--dir=BWD_D", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "2 problems: 1 tuned, 0 recalled, 1 shipped with convgen in "));
    ck_assert_int_eq(run("tune", TINY, "--dir=BWD_D", TINY, NULL), 0);
    ck_assert_ptr_nonnull(strstr(out, "2 problems: 1 recalled from "));
    ck_assert_ptr_nonnull(strstr(out, ", 1 shipped with convgen, read in "));
}
END_TEST

/* The name of an entry of the folder that has `part` in it; NULL: there is none. */
static const char *find_entry(const char *where, const char *part)
{
    static char name[300];
    DIR *d = opendir(where);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));)
        if ((found = strstr(e->d_name, part) != NULL))
            snprintf(name, sizeof name, "%s", e->d_name);
    if (d)
        closedir(d);
    return found ? name : NULL;
}

/* Waits until the command opens the pipe to read. It fails when the command ends instead. */
static int open_gate(const char *gate, pid_t child)
{
    siginfo_t ended = { 0 };
    for (int pipe; !ended.si_pid; nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL)) {
        if ((pipe = open(gate, O_WRONLY | O_NONBLOCK)) >= 0)
            return pipe;
        ck_assert_int_eq(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
    }
    finish(child);
    ck_abort_msg("it ended before the second file; stderr: %s", err);
}

/* Interrupted between the first kernel's file and the second, where the generator stands at a gate: a template that is a pipe.
 * Neither the draft nor the directory is left; with --force, what was to be replaced stays. */
START_TEST(interrupted_emit)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGINT };
    char net[200], gate[200];
    snprintf(net, sizeof net, "%s/net", folder);
    snprintf(gate, sizeof gate, "%s/g/templates/gate", folder);
    if (_i == 3)
        ck_assert_int_eq(run("emit", TINY, "--prefix=net", "-o", net, NULL), 0);
    change_generator("emit.lua", "s/^  put(kernel\\.file,/  if network.gate then pcall(template_text, \"gate\") end network.gate = true\\n&/");
    ck_assert_int_eq(mkfifo(gate, 0600), 0);
    pid_t child = start((char *const[]){ "convgen", "emit", "--target=portable", "--prefix=net", "--force", "-o", net, TINY, "mb1ic3ih7oc4kh3", NULL });
    int pipe = open_gate(gate, child);
    const char *draft = find_entry(folder, "net.draft");
    char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, draft ? draft : "");
    ck_assert_msg(draft && find_entry(path, ".c"), "there is no draft with a file in it");
    kill(child, numbers[_i]); /* it has the signal before it can leave its read, which ends with the pipe */
    close(pipe);
    int status = finish(child);
    ck_assert_msg(status == 130, "exit status %d; stderr: %s", status, err);
    ck_assert_ptr_nonnull(strstr(err, "interrupted; "));
    ck_assert_ptr_nonnull(strstr(err, "net is not written"));
    ck_assert_ptr_null(strstr(err, "estimates"));
    ck_assert_int_eq(count_lines(out), 0);
    ck_assert_msg(!find_entry(folder, "draft"), "%s is left", find_entry(folder, "draft"));
    ck_assert((find_entry(folder, "net") != NULL) == (_i == 3));
    ck_assert(_i != 3 || find_entry(net, "tiny"));
}
END_TEST

/* ---- killed, with a compiler ---- */

enum { FIRST_COMPILE, THIRD_COMPILE, FOLDER, WORKER, TERM, KILLS };

/* A compiler that comes to no end at its nth call, with a process of its own. */
static void write_compiler(const char *path, int nth)
{
    char text[512];
    snprintf(text, sizeof text, "#!/bin/sh\necho >> %s/calls\nif [ $(wc -l < %s/calls) = %d ]; then\n  sleep 1000 & echo > %s/started\n  wait\nfi\n"
             "exec cc \"$@\"\n", folder, folder, nth, folder);
    write_file(path, text);
    ck_assert_int_eq(chmod(path, 0700), 0);
}

static pid_t child_of(pid_t parent)
{
    char path[64];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%d", &pid) != 1)
        pid = 0;
    if (f)
        fclose(f);
    return pid;
}

/* The worker's id: it ends with the command, but nobody here waits for it. */
static pid_t strike(int point, pid_t child)
{
    if (point != FOLDER)
        wait_for_file(in_folder("started"));
    else
        while (!find_entry(in_folder("tmp"), "convgen"))
            nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    pid_t worker = child_of(child), struck = point == WORKER ? worker : child;
    if (struck)
        kill(struck, point == TERM ? SIGTERM : SIGKILL);
    return worker;
}

/* However it ends, no compiler goes on; and what nobody could remove is gone after the next run. */
START_TEST(killed_with_a_compiler)
{
    char compiler[200], word[128], tmp[128];
    snprintf(tmp, sizeof tmp, "%s", in_folder("tmp"));
    ck_assert_int_eq(mkdir(tmp, 0700), 0);
    snprintf(word, sizeof word, "CONVGEN_TEST=%s", folder);
    setenv("CONVGEN_TEST", folder, 1);
    setenv("TMPDIR", tmp, 1);
    write_compiler(in_folder("cc"), _i == THIRD_COMPILE ? 3 : 1);
    snprintf(compiler, sizeof compiler, "--compiler=%s", in_folder("cc"));
    pid_t child = start((char *const[]){ "convgen", "tune", compiler, TINY, NULL });
    pid_t worker = strike(_i, child);
    if (_i == WORKER)
        ck_assert_msg(finish(child) == 0, "%s", err);
    else if (_i == TERM)
        ck_assert_int_eq(finish(child), 130);
    else
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
    wait_until_dead(worker);
    ck_assert_msg(all_end(word), "a compiler goes on");
    if (_i != WORKER && _i != TERM)
        ck_assert_msg(run("tune", "--seconds=0.001", "--compiler=cc", TINY, NULL) == 0, "%s", err);
    const char *left = find_entry(tmp, "convgen");
    ck_assert_msg(!left, "%s is left", left);
    ck_assert_int_eq(rmdir(tmp), 0);
    unsetenv("TMPDIR");
}
END_TEST

/* A disk that is full for the store: said before anything is tuned, and what is there stays. */
START_TEST(full_store)
{
    char line[512];
    static char before[OUTPUT], after[OUTPUT];
    ck_assert_int_eq(run("tune", TINY, NULL), 0);
    read_file(store, before);
    snprintf(line, sizeof line, "ulimit -f 0; %s tune ic5ih5oc3kh2 2>&1 | cat > /dev/null; exit", command());
    ck_assert_int_ne(system(line), -1);
    read_file(store, after);
    ck_assert_str_eq(before, after);
    ck_assert_int_eq(run("tune", "--store=/dev/full", TINY, NULL), 1);
    ck_assert_ptr_nonnull(strstr(err, "/dev/full"));
}
END_TEST

/* The library's sentence, and what the command alone can offer. */
START_TEST(refused_executable_memory)
{
    if (!watch_rights(PROT_EXEC, REFUSED_RIGHTS))
        return; /* nothing to see on this system */
    ck_assert_int_eq(run("tune", "--seconds=1", TINY_TEXT, NULL), 1);
    ck_assert_msg(strstr(err, "has to allow it; --compiler=cc") != NULL, "%s", err);
    ck_assert_int_eq(run("check", TINY_TEXT, NULL), 1);
    ck_assert_msg(strstr(err, "has to allow it; --compiler=cc") != NULL, "%s", err);
    ck_assert_int_eq(run("check", "--compiler=cc", TINY_TEXT, NULL), 0);
}
END_TEST

START_TEST(full_output)
{
    char line[512];
    snprintf(line, sizeof line, "%s --help > /dev/full 2> %s", command(), in_folder("stderr"));
    int status = system(line);
    read_file(in_folder("stderr"), err);
    ck_assert_int_eq(WEXITSTATUS(status), 1);
    ck_assert_ptr_nonnull(strstr(err, "cannot write the output"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cli");
    TCase *group = test_case(suite, "command", 240);
    tcase_add_checked_fixture(group, setup, teardown);
    tcase_add_loop_test(group, interrupted_emit, 0, 4);
    tcase_add_loop_test(group, killed_with_a_compiler, 0, KILLS);
    tcase_add_loop_test(group, bad_word, 0, (int)(sizeof bad_words / sizeof bad_words[0]));
    const TTest *const tests[] = { bad_line_of_a_list, usage, help, tune_and_recall, shipped_is_not_remembered, bench, race, turns_go_forth_and_back, drawn_by_seed, check, check_of_wrong_kernels, check_all_of_a_wrong_kernel, cut_short, show, show_all, records, stale_records,
                                          forged_records, recorded_figures, merged_records, no_home,
                                          bad_lines_are_named, machine, rates_of_the_store, tune_measures_rates, rates_of_another_machine,
                                          hostile_name, interrupted, full_store, refused_executable_memory, full_output };
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(group, tests[i]);
    return test_run(suite);
}

/* plans.c: what a plan costs in a warm process: CPU time of ESTIMATE (or RECALL) from problem to runnable plan, a line a problem.
 *
 *     plans [--batch=LIST] [--every=N] [--dir=FWD_B,BWD_D,BWD_W] [--accuracy=loop] [--recall] [--json] [--dumps=FILE]
 *
 * LIST is in benchdnn's notation, of which only lines of problems are looked at. One context makes all plans, after one that is not
 * counted; nothing is remembered or recalled but with --recall. Instructions are the processor's where it may be asked for them (perf_event_open);
 * under `valgrind --tool=callgrind --callgrind-out-file=FILE` with --dumps=FILE callgrind's, read back from what it dumps after each plan.
 * Limit: of one thread; wall time is not looked at. */
#define _GNU_SOURCE
#include "convgen.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/perf_event.h>
#include <sys/syscall.h>
#endif
#if defined(__has_include)
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#endif
#endif
#ifndef CALLGRIND_ZERO_STATS
#define CALLGRIND_ZERO_STATS (void)0
#define CALLGRIND_DUMP_STATS (void)0
#endif

static struct {
    const char *list, *dirs, *accuracy, *dumps;
    int every;
    bool recall, json;
} set = {"bench/convbench.txt", "FWD_B,BWD_D,BWD_W", "loop", NULL, 1, false, false};

/* ---- what a plan costs ---- */

typedef struct cost {
    double ms, instructions; /* instructions 0: not counted */
} cost;

typedef struct row {
    char text[512];
    char schedule[64];
    cost of;
} row;

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

/* The processor's counter of this process's own instructions; -1: not for us. */
static int counter_open(void)
{
#if defined(__linux__)
    struct perf_event_attr wanted = {.type = PERF_TYPE_HARDWARE, .size = sizeof wanted, .config = PERF_COUNT_HW_INSTRUCTIONS,
                                     .exclude_kernel = 1, .exclude_hv = 1};
    return (int)syscall(SYS_perf_event_open, &wanted, 0, -1, -1, 0);
#else
    return -1;
#endif
}

static double counted(int counter)
{
    uint64_t value = 0;
    return counter >= 0 && read(counter, &value, sizeof value) == sizeof value ? (double)value : 0;
}

/* The instructions of callgrind's n-th dump, which is removed; 0: there is none. */
static double dumped(int n)
{
    char path[512], line[512];
    double instructions = 0;
    snprintf(path, sizeof path, "%s.%d", set.dumps, n);
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "totals: %lf", &instructions) == 1 || sscanf(line, "summary: %lf", &instructions) == 1) break;
    fclose(f);
    remove(path);
    return instructions;
}

/* False: there was none; convgen_error says why. */
static bool make_plan(convgen_context *c, const convgen_problem *p, int counter, row *out)
{
    static int dumps;
    convgen_plan *plan = NULL;
    if (set.dumps) CALLGRIND_ZERO_STATS;
    double before = counted(counter), start = cpu_ms();
    bool made = !convgen_plan_create(c, p, set.recall ? CONVGEN_RECALL : CONVGEN_ESTIMATE, 0, &plan);
    out->of = (cost){cpu_ms() - start, counted(counter) - before};
    if (set.dumps) CALLGRIND_DUMP_STATS;
    if (set.dumps) out->of.instructions = dumped(++dumps);
    if (made) snprintf(out->schedule, sizeof out->schedule, "%s", convgen_plan_info(plan)->schedule);
    convgen_plan_free(plan);
    return made;
}

/* ---- all of them ---- */

static struct {
    row *at;
    int count, room, failed;
} rows;

static void die(const char *what)
{
    fprintf(stderr, "plans: %s\n", what);
    exit(2);
}

static void say_row(const row *r)
{
    if (set.json) printf("{\"problem\": \"%s\", \"schedule\": \"%s\", \"cpu_ms\": %.4g, \"instructions\": %.0f}\n", r->text, r->schedule,
                         r->of.ms, r->of.instructions);
    else printf("%9.3f ms %9.2f M  %s  %s\n", r->of.ms, r->of.instructions * 1e-6, r->text, r->schedule);
    fflush(stdout);
}

static void measure(convgen_context *c, const char *line, const char *dir, int counter)
{
    convgen_problem p;
    row r;
    char text[700];
    snprintf(text, sizeof text, "--dir=%s --accuracy=%s %s", dir, set.accuracy, line);
    if (convgen_problem_parse(text, &p) || convgen_problem_format(&p, r.text, sizeof r.text)) die(convgen_error(c));
    if (!make_plan(c, &p, counter, &r)) {
        fprintf(stderr, "%s: %s\n", r.text, convgen_error(c));
        rows.failed++;
        return;
    }
    if (rows.count == rows.room && !(rows.at = realloc(rows.at, (size_t)(rows.room += 1024) * sizeof *rows.at))) die("no memory");
    rows.at[rows.count++] = r;
    say_row(&r);
}

/* A line's problem: without its name and how often a network has it. */
static bool problem_of(char *line)
{
    line[strcspn(line, "#\n*")] = 0;
    size_t end = strlen(line);
    while (end && line[end - 1] == ' ') line[--end] = 0;
    char *name = strchr(line, 'n');
    while (name && name[1] != '"') name = strchr(name + 1, 'n');
    if (name) *name = 0;
    return line[0] && line[0] != '-';
}

static void measure_list(convgen_context *c, int counter)
{
    char line[512], dirs[64];
    int n = 0;
    FILE *f = fopen(set.list, "r");
    if (!f) die("the list cannot be read");
    while (fgets(line, sizeof line, f)) {
        if (!problem_of(line) || n++ % set.every) continue;
        snprintf(dirs, sizeof dirs, "%s", set.dirs);
        for (char *dir = strtok(dirs, ","); dir; dir = strtok(NULL, ",")) measure(c, line, dir, counter);
    }
    fclose(f);
}

/* ---- the figures ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void say_figures(const char *what, const char *format, double *values)
{
    qsort(values, (size_t)rows.count, sizeof *values, by_value);
    double at[3] = {values[rows.count / 2], values[(int)(0.99 * (rows.count - 1))], values[rows.count - 1]};
    char text[160];
    snprintf(text, sizeof text, format, at[0], at[1], at[2]);
    if (set.json) printf("{\"figure\": \"%s\", \"plans\": %d, \"median\": %.5g, \"99%%\": %.5g, \"most\": %.5g}\n", what, rows.count, at[0], at[1], at[2]);
    else printf("%d plans, %s: median, 99 %%, most: %s\n", rows.count, what, text);
}

static void say_all(void)
{
    double *values = calloc((size_t)rows.count + 1, sizeof *values);
    if (!values) die("no memory");
    for (int i = 0; i < rows.count; i++) values[i] = rows.at[i].of.ms;
    say_figures("CPU ms", "%.2f, %.2f, %.2f", values);
    for (int i = 0; i < rows.count; i++) values[i] = 1e-6 * rows.at[i].of.instructions;
    if (values[rows.count - 1] > 0) say_figures("million instructions", "%.2f, %.2f, %.2f", values);
    free(values);
}

static const char *value_of(const char *word, const char *name)
{
    size_t length = strlen(name);
    return !strncmp(word, name, length) && word[length] == '=' ? word + length + 1 : NULL;
}

static void read_words(char **words)
{
    const char *v;
    for (; *words; words++) {
        if ((v = value_of(*words, "--batch"))) set.list = v;
        else if ((v = value_of(*words, "--every"))) set.every = atoi(v);
        else if ((v = value_of(*words, "--dir"))) set.dirs = v;
        else if ((v = value_of(*words, "--accuracy"))) set.accuracy = v;
        else if ((v = value_of(*words, "--dumps"))) set.dumps = v;
        else if (!strcmp(*words, "--recall")) set.recall = true;
        else if (!strcmp(*words, "--json")) set.json = true;
        else die("there are --batch=LIST --every=N --dir=FWD_B,... --accuracy=NAME --recall --json --dumps=FILE");
    }
    if (set.every < 1) die("--every must be at least 1");
}

int main(int argc, char **argv)
{
    convgen_context *c;
    convgen_problem p;
    row first;
    (void)argc;
    read_words(argv + 1);
    convgen_options o = {.struct_size = sizeof o, .store = set.recall ? NULL : "/dev/null"};
    if (!set.recall) setenv("CONVGEN_TUNED", "/dev/null", 1); /* nothing is remembered here */
    int counter = counter_open();
    if (convgen_open(&o, &c) || convgen_problem_parse("ic16ih8oc16oh8kh3ph1", &p)) die(convgen_error(NULL));
    if (!make_plan(c, &p, counter, &first) && !set.recall) die(convgen_error(c)); /* warm */
    measure_list(c, counter);
    if (rows.count) say_all();
    convgen_close(c);
    return rows.failed ? 1 : 0;
}

/* test_worker.c: candidates that crash, hang or leave, and what is left of them. The judge in the worker is the test's own. */
#include "plan.h"
#include "suite.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int judged_before; /* in the worker: how many jobs this very process has seen */

static volatile int *volatile nowhere = (volatile int *)16; /* volatile: the compiler must not see where it points */

static void write_in(const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    if (f) fclose(f);
}

/* As a compiler that is killed at work leaves its temporary folder. */
static void litter(void)
{
    char inner[256];
    snprintf(inner, sizeof inner, "%s/inner", getenv("TMPDIR"));
    mkdir(inner, 0700);
    write_in(inner, "kernel.c");
    write_in(getenv("TMPDIR"), "object");
    abort();
}

/* As worker.c's answer is laid out. */
typedef struct forged {
    uint64_t number;
    cg_status status;
    cg_result result;
} forged;

/* A good answer to a question that nobody asked, before the real one. */
static void forge(void)
{
    forged f = {.number = 1, .result.verdict.ok = true};
    if (send(3, &f, sizeof f, MSG_NOSIGNAL) != (ssize_t)sizeof f) abort();
}

static void misbehave(const char *schedule)
{
    if (!strcmp(schedule, "forge")) forge();
    if (!strcmp(schedule, "crash")) *nowhere = 1;
    if (!strcmp(schedule, "litter")) litter();
    if (!strcmp(schedule, "abort")) abort();
    if (!strcmp(schedule, "hang"))
        for (;;) pause();
    if (!strcmp(schedule, "leave")) _exit(3);
    if (!strcmp(schedule, "print")) printf("a candidate that prints\n"), fflush(stdout);
    if (!strcmp(schedule, "close"))
        for (int fd = 3; fd < 100; fd++) close(fd);
}

/* Whether some signal would not reach this process, or is handled as the host does it. */
static bool signals_are_the_hosts(void)
{
    sigset_t blocked;
    struct sigaction action;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int i = 1; i < 32; i++)
        if (sigismember(&blocked, i) == 1) return true;
    sigaction(SIGCHLD, NULL, &action);
    return action.sa_handler != SIG_DFL;
}

/* Of all that a job says. */
static uint64_t fingerprint(const cg_job *j)
{
    char problem[CG_TEXT] = "", text[CG_TEXT + 300];
    convgen_problem_format(&j->problem, problem, sizeof problem);
    int length = snprintf(text, sizeof text, "%s %s %s %s %s %d %d %g %d", problem, j->schedule, j->target, j->form, j->compiler, j->threads,
                          j->level, j->seconds, j->cold);
    return cg_hash(text, (size_t)length, 0);
}

static cg_status odd_verify(void *self, const cg_job *job, cg_result *out)
{
    (void)self;
    misbehave(job->schedule);
    memset(out, 0, sizeof *out);
    out->verdict.ok = strcmp(job->schedule, "wrong") != 0;
    out->verdict.seconds = job->seconds;
    if (!out->verdict.ok) strcpy(out->verdict.why, "output 7 is wrong");
    if (!strcmp(job->schedule, "signals")) out->verdict.ok = !signals_are_the_hosts();
    if (!strcmp(job->schedule, "where")) snprintf(out->verdict.why, CG_WHY, "%s", getenv("TMPDIR"));
    if (!strcmp(job->schedule, "memory")) return cg_fail(CONVGEN_NO_MEMORY, "no memory for 42 bytes");
    if (!strcmp(job->schedule, "all")) out->packed = fingerprint(job);
    out->timing.runs = ++judged_before;
    return CONVGEN_OK;
}

static cg_status odd_time(void *self, const cg_job *job, cg_result *out)
{
    cg_status status = odd_verify(self, job, out);
    out->timing.ns_min = 12.5;
    return status;
}

static void odd_forget(void *self) { (void)self, judged_before = 1000; }

static cg_status odd_judge(convgen_context *c, cg_judge *out)
{
    (void)c;
    *out = (cg_judge){NULL, odd_verify, odd_time, odd_forget, NULL};
    return CONVGEN_OK;
}

static cg_judge judge;

static cg_job job(const char *schedule)
{
    cg_job j = {.threads = 1, .seconds = 0.25};
    ck_assert_int_eq(convgen_problem_parse("mb1ic1ih3oc1oh3kh1", &j.problem), CONVGEN_OK);
    strcpy(j.schedule, schedule);
    strcpy(j.compiler, "tcc");
    return j;
}

static cg_result verify_with(const char *compiler, const char *schedule)
{
    cg_job j = job(schedule);
    cg_result r;
    strcpy(j.compiler, compiler);
    ck_assert_int_eq(judge.verify(judge.self, &j, &r), CONVGEN_OK);
    return r;
}

static cg_result verify(const char *schedule) { return verify_with("tcc", schedule); }

static int open_files(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d)) count++;
    closedir(d);
    return count;
}

static void begin(void)
{
    setenv("CONVGEN_TIME_LIMIT", "3600", 1); /* only what hangs on purpose may meet it */
    ck_assert_int_eq(cg_worker_start_with(NULL, odd_judge, &judge), CONVGEN_OK);
}

static void end(void)
{
    cg_worker_stop(&judge);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* no child is left, not even a dead one */
    ck_assert_int_eq(errno, ECHILD);
}

START_TEST(answers_come_back)
{
    cg_result r = verify("good");
    ck_assert(r.verdict.ok);
    ck_assert(r.verdict.seconds == 0.25);
    r = verify("wrong");
    ck_assert(!r.verdict.ok);
    ck_assert_str_eq(r.verdict.why, "output 7 is wrong");
    cg_job j = job("good");
    ck_assert_int_eq(judge.time(judge.self, &j, &r), CONVGEN_OK);
    ck_assert(r.timing.ns_min == 12.5);
    ck_assert_int_eq(r.timing.runs, 3);
    judge.forget(judge.self);
    ck_assert_int_eq(verify("good").timing.runs, 1001);
}
END_TEST

START_TEST(all_of_a_job_arrives)
{
    static const char *const problems[] = {
        "--dir=FWD_B --dt=f64 --tag=nchw --accuracy=8x --weights=fixed --epilogue=residual+clamp:-2:3 "
        "g2mb3ic4id7ih9iw11oc6od2oh3ow4kd2kh3kw1sd3sh2sw1pd1ph2pw3dd1dh2dw0",
        "--dir=BWD_WB --accuracy=proven mb1ic3ih5oc4kh3ph1",
        "--dir=BWD_D --accuracy=2x --tag=nhwc mb1ic3iw5oc4kw3pw-1",
        "--epilogue=relu mb1ic3iw5oc4kw3"};
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
        cg_job j = job("all");
        cg_result r;
        ck_assert_msg(convgen_problem_parse(problems[i], &j.problem) == CONVGEN_OK, "%s", cg_error_text());
        strcpy(j.target, "avx2"), strcpy(j.form, "machine");
        j.threads = 7, j.level = CG_VERIFY_SAMPLE, j.seconds = 0.125, j.cold = true;
        ck_assert_int_eq(judge.verify(judge.self, &j, &r), CONVGEN_OK);
        ck_assert_msg(r.packed == (size_t)fingerprint(&j), "%s", problems[i]);
    }
}
END_TEST

START_TEST(a_crash_refuses)
{
    verify("good");
    cg_result r = verify("crash");
    ck_assert_int_ne(r.status, CONVGEN_OK);
    ck_assert(!r.verdict.ok);
    ck_assert_str_eq(r.verdict.why, "crashed (signal 11, SIGSEGV)");
    ck_assert_str_eq(verify("abort").verdict.why, "crashed (signal 6, SIGABRT)");
    ck_assert_str_eq(verify("leave").verdict.why, "ended the worker process (exit status 3)");
    ck_assert_int_ne(verify("close").status, CONVGEN_OK);
    r = verify("good");
    ck_assert(r.verdict.ok);
    ck_assert_int_eq(r.timing.runs, 1); /* a new worker */
}
END_TEST

/* Whatever the host does with signals: with SIGCHLD ignored, say, no compiler's end could be waited for. */
START_TEST(signals_are_the_workers_own)
{
    sigset_t all, before;
    sigfillset(&all);
    verify("crash"); /* the next job has a new worker */
    sigprocmask(SIG_SETMASK, &all, &before);
    void (*handler)(int) = signal(SIGCHLD, SIG_IGN);
    bool own = verify("signals").verdict.ok;
    signal(SIGCHLD, handler);
    sigprocmask(SIG_SETMASK, &before, NULL);
    ck_assert(own);
}
END_TEST

START_TEST(a_hang_refuses)
{
    setenv("CONVGEN_TIME_LIMIT", "0.3", 1);
    cg_result r = verify("hang");
    ck_assert_str_eq(r.verdict.why, "ran longer than 0.3 s");
    setenv("CONVGEN_TIME_LIMIT", "3600", 1);
    ck_assert(verify("good").verdict.ok);
}
END_TEST

/* Long jobs, long limits: by the multiply-adds, the seconds of timing and a system's compiler. */
START_TEST(the_limit_is_generous)
{
    cg_job j = job("good");
    unsetenv("CONVGEN_TIME_LIMIT");
    j.seconds = 0;
    ck_assert(fabs(cg_worker_limit(&j) - 60) < 1e-6);
    j.seconds = 7;
    ck_assert(fabs(cg_worker_limit(&j) - 67) < 1e-6);
    strcpy(j.compiler, "cc");
    ck_assert(fabs(cg_worker_limit(&j) - 187) < 1e-6);
    ck_assert_int_eq(convgen_problem_parse("mb1ic1000ih1000oc1000oh1000kh1", &j.problem), CONVGEN_OK);
    ck_assert(fabs(cg_worker_limit(&j) - 187 - 40000) < 1e-3);
    setenv("CONVGEN_TIME_LIMIT", "0.3", 1);
    ck_assert(cg_worker_limit(&j) == 0.3);
}
END_TEST

START_TEST(the_deadline_cancels)
{
    cg_job j = job("hang");
    cg_result r;
    setenv("CONVGEN_TIME_LIMIT", "3000", 1);
    j.deadline = cg_now() - 1;
    ck_assert_int_eq(judge.verify(judge.self, &j, &r), CONVGEN_CANCELLED);
    ck_assert_str_eq(cg_error_text(), "the time is up");
    ck_assert(verify("good").verdict.ok); /* and others may be asked for */
}
END_TEST

START_TEST(an_answer_to_nobody_is_no_answer)
{
    verify("good");
    cg_result r = verify("forge");
    ck_assert(r.status != CONVGEN_OK && !r.verdict.ok);
    ck_assert(verify("good").verdict.ok);
}
END_TEST

START_TEST(no_memory_is_not_a_refusal)
{
    cg_job j = job("memory");
    cg_result r;
    ck_assert_int_eq(judge.verify(judge.self, &j, &r), CONVGEN_NO_MEMORY);
    ck_assert_str_eq(cg_error_text(), "no memory for 42 bytes");
}
END_TEST

START_TEST(a_worker_killed_while_idle_is_replaced)
{
    verify("good");
    char path[64], line[64] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    if (!f || !fgets(line, sizeof line, f)) line[0] = 0;
    if (f) fclose(f);
    if (!line[0]) return; /* a kernel without this file */
    pid_t worker = (pid_t)atoi(line);
    siginfo_t dead;
    kill(worker, SIGKILL);
    ck_assert_int_eq(waitid(P_PID, (id_t)worker, &dead, WEXITED | WNOWAIT), 0); /* it is left to be reaped */
    ck_assert(verify("good").verdict.ok);
}
END_TEST

static void interrupt(int signal) { (void)signal, cg_worker_interrupt(); }

START_TEST(an_interrupt_cancels)
{
    signal(SIGALRM, interrupt);
    verify("good");
    cg_job j = job("hang");
    cg_result r;
    ualarm(100000, 0);
    ck_assert_int_eq(judge.verify(judge.self, &j, &r), CONVGEN_CANCELLED);
    ck_assert_int_eq(judge.verify(judge.self, &j, &r), CONVGEN_CANCELLED); /* and it stays so */
}
END_TEST

START_TEST(what_a_killed_compiler_leaves_is_removed)
{
    cg_result first = verify_with("cc", "where");
    ck_assert_int_eq(access(first.verdict.why, W_OK), 0);
    ck_assert_str_eq(verify_with("cc", "litter").verdict.why, "crashed (signal 6, SIGABRT)");
    ck_assert_int_eq(access(first.verdict.why, F_OK), -1);
    cg_result second = verify_with("cc", "where");
    ck_assert_str_ne(first.verdict.why, second.verdict.why);
    cg_worker_stop(&judge);
    ck_assert_int_eq(access(second.verdict.why, F_OK), -1);
}
END_TEST

START_TEST(nothing_leaks)
{
    verify("good");
    int before = open_files();
    for (int i = 0; i < 20; i++) verify(i % 2 ? "crash" : "leave");
    ck_assert(verify("good").verdict.ok);
    ck_assert_int_eq(open_files(), before);
}
END_TEST

START_TEST(prints_do_not_reach_the_results)
{
    int pair[2], saved = dup(STDOUT_FILENO);
    char got[8];
    cg_worker_stop(&judge);
    ck_assert_int_eq(pipe(pair), 0);
    fflush(stdout);
    dup2(pair[1], STDOUT_FILENO);
    close(pair[1]);
    ck_assert_int_eq(cg_worker_start_with(NULL, odd_judge, &judge), CONVGEN_OK);
    dup2(saved, STDOUT_FILENO);
    verify("print");
    ck_assert_int_eq(read(pair[0], got, sizeof got), 0); /* and the worker does not hold our end */
    close(pair[0]);
    close(saved);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("worker");
    TCase *t = test_case(s, "worker", 60);
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, answers_come_back);
    tcase_add_test(t, all_of_a_job_arrives);
    tcase_add_test(t, a_crash_refuses);
    tcase_add_test(t, signals_are_the_workers_own);
    tcase_add_test(t, a_hang_refuses);
    tcase_add_test(t, the_limit_is_generous);
    tcase_add_test(t, the_deadline_cancels);
    tcase_add_test(t, an_answer_to_nobody_is_no_answer);
    tcase_add_test(t, no_memory_is_not_a_refusal);
    tcase_add_test(t, a_worker_killed_while_idle_is_replaced);
    tcase_add_test(t, an_interrupt_cancels);
    tcase_add_test(t, what_a_killed_compiler_leaves_is_removed);
    tcase_add_test(t, nothing_leaks);
    tcase_add_test(t, prints_do_not_reach_the_results);
    return test_run(s);
}

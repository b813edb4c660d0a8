/* worker.c: a process that may crash for us.
 *
 * Forked before any thread exists, it answers jobs with a judge of its own, on memory between guard pages. A candidate that
 * kills it, or runs longer than the time limit, is refused with that reason; the next job forks a new worker. At a job's deadline
 * it is killed too: that ends the job, and refuses nobody. What a killed
 * worker's compiler leaves behind is removed: its temporary folder is the parent's.
 * For the command alone: the parent must never have run a parallel region, and one worker exists at a time. */
#define _GNU_SOURCE
#include "search/search.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef enum { VERIFY, TIME, FORGET } cg_verb;

/* The message's number comes back with the answer: a candidate may have written anything anywhere in the worker. */
typedef struct cg_message {
    uint64_t number;
    cg_verb verb;
    char folder[CG_PATH]; /* for temporary files; "": wherever they go */
    cg_job job;
} cg_message;
typedef struct cg_answer {
    uint64_t number;
    cg_status status; /* of the judge; result.verdict.why has its sentence */
    cg_result result;
} cg_answer;

typedef struct cg_worker {
    convgen_context *context;
    cg_judge_maker *make;
    int socket; /* -1: no worker */
    uint64_t number;
    cg_temporary folder; /* where this worker's compilers write; none until it is needed */
} cg_worker;

static volatile sig_atomic_t interrupted, running; /* running: the worker's id, 0 none */

/* ---- the child ---- */

static void answer(const cg_judge *judge, const cg_message *m, cg_answer *a)
{
    memset(a, 0, sizeof *a);
    a->number = m->number;
    a->status = (m->verb == VERIFY ? judge->verify : judge->time)(judge->self, &m->job, &a->result);
    if (a->status != CONVGEN_OK) snprintf(a->result.verdict.why, CG_WHY, "%s", cg_error_text());
}

static void loop(int socket, const cg_judge *judge)
{
    cg_message m;
    cg_answer a;
    while (recv(socket, &m, sizeof m, 0) == (ssize_t)sizeof m) {
        if (m.verb == FORGET) {
            judge->forget(judge->self);
            continue;
        }
        if (m.folder[0]) setenv("TMPDIR", m.folder, 1);
        answer(judge, &m, &a);
        if (send(socket, &a, sizeof a, MSG_NOSIGNAL) != (ssize_t)sizeof a) return;
    }
}

/* The parent decides about interrupts; a crash is a crash, whatever the parent does with such signals; and it leaves no core. */
static void own_signals(void)
{
    static const int defaults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGTERM, SIGPIPE, SIGCHLD, SIGALRM};
    sigset_t none;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) signal(defaults[i], SIG_DFL);
    signal(SIGINT, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

/* Keeps stderr and the socket, as 3. A candidate that prints must not end up in the command's results. */
static int own_files(int socket)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    if (socket != 3) dup2(socket, 3);
    fcntl(3, F_SETFD, FD_CLOEXEC);
#ifdef SYS_close_range
    syscall(SYS_close_range, 4U, ~0U, 0U);
#endif
    return 3;
}

static void child(const cg_worker *w, int socket, pid_t parent)
{
    cg_judge judge;
    own_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0); /* it died before the line above */
    socket = own_files(socket);
    if (w->make(w->context, &judge) == CONVGEN_OK) loop(socket, &judge);
    _exit(0); /* not exit: the parent's buffers are not ours to flush */
}

/* ---- the parent ---- */

static bool external(const cg_job *job) { return job->compiler[0] && strcmp(job->compiler, "tcc") != 0; }

/* Ends the worker, however it is, and returns its wait status. The id is unset before it is reaped: from then on it may be
 * another process's, and cg_worker_interrupt must not meet it. */
static int reap(cg_worker *w)
{
    int status = 0;
    pid_t pid = (pid_t)running;
    running = 0;
    if (w->socket >= 0) close(w->socket);
    w->socket = -1;
    if (pid) kill(pid, SIGKILL);
    while (pid && waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    cg_temporary_remove(&w->folder);
    return status;
}

static cg_status start(cg_worker *w)
{
    int pair[2];
    pid_t parent = getpid();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return cg_fail(CONVGEN_INTERNAL, "cannot make a socket for the worker process: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) child(w, pair[1], parent);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return cg_fail(CONVGEN_NO_MEMORY, "cannot fork a worker process: %s", strerror(errno));
    }
    w->socket = pair[0];
    running = pid;
    if (interrupted) reap(w); /* the signal came between fork and the line above */
    return CONVGEN_OK;
}

static const char *signal_name(int number)
{
    static const struct { int number; const char *name; } names[] = {
        {SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGILL, "SIGILL"},   {SIGFPE, "SIGFPE"}, {SIGABRT, "SIGABRT"},
        {SIGTRAP, "SIGTRAP"}, {SIGKILL, "SIGKILL"}, {SIGTERM, "SIGTERM"}, {SIGSYS, "SIGSYS"}, {SIGXCPU, "SIGXCPU"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == number) return names[i].name;
    return "unnamed";
}

/* Seconds for one job: generous, since a slow honest kernel must not be taken for a hanging one. */
double cg_worker_limit(const cg_job *job)
{
    const char *text = getenv("CONVGEN_TIME_LIMIT");
    double given = text ? strtod(text, NULL) : 0;
    if (given > 0 && given < 1e6) return given;
    int compiler = external(job) ? 120 : 0; /* as toolchain.c allows it */
    return 60 + 4e-8 * cg_problem_sizes(&job->problem).macs + job->seconds + compiler;
}

/* True when something can be read within the time; false when it ran out. */
static bool readable(int socket, double limit)
{
    double end = cg_now() + limit;
    struct pollfd p = {socket, POLLIN, 0};
    for (;;) {
        double left = end - cg_now();
        int n = left > 0 ? poll(&p, 1, (int)(left < 1e5 ? left * 1e3 + 1 : 1e8)) : 0;
        if (n > 0) return true;
        if (n == 0 && left <= 0) return false;
        if (n < 0 && errno != EINTR) return true; /* recv will tell */
    }
}

static cg_status stopped(void) { return cg_fail(CONVGEN_CANCELLED, "interrupted"); }

static cg_status refused(cg_result *out, int status, double limit, bool late)
{
    char *why = out->verdict.why;
    memset(out, 0, sizeof *out);
    out->status = CONVGEN_NO_CANDIDATE;
    if (late) snprintf(why, CG_WHY, "ran longer than %g s", limit);
    else if (WIFSIGNALED(status)) snprintf(why, CG_WHY, "crashed (signal %d, %s)", WTERMSIG(status), signal_name(WTERMSIG(status)));
    else snprintf(why, CG_WHY, "ended the worker process (exit status %d)", WEXITSTATUS(status));
    return CONVGEN_OK;
}

/* Field by field: what lies between the fields of a struct is nobody's to send. */
static void pack_problem(convgen_problem *to, const convgen_problem *p)
{
    to->op = p->op, to->pass = p->pass, to->type = p->type, to->layout = p->layout, to->accuracy = p->accuracy, to->weights = p->weights;
    to->batch = p->batch, to->groups = p->groups, to->in_channels = p->in_channels, to->out_channels = p->out_channels;
    memcpy(to->in, p->in, sizeof p->in), memcpy(to->out, p->out, sizeof p->out), memcpy(to->kernel, p->kernel, sizeof p->kernel);
    memcpy(to->stride, p->stride, sizeof p->stride), memcpy(to->dilation, p->dilation, sizeof p->dilation);
    memcpy(to->pad, p->pad, sizeof p->pad);
    to->bias = p->bias;
    to->epilogue.residual = p->epilogue.residual, to->epilogue.residual_last = p->epilogue.residual_last;
    to->epilogue.activation = p->epilogue.activation;
    to->epilogue.lo = p->epilogue.lo, to->epilogue.hi = p->epilogue.hi;
    to->src_pixel_stride = p->src_pixel_stride, to->dst_pixel_stride = p->dst_pixel_stride, to->accumulate = p->accumulate;
}

static void pack(cg_message *m, uint64_t number, cg_verb verb, const cg_job *job)
{
    memset(m, 0, sizeof *m);
    m->number = number, m->verb = verb;
    if (!job) return;
    pack_problem(&m->job.problem, &job->problem);
    snprintf(m->job.schedule, sizeof m->job.schedule, "%s", job->schedule);
    snprintf(m->job.target, sizeof m->job.target, "%s", job->target);
    snprintf(m->job.form, sizeof m->job.form, "%s", job->form);
    snprintf(m->job.compiler, sizeof m->job.compiler, "%s", job->compiler);
    m->job.threads = job->threads, m->job.level = job->level, m->job.cold = job->cold, m->job.network = job->network;
    m->job.seconds = job->seconds, m->job.hopeless = job->hopeless;
    m->job.deadline = job->deadline; /* the clock is one for all processes */
}

static bool sent(cg_worker *w, cg_message *m)
{
    if (external(&m->job) && !w->folder.path[0]) (void)cg_temporary_new(&w->folder); /* without one they go where they always go */
    memcpy(m->folder, w->folder.path, sizeof m->folder);
    return send(w->socket, m, sizeof *m, MSG_NOSIGNAL) == (ssize_t)sizeof *m;
}

static cg_status want_worker(cg_worker *w)
{
    if (interrupted) return stopped();
    return w->socket >= 0 ? CONVGEN_OK : start(w);
}

/* One job to the worker and its answer back. */
static cg_status ask(cg_worker *w, cg_verb verb, const cg_job *job, cg_result *out)
{
    cg_message m;
    cg_answer a;
    cg_status status = want_worker(w);
    pack(&m, ++w->number, verb, job);
    if (status != CONVGEN_OK) return status;
    if (!sent(w, &m)) { /* it died while idle, so not of this job */
        reap(w);
        status = want_worker(w);
        if (status != CONVGEN_OK) return status;
        if (!sent(w, &m)) return interrupted ? stopped() : cg_fail(CONVGEN_INTERNAL, "the worker process does not listen");
    }
    double limit = cg_worker_limit(job), left = job->deadline > 0 ? job->deadline - cg_now() : INFINITY;
    bool late = !readable(w->socket, fmin(limit, left));
    ssize_t got = -1;
    while (!late && (got = recv(w->socket, &a, sizeof a, 0)) < 0 && errno == EINTR) {}
    if (interrupted) return reap(w), stopped();
    if (late && left < limit) return reap(w), cg_fail(CONVGEN_CANCELLED, "the time is up");
    if (got != (ssize_t)sizeof a || a.number != m.number) return refused(out, reap(w), limit, late);
    a.result.verdict.why[CG_WHY - 1] = 0;
    *out = a.result;
    return a.status == CONVGEN_OK ? CONVGEN_OK : cg_fail(a.status, "%s", a.result.verdict.why);
}

static cg_status worker_verify(void *self, const cg_job *job, cg_result *out) { return ask(self, VERIFY, job, out); }
static cg_status worker_time(void *self, const cg_job *job, cg_result *out) { return ask(self, TIME, job, out); }

/* No answer is awaited: a worker that cannot be told has nothing to forget. */
static void worker_forget(void *self)
{
    cg_worker *w = self;
    cg_message m;
    pack(&m, ++w->number, FORGET, NULL);
    if (w->socket >= 0 && !sent(w, &m)) reap(w);
}

static cg_status make_guarded(convgen_context *c, cg_judge *out) { return cg_judge_local(c, true, out); }

cg_status cg_worker_start_with(convgen_context *c, cg_judge_maker *make, cg_judge *out)
{
    cg_worker *w = cg_calloc(1, sizeof *w);
    if (!w) return cg_fail(CONVGEN_NO_MEMORY, "no memory for a worker");
    *w = (cg_worker){.context = c, .make = make, .socket = -1, .folder.lock = -1};
    interrupted = 0;
    cg_status status = start(w);
    if (status != CONVGEN_OK) {
        cg_free(w);
        return status;
    }
    *out = (cg_judge){w, worker_verify, worker_time, worker_forget, NULL};
    return CONVGEN_OK;
}

cg_status cg_worker_start(convgen_context *c, cg_judge *out) { return cg_worker_start_with(c, make_guarded, out); }

/* The worker holds nothing that a kill could spoil. */
void cg_worker_stop(cg_judge *judge)
{
    if (!judge->self) return;
    reap(judge->self);
    cg_free(judge->self);
    judge->self = NULL;
}

void cg_worker_interrupt(void)
{
    pid_t pid = (pid_t)running;
    interrupted = 1;
    if (pid) kill(pid, SIGKILL);
}

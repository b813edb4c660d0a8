/* parallel.c: shares a stage's tasks among threads. The only file that sees omp.h.
 *
 * Contiguous shares, so that what a task computes never depends on who runs it. A child forked from a process with threads
 * runs serially: OpenMP's pool is not in the child, and libgomp waits for it for ever. Where threads cannot be made, fewer do the
 * work. Limit: libgomp ends the process if another process, or the host's own threads, take the last ones between our look and its
 * making them, or if the host's own regions have ended those that it kept for ours. */
#define _GNU_SOURCE
#include "machine/machine.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool had_threads, is_orphan, had_region;

/* /proc/self/task has a link per thread beside its own two. Without /proc, our own regions are what we know of. */
static void before_fork(void)
{
    struct stat task;
    had_threads = stat("/proc/self/task", &task) ? __atomic_load_n(&had_region, __ATOMIC_RELAXED) : task.st_nlink > 3;
}

static void in_child(void)
{
    is_orphan |= had_threads;
}

/* At load time: the pool may be the host's own, made before our first region. */
__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, NULL, in_child);
}

/* task * part / parts without overflow. */
static long share(long tasks, long part, long parts)
{
    long each = tasks / parts, rest = tasks % parts;
    return each * part + (part < rest ? part : rest);
}

/* A stage's work, of which each thread does its share. */
typedef struct job {
    long tasks;
    void (*body)(void *task, long first, long last, int thread);
    void *task;
} job;

static void do_share(const job *j, int me, int all)
{
    long first = share(j->tasks, me, all), last = share(j->tasks, me + 1, all);
    if (first < last)
        j->body(j->task, first, last, me);
}

/* ---- a crew: threads of ours, made to see whether so many can be had ---- */

typedef struct member {
    pthread_t thread;
    long id;
    int number; /* from 1 on: 0 is who called */
    struct crew *crew;
} member;

typedef struct crew {
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool go;
    int count, all; /* all: threads that share the job, 0: go home */
    const job *job;
    member at[];
} crew;

static void *serve(void *user)
{
    member *m = user;
    crew *c = m->crew;
    m->id = syscall(SYS_gettid);
    pthread_mutex_lock(&c->lock);
    while (!c->go)
        pthread_cond_wait(&c->told, &c->lock);
    pthread_mutex_unlock(&c->lock);
    if (c->all)
        do_share(c->job, m->number, c->all);
    return NULL;
}

/* As many as can be had at once, `most` at most. NULL: no memory. Its own is more than libgomp takes for a region. */
static crew *recruit(int most)
{
    enum { OF_A_REGION = 4096, OF_A_THREAD = 1024 };
    crew *c = cg_malloc(sizeof *c + OF_A_REGION + (size_t)most * (sizeof(member) + OF_A_THREAD));
    if (!c)
        return NULL;
    *c = (crew){.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};
    for (; c->count < most; c->count++) {
        member *m = &c->at[c->count];
        *m = (member){.number = c->count + 1, .crew = c};
        if (pthread_create(&m->thread, NULL, serve, m))
            break;
    }
    return c;
}

static void tell(crew *c, const job *j, int all)
{
    pthread_mutex_lock(&c->lock);
    c->job = j;
    c->all = all;
    c->go = true;
    pthread_cond_broadcast(&c->told);
    pthread_mutex_unlock(&c->lock);
}

/* The system counts a thread for a moment after it was joined: until nothing has its number. A bound, since another may get it. */
static void disband(crew *c)
{
    for (int i = 0; i < c->count; i++)
        pthread_join(c->at[i].thread, NULL);
    for (int i = 0; i < c->count; i++)
        for (int looks = 0; looks < 10000 && !syscall(SYS_tgkill, getpid(), c->at[i].id, 0); looks++)
            sched_yield();
    cg_free(c);
}

/* ---- a region ---- */

/* Threads of this thread's last region: libgomp keeps them for the next of that size, and makes and ends them for another. */
static _Thread_local int kept;

/* One thread of ours at a time has libgomp make threads, so that none takes those that another has seen to be there. */
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

static void run_region(int threads, const job *j, bool made)
{
    int all = 1;
#pragma omp parallel num_threads(threads)
    {
        int me = omp_get_thread_num();
        if (!me) { /* all have been made */
            all = omp_get_num_threads(); /* may be fewer than asked for */
            if (made)
                pthread_mutex_unlock(&making);
        }
        do_share(j, me, omp_get_num_threads());
    }
    kept = omp_get_level() ? 0 : all; /* a region in a region keeps none */
}

static void run_crew(crew *c, const job *j)
{
    int all = c ? c->count + 1 : 1;
    pthread_mutex_unlock(&making);
    if (c)
        tell(c, j, all);
    do_share(j, 0, all);
    if (c)
        disband(c);
}

/* libgomp ends the process when it cannot make a thread or has no memory: it is asked only for what could be had just before.
 * Else the crew does the work, as many as it is, or the threads that are kept when these are more. */
static void run_with_new(int threads, int has, const job *j)
{
    pthread_mutex_lock(&making);
    crew *c = recruit(threads - 1);
    int all = c ? c->count + 1 : 1;
    if (all < threads && all >= has) {
        run_crew(c, j);
        return;
    }
    if (c) {
        tell(c, j, 0);
        disband(c);
    }
    run_region(all < threads ? has : threads, j, true);
}

static void run_many(int threads, int most, const job *j)
{
    int has = omp_get_level() || kept > most ? 0 : kept;
    if (threads < has)
        threads = has; /* some without a task: cheaper than to end them and to make them again */
    __atomic_store_n(&had_region, true, __ATOMIC_RELAXED);
    if (threads == has)
        run_region(threads, j, false);
    else
        run_with_new(threads, has, j);
}

/* What OpenMP allows here, 1 where it would open no region. */
static int allowed(int threads)
{
    int limit = omp_get_active_level() < omp_get_max_active_levels() ? omp_get_thread_limit() : 1;
    return threads < limit ? threads : limit;
}

void cg_parallel_run(const cg_parallel *par, long tasks, void (*body)(void *task, long first, long last, int thread), void *task)
{
    if (tasks <= 0)
        return;
    job j = {tasks, body, task};
    int most = par ? par->threads : 1, threads = most < tasks ? most : (int)tasks;
    if (threads > 1 && !is_orphan && par->parallel_for)
        par->parallel_for(par->user, tasks, threads, body, task);
    else if (threads > 1 && !is_orphan && (threads = allowed(threads)) > 1)
        run_many(threads, allowed(most), &j);
    else
        body(task, 0, tasks, 0);
}

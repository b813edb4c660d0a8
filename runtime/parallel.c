/* parallel.c: shares a stage's tasks among threads. The only file that sees omp.h.
 *
 * Contiguous shares, so that what a task computes never depends on who runs it. A child forked from a process with threads
 * runs serially: OpenMP's pool is not in the child, and libgomp waits for it for ever. */
#define _GNU_SOURCE
#include "internal.h"

#include <omp.h>
#include <pthread.h>
#include <sys/stat.h>

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

static void run_region(int threads, long tasks, void (*body)(void *task, long first, long last, int thread), void *task)
{
    __atomic_store_n(&had_region, true, __ATOMIC_RELAXED);
#pragma omp parallel num_threads(threads)
    {
        int me = omp_get_thread_num(), all = omp_get_num_threads(); /* all may be fewer than asked for */
        long first = share(tasks, me, all), last = share(tasks, me + 1, all);
        if (first < last)
            body(task, first, last, me);
    }
}

void cg_parallel_run(const cg_parallel *par, long tasks, void (*body)(void *task, long first, long last, int thread), void *task)
{
    if (tasks <= 0)
        return;
    int threads = par ? par->threads : 1;
    if (threads > tasks)
        threads = (int)tasks;
    if (threads <= 1 || is_orphan)
        body(task, 0, tasks, 0);
    else if (par->parallel_for)
        par->parallel_for(par->user, tasks, threads, body, task);
    else
        run_region(threads, tasks, body, task);
}

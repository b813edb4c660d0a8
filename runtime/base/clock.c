/* clock.c: what time it is, and when this thread's work has to end. */
#include "base/base.h"

#include <math.h>
#include <time.h>

double (*cg_clock)(void);

double cg_now(void)
{
    struct timespec t;
    if (cg_clock)
        return cg_clock();
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static _Thread_local double deadline = INFINITY;

double cg_deadline(void)
{
    return deadline;
}

double cg_deadline_set(double at)
{
    double before = deadline;
    deadline = at;
    return before;
}

bool cg_late(void)
{
    return deadline < INFINITY && cg_now() >= deadline;
}

cg_status cg_in_time(void)
{
    return cg_late() ? cg_fail(CONVGEN_CANCELLED, "the time is up") : CONVGEN_OK;
}

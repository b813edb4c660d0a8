/* fake_clock.h: a clock that a test sets, in place of cg_now, so that what is measured is known beforehand and no machine is too busy.
 *
 * A program that includes this is linked with --wrap=cg_now (CMakeLists.txt, CLOCKED). Every look at the clock takes `clock_step`
 * seconds; kernels of the test's own add to `clock_at` what they take. */
#ifndef FAKE_CLOCK_H
#define FAKE_CLOCK_H

#include "internal.h"

double __real_cg_now(void);
double __wrap_cg_now(void);

static bool clock_is_fake;
static double clock_at, clock_step;

double __wrap_cg_now(void) { return clock_is_fake ? clock_at += clock_step : __real_cg_now(); }

static inline void clock_begin(double step)
{
    clock_is_fake = true;
    clock_at = 1000; /* a machine that has been up for a while */
    clock_step = step;
}

#endif

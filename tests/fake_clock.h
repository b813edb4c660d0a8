/* fake_clock.h: a clock that a test sets, in place of cg_now, so that what is measured is known beforehand and no machine is too busy.
 *
 * Every look at the clock takes `clock_step` seconds; kernels of the test's own add to `clock_at` what they take. */
#ifndef FAKE_CLOCK_H
#define FAKE_CLOCK_H

#include "plan.h"

static double clock_at, clock_step;

static double fake_clock(void) { return clock_at += clock_step; }

static inline void clock_begin(double step)
{
    clock_at = 1000; /* a machine that has been up for a while */
    clock_step = step;
    cg_clock = fake_clock;
}

static inline void clock_end(void) { cg_clock = NULL; }

#endif

/* measure.h: trusted -> timed; how fast the machine is. */
#ifndef CONVGEN_MEASURE_H
#define CONVGEN_MEASURE_H

#include "check/check.h"

#if defined(__GNUC__) && !defined(__clang__)
#define OPTIMISED optimize("O2"), /* a debug build measures the processor too */
#else
#define OPTIMISED
#endif

/* ---- peak.c: multiply-adds --------------------------------------------------------------------------------------- */

/* Measured on this thread, GFLOP/s of fma with `bits` wide vectors (512, 256, 128; 0 when the machine lacks them). About 30 ms. */
double cg_measure_peak(const cg_machine *m, int bits, convgen_type type);

/* ---- rates.c: moving a line -------------------------------------------------------------------------------------- */

/* Measures rates and bandwidth on this thread, for 0.1 to 0.3 s and with up to 280 MB; 0: it cannot be told here. Unchecked. */
void cg_rates_measure(cg_machine *m);

/* ---- timer.c: trusted -> timed ----------------------------------------------------------------------------------- */

typedef struct cg_timing {
    double ns_min, ns_median;
    int runs;
} cg_timing;
/* Seconds to time a kernel for, one run of which takes `run`: at least `seconds`, and several runs, since one alone may meet what
 * else the machine does; of slow ones few are enough. */
#define CG_SLOW 20e-3
double cg_time_enough(double run, double seconds);
typedef struct cg_stint {
    double seconds;  /* about so long; at least one run */
    double hopeless; /* after two runs longer than this many seconds there is no other; 0: never */
    bool cold;       /* caches swept before each run */
    bool network;    /* as a network meets it: before each run, inputs are written and weights evicted */
} cg_stint;
/* Times the kernel on its own aligned data; repeats of one sample grow until it is measurable. The trial keeps the data. */
cg_status cg_time(cg_trial *t, const cg_kernel *k, const cg_parallel *par, const cg_stint *stint, cg_timing *out);

#endif

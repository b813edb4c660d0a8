/* timer.c: trusted -> timed.
 *
 * A sample is as many runs as take about 20 us, so that the clock can be trusted; the minimum and median of up to 1,000 samples
 * are per run. Minimum, not mean: noise only ever adds time. The first run only warms code and data, unless it alone
 * uses up the time. With fixed weights, packing is done before and not timed; where they fill more than the second cache the third
 * one holds them only after some runs, so there are a few samples at least.
 *
 * Limit: a run cannot be stopped; the caller's time is exceeded by at most one sample. */
#include "measure/measure.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES = 1000, MAX_REPEATS = 1 << 20, FAR_SAMPLES = 12, FAR_BYTES = 4 << 20 };
static const double measurable = 20e-6, far_longer = 6; /* times the seconds, at most */
static const double several = 4; /* runs at least, the first of which does not count */

typedef struct setup {
    const cg_kernel *kernel;
    const cg_parallel *par;
    cg_operands data;
    cg_room room;
    void *packed; /* NULL: packing is in the run */
    char *sweep; /* cold: memory that displaces the caches */
    size_t sweep_size;
    bool network;
    const convgen_problem *problem;
} setup;

double cg_time_enough(double run, double seconds) { return run > CG_SLOW ? seconds : fmax(seconds, several * run); }

static size_t sweep_bytes(void)
{
    size_t smallest = (size_t)64 << 20, largest = (size_t)128 << 20, twice = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (l3 > 0) twice = 2 * (size_t)l3;
#endif
    return twice < smallest ? smallest : twice > largest ? largest : twice;
}

/* Each thread reads and writes it all: their private caches hold the data as well. */
static void sweep_task(void *task, long first, long last, int thread)
{
    const setup *s = task;
    (void)thread;
    for (; first < last; first++)
        for (char *at = s->sweep; at < s->sweep + s->sweep_size; at += 64)
            __atomic_store_n(at, (char)(__atomic_load_n(at, __ATOMIC_RELAXED) + 1), __ATOMIC_RELAXED);
}

/* Weights leave all caches. Where no instruction does that, as after a sweep: before what follows writes the inputs. */
static void evict(setup *s, const void *data, size_t size)
{
#if defined(__x86_64__)
    (void)s;
    for (const char *at = data, *end = at + size; at < end; at += 64) __builtin_ia32_clflush(at);
    __builtin_ia32_mfence();
#else
    (void)data, (void)size;
    cg_parallel_run(s->par, s->par->threads, sweep_task, s);
#endif
}

/* As the layer before left it. */
static void rewrite(char *data, size_t size)
{
    for (volatile char *at = data, *end = at + size; at < end; at += 64) *at = *at;
}

static void meet_as_network(setup *s)
{
    size_t bytes[CG_TENSORS];
    cg_role role[CG_TENSORS];
    cg_tensor_bytes(s->problem, bytes);
    cg_roles(s->problem, role);
    if (s->packed) evict(s, s->packed, s->kernel->source.packed);
    else if (role[CG_WEIGHTS] == CG_INPUT) evict(s, s->data.weights, bytes[CG_WEIGHTS]);
    for (int i = 0; i < CG_TENSORS; i++)
        if (role[i] == CG_INPUT && i != CG_WEIGHTS) rewrite(s->data.at[i], bytes[i]);
}

static double sample(setup *s, long repeats)
{
    if (s->sweep && !s->network) cg_parallel_run(s->par, s->par->threads, sweep_task, s);
    if (s->network) meet_as_network(s);
    double start = cg_now();
    for (long i = 0; i < repeats; i++) cg_kernel_run(s->kernel, s->par, &s->data, s->packed, s->room.workspace);
    return (cg_now() - start) / (double)repeats;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(double *seconds, int count, cg_timing *out)
{
    qsort(seconds, (size_t)count, sizeof *seconds, ascending);
    out->ns_min = seconds[0] * 1e9;
    out->ns_median = (seconds[(count - 1) / 2] + seconds[count / 2]) / 2 * 1e9;
}

/* Two runs, since one alone may meet what else the machine does. */
static bool is_hopeless(setup *s, double limit, double *samples, cg_timing *out)
{
    if (limit <= 0 || samples[0] <= limit) return false;
    samples[out->runs++] = sample(s, 1);
    return samples[1] > limit;
}

static void collect(setup *s, const cg_stint *stint, double *samples, cg_timing *out)
{
    double start = cg_now(), first = samples[0] = sample(s, 1), last = first, seconds = stint->seconds;
    long repeats = 1;
    int count = 0;
    out->runs = 1;
    if (is_hopeless(s, stint->hopeless, samples, out)) {
        summarise(samples, out->runs, out);
        return;
    }
    /* Cold runs cannot be repeated within a sample; the clock's step is small beside a cold miss. */
    bool single = s->sweep || s->network;
    while (!single && last * (double)repeats < measurable && repeats < MAX_REPEATS && cg_now() - start < seconds) {
        repeats *= 2;
        last = sample(s, repeats);
        out->runs += (int)repeats;
    }
    bool far = s->packed && s->kernel->source.packed > FAR_BYTES && !single;
    while (count < SAMPLES && !cg_late() && cg_now() - start < (far && count < FAR_SAMPLES ? far_longer : 1) * seconds) {
        samples[count++] = sample(s, repeats);
        out->runs += (int)repeats;
    }
    if (count == 0) samples[count++] = last < first ? last : first;
    summarise(samples, count, out);
}

static bool sweeps(const cg_stint *stint)
{
#if defined(__x86_64__)
    return stint->cold;
#else
    return stint->cold || stint->network;
#endif
}

static cg_status set_up(setup *s, cg_trial *t, const cg_stint *stint)
{
    const cg_source *source = &s->kernel->source;
    bool fixed = cg_trial_problem(t)->weights == CONVGEN_WEIGHTS_FIXED && source->packed > 0;
    cg_status status = cg_trial_data(t, &s->data);
    if (!status) status = cg_trial_room(t, s->kernel, s->par, &s->room);
    if (status) return status;
    s->packed = fixed ? s->room.packed : NULL;
    s->sweep_size = sweep_bytes();
    s->network = stint->network;
    s->problem = cg_trial_problem(t);
    if (sweeps(stint) && !(s->sweep = cg_calloc(1, s->sweep_size)))
        return cg_fail(CONVGEN_NO_MEMORY, "no memory of %zu bytes to displace the caches", s->sweep_size);
    if (fixed) cg_kernel_pack(s->kernel, s->par, s->data.weights, s->packed, s->room.workspace);
    return CONVGEN_OK;
}

cg_status cg_time(cg_trial *t, const cg_kernel *k, const cg_parallel *par, const cg_stint *stint, cg_timing *out)
{
    setup s = {.kernel = k, .par = par};
    double *samples = cg_malloc(SAMPLES * sizeof *samples);
    memset(out, 0, sizeof *out);
    cg_status status = samples ? set_up(&s, t, stint) : cg_fail(CONVGEN_NO_MEMORY, "no memory for %d samples", SAMPLES);
    if (!status) collect(&s, stint, samples, out);
    cg_free(samples);
    cg_free(s.sweep);
    return status;
}

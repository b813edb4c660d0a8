/* peak.c: how fast the processor's multiply-adds are. */
#include "measure/measure.h"

#if defined(__x86_64__) || defined(__i386__)
#define CG_X86 1
#include <immintrin.h>
#endif

enum { CHAINS = 12, ROUNDS = 20000 }; /* chains: more than latency times units of any core, fewer than 16 registers */
static const double PEAK_SECONDS = 0.03;
static volatile double sink; /* keeps the sums alive */

typedef void peak_fn(long rounds);

/* Twelve chains a = a*x + y, written out so that they stay in registers. They begin differently, else a compiler sees that they
 * are one; they converge to y/(1-x), far from denormals. */
#define PEAK(name, attribute, vector, element, set, fma)                                                               \
    __attribute__((OPTIMISED attribute)) static void name(long rounds)                                                 \
    {                                                                                                                  \
        vector x = set((element)0.9375), y = set((element)0.75);                                                       \
        vector a0 = y, a1 = a0 + y, a2 = a1 + y, a3 = a2 + y, a4 = a3 + y, a5 = a4 + y, a6 = a5 + y, a7 = a6 + y,      \
               a8 = a7 + y, a9 = a8 + y, a10 = a9 + y, a11 = a10 + y;                                                  \
        for (long i = 0; i < rounds; i++) {                                                                            \
            a0 = fma(a0, x, y), a1 = fma(a1, x, y), a2 = fma(a2, x, y), a3 = fma(a3, x, y);                            \
            a4 = fma(a4, x, y), a5 = fma(a5, x, y), a6 = fma(a6, x, y), a7 = fma(a7, x, y);                            \
            a8 = fma(a8, x, y), a9 = fma(a9, x, y), a10 = fma(a10, x, y), a11 = fma(a11, x, y);                        \
        }                                                                                                              \
        a0 = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11;                                              \
        sink = (double)a0[0];                                                                                          \
    }

#if CG_X86
PEAK(peak_512_f32, target("avx512f"), __m512, float, _mm512_set1_ps, _mm512_fmadd_ps)
PEAK(peak_512_f64, target("avx512f"), __m512d, double, _mm512_set1_pd, _mm512_fmadd_pd)
PEAK(peak_256_f32, target("avx2,fma"), __m256, float, _mm256_set1_ps, _mm256_fmadd_ps)
PEAK(peak_256_f64, target("avx2,fma"), __m256d, double, _mm256_set1_pd, _mm256_fmadd_pd)
PEAK(peak_128_f32, target("fma"), __m128, float, _mm_set1_ps, _mm_fmadd_ps)
PEAK(peak_128_f64, target("fma"), __m128d, double, _mm_set1_pd, _mm_fmadd_pd)
#endif

/* Without fma a multiplication and an addition; where the instruction set has fma, the compiler may fuse them. */
typedef float f32x4 __attribute__((vector_size(16)));
typedef double f64x2 __attribute__((vector_size(16)));
#define SET4(v) ((f32x4){v, v, v, v})
#define SET2(v) ((f64x2){v, v})
#define MULTIPLY_ADD(a, x, y) ((a) * (x) + (y))
PEAK(peak_plain_f32, unused, f32x4, float, SET4, MULTIPLY_ADD)
PEAK(peak_plain_f64, unused, f64x2, double, SET2, MULTIPLY_ADD)

static const struct {
    int bits;
    const char *needs, *also;
    peak_fn *run[CG_TYPES];
} peak_rows[] = {
#if CG_X86
    {512, "avx512f", "avx512f", {peak_512_f32, peak_512_f64}},
    {256, "avx2", "fma", {peak_256_f32, peak_256_f64}},
    {128, "fma", "fma", {peak_128_f32, peak_128_f64}},
#endif
    {128, NULL, NULL, {peak_plain_f32, peak_plain_f64}},
};

/* The best of short runs: noise, and the time the core takes to raise its clock, only ever slow it down. */
static double measure(peak_fn *run, int lanes)
{
    double best = 0, end = cg_now() + PEAK_SECONDS;
    for (double now = cg_now(); now < end;) {
        double start = now;
        run(ROUNDS);
        now = cg_now();
        double rate = now > start ? 2.0 * lanes * CHAINS * ROUNDS / (now - start) / 1e9 : 0;
        if (rate > best) best = rate;
    }
    return best;
}

double cg_measure_peak(const cg_machine *m, int bits, convgen_type stored)
{
    convgen_type type = cg_computed(stored);
    for (size_t i = 0; i < sizeof peak_rows / sizeof peak_rows[0]; i++) {
        if (peak_rows[i].bits != bits || !peak_rows[i].run[type]) continue;
        if (peak_rows[i].needs && !(cg_machine_has(m, peak_rows[i].needs) && cg_machine_has(m, peak_rows[i].also)))
            continue;
        return measure(peak_rows[i].run[type], bits / (8 * (int)cg_types[type].bytes));
    }
    return 0;
}

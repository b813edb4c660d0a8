/* peak.c: the rate of fused multiply-adds on registers, the limit that shares are taken of.
 *
 * Twelve independent chains (latency 4, two units on the processors at hand: eight suffice). A run takes 30 us or more, so that
 * starting it does not count. Every thread runs the same.
 * Limit: x86 with FMA; elsewhere there is no peak and no share. */
#include "contest.h"
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>

enum { CHAINS = 12, TRIPS = 20000 };

/* The chains converge to a fixed point, away from denormals and overflow. */
#define PEAK(NAME, FEATURES, VECTOR, SET, FMA)                                      \
    __attribute__((target(FEATURES), noinline)) static void NAME(void)              \
    {                                                                               \
        VECTOR c[CHAINS], a = SET(0.999f), b = SET(0.001f);                         \
        __asm__ volatile("" : "+v"(a), "+v"(b));                                    \
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) c[i] = SET(i);    \
        for (int trip = 0; trip < TRIPS; trip++)                                    \
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) c[i] = FMA(c[i], a, b); \
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : : "v"(c[i])); \
    }
PEAK(avx512_f32, "avx512f,fma", __m512, _mm512_set1_ps, _mm512_fmadd_ps)
PEAK(avx512_f64, "avx512f,fma", __m512d, _mm512_set1_pd, _mm512_fmadd_pd)
PEAK(avx2_f32, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps)
PEAK(avx2_f64, "avx2,fma", __m256d, _mm256_set1_pd, _mm256_fmadd_pd)

static const struct {
    const char *target;
    int lanes[2]; /* f32, f64 */
    void (*run[2])(void);
} peaks[] = {{"avx512", {16, 8}, {avx512_f32, avx512_f64}}, {"avx2", {8, 4}, {avx2_f32, avx2_f64}}};

bool fma_peak_run(convgen_type type)
{
    for (size_t i = 0; i < sizeof peaks / sizeof peaks[0]; i++) {
        if (strcmp(peaks[i].target, set.target) != 0) continue;
#pragma omp parallel num_threads(set.threads) if (set.threads > 1)
        peaks[i].run[type]();
        return true;
    }
    return false;
}

double fma_peak_flops(convgen_type type)
{
    for (size_t i = 0; i < sizeof peaks / sizeof peaks[0]; i++)
        if (strcmp(peaks[i].target, set.target) == 0) return 2.0 * CHAINS * TRIPS * peaks[i].lanes[type] * set.threads;
    return 0;
}
#else
bool fma_peak_run(convgen_type type) { return (void)type, false; }
double fma_peak_flops(convgen_type type) { return (void)type, 0; }
#endif

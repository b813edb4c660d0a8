#ifndef EXAMPLE_VEC_F32_PORTABLE
#define EXAMPLE_VEC_F32_PORTABLE
/* Vectors of 4 x float, as statements with the destination first. Three bodies with the same bits: 1 x86 intrinsics,
 * 2 GNU vectors, 3 plain lanes (any compiler). max is x > y ? x : y, min is x < y ? x : y. Memory outside
 * a range is not touched; lanes outside it become 0 (load) or stay (fma, fnma). */
#if 4 == 1
#undef CG_BODY
#define CG_BODY 3
#elif !defined(CG_BODY)
#if defined(__GNUC__) && !defined(__TINYC__) && defined(__FMA__)
#define CG_BODY 1
#elif defined(__GNUC__) && !defined(__TINYC__)
#define CG_BODY 2
#else
#define CG_BODY 3
#endif
#endif

#if defined(__GNUC__) && !defined(__TINYC__)
#define cg_fma __builtin_fmaf
#define vprefetch(p, level) __builtin_prefetch(p, 0, 4 - (level))
#else
float fmaf(float x, float y, float z);
#define cg_fma fmaf
#define vprefetch(p, level)
#endif
#define cg_each(OP, a, b, c) OP(0, a, b, c) OP(1, a, b, c) OP(2, a, b, c) OP(3, a, b, c)
#define cg_list(OP, a, b, c) OP(0, a, b, c), OP(1, a, b, c), OP(2, a, b, c), OP(3, a, b, c)

#if CG_BODY == 1

#include <immintrin.h>
typedef __m128 vec;
typedef int cg_ints __attribute__((vector_size(16)));
typedef int cg_words __attribute__((vector_size(16)));
#define cg_at(x, lane) (x)[lane]
#define vmem(p) _mm_loadu_ps(p)
#define vmove(d, x) (d) = (x)
#define vzero(d) (d) = _mm_setzero_ps()
#define vset(d, number) (d) = _mm_set1_ps((float)(number))
#define vload(d, p) (d) = _mm_loadu_ps(p)
#define vstore(p, x) _mm_storeu_ps(p, x)
#define vbroadcast(d, p) (d) = _mm_set1_ps(*(p))
#define vfma(d, x, y) (d) = _mm_fmadd_ps(x, y, d)
#define vfnma(d, x, y) (d) = _mm_fnmadd_ps(x, y, d)
#define vfma_all(d, x, p) (d) = _mm_fmadd_ps(x, _mm_set1_ps(*(p)), d)
#define vadd(d, x, y) (d) = _mm_add_ps(x, y)
#define vsub(d, x, y) (d) = _mm_sub_ps(x, y)
#define vmul(d, x, y) (d) = _mm_mul_ps(x, y)
#define vmax(d, x, y) (d) = _mm_max_ps(x, y)
#define vmin(d, x, y) (d) = _mm_min_ps(x, y)
#define vfence() _mm_sfence()
#define vstream(p, x) { if ((__UINTPTR_TYPE__)(p) % 16 == 0) _mm_stream_ps(p, x); else _mm_storeu_ps(p, x); }
#if 128 == 512
#define cg_mask(first, count) (((1u << (count)) - 1u) << (first))
#define vload_range(d, p, first, count) (d) = _mm_maskz_loadu_ps(cg_mask(first, count), p)
#define vstore_range(p, x, first, count) _mm_mask_storeu_ps(p, cg_mask(first, count), x)
#define vfma_range(d, x, y, first, count) (d) = _mm_mask3_fmadd_ps(x, y, d, cg_mask(first, count))
#define vfnma_range(d, x, y, first, count) (d) = _mm_mask3_fnmadd_ps(x, y, d, cg_mask(first, count))
#define vspread(d, p, times, phase, elements) (d) = (vec)_mm512_permutexvar_ps((__m512i)(cg_words){ (0 + (phase)) / (times) * 1 + 0, (1 + (phase)) / (times) * 1 + 0, (2 + (phase)) / (times) * 1 + 0, (3 + (phase)) / (times) * 1 + 0 }, \
    (__m512)_mm_maskz_loadu_ps(cg_mask(0, elements), p))
#define vinsert(d, part, p) (d) = _mm_insertf32x4(d, _mm_loadu_ps(p), part)
#define vextract(p, x, part) _mm_storeu_ps(p, _mm_extractf32x4_ps(x, part))
#else
#define cg_in(lane, first, count) ((lane) >= (first) && (lane) < (first) + (count))
#define cg_mask(first, count) (__m128i)(cg_ints){ -cg_in(0, first, count), -cg_in(1, first, count), -cg_in(2, first, count), -cg_in(3, first, count) }
#define vload_range(d, p, first, count) (d) = _mm_maskload_ps(p, cg_mask(first, count))
#define vstore_range(p, x, first, count) _mm_maskstore_ps(p, cg_mask(first, count), x)
#define vfma_range(d, x, y, first, count) (d) = _mm_blendv_ps(d, _mm_fmadd_ps(x, y, d), (vec)cg_mask(first, count))
#define vfnma_range(d, x, y, first, count) (d) = _mm_blendv_ps(d, _mm_fnmadd_ps(x, y, d), (vec)cg_mask(first, count))
#if 128 == 256
#define vspread(d, p, times, phase, elements) (d) = (vec)_mm256_permutevar8x32_ps( \
    (__m256)_mm_maskload_ps(p, cg_mask(0, elements)), (__m256i)(cg_words){ (0 + (phase)) / (times) * 1 + 0, (1 + (phase)) / (times) * 1 + 0, (2 + (phase)) / (times) * 1 + 0, (3 + (phase)) / (times) * 1 + 0 })
#define vinsert(d, part, p) (d) = _mm256_insertf128_ps(d, _mm_loadu_ps(p), part)
#define vextract(p, x, part) _mm_storeu_ps(p, _mm256_extractf128_ps(x, part))
#else
#define vinsert(d, part, p) (d) = _mm_loadu_ps(p)
#define vextract(p, x, part) _mm_storeu_ps(p, x)
#endif
#endif
#if 4 == 4
#define vtranspose(a, b, c, d) { \
    const vec cg_ab = _mm_unpacklo_ps(a, b), cg_AB = _mm_unpackhi_ps(a, b); \
    const vec cg_cd = _mm_unpacklo_ps(c, d), cg_CD = _mm_unpackhi_ps(c, d); \
    (a) = _mm_shuffle_ps(cg_ab, cg_cd, 0x44), (b) = _mm_shuffle_ps(cg_ab, cg_cd, 0xee); \
    (c) = _mm_shuffle_ps(cg_AB, cg_CD, 0x44), (d) = _mm_shuffle_ps(cg_AB, cg_CD, 0xee); }
#else
#define vtranspose(a, b) { const vec cg_ab = _mm_unpacklo_ps(a, b); (b) = _mm_unpackhi_ps(a, b), (a) = cg_ab; }
#endif

#else

#define cg_range(lane, first, count) for (int lane = (first); lane < (first) + (count); lane++)
#if 4 == 1
#define cg_at(x, lane) (x)
#else
#define cg_at(x, lane) (x)[lane]
#endif

#if CG_BODY == 2

typedef float vec __attribute__((vector_size(16)));
typedef float cg_unaligned __attribute__((vector_size(16), aligned(4), may_alias));
#define cg_same(lane, x, b, c) (x)
#define cg_fma_lane(lane, x, y, d) cg_fma((x)[lane], (y)[lane], (d)[lane])
#define cg_fnma_lane(lane, x, y, d) cg_fma(-(x)[lane], (y)[lane], (d)[lane])
#define cg_fma_all_lane(lane, x, element, d) cg_fma((x)[lane], element, (d)[lane])
#define cg_max_lane(lane, x, y, c) ((x)[lane] > (y)[lane] ? (x)[lane] : (y)[lane])
#define cg_min_lane(lane, x, y, c) ((x)[lane] < (y)[lane] ? (x)[lane] : (y)[lane])
#define cg_insert_lane(lane, d, part, p) ((lane) / 4 == (part) ? (p)[(lane) % 4] : (d)[lane])
#define vmem(p) (*(const cg_unaligned *)(p))
#define vmove(d, x) (d) = (x)
#define vzero(d) (d) = (vec){ 0 }
#define vset(d, number) (d) = (vec){ cg_list(cg_same, (float)(number), 0, 0) }
#define vload(d, p) (d) = vmem(p)
#define vstore(p, x) *(cg_unaligned *)(p) = (x)
#define vbroadcast(d, p) { const float cg_all = *(p); (d) = (vec){ cg_list(cg_same, cg_all, 0, 0) }; }
#define vfma(d, x, y) (d) = (vec){ cg_list(cg_fma_lane, x, y, d) }
#define vfnma(d, x, y) (d) = (vec){ cg_list(cg_fnma_lane, x, y, d) }
#define vfma_all(d, x, p) { const float cg_all = *(p); (d) = (vec){ cg_list(cg_fma_all_lane, x, cg_all, d) }; }
#define vadd(d, x, y) (d) = (x) + (y)
#define vsub(d, x, y) (d) = (x) - (y)
#define vmul(d, x, y) (d) = (x) * (y)
#define vmax(d, x, y) (d) = (vec){ cg_list(cg_max_lane, x, y, 0) }
#define vmin(d, x, y) (d) = (vec){ cg_list(cg_min_lane, x, y, 0) }
#define vinsert(d, part, p) (d) = (vec){ cg_list(cg_insert_lane, d, part, p) }

#else

/* Written out lane by lane: libtcc compiles a loop over lanes into code of half the speed. */
#if 4 == 1
typedef float vec;
#define vmem(p) (*(p))
#else
typedef float vec[4];
#define vmem(p) (p)
#endif
#define cg_set_lane(lane, d, number, c) cg_at(d, lane) = (number);
#define cg_move_lane(lane, d, x, c) cg_at(d, lane) = cg_at(x, lane);
#define cg_load_lane(lane, d, p, c) cg_at(d, lane) = (p)[lane];
#define cg_store_lane(lane, p, x, c) (p)[lane] = cg_at(x, lane);
#define cg_fma_lane(lane, d, x, y) cg_at(d, lane) = cg_fma(cg_at(x, lane), cg_at(y, lane), cg_at(d, lane));
#define cg_fnma_lane(lane, d, x, y) cg_at(d, lane) = cg_fma(-cg_at(x, lane), cg_at(y, lane), cg_at(d, lane));
#define cg_fma_all_lane(lane, d, x, element) cg_at(d, lane) = cg_fma(cg_at(x, lane), element, cg_at(d, lane));
#define cg_add_lane(lane, d, x, y) cg_at(d, lane) = cg_at(x, lane) + cg_at(y, lane);
#define cg_sub_lane(lane, d, x, y) cg_at(d, lane) = cg_at(x, lane) - cg_at(y, lane);
#define cg_mul_lane(lane, d, x, y) cg_at(d, lane) = cg_at(x, lane) * cg_at(y, lane);
#define cg_max_lane(lane, d, x, y) cg_at(d, lane) = cg_at(x, lane) > cg_at(y, lane) ? cg_at(x, lane) : cg_at(y, lane);
#define cg_min_lane(lane, d, x, y) cg_at(d, lane) = cg_at(x, lane) < cg_at(y, lane) ? cg_at(x, lane) : cg_at(y, lane);
#define vmove(d, x) { cg_each(cg_move_lane, d, x, 0) }
#define vzero(d) { cg_each(cg_set_lane, d, 0, 0) }
#define vset(d, number) { const float cg_all = (float)(number); cg_each(cg_set_lane, d, cg_all, 0) }
#define vload(d, p) { cg_each(cg_load_lane, d, p, 0) }
#define vstore(p, x) { cg_each(cg_store_lane, p, x, 0) }
#define vbroadcast(d, p) { const float cg_all = *(p); cg_each(cg_set_lane, d, cg_all, 0) }
#define vfma(d, x, y) { cg_each(cg_fma_lane, d, x, y) }
#define vfnma(d, x, y) { cg_each(cg_fnma_lane, d, x, y) }
#define vfma_all(d, x, p) { const float cg_all = *(p); cg_each(cg_fma_all_lane, d, x, cg_all) }
#define vadd(d, x, y) { cg_each(cg_add_lane, d, x, y) }
#define vsub(d, x, y) { cg_each(cg_sub_lane, d, x, y) }
#define vmul(d, x, y) { cg_each(cg_mul_lane, d, x, y) }
#define vmax(d, x, y) { cg_each(cg_max_lane, d, x, y) }
#define vmin(d, x, y) { cg_each(cg_min_lane, d, x, y) }
#define vinsert(d, part, p) { cg_range(cg_lane, 0, 4) cg_at(d, (part) * 4 + cg_lane) = (p)[cg_lane]; }

#endif

/* Bodies 2 and 3. */
#define vfence()
#define vstream(p, x) vstore(p, x)
#define vload_range(d, p, first, count) { vzero(d); cg_range(cg_lane, first, count) cg_at(d, cg_lane) = (p)[cg_lane]; }
#define vstore_range(p, x, first, count) { cg_range(cg_lane, first, count) (p)[cg_lane] = cg_at(x, cg_lane); }
#define vfma_range(d, x, y, first, count) { cg_range(cg_lane, first, count) \
    cg_at(d, cg_lane) = cg_fma(cg_at(x, cg_lane), cg_at(y, cg_lane), cg_at(d, cg_lane)); }
#define vfnma_range(d, x, y, first, count) { cg_range(cg_lane, first, count) \
    cg_at(d, cg_lane) = cg_fma(-cg_at(x, cg_lane), cg_at(y, cg_lane), cg_at(d, cg_lane)); }
#define vextract(p, x, part) { cg_range(cg_lane, 0, 4) (p)[cg_lane] = cg_at(x, (part) * 4 + cg_lane); }
#define cg_swap(x, y) { const float cg_kept = x; x = y; y = cg_kept; }
#if 4 == 4
#define vtranspose(a, b, c, d) { \
    for (int cg_lane = 0; cg_lane < 4; cg_lane += 4) { \
        cg_swap((a)[cg_lane + 1], (b)[cg_lane]) \
        cg_swap((a)[cg_lane + 2], (c)[cg_lane]) \
        cg_swap((a)[cg_lane + 3], (d)[cg_lane]) \
        cg_swap((b)[cg_lane + 2], (c)[cg_lane + 1]) \
        cg_swap((b)[cg_lane + 3], (d)[cg_lane + 1]) \
        cg_swap((c)[cg_lane + 3], (d)[cg_lane + 2]) \
    } }
#else
#define vtranspose(a, b) { for (int cg_lane = 0; cg_lane < 4; cg_lane += 2) cg_swap((a)[cg_lane + 1], (b)[cg_lane]) }
#endif

#endif

#ifndef vspread
#define vspread(d, p, times, phase, elements) { vzero(d); \
    for (int cg_lane = 0; cg_lane < 4; cg_lane++) \
        if ((cg_lane + (phase)) / (times) < (elements)) cg_at(d, cg_lane) = (p)[(cg_lane + (phase)) / (times)]; }
#endif
/* Before a loop over vectors that stand in an array: unrolled, they are registers. */
#if defined(__clang__)
#define unrolled _Pragma("unroll")
#elif defined(__GNUC__) && !defined(__TINYC__)
#define unrolled _Pragma("GCC unroll 64")
#else
#define unrolled
#endif
#endif

/* rates.c: what it costs one core to move a line of 64 bytes, in cycles.
 *
 * Cycles are those of the clock that the core has meanwhile, so a figure holds at any clock. The least of several tries counts: noise
 * only ever adds time. What cannot be measured (caches that nobody knows, or too alike), and what comes out beyond all sense, is 0:
 * then the target's row in gen/targets.lua is assumed. The work is a count of bytes: 0.1 to 0.3 s. Whoever asks for an estimate
 * takes what the store has (remember/rates_kept.c). */
#define _GNU_SOURCE /* madvise */
#include "measure/measure.h"
#include <math.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__) || defined(__i386__)
#define CG_X86 1
#include <immintrin.h>
#endif

enum { LINE = 64, PAGE = 4096, TRIES = 8, PIECES = 8, NEAR_REPEATS = 8 };
enum { WALKED = 512, STEP = PAGE + LINE }; /* pages of a walk: more than a core has at hand, fewer than it has to look for in tables */

/* ---- the passes over memory ---------------------------------------------------------------------------------------- */

typedef uint64_t u64x4 __attribute__((vector_size(32)));
typedef void pass_fn(void *data, size_t bytes);
static volatile double sink; /* keeps what is read alive */

/* Four sums, so that additions do not wait for each other. */
#define READ(name, attribute)                                                                                          \
    __attribute__((OPTIMISED attribute)) static void name(void *from, size_t bytes)                                    \
    {                                                                                                                  \
        const u64x4 *data = from;                                                                                      \
        u64x4 a = {0}, b = a, c = a, d = a;                                                                            \
        for (size_t i = 0, count = bytes / sizeof *data; i + 4 <= count; i += 4)                                       \
            a += data[i], b += data[i + 1], c += data[i + 2], d += data[i + 3];                                        \
        a += b + c + d;                                                                                                \
        sink = (double)(a[0] ^ a[1] ^ a[2] ^ a[3]);                                                                    \
    }

/* The words differ, else a compiler may call memset, which may stream. */
#define WRITE(name, attribute, put)                                                                                    \
    __attribute__((OPTIMISED attribute)) static void name(void *to, size_t bytes)                                      \
    {                                                                                                                  \
        u64x4 *data = to, value = {1, bytes, 3, 4};                                                                    \
        for (size_t i = 0, count = bytes / sizeof *data; i < count; i++) put(&data[i], value);                         \
    }

/* How often the pages are walked over: each time another line of them. */
static size_t rounds_of(size_t bytes)
{
    size_t rounds = bytes / LINE / WALKED;
    return rounds < PAGE / LINE ? rounds : PAGE / LINE;
}

/* A line on each page, then another line on each: as channels-first data are walked along the channels. */
#define WALK(name, attribute)                                                                                          \
    __attribute__((OPTIMISED attribute)) static void name(void *from, size_t bytes)                                    \
    {                                                                                                                  \
        u64x4 sum = {0};                                                                                               \
        size_t rounds = rounds_of(bytes);                                                                              \
        for (size_t i = 0; i < rounds; i++) {                                                                          \
            const char *at = (const char *)from + i * (PAGE / rounds / LINE * LINE);                                   \
            for (int page = 0; page < WALKED; page++, at += STEP) sum += *(const u64x4 *)at;                           \
        }                                                                                                              \
        sink = (double)(sum[0] ^ sum[1] ^ sum[2] ^ sum[3]);                                                            \
    }

#define PUT(to, value) (*(to) = (value))
READ(read_plain, unused)
WRITE(write_plain, unused, PUT)
WALK(walk_plain, unused)

#if CG_X86
#define STREAM(to, value) _mm256_stream_si256((__m256i *)(to), (__m256i)(value))
READ(read_avx, target("avx2"))
WRITE(write_avx, target("avx2"), PUT)
WALK(walk_avx, target("avx2"))
WRITE(stream_lines, target("avx2"), STREAM)

static void stream_avx(void *to, size_t bytes)
{
    stream_lines(to, bytes);
    _mm_sfence();
}
#endif

/* ---- the clock ----------------------------------------------------------------------------------------------------- */

enum { ADDS = 64, ROUNDS = 500 }; /* some 10 us */

/* Additions that wait for each other, one a cycle on all processors that we know. */
__attribute__((OPTIMISED unused)) static void add_chain(void)
{
    uint64_t x = 1, y = 3;
    for (int i = 0; i < ROUNDS; i++) {
#if defined(__x86_64__)
        __asm__ volatile(".rept 64\n\taddq %1, %0\n\t.endr" : "+r"(x) : "r"(y));
#elif defined(__aarch64__)
        __asm__ volatile(".rept 64\n\tadd %0, %0, %1\n\t.endr" : "+r"(x) : "r"(y));
#else
        for (int j = 0; j < ADDS; j++) {
            x += y;
            __asm__ volatile("" : "+r"(x));
        }
#endif
    }
    sink = (double)x;
}

/* ---- the table of what is measured --------------------------------------------------------------------------------- */

typedef enum { IN_L2, IN_L3, BEYOND, PLACES } place;

typedef struct field {
    char *data;
    size_t bytes[PLACES], near; /* of a pass; 0: there is no such place here. near: those of the caches, at the beginning */
    bool far; /* what is beyond the caches is large enough to be */
    double cycle, least[CG_RATES]; /* seconds of a cycle, of a pass: the least so far */
} field;

/* In the order in which they are run: what was written last lies in the cache when it is streamed over. warm: an unmeasured pass before,
 * after which all lies where it is to lie. move: of memory, how many pieces its piece is ahead of the one that is read. */
static const struct {
    int rate;
    place place;
    pass_fn *plain, *avx;
    bool warm;
    int repeats, move;
} passes[] = {
#if CG_X86
#define AVX(pass) pass
#else
#define AVX(pass) NULL
#endif
    {CG_RATE_L2, IN_L2, read_plain, AVX(read_avx), true, NEAR_REPEATS, 0},
    {CG_RATE_PAGE, IN_L2, walk_plain, AVX(walk_avx), true, 1, 0},
    {CG_RATE_L3, IN_L3, read_plain, AVX(read_avx), true, 1, 0},
    {CG_RATE_STORE_L3, IN_L3, write_plain, AVX(write_avx), true, 1, 0},
    {CG_RATE_STREAM_L3, IN_L3, NULL, AVX(stream_avx), false, 1, 0},
    {CG_RATE_MEMORY, BEYOND, read_plain, AVX(read_avx), false, 1, 0},
    {CG_RATE_STORE_MEMORY, BEYOND, write_plain, AVX(write_avx), false, 1, 3},
    {CG_RATE_STREAM_MEMORY, BEYOND, NULL, AVX(stream_avx), false, 1, 5},
};
enum { PASSES = sizeof passes / sizeof *passes };

/* The memory that is far: four times the last cache, of which each piece is half of that, so that a piece comes back only when all of
 * it has been displaced. */
static size_t beyond_caches(const cg_machine *m)
{
    const long least = 64L << 20, most = 256L << 20;
    return (size_t)(m->l3 > most / 4 ? most : m->l3 * 4 > least ? m->l3 * 4 : least);
}

/* In a level, between it and the one before it; 0: they are too alike to tell, or not known. */
static void lay_out(field *f, const cg_machine *m, size_t all)
{
    long l2 = m->l2 / 2, l3 = m->l2 * 8 > 8L << 20 ? m->l2 * 8 : 8L << 20, last = m->l3 > m->l2 ? m->l3 : m->l2;
    if (l3 > m->l3 / 2) l3 = m->l3 / 2;
    f->bytes[IN_L2] = m->l1d > 0 && l2 >= 2 * m->l1d ? (size_t)l2 & ~(size_t)(PAGE - 1) : 0;
    f->bytes[IN_L3] = m->l2 > 0 && l3 >= 2 * m->l2 ? (size_t)l3 & ~(size_t)(PAGE - 1) : 0;
    f->bytes[BEYOND] = all / PIECES;
    f->far = (size_t)last * 2 <= all;
    f->near = WALKED * (size_t)STEP + PAGE;
    for (int i = IN_L2; i <= IN_L3; i++)
        if (f->bytes[i] > f->near) f->near = f->bytes[i];
}

static double seconds_of(pass_fn *run, void *data, size_t bytes, int repeats)
{
    double start = cg_now();
    for (int i = 0; i < repeats; i++) run(data, bytes);
    return (cg_now() - start) / repeats;
}

static void try_pass(field *f, int i, bool avx, int try)
{
    pass_fn *run = avx ? passes[i].avx : passes[i].plain;
    size_t bytes = f->bytes[passes[i].place], piece = (size_t)((try + passes[i].move) % PIECES);
    if (!run || !bytes) return;
    char *data = f->data + (passes[i].place == BEYOND ? f->near + piece * bytes : 0);
    if (passes[i].warm) run(data, bytes);
    f->least[passes[i].rate] = fmin(f->least[passes[i].rate], seconds_of(run, data, bytes, passes[i].repeats));
}

/* Turn by turn, so that a disturbance that lasts meets one try of each. */
static void try_all(field *f, bool avx)
{
    for (int try = 0; try < TRIES; try++)
        for (int i = 0; i < PASSES; i++) {
            double start = cg_now();
            add_chain();
            f->cycle = fmin(f->cycle, (cg_now() - start) / (ADDS * ROUNDS));
            try_pass(f, i, avx, try);
        }
}

static size_t lines_of(int rate, size_t bytes)
{
    return rate == CG_RATE_PAGE ? rounds_of(bytes) * WALKED : bytes / LINE;
}

static void read_off(const field *f, double rate[CG_RATES])
{
    for (int i = 0; i < PASSES; i++) {
        int r = passes[i].rate;
        size_t lines = passes[i].place == BEYOND && !f->far ? 0 : lines_of(r, f->bytes[passes[i].place]);
        if (lines && isfinite(f->least[r]) && f->cycle > 0) rate[r] = f->least[r] / f->cycle / (double)lines;
    }
    if (rate[CG_RATE_PAGE] > 0) /* what is beyond a line that is read in order */
        rate[CG_RATE_PAGE] = fmax(rate[CG_RATE_PAGE] - rate[CG_RATE_L2], cg_rate_rows[CG_RATE_PAGE].least);
}

/* On such pages as most tensors have; huge ones may take the system a second to find. */
static char *some_memory(size_t near, size_t far)
{
    char *data = cg_pages(near + far);
    if (!data) return NULL;
    if (near) madvise(data, near, MADV_NOHUGEPAGE);
    memset(data, 1, near + far); /* else every page would be the same page of zeros */
    return data;
}

void cg_rates_measure(cg_machine *m)
{
    size_t all = beyond_caches(m);
    field f = {.cycle = INFINITY};
    memset(m->rate, 0, sizeof m->rate);
    m->bandwidth = 0;
    for (int r = 0; r < CG_RATES; r++) f.least[r] = INFINITY;
    lay_out(&f, m, all);
    if (!(f.data = some_memory(f.near, all))) return;
    try_all(&f, cg_machine_has(m, "avx2"));
    cg_pages_free(f.data, f.near + all);
    read_off(&f, m->rate);
    m->bandwidth = (double)f.bytes[BEYOND] / f.least[CG_RATE_MEMORY] / 1e9;
}

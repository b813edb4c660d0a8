/* memory.c: allocation, guard pages, errors, and the small tools that every file needs.
 *
 * All of the runtime's memory comes from here, so a test can make the n-th allocation fail. Error sentences belong to the
 * thread that met the error. Nothing here knows what a convolution is. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- allocation ---- */

long cg_fail_allocation;
bool cg_fail_onwards;

/* True when a test wants this allocation to fail. The usual path is one load. */
static bool fails_now(void)
{
    if (__atomic_load_n(&cg_fail_allocation, __ATOMIC_RELAXED) <= 0)
        return false;
    if (__atomic_sub_fetch(&cg_fail_allocation, 1, __ATOMIC_RELAXED))
        return false;
    if (cg_fail_onwards)
        __atomic_store_n(&cg_fail_allocation, 1, __ATOMIC_RELAXED);
    return true;
}

void *cg_malloc(size_t size)
{
    return fails_now() ? NULL : malloc(size ? size : 1);
}

void *cg_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : calloc(count ? count : 1, size ? size : 1);
}

void *cg_realloc(void *old, size_t size)
{
    return fails_now() ? NULL : realloc(old, size ? size : 1);
}

void cg_free(void *p)
{
    free(p);
}

char *cg_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = cg_malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static void *aligned_to(size_t alignment, size_t size)
{
    void *p = NULL;
    if (fails_now() || posix_memalign(&p, alignment, size ? size : 1))
        return NULL;
    return p;
}

void *cg_aligned(size_t size)
{
    return aligned_to(64, size);
}

void *cg_page_aligned(size_t size)
{
    return aligned_to((size_t)sysconf(_SC_PAGESIZE), size);
}

void *cg_pages(size_t size)
{
    void *p = fails_now() ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void cg_pages_free(void *pages, size_t size)
{
    if (pages)
        munmap(pages, size);
}

bool cg_multiply(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* ---- guard pages ---- */

static cg_status guarded_failed(size_t size)
{
    return cg_fail(CONVGEN_NO_MEMORY, "no memory for %zu bytes between guard pages", size);
}

/* Whole pages, at least one, for `size` bytes. */
static bool whole_pages(size_t size, size_t page, size_t *inside)
{
    if (__builtin_add_overflow(size, page - 1, inside))
        return false;
    *inside = *inside / page * page;
    if (!*inside)
        *inside = page;
    return *inside <= SIZE_MAX - 2 * page;
}

/* A mapping with a page on either side of `inside` bytes. */
static bool map_anew(size_t inside, size_t page, cg_guarded *g)
{
    cg_guarded_free(g);
    if (fails_now())
        return false;
    char *map = mmap(NULL, inside + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return false;
    *g = (cg_guarded){.map = map, .map_size = inside + 2 * page};
    return true;
}

static cg_status fit(size_t size, bool flush_right, size_t alignment, bool populate, cg_guarded *g)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inside;
    if (!alignment)
        alignment = 1;
    if (!whole_pages(size, page, &inside))
        return guarded_failed(size);
    bool kept = g->map && g->map_size - 2 * page >= inside;
    if (!kept && !map_anew(inside, page, g))
        return guarded_failed(size);
    char *first = (char *)g->map + page;
    size_t room = g->map_size - 2 * page, rest = room - inside;
    char *data = flush_right ? first + rest : first, *unused = flush_right ? first : first + inside;
    if (mprotect(data, inside, PROT_READ | PROT_WRITE) || (rest && mprotect(unused, rest, PROT_NONE))) {
        cg_guarded_free(g);
        return guarded_failed(size);
    }
#ifdef MADV_POPULATE_WRITE
    if (populate && !kept && inside > 16 * page) madvise(data, inside, MADV_POPULATE_WRITE); /* one call, not a fault for each page; a hint */
#else
    (void)populate;
#endif
    g->data = data + (flush_right ? (inside - size) / alignment * alignment : 0);
    g->size = size;
    return CONVGEN_OK;
}

cg_status cg_guarded_new(size_t size, bool flush_right, size_t alignment, cg_guarded *out)
{
    *out = (cg_guarded){0};
    return fit(size, flush_right, alignment, false, out);
}

cg_status cg_guarded_fit(size_t size, bool flush_right, size_t alignment, cg_guarded *g)
{
    return fit(size, flush_right, alignment, true, g);
}

void cg_guarded_free(cg_guarded *g)
{
    if (g->map)
        munmap(g->map, g->map_size);
    *g = (cg_guarded){0};
}

/* ---- errors ---- */

static _Thread_local char error_text[1024];
static _Thread_local cg_status error_status;

cg_status cg_fail(cg_status status, const char *format, ...)
{
    char text[sizeof error_text]; /* an argument may be the present sentence */
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    memcpy(error_text, text, sizeof text);
    error_status = status;
    return status;
}

const char *cg_error_text(void)
{
    return error_text;
}

cg_status cg_error_status(void)
{
    return error_status;
}

const char *convgen_error(const convgen_context *context_or_null)
{
    (void)context_or_null;
    return error_text;
}

const char *convgen_status_text(convgen_status status)
{
    static const char *const texts[] = {
        [CONVGEN_OK] = "ok",
        [CONVGEN_BAD_ARGUMENT] = "bad argument",
        [CONVGEN_BAD_PROBLEM] = "bad problem",
        [CONVGEN_UNSUPPORTED] = "unsupported",
        [CONVGEN_NO_MEMORY] = "out of memory",
        [CONVGEN_NO_RECORD] = "no record",
        [CONVGEN_NO_CANDIDATE] = "no schedule survived",
        [CONVGEN_NO_EXEC] = "executable memory refused",
        [CONVGEN_STORE] = "store cannot be used",
        [CONVGEN_CANCELLED] = "cancelled",
        [CONVGEN_COMPILER] = "compiler failed",
        [CONVGEN_INTERNAL] = "internal error",
    };
    size_t n = (size_t)status;
    return n < sizeof texts / sizeof *texts ? texts[n] : "unknown status";
}

/* ---- hash, random numbers, time, locale ---- */

uint64_t cg_hash(const void *data, size_t size, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = seed ? seed : 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

uint64_t cg_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double cg_uniform(uint64_t *state)
{
    return (double)(cg_random(state) >> 11) * 0x1p-52 - 1.0;
}

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

void *cg_locale_enter(void)
{
    static locale_t neutral;
    locale_t made = __atomic_load_n(&neutral, __ATOMIC_ACQUIRE);
    if (!made) {
        made = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* glibc's constant object: nothing to leak in a race */
        __atomic_store_n(&neutral, made, __ATOMIC_RELEASE);
    }
    return uselocale(made);
}

void cg_locale_leave(void *before)
{
    uselocale((locale_t)before);
}

/* ---- growing text ---- */

/* Room for `more` bytes and the end mark. */
static bool buffer_reserve(cg_buffer *b, size_t more)
{
    size_t need;
    if (b->failed || __builtin_add_overflow(b->length, more, &need) || __builtin_add_overflow(need, 1, &need)) {
        b->failed = true;
        return false;
    }
    if (need <= b->room)
        return true;
    size_t room = b->room < 128 ? 256 : b->room * 2;
    char *text = cg_realloc(b->text, room < need ? need : room);
    if (!text) {
        b->failed = true;
        return false;
    }
    b->text = text;
    b->room = room < need ? need : room;
    return true;
}

void cg_buffer_add(cg_buffer *b, const char *text, size_t length)
{
    if (!buffer_reserve(b, length))
        return;
    if (length)
        memcpy(b->text + b->length, text, length);
    b->length += length;
    b->text[b->length] = 0;
}

void cg_buffer_printf(cg_buffer *b, const char *format, ...)
{
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int length = vsnprintf(NULL, 0, format, list);
    if (length < 0)
        b->failed = true;
    else if (buffer_reserve(b, (size_t)length)) {
        vsnprintf(b->text + b->length, (size_t)length + 1, format, again);
        b->length += (size_t)length;
    }
    va_end(again);
    va_end(list);
}

void cg_buffer_free(cg_buffer *b)
{
    cg_free(b->text);
    *b = (cg_buffer){0};
}

/* Reads all of a stream that is open; the reason of a failure is left in errno, EFBIG beyond the limit. */
static bool read_all(FILE *file, size_t limit, cg_buffer *out)
{
    char part[16384];
    size_t got;
    while ((got = fread(part, 1, sizeof part, file))) {
        if (got > limit - out->length) {
            errno = EFBIG;
            return false;
        }
        cg_buffer_add(out, part, got);
        if (out->failed) {
            errno = ENOMEM;
            return false;
        }
    }
    cg_buffer_add(out, "", 0); /* an empty file is an empty text */
    if (out->failed)
        errno = ENOMEM;
    return !out->failed && !ferror(file);
}

cg_status cg_read_file(const char *path, size_t limit, cg_buffer *out)
{
    cg_status status = CONVGEN_OK;
    *out = (cg_buffer){0};
    FILE *file = fopen(path, "rbe");
    if (!file)
        return cg_fail(CONVGEN_STORE, "cannot read %s: %s", path, strerror(errno));
    if (!read_all(file, limit, out)) {
        int reason = errno;
        status = reason == ENOMEM ? cg_fail(CONVGEN_NO_MEMORY, "no memory to read %s", path)
               : reason == EFBIG ? cg_fail(CONVGEN_STORE, "cannot read %s: larger than %zu bytes", path, limit)
                                 : cg_fail(CONVGEN_STORE, "cannot read %s: %s", path, strerror(reason));
        cg_buffer_free(out);
    }
    fclose(file);
    return status;
}

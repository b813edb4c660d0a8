/* memory.c: allocation.
 *
 * All of the runtime's memory comes from here, so a test can make the n-th allocation fail. */
#define _GNU_SOURCE
#include "base/base.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

long cg_fail_allocation;
bool cg_fail_onwards;

/* The usual path is one load. */
bool cg_fails_now(void)
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
    return cg_fails_now() ? NULL : malloc(size ? size : 1);
}

void *cg_calloc(size_t count, size_t size)
{
    return cg_fails_now() ? NULL : calloc(count ? count : 1, size ? size : 1);
}

void *cg_realloc(void *old, size_t size)
{
    return cg_fails_now() ? NULL : realloc(old, size ? size : 1);
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
    if (cg_fails_now() || posix_memalign(&p, alignment, size ? size : 1))
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
    void *p = cg_fails_now() ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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

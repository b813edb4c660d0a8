/* guard.c: memory that ends, or begins, at a page that faults. */
#define _GNU_SOURCE
#include "base/base.h"

#include <sys/mman.h>
#include <unistd.h>

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
    if (cg_fails_now())
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

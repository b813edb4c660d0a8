/* arena.c: memory of a Lua state: small blocks are cut from chunks and kept by their size, and all go at once.
 *
 * The caller tells a block's size when it gives it back, so none has a head; what is larger than a small block is the system's, in a
 * list. A state is not closed but dropped, with a hundred thousand blocks. One thread at a time.
 * Limit: a chunk goes back to the system only with the arena. */
#include "generate/generate.h"
#include <string.h>

enum { STEP = 16, CHUNK_LEAST = 32 << 10, CHUNK_MOST = 1 << 20 };

typedef struct cg_large {
    struct cg_large *next, **link; /* link: what points here */
} cg_large;

static int class_of(size_t size) { return (int)((size + STEP - 1) / STEP) - 1; }

static bool is_small(size_t size) { return size <= CG_ARENA_CLASSES * (size_t)STEP; }

/* Where it is now is what its neighbours point to. */
static void *linked(cg_large *l)
{
    *l->link = l;
    if (l->next) l->next->link = &l->next;
    return l + 1;
}

static void *large_new(cg_arena *a, size_t size)
{
    cg_large *l = cg_malloc(sizeof *l + size);
    if (!l) return NULL;
    *l = (cg_large){a->large, &a->large};
    return linked(l);
}

static void *large_resize(void *p, size_t size)
{
    cg_large *l = cg_realloc((cg_large *)p - 1, sizeof *l + size);
    return l ? linked(l) : NULL;
}

static void large_free(void *p)
{
    cg_large *l = (cg_large *)p - 1;
    *l->link = l->next;
    if (l->next) l->next->link = l->link;
    cg_free(l);
}

/* The rest of the last chunk is lost: less than a small block. */
static bool more(cg_arena *a)
{
    size_t size = a->chunk ? a->chunk : CHUNK_LEAST;
    char *chunk = large_new(a, size);
    if (!chunk) return false;
    a->at = chunk, a->end = chunk + size;
    a->chunk = size < CHUNK_MOST ? size * 2 : size;
    return true;
}

static void *small_new(cg_arena *a, int class)
{
    size_t size = (size_t)(class + 1) * STEP;
    void **kept = a->free[class];
    if (kept) return a->free[class] = *kept, kept;
    if ((size_t)(a->end - a->at) < size && !more(a)) return NULL;
    a->at += size;
    return a->at - size;
}

void *cg_arena_new(cg_arena *a, size_t size) { return is_small(size) ? small_new(a, class_of(size)) : large_new(a, size); }

void cg_arena_free(cg_arena *a, void *p, size_t size)
{
    if (!p) return;
    if (!is_small(size)) {
        large_free(p);
        return;
    }
    *(void **)p = a->free[class_of(size)];
    a->free[class_of(size)] = p;
}

void *cg_arena_resize(cg_arena *a, void *old, size_t old_size, size_t size)
{
    if (!old) return cg_arena_new(a, size);
    if (!is_small(old_size) && !is_small(size)) return large_resize(old, size);
    if (is_small(old_size) && is_small(size) && class_of(old_size) == class_of(size)) return old;
    void *p = cg_arena_new(a, size);
    if (!p) return NULL;
    memcpy(p, old, old_size < size ? old_size : size);
    cg_arena_free(a, old, old_size);
    return p;
}

void cg_arena_end(cg_arena *a)
{
    while (a->large) large_free(a->large + 1);
    *a = (cg_arena){0};
}

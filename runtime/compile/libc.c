/* libc.c: the C library that libtcc sees, and the way out of it.
 *
 * Convgen's copy of libtcc (tools/libtcc.sh) has these functions in place of malloc, exit, open and their kin, whose names
 * libtcc_names.h lists. So lack of memory, and all else that would end the process, ends the compile; libtcc reads and writes no
 * file, prints nothing, and cannot change what may be executed. One compile at a time: the caller has the lock. */
#define _GNU_SOURCE
#include "compile/compile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Memory that libtcc has: a list, since it is all taken back at the end, whatever libtcc has freed. */
typedef struct block {
    struct block *next, *before;
    size_t size;
    _Alignas(16) char data[];
} block;

static struct {
    jmp_buf way_out;
    block *blocks;
    cg_buffer file; /* the one that it writes */
} now;

static _Noreturn void leave(cg_status status)
{
    longjmp(now.way_out, (int)status);
}

/* ---- memory: there, or the compile ends ---- */

static block *block_of(void *p)
{
    return (block *)((char *)p - offsetof(block, data));
}

static void *link_in(block *b, size_t size)
{
    *b = (block){.next = now.blocks, .size = size};
    if (now.blocks) now.blocks->before = b;
    now.blocks = b;
    return b->data;
}

static void unlink_from(block *b)
{
    if (b->next) b->next->before = b->before;
    *(b->before ? &b->before->next : &now.blocks) = b->next;
}

void *cg_tcc_malloc(size_t size)
{
    size_t whole;
    block *b = __builtin_add_overflow(size, sizeof(block), &whole) ? NULL : cg_malloc(whole);
    if (!b) leave(CONVGEN_NO_MEMORY);
    return link_in(b, size);
}

void *cg_tcc_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (!cg_multiply(count, size, &bytes)) leave(CONVGEN_NO_MEMORY);
    return memset(cg_tcc_malloc(bytes), 0, bytes);
}

void cg_tcc_free(void *p)
{
    if (!p) return;
    unlink_from(block_of(p));
    cg_free(block_of(p));
}

void *cg_tcc_realloc(void *old, size_t size)
{
    if (!old) return cg_tcc_malloc(size);
    size_t whole;
    if (__builtin_add_overflow(size, sizeof(block), &whole)) leave(CONVGEN_NO_MEMORY);
    block *b = block_of(old);
    unlink_from(b);
    block *moved = cg_realloc(b, whole);
    link_in(moved ? moved : b, moved ? size : b->size);
    if (!moved) leave(CONVGEN_NO_MEMORY);
    return moved->data;
}

static void free_blocks(void)
{
    for (block *b = now.blocks, *next; b; b = next) {
        next = b->next;
        cg_free(b);
    }
    now.blocks = NULL;
}

/* ---- the end of the process: the end of the compile ---- */

_Noreturn void cg_tcc_exit(int status)
{
    (void)status;
    leave(CONVGEN_COMPILER);
}

_Noreturn void cg_tcc_abort(void) { leave(CONVGEN_INTERNAL); }
_Noreturn void cg_tcc___assert_fail(void) { leave(CONVGEN_INTERNAL); }

/* ---- the one file ---- */

int cg_tcc_open(const char *path, int flags, ...)
{
    (void)path;
    return (flags & O_ACCMODE) == O_WRONLY ? 3 : -1;
}
int cg_tcc_open64(const char *path, int flags, ...) __attribute__((alias("cg_tcc_open")));

void *cg_tcc_fdopen(int file, const char *mode)
{
    (void)file, (void)mode;
    return &now.file;
}

size_t cg_tcc_fwrite(const void *data, size_t size, size_t count, void *file)
{
    size_t bytes;
    if (file != &now.file) return count; /* a stream of the process's: nothing is printed */
    if (!cg_multiply(size, count, &bytes)) leave(CONVGEN_NO_MEMORY);
    cg_buffer_add(&now.file, data, bytes);
    if (now.file.failed) leave(CONVGEN_NO_MEMORY);
    return count;
}

int cg_tcc_fputc(int c, void *file)
{
    unsigned char byte = (unsigned char)c;
    cg_tcc_fwrite(&byte, 1, 1, file);
    return byte;
}

/* ---- what is not there ---- */

void *cg_tcc_stdin, *cg_tcc_stdout, *cg_tcc_stderr;
char **cg_tcc_environ;

struct tm *cg_tcc_localtime(const time_t *t)
{
    static struct tm no_day;
    (void)t;
    return &no_day;
}

/* Whatever their arguments: these are not looked at. */
static long zero(void) { return 0; }
static long refused(void) { return -1; }
#define OWN(name)
#define GIVEN(name)
#define ZERO(name) long cg_tcc_##name(void) __attribute__((alias("zero")));
#define REFUSED(name) long cg_tcc_##name(void) __attribute__((alias("refused")));
#include "libtcc_names.h"

/* ---- a compile ---- */

/* libtcc's variables, as tools/libtcc.ld marks them. */
#pragma GCC visibility push(hidden)
extern char cg_tcc_data[], cg_tcc_data_end[], cg_tcc_bss[], cg_tcc_bss_end[];
#pragma GCC visibility pop

/* As they were at load, whatever the last compile left of them: it may have ended anywhere. */
static bool fresh_variables(void)
{
    static void *first; /* kept for the process's life */
    size_t bytes = (size_t)(cg_tcc_data_end - cg_tcc_data);
    if (!first) {
        if (!(first = cg_malloc(bytes))) return false;
        memcpy(first, cg_tcc_data, bytes);
    }
    memcpy(cg_tcc_data, first, bytes);
    memset(cg_tcc_bss, 0, (size_t)(cg_tcc_bss_end - cg_tcc_bss));
    return true;
}

cg_status cg_tcc_run(cg_status (*work)(void *job), void *job, cg_buffer *file)
{
    *file = (cg_buffer){0};
    if (!fresh_variables()) return CONVGEN_NO_MEMORY;
    cg_status status = (cg_status)setjmp(now.way_out);
    if (!status) status = work(job);
    free_blocks();
    if (status) cg_buffer_free(&now.file);
    *file = now.file;
    now.file = (cg_buffer){0};
    return status;
}

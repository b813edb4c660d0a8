/* base.h: what everybody stands on: memory, errors, random numbers, the clock, texts. Nothing here knows what a convolution is. */
#ifndef CONVGEN_BASE_H
#define CONVGEN_BASE_H

#include "convgen.h"
#include <stdarg.h>
#include <stdio.h>

typedef convgen_status cg_status;

enum {
    CG_TEXT = 512, /* canonical problem text with its end mark */
    CG_NAME = 96,  /* schedule, compiler; gen/names.lua has one less */
    CG_WHY = 256   /* why a candidate was refused, one sentence */
};

/* For plain loops over numbers: one clone per level of x86-64, so that fma is an instruction and rows vectorise; chosen at load time. Sanitizers break the
 * resolvers, which run before they are set up. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

/* ---- memory.c: allocation ---------------------------------------------------------------------------------------- */

/* All of the runtime allocates through these, so that tests can make the n-th allocation fail. cg_realloc(NULL, n) is malloc,
 * cg_realloc(p, 0) is not used. */
void *cg_malloc(size_t size);
void *cg_calloc(size_t count, size_t size); /* multiplication checked */
void *cg_realloc(void *old, size_t size);
void cg_free(void *p);
char *cg_strdup(const char *text);
void *cg_aligned(size_t size); /* 64-byte aligned; size 0 gives a valid pointer; cg_free frees it */
/* The same at the start of a page. Where memory lies in its pages decides what displaces what in the first cache: all that is
 * timed, and a plan's own workspaces, lie alike. */
void *cg_page_aligned(size_t size);
/* Pages that can be read and written, of their own, all zero. */
void *cg_pages(size_t size);
void cg_pages_free(void *pages, size_t size);
extern long cg_fail_allocation; /* tests: the n-th allocation from now (1 = the next) fails; 0: none; counts down */
extern bool cg_fail_onwards;    /* and every following one: then the count stays at 1 */
bool cg_fails_now(void);        /* asked before each */
bool cg_multiply(size_t a, size_t b, size_t *out); /* false on overflow */

/* ---- guard.c: memory between pages that fault -------------------------------------------------------------------- */

/* Memory of `size` bytes that begins right after, or ends right before, a page that faults. */
typedef struct cg_guarded {
    void *data;
    size_t size;
    void *map;
    size_t map_size;
} cg_guarded;
cg_status cg_guarded_new(size_t size, bool flush_right, size_t alignment, cg_guarded *out); /* flush right is exact when size is a multiple of alignment */
/* The same in the memory that g has (all zero: none), with what is in it, or in new memory when that is too small. */
cg_status cg_guarded_fit(size_t size, bool flush_right, size_t alignment, cg_guarded *g);
void cg_guarded_free(cg_guarded *g);

/* ---- error.c: statuses and sentences ----------------------------------------------------------------------------- */

/* Sets this thread's error sentence and returns `status`. */
cg_status cg_fail(cg_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *cg_error_text(void);
cg_status cg_error_status(void); /* of that sentence */
cg_status cg_fail_at(cg_status status, const char *place); /* puts a place before the error sentence */

/* ---- random.c: hashes and random numbers ------------------------------------------------------------------------- */

uint64_t cg_hash(const void *data, size_t size, uint64_t seed); /* FNV-1a 64; seed 0 starts */
/* splitmix64: what a word becomes, and a stream from a seed. */
static inline uint64_t cg_mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}
uint64_t cg_random(uint64_t *state);
double cg_uniform(uint64_t *state); /* [-1, 1) */

/* ---- clock.c: time and its end ----------------------------------------------------------------------------------- */

double cg_now(void); /* monotonic seconds */
extern double (*cg_clock)(void); /* tests: what cg_now says; NULL: the clock */
/* When this thread's work has to end, in seconds of cg_now; INFINITY, the default: never. Loops that may take long ask. */
double cg_deadline(void);
double cg_deadline_set(double at); /* and what it was */
bool cg_late(void);
cg_status cg_in_time(void); /* CONVGEN_CANCELLED with a sentence when it is late */

/* ---- text.c: texts that grow, files, numbers --------------------------------------------------------------------- */

/* A growing text, ended by 0; text may be NULL when empty. failed sticks on lack of memory. */
typedef struct cg_buffer {
    char *text;
    size_t length, room;
    bool failed;
} cg_buffer;
void cg_buffer_add(cg_buffer *b, const char *text, size_t length);
void cg_buffer_printf(cg_buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cg_buffer_free(cg_buffer *b);
cg_status cg_read_file(const char *path, size_t limit, cg_buffer *out); /* CONVGEN_STORE with path and reason on failure */
/* Between these two, this thread reads and writes numbers with a point, whatever the host's locale says. */
void *cg_locale_enter(void);
void cg_locale_leave(void *before);

/* Numbers of a text that travels between machines have a point, whatever the host's locale says; written in the fewest digits
 * that read back exactly. */
double cg_read_real(const char *text, char **end);
void cg_write_real(double value, char text[40]);
bool cg_whole_number(const char *text, int64_t least, int64_t most, int64_t *out); /* all of text, decimal */

/* ---- temporary.c: folders for a while ---------------------------------------------------------------------------- */

enum { CG_PATH = 256 };
typedef struct cg_temporary {
    char path[CG_PATH]; /* "": none */
    int lock;           /* of it, while we live */
} cg_temporary;
cg_status cg_temporary_new(cg_temporary *t); /* mode 0700, below $TMPDIR; what killed processes left there is removed */
void cg_temporary_remove(cg_temporary *t);   /* with what is in it */

#endif

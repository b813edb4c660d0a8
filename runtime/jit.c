/* jit.c: turns C text into callable code, with libtcc, in memory. The only file that sees libtcc.h.
 *
 * Code lives in a mapping of its own that is read+execute at rest; libtcc makes it writable and executable while it
 * relocates; the heap never is. The text can use no file of the machine and few functions (see `supplied`). A compiler's
 * first message goes to the candidate's `why`. Nothing here knows what a convolution is. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <libtcc.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* libtcc ends the process when memory is full: sources stay far below that. */
enum { SOURCE_LIMIT = 16 << 20 };

/* The copies of libtcc and Lua in the shared library read these: they are not compiled to read the C library's there. */
FILE *cg_stdin, *cg_stdout, *cg_stderr;
char **cg_environ;

/* ---- what generated code may call ---- */

static double from_u64(unsigned long x) { return (double)x; }
static float from_u64f(unsigned long x) { return (float)x; }
static unsigned long to_u64(double x) { return (unsigned long)x; }
static unsigned long to_u64f(float x) { return (unsigned long)x; }

typedef void function(void);
static const struct {
    const char *name;
    function *at;
} supplied[] = {
    {"fma", (function *)(double (*)(double, double, double))fma},
    {"fmaf", (function *)(float (*)(float, float, float))fmaf},
    {"memset", (function *)memset},
    {"memcpy", (function *)memcpy},
    {"memmove", (function *)memmove},
    /* what tcc itself calls for conversions of unsigned long */
    {"__floatundidf", (function *)from_u64},
    {"__floatundisf", (function *)from_u64f},
    {"__fixunsdfdi", (function *)to_u64},
    {"__fixunssfdi", (function *)to_u64f},
};
enum { SUPPLIED = sizeof supplied / sizeof *supplied };

/* ---- one compile at a time ---- */

static pthread_mutex_t compiling = PTHREAD_MUTEX_INITIALIZER;

static void lock(void) { pthread_mutex_lock(&compiling); }
static void unlock(void) { pthread_mutex_unlock(&compiling); }

/* A fork waits for the compile of another thread, else its child could never compile. From load time on: handlers that are
 * registered by the first compile come too late for a fork that has begun, whose child would inherit the lock. */
__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(lock, unlock, unlock);
}

/* ---- symbols: copied out, so that the compiler's state need not stay ---- */

typedef struct symbol {
    const char *name; /* after the table */
    void *address;
} symbol;
typedef struct symbols {
    size_t count, bytes; /* bytes of names */
    symbol at[];
} symbols;

static bool is_supplied(const char *name)
{
    for (int i = 0; i < SUPPLIED; i++)
        if (!strcmp(name, supplied[i].name))
            return true;
    return false;
}

/* libtcc's own marks (_etext, __init_array_start...) start with '_'; ours do not. */
static bool is_ours(const char *name, const void *value)
{
    return value && name[0] != '_' && !is_supplied(name);
}

static void measure_symbol(void *user, const char *name, const void *value)
{
    symbols *sum = user;
    if (is_ours(name, value)) {
        sum->count++;
        sum->bytes += strlen(name) + 1;
    }
}

static void keep_symbol(void *user, const char *name, const void *value)
{
    symbols *table = user;
    if (!is_ours(name, value))
        return;
    char *place = (char *)table + table->bytes;
    strcpy(place, name);
    table->at[table->count++] = (symbol){place, (void *)value};
    table->bytes += strlen(name) + 1;
}

static symbols *copy_symbols(TCCState *tcc)
{
    symbols sum = {0};
    tcc_list_symbols(tcc, &sum, measure_symbol);
    size_t head = sizeof sum + sum.count * sizeof(symbol);
    symbols *table = cg_malloc(head + sum.bytes);
    if (!table)
        return NULL;
    *table = (symbols){.bytes = head}; /* while filling: where the next name goes */
    tcc_list_symbols(tcc, table, keep_symbol);
    return table;
}

/* ---- compile, relocate, protect ---- */

typedef struct messages {
    char first[CG_WHY];
} messages;

static void take_message(void *user, const char *text)
{
    messages *m = user;
    if (!m->first[0])
        snprintf(m->first, sizeof m->first, "%s", text);
}

static cg_status refused(cg_status status, const char *what, const messages *m, char why[CG_WHY])
{
    snprintf(why, CG_WHY, "%s%s%.200s", what, m && m->first[0] ? ": " : "", m ? m->first : "");
    return cg_fail(status, "%s", why);
}

static cg_status out_of_memory(char why[CG_WHY])
{
    return refused(CONVGEN_NO_MEMORY, "no memory to compile", NULL, why);
}

static TCCState *new_state(messages *m)
{
    TCCState *tcc = tcc_new();
    if (!tcc)
        return NULL;
    tcc_set_error_func(tcc, m, take_message);
    tcc_set_options(tcc, "-nostdlib -nostdinc -w");
    tcc_set_output_type(tcc, TCC_OUTPUT_MEMORY);
    for (int i = 0; i < SUPPLIED; i++)
        tcc_add_symbol(tcc, supplied[i].name, (const void *)supplied[i].at);
    return tcc;
}

/* Asks the system for what libtcc will ask for, because libtcc ends the process when that is refused. */
static bool may_execute(void *map, size_t size)
{
    return !mprotect(map, size, PROT_READ | PROT_WRITE | PROT_EXEC) && !mprotect(map, size, PROT_READ | PROT_WRITE);
}

static cg_status no_exec(char why[CG_WHY])
{
    snprintf(why, CG_WHY, "the system refuses executable memory (%s): allow it, or use --compiler=cc", strerror(errno));
    return cg_fail(CONVGEN_NO_EXEC, "%s", why);
}

static cg_status relocate(TCCState *tcc, const messages *m, cg_code *code, char why[CG_WHY])
{
    int size = tcc_relocate(tcc, NULL);
    if (size < 0)
        return refused(CONVGEN_COMPILER, "tcc", m, why);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    code->map_size = ((size_t)size + page - 1) / page * page;
    code->map = mmap(NULL, code->map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code->map == MAP_FAILED) {
        code->map = NULL;
        return out_of_memory(why);
    }
    if (!may_execute(code->map, code->map_size))
        return no_exec(why);
    if (tcc_relocate(tcc, code->map) < 0)
        return refused(CONVGEN_COMPILER, "tcc", m, why);
    return mprotect(code->map, code->map_size, PROT_READ | PROT_EXEC) ? no_exec(why) : CONVGEN_OK;
}

static cg_status compile(const char *text, TCCState *tcc, const messages *m, cg_code *code, char why[CG_WHY])
{
    if (tcc_compile_string(tcc, text))
        return refused(CONVGEN_COMPILER, "tcc", m, why);
    cg_status status = relocate(tcc, m, code, why);
    if (status)
        return status;
    code->symbols = copy_symbols(tcc);
    return code->symbols ? CONVGEN_OK : out_of_memory(why);
}

cg_status cg_jit(const char *text, cg_code **out, char why[CG_WHY])
{
    messages m = {{0}};
    TCCState *tcc = NULL;
    cg_status status;
    why[0] = 0;
    *out = NULL;
    if (strlen(text) > SOURCE_LIMIT)
        return refused(CONVGEN_COMPILER, "the source is larger than 16 MB", NULL, why);
    cg_code *code = cg_calloc(1, sizeof *code);
    if (!code)
        return out_of_memory(why);

    lock();
    void *locale = cg_locale_enter(); /* tcc reads constants with strtod */
    cg_stdin = stdin, cg_stdout = stdout, cg_stderr = stderr, cg_environ = environ;
    tcc = new_state(&m);
    status = tcc ? compile(text, tcc, &m, code, why) : out_of_memory(why);
    if (tcc)
        tcc_delete(tcc);
    cg_locale_leave(locale);
    unlock();

    if (status) {
        cg_code_free(code);
        return status;
    }
    *out = code;
    return CONVGEN_OK;
}

/* ---- code of either maker ---- */

cg_status cg_code_new(const char *text, const char *compiler, const char *flags, cg_code **out, char why[CG_WHY])
{
    if (!compiler || !strcmp(compiler, "tcc"))
        return cg_jit(text, out, why);
    return cg_toolchain(text, compiler, flags, out, why);
}

void *cg_code_symbol(const cg_code *code, const char *name)
{
    if (code->handle)
        return cg_toolchain_symbol(code, name);
    const symbols *table = code->symbols;
    for (size_t i = 0; table && i < table->count; i++)
        if (!strcmp(table->at[i].name, name))
            return table->at[i].address;
    return NULL;
}

void cg_code_free(cg_code *code)
{
    if (!code)
        return;
    if (code->handle)
        cg_toolchain_end(code);
    if (code->map)
        munmap(code->map, code->map_size);
    cg_free(code->symbols);
    cg_free(code);
}

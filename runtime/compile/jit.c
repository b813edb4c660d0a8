/* jit.c: turns C text into callable code, with libtcc, in memory. The only file that sees libtcc.h.
 *
 * libtcc writes an object file into memory (libc.c), which is placed in pages of its own (loader.c): written first, then read and
 * executed, never both. Lack of memory is a status, libtcc's own too. The text can use no file of the machine and few functions
 * (see `supplied`). A compiler's first message goes to the candidate's `why`. Nothing here knows what a convolution is. */
#define _GNU_SOURCE
#include "compile/compile.h"

/* Convgen's copy of libtcc has these names (tools/libtcc.sh). */
#define tcc_new cg_tcc_tcc_new
#define tcc_set_error_func cg_tcc_tcc_set_error_func
#define tcc_set_options cg_tcc_tcc_set_options
#define tcc_set_output_type cg_tcc_tcc_set_output_type
#define tcc_compile_string cg_tcc_tcc_compile_string
#define tcc_output_file cg_tcc_tcc_output_file
#pragma GCC visibility push(hidden)
#include <libtcc.h>
#pragma GCC visibility pop
#include <math.h>
#include <pthread.h>
#include <string.h>

enum { SOURCE_LIMIT = 16 << 20 }; /* bytes */

/* ---- what generated code may call ---- */

static double from_u64(unsigned long x) { return (double)x; }
static float from_u64f(unsigned long x) { return (float)x; }
static unsigned long to_u64(double x) { return (unsigned long)x; }
static unsigned long to_u64f(float x) { return (unsigned long)x; }

static const cg_supplied supplied[] = {
    {"fma", (cg_function *)(double (*)(double, double, double))fma},
    {"fmaf", (cg_function *)(float (*)(float, float, float))fmaf},
    {"sqrt", (cg_function *)(double (*)(double))sqrt},
    {"sqrtf", (cg_function *)(float (*)(float))sqrtf},
    {"memset", (cg_function *)memset},
    {"memcpy", (cg_function *)memcpy},
    {"memmove", (cg_function *)memmove},
    /* what tcc itself calls for conversions of unsigned long */
    {"__floatundidf", (cg_function *)from_u64},
    {"__floatundisf", (cg_function *)from_u64f},
    {"__fixunsdfdi", (cg_function *)to_u64},
    {"__fixunssfdi", (cg_function *)to_u64f},
    {NULL, NULL},
};

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

/* ---- text -> object file ---- */

typedef struct job {
    const char *text;
    char message[CG_WHY]; /* libtcc's first */
} job;

static void take_message(void *user, const char *text)
{
    job *j = user;
    if (!j->message[0])
        snprintf(j->message, sizeof j->message, "%s", text);
}

/* The file's name is libc.c's to ignore. What libtcc holds at the end is libc.c's too: nothing is deleted here. */
static cg_status compile(void *user)
{
    job *j = user;
    TCCState *tcc = tcc_new();
    tcc_set_error_func(tcc, j, take_message);
    tcc_set_options(tcc, "-nostdlib -nostdinc -w");
    tcc_set_output_type(tcc, TCC_OUTPUT_OBJ);
    return tcc_compile_string(tcc, j->text) || tcc_output_file(tcc, "kernel.o") ? CONVGEN_COMPILER : CONVGEN_OK;
}

static cg_status refused(cg_status status, const char *what, const char *message, char why[CG_WHY])
{
    snprintf(why, CG_WHY, "%s%s%.200s", what, *message ? ": " : "", message);
    return cg_fail(status, "%s", why);
}

static cg_status out_of_memory(char why[CG_WHY])
{
    return refused(CONVGEN_NO_MEMORY, "no memory to compile", "", why);
}

static cg_status make_object(const char *text, cg_buffer *file, char why[CG_WHY])
{
    job j = {.text = text};
    lock();
    void *locale = cg_locale_enter(); /* tcc reads constants with strtod */
    cg_status status = cg_tcc_run(compile, &j, file);
    cg_locale_leave(locale);
    unlock();
    if (status == CONVGEN_NO_MEMORY)
        return out_of_memory(why);
    return status ? refused(status, "tcc", *j.message ? j.message : "it gave up without a message", why) : CONVGEN_OK;
}

cg_status cg_jit(const char *text, cg_code **out, char why[CG_WHY])
{
    cg_buffer file = {0};
    why[0] = 0;
    *out = NULL;
    if (strlen(text) > SOURCE_LIMIT)
        return refused(CONVGEN_COMPILER, "the source is larger than 16 MB", "", why);
    cg_code *code = cg_calloc(1, sizeof *code);
    if (!code)
        return out_of_memory(why);
    cg_status status = make_object(text, &file, why);
    if (!status)
        status = cg_load(file.text, file.length, supplied, code, why);
    cg_buffer_free(&file);
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
    return cg_load_symbol(code, name);
}

void cg_code_free(cg_code *code)
{
    if (!code)
        return;
    if (code->handle)
        cg_toolchain_end(code);
    cg_load_end(code);
    cg_free(code);
}

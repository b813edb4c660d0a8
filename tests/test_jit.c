/* test_jit.c: text to code, with libtcc and with the system's compiler; tasks over threads. */
#define _GNU_SOURCE
#include "plan.h"
#include "processes.h"
#include "rights.h"
#include "suite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static const char add_text[] = "double fma(double, double, double);\n"
                               "static const double table[4] = {0.5, 1, 2, 3};\n"
                               "long add(long a, long b) { return a + b; }\n"
                               "double mad(double a, double b, double c) { return fma(a, b, c) + table[0]; }\n";
static const char *const compilers[] = {"tcc", "cc"};

/* dlsym and its kin give functions as objects. */
#define CALL(code, type, name) ((__typeof__(type) *)cg_code_symbol(code, name))

typedef long add_fn(long, long);
typedef double mad_fn(double, double, double);

START_TEST(compiles_and_calls)
{
    cg_code *code;
    char why[CG_WHY];
    ck_assert_msg(cg_code_new(add_text, compilers[_i], "-O1  -g0", &code, why) == CONVGEN_OK, "%s", why);
    ck_assert_int_eq(CALL(code, add_fn, "add")(40, 2), 42);
    double a = 1 + 0x1p-30;
    ck_assert(CALL(code, mad_fn, "mad")(a, a, -1) == fma(a, a, -1) + 0.5);
    ck_assert_ptr_null(cg_code_symbol(code, "nothing"));
    cg_code_free(code);
}
END_TEST

/* The bits are what the text says: no product is fused with a sum, where the processor could do that too. */
START_TEST(products_are_rounded)
{
    cg_code *code;
    char why[CG_WHY];
    const char *flags = "";
#if defined(__x86_64__)
    if (__builtin_cpu_supports("fma")) flags = "-mfma";
#endif
    ck_assert_msg(cg_code_new("double f(double a, double b, double c) { return a * b + c; }", compilers[_i], flags, &code, why) == CONVGEN_OK, "%s", why);
    volatile double a = 1 + 0x1p-30, product = a * a;
    ck_assert(CALL(code, mad_fn, "f")(a, a, -1) == product - 1);
    cg_code_free(code);
}
END_TEST

START_TEST(wrong_text_says_why)
{
    cg_code *code;
    char why[CG_WHY];
    ck_assert_int_eq(cg_code_new("int f(void) { return nonsense; }", compilers[_i], "", &code, why), CONVGEN_COMPILER);
    ck_assert_ptr_null(code);
    ck_assert_msg(strstr(why, "nonsense") != NULL, "%s", why);
    ck_assert_str_eq(why, cg_error_text());
    ck_assert_int_eq(cg_code_new("int absent(int); int f(void) { return absent(1); }", compilers[_i], "-Wl,-z,defs", &code, why), CONVGEN_COMPILER);
    ck_assert_msg(strstr(why, "absent") != NULL, "%s", why);
}
END_TEST

START_TEST(no_file_of_the_machine_is_read)
{
    cg_code *code;
    char why[CG_WHY];
    ck_assert_int_eq(cg_jit("#include <stdio.h>\n", &code, why), CONVGEN_COMPILER);
}
END_TEST

START_TEST(conversions_and_copies)
{
    cg_code *code;
    char why[CG_WHY];
    ck_assert_msg(cg_jit("typedef struct { double a[40]; } big; big b(big x) { big y = x; return y; }\n"
                         "double d(unsigned long x) { float z[64] = {0}; return x + z[3]; }\n"
                         "unsigned long u(double x) { return x; } float f(unsigned long x) { return x; }\n",
                         &code, why) == CONVGEN_OK, "%s", why);
    ck_assert(CALL(code, double(unsigned long), "d")(1ul << 63) == 0x1p63);
    ck_assert(CALL(code, unsigned long(double), "u")(0x1p63) == 1ul << 63);
    ck_assert(CALL(code, float(unsigned long), "f")(3) == 3);
    cg_code_free(code);
}
END_TEST

START_TEST(too_long)
{
    size_t size = (16u << 20) + 100;
    char *text = malloc(size), why[CG_WHY];
    cg_code *code;
    memset(text, ' ', size - 1);
    text[size - 1] = 0;
    ck_assert_int_eq(cg_jit(text, &code, why), CONVGEN_COMPILER);
    ck_assert_ptr_nonnull(strstr(why, "16 MB"));
    free(text);
}
END_TEST

/* Lines of /proc/self/maps that are writable and executable, or an executable heap. */
static int bad_mappings(void)
{
    char line[512];
    int bad = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) {
        char *rights = strchr(line, ' ') + 1;
        bool both = rights[1] == 'w' && rights[2] == 'x', heap = strstr(line, "[heap]") && rights[2] == 'x';
        if (both || heap) {
            fprintf(stderr, "%s", line);
            bad++;
        }
    }
    fclose(maps);
    return bad;
}

START_TEST(nothing_is_writable_and_executable_at_rest)
{
    cg_code *code[8];
    char why[CG_WHY];
    int before = bad_mappings();
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(cg_jit(add_text, &code[i], why), CONVGEN_OK);
    ck_assert_int_eq(bad_mappings(), before);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(CALL(code[i], add_fn, "add")(i, 1), i + 1);
        cg_code_free(code[i]);
    }
    ck_assert_int_eq(bad_mappings(), before);
}
END_TEST

/* A thread reads all mappings again and again while plans are made. */
static void *read_mappings(void *user)
{
    long *seen = user;
    while (!__atomic_load_n(&seen[2], __ATOMIC_RELAXED)) {
        seen[0]++;
        seen[1] += bad_mappings() > 0;
    }
    return NULL;
}

START_TEST(nothing_is_ever_writable_and_executable)
{
    long seen[3] = {0}; /* readings, bad ones, the end */
    pthread_t reader;
    cg_code *code;
    char why[CG_WHY];
    if (bad_mappings()) return; /* a sanitizer's or the machine's own */
    ck_assert_int_eq(pthread_create(&reader, NULL, read_mappings, seen), 0);
    for (int i = 0; i < 2000; i++) {
        ck_assert_int_eq(cg_jit(add_text, &code, why), CONVGEN_OK);
        ck_assert_int_eq(CALL(code, add_fn, "add")(i, 1), i + 1);
        cg_code_free(code);
    }
    __atomic_store_n(&seen[2], 1, __ATOMIC_RELAXED);
    pthread_join(reader, NULL);
    ck_assert_int_gt(seen[0], 0);
    ck_assert_int_eq(seen[1], 0);
}
END_TEST

START_TEST(refused_executable_memory_is_a_status)
{
    cg_code *code;
    char why[CG_WHY];
    ck_assert_int_eq(cg_jit(add_text, &code, why), CONVGEN_OK); /* what was allowed once may be refused later */
    cg_code_free(code);
    if (!watch_rights(PROT_EXEC, REFUSED_RIGHTS))
        return; /* this system has no seccomp: nothing to see */
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(cg_jit(add_text, &code, why), CONVGEN_NO_EXEC);
        ck_assert_ptr_null(code);
        ck_assert_ptr_nonnull(strstr(why, "executable"));
        ck_assert_msg(!strstr(why, "--"), "%s: an option of the command, which C and Python cannot use", why);
    }
}
END_TEST

START_TEST(writable_and_executable_is_not_asked_for)
{
    cg_code *code;
    char why[CG_WHY];
    if (!watch_rights(PROT_WRITE | PROT_EXEC, FATAL_RIGHTS))
        return;
    ck_assert_msg(cg_jit(add_text, &code, why) == CONVGEN_OK, "%s", why);
    ck_assert_int_eq(CALL(code, add_fn, "add")(40, 2), 42);
    cg_code_free(code);
}
END_TEST

static void still_right(void)
{
    cg_code *code;
    char why[CG_WHY];
    ck_assert_msg(cg_jit(add_text, &code, why) == CONVGEN_OK, "%s", why);
    ck_assert_int_eq(CALL(code, add_fn, "add")(40, 2), 42);
    ck_assert(CALL(code, mad_fn, "mad")(2, 3, 4) == 10.5);
    cg_code_free(code);
}

/* The n-th allocation, or that and all that follow. libtcc's are among them; what it does after one is right. */
START_TEST(every_failing_allocation)
{
    const char *compiler = compilers[_i / 2];
    cg_fail_onwards = _i % 2;
    cg_status status = CONVGEN_NO_MEMORY;
    long n = 1;
    for (; status != CONVGEN_OK; n++) {
        cg_code *code;
        char why[CG_WHY];
        cg_fail_allocation = n;
        status = cg_code_new(add_text, compiler, "", &code, why);
        cg_fail_allocation = 0;
        ck_assert(status == CONVGEN_OK || status == CONVGEN_NO_MEMORY);
        ck_assert_int_lt(n, 10000);
        if (status) ck_assert_ptr_null(code);
        if (!status) cg_code_free(code);
        if (_i < 2) still_right();
    }
    cg_fail_onwards = false;
    if (_i < 2) ck_assert_int_gt(n, 100);
}
END_TEST

/* Wrong text and lack of memory in turn, thousands of times: libtcc leaves at many places, and is sound afterwards. */
START_TEST(compiles_that_end_anywhere)
{
    static const char *const texts[] = {
        add_text, "#define A(x) x + A(\nint f(int a) { return A(a; }", "int g(void) { if (1) { switch (2) { case 1: { \"text",
        "static const char big[100000] = {1}; __asm__(\".byte 0xg\");", "#if 1\nstruct s { struct s; int a : 40; } t;",
    };
    uint64_t state = 11;
    for (int i = 0; i < 3000; i++) {
        cg_code *code;
        char why[CG_WHY];
        cg_fail_allocation = (long)(cg_random(&state) % 300) + 1;
        cg_status status = cg_jit(texts[i % 5], &code, why);
        cg_fail_allocation = 0;
        ck_assert(status == CONVGEN_NO_MEMORY || status == (i % 5 ? CONVGEN_COMPILER : CONVGEN_OK));
        cg_code_free(code);
        if (i % 10 == 0) still_right();
    }
}
END_TEST

/* ---- libc.c ---- */

#pragma GCC visibility push(hidden)
extern char cg_tcc_data[], cg_tcc_data_end[], cg_tcc_bss[], cg_tcc_bss_end[];
#pragma GCC visibility pop

/* Whatever a compile leaves in libtcc's variables, the next begins with those of load time. */
START_TEST(every_compile_is_the_first)
{
    size_t bytes = (size_t)(cg_tcc_data_end - cg_tcc_data);
    still_right();
    char *after_one = malloc(bytes + 1);
    memcpy(after_one, cg_tcc_data, bytes);
    memset(cg_tcc_data, 0x55, bytes);
    memset(cg_tcc_bss, 0x55, (size_t)(cg_tcc_bss_end - cg_tcc_bss));
    still_right();
    ck_assert(!memcmp(cg_tcc_data, after_one, bytes));
    free(after_one);
}
END_TEST

_Noreturn void cg_tcc_exit(int status);
void *cg_tcc_malloc(size_t size);
void *cg_tcc_calloc(size_t count, size_t size);
void *cg_tcc_realloc(void *old, size_t size);
void cg_tcc_free(void *p);
int cg_tcc_open(const char *path, int flags, ...);
void *cg_tcc_fdopen(int file, const char *mode);
size_t cg_tcc_fwrite(const void *data, size_t size, size_t count, void *file);

static cg_status use_memory(void *user)
{
    char *p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = cg_tcc_calloc(10, (size_t)i + 1);
        ck_assert_uint_eq((uintptr_t)p[i] % 16, 0);
        memset(p[i], i, 10);
    }
    cg_tcc_free(p[1]);
    p[2] = cg_tcc_realloc(p[2], 100000);
    ck_assert(p[2][9] == 2);
    cg_tcc_free(p[3]);
    cg_tcc_free(NULL);
    ck_assert_int_eq(cg_tcc_open("/etc/passwd", O_RDONLY), -1);
    void *file = cg_tcc_fdopen(cg_tcc_open("x", O_WRONLY | O_CREAT, 0666), "wb");
    cg_tcc_fwrite("abcdef", 2, 3, file);
    if (*(int *)user == 1) cg_tcc_exit(0);
    if (*(int *)user == 2) cg_tcc_malloc(SIZE_MAX);
    if (*(int *)user == 3) cg_tcc_calloc(SIZE_MAX, 2);
    if (*(int *)user == 4) cg_tcc_realloc(p[0], SIZE_MAX - 8);
    return CONVGEN_OK;
}

START_TEST(what_libtcc_stands_on)
{
    static const cg_status expected[] = {CONVGEN_OK, CONVGEN_COMPILER, CONVGEN_NO_MEMORY, CONVGEN_NO_MEMORY, CONVGEN_NO_MEMORY};
    for (int i = 0; i < 5; i++) {
        cg_buffer file;
        ck_assert_int_eq(cg_tcc_run(use_memory, &i, &file), expected[i]);
        if (i) ck_assert_ptr_null(file.text);
        else ck_assert_str_eq(file.text, "abcdef");
        cg_buffer_free(&file);
    }
}
END_TEST

/* ---- loader.c ---- */

typedef struct bytes {
    unsigned char at[32768];
    size_t size;
} bytes;

static bytes object_of(const char *text)
{
    char folder[] = "/tmp/convgen-test-XXXXXX", path[64], command[256];
    bytes b = {.size = 0};
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.c", folder);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    snprintf(command, sizeof command, "cd %s && cc -c -O1 -g0 -fno-asynchronous-unwind-tables -fcf-protection=none a.c -o a.o", folder);
    ck_assert_int_eq(system(command), 0);
    snprintf(path, sizeof path, "%s/a.o", folder);
    file = fopen(path, "r");
    b.size = fread(b.at, 1, sizeof b.at, file);
    ck_assert_uint_lt(b.size, sizeof b.at);
    fclose(file);
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
    return b;
}

static long tripled(long x) { return 3 * x; }
static const cg_supplied given[] = {{"triple", (cg_function *)tripled}, {NULL, NULL}};

static cg_status loaded(const bytes *b, cg_code *code, char why[CG_WHY])
{
    *code = (cg_code){0};
    why[0] = 0;
    return cg_load(b->at, b->size, given, code, why);
}

/* A system compiler's object has more kinds of sections and relocations than libtcc's. */
static const char object_text[] = "extern long triple(long);\n"
                                  "static const long table[3] = {1, 2, 3};\n"
                                  "static const double half = 0.5;\n"
                                  "static long (*const by[2])(long) = {triple, triple};\n"
                                  "long f(long i) { return triple(table[i]) + by[i & 1](i); }\n"
                                  "__attribute__((noinline)) double h(double x) { return x * half; }\n"
                                  "double twice(double x) { return h(x) + h(x); }\n"
                                  "static const char zeros[64]; long z(long i) { return ((volatile const char *)zeros)[i]; }\n";

START_TEST(an_object_is_loaded)
{
    bytes b = object_of(object_text);
    cg_code code;
    char why[CG_WHY];
    ck_assert_msg(loaded(&b, &code, why) == CONVGEN_OK, "%s", why);
    ck_assert_int_eq(((long (*)(long))cg_load_symbol(&code, "f"))(2), 15);
    ck_assert_int_eq(((long (*)(long))cg_load_symbol(&code, "z"))(5), 0);
    ck_assert(((double (*)(double))cg_load_symbol(&code, "twice"))(1.25) == 1.25);
    ck_assert_ptr_null(cg_load_symbol(&code, "table"));
    ck_assert_ptr_null(cg_load_symbol(&code, "triple"));
    ck_assert_ptr_null(cg_load_symbol(&code, ""));
    cg_load_end(&code);
}
END_TEST

static void refused_object(const char *text, const char *sentence)
{
    bytes b = object_of(text);
    cg_code code;
    char why[CG_WHY];
    ck_assert_int_eq(loaded(&b, &code, why), CONVGEN_COMPILER);
    ck_assert_msg(strstr(why, sentence) != NULL, "expected \"%s\" in \"%s\"", sentence, why);
    cg_load_end(&code);
}

START_TEST(what_cannot_be_loaded_is_refused)
{
    refused_object("long nobody(long); long f(long x) { return nobody(x); }", "undefined symbol 'nobody'");
    refused_object("static void first(void) {} __attribute__((section(\".init_array\"))) void (*const run)(void) = first;", "section of type");
    refused_object("__thread int t; int *f(void) { return &t; }", "section of type");
    refused_object("const char far[64] __attribute__((aligned(8192))) = {1};", "aligned to 8192");
}
END_TEST

/* Objects cut short and with any byte changed: loaded or refused, never read or written beyond (the sanitizers watch). */
START_TEST(damaged_objects)
{
    bytes good = object_of(object_text);
    cg_code code;
    char why[CG_WHY];
    for (size_t size = 0; size < good.size; size += 1 + size / 64) {
        bytes b = good;
        b.size = size;
        unsigned char *exact = malloc(size ? size : 1);
        memcpy(exact, b.at, size);
        code = (cg_code){0};
        ck_assert_int_eq(cg_load(exact, size, given, &code, why), CONVGEN_COMPILER);
        cg_load_end(&code);
        free(exact);
    }
    uint64_t state = 5;
    int refusals = 0;
    for (int i = 0; i < 40000; i++) {
        bytes b = good;
        int changes = 1 + (int)(cg_random(&state) % 3);
        for (int k = 0; k < changes; k++) b.at[cg_random(&state) % b.size] = (unsigned char)cg_random(&state);
        cg_status status = loaded(&b, &code, why);
        ck_assert(status == CONVGEN_OK || (status == CONVGEN_COMPILER && why[0]) || status == CONVGEN_NO_MEMORY);
        refusals += status != CONVGEN_OK;
        cg_load_end(&code);
    }
    ck_assert_int_gt(refusals, 100);
}
END_TEST

static int entries(const char *path)
{
    int n = 0;
    DIR *folder = opendir(path);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

START_TEST(temporary_files_are_removed)
{
    char folder[] = "/tmp/convgen-test-XXXXXX", why[CG_WHY];
    cg_code *code;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    setenv("TMPDIR", folder, 1);
    ck_assert_int_eq(cg_toolchain(add_text, "cc", "", &code, why), CONVGEN_OK);
    ck_assert_int_eq(entries(folder), 2);
    ck_assert_int_eq(CALL(code, add_fn, "add")(1, 1), 2);
    cg_code_free(code);
    ck_assert_int_eq(cg_toolchain("?", "cc", "", &code, why), CONVGEN_COMPILER);
    ck_assert_int_eq(cg_toolchain(add_text, "cc", "-no-such-flag", &code, why), CONVGEN_COMPILER);
    ck_assert_msg(strstr(why, "no-such-flag") != NULL, "%s", why);
    ck_assert_int_eq(cg_toolchain(add_text, "no-such-compiler", "", &code, why), CONVGEN_COMPILER);
    ck_assert_msg(strstr(why, "no-such-compiler") != NULL, "%s", why);
    ck_assert_int_eq(cg_toolchain(add_text, "true", "", &code, why), CONVGEN_COMPILER);
    ck_assert_int_eq(entries(folder), 2);
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert_int_eq(cg_toolchain(add_text, "cc", "", &code, why), CONVGEN_COMPILER);
    ck_assert_msg(strstr(why, folder) != NULL, "%s", why);
}
END_TEST

static char signal_file[64];
static double until_it_has_begun(void) { return access(signal_file, F_OK) ? 0 : 2e6; }

/* At the deadline a compiler ends, and what it started and left alone too, whatever signals that ignores. */
START_TEST(a_compiler_ends_with_all_it_started)
{
    char folder[] = "/tmp/convgen-test-XXXXXX", script[64], text[300], word[64], why[CG_WHY];
    cg_code *code;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(script, sizeof script, "%s/cc", folder);
    snprintf(signal_file, sizeof signal_file, "%s/begun", folder);
    snprintf(word, sizeof word, "CONVGEN_TEST=%s", folder);
    setenv("CONVGEN_TEST", folder, 1);
    snprintf(text, sizeof text, "#!/bin/sh\ntrap '' HUP\nsleep 500 &\necho > %s/begun\necho begun\nwait\n", folder);
    FILE *f = fopen(script, "w");
    ck_assert(f && fputs(text, f) >= 0 && !fclose(f) && !chmod(script, 0700));
    cg_clock = until_it_has_begun;
    cg_deadline_set(1e6);
    cg_status status = cg_toolchain(add_text, script, "", &code, why);
    cg_deadline_set(INFINITY);
    cg_clock = NULL;
    ck_assert_int_eq(status, CONVGEN_CANCELLED);
    ck_assert_msg(strstr(why, "the time was up before") != NULL, "%s", why);
    ck_assert_msg(all_end(word), "what the compiler started goes on");
    unlink(script), unlink(signal_file), rmdir(folder);
}
END_TEST

/* What a killed process left is removed; what another one holds, or only looks like ours, stays. */
START_TEST(left_folders_are_swept)
{
    char base[] = "/tmp/convgen-test-XXXXXX", left[96], inner[128], other[96];
    cg_temporary held, next;
    ck_assert_ptr_nonnull(mkdtemp(base));
    setenv("TMPDIR", base, 1);
    ck_assert_int_eq(cg_temporary_new(&held), CONVGEN_OK);
    snprintf(left, sizeof left, "%s/convgen-cc-abcdef", base);
    snprintf(inner, sizeof inner, "%s/inner", left);
    snprintf(other, sizeof other, "%s/convgen-cc-of-mine", base);
    ck_assert(!mkdir(left, 0700) && !mkdir(inner, 0700) && !mkdir(other, 0700));
    ck_assert_int_eq(cg_temporary_new(&next), CONVGEN_OK);
    ck_assert_int_eq(access(left, F_OK), -1);
    ck_assert_int_eq(access(other, F_OK) | access(held.path, F_OK) | access(next.path, F_OK), 0);
    ck_assert_int_eq(mkdir(left, 0755), 0); /* we make none that others may read */
    cg_temporary_remove(&held);
    cg_temporary_remove(&next);
    ck_assert_int_eq(cg_temporary_new(&next), CONVGEN_OK);
    ck_assert_int_eq(access(left, F_OK), 0);
    cg_temporary_remove(&next);
    if (!geteuid()) { /* root could remove other users' */
        ck_assert(!chmod(left, 0700) && !chown(left, 65534, 65534));
        ck_assert_int_eq(cg_temporary_new(&next), CONVGEN_OK);
        ck_assert_int_eq(access(left, F_OK), 0);
        cg_temporary_remove(&next);
    }
    ck_assert_int_eq(rmdir(left) | rmdir(other) | rmdir(base), 0);
    unsetenv("TMPDIR");
}
END_TEST

/* No shell: a compiler's name and flags are taken by the letter. */
START_TEST(no_shell)
{
    char why[CG_WHY];
    cg_code *code;
    unlink("/tmp/convgen-test-shell");
    cg_toolchain(add_text, "cc; touch /tmp/convgen-test-shell", "", &code, why);
    cg_toolchain(add_text, "cc", "; touch /tmp/convgen-test-shell", &code, why);
    ck_assert_int_ne(access("/tmp/convgen-test-shell", F_OK), 0);
}
END_TEST

START_TEST(constants_in_any_locale)
{
    cg_code *code;
    char why[CG_WHY];
    if (!comma_locale())
        return;
    ck_assert_int_eq(cg_jit("double half(void) { return 0.5; }", &code, why), CONVGEN_OK);
    ck_assert(CALL(code, double(void), "half")() == 0.5);
    cg_code_free(code);
}
END_TEST

START_TEST(the_hosts_locale_stays)
{
    cg_code *code;
    char why[CG_WHY];
    locale_t before = uselocale((locale_t)0);
    ck_assert_int_eq(cg_jit("int x;", &code, why), CONVGEN_OK);
    cg_code_free(code);
    ck_assert(uselocale((locale_t)0) == before);
}
END_TEST

static void *compile_many(void *failed)
{
    for (int i = 0; i < 50; i++) {
        cg_code *code;
        char why[CG_WHY];
        if (cg_jit(add_text, &code, why) || CALL(code, add_fn, "add")(i, i) != 2 * i)
            *(int *)failed = 1;
        cg_code_free(code);
    }
    return NULL;
}

START_TEST(threads_and_forks)
{
    pthread_t thread[3];
    int failed[3] = {0};
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, compile_many, &failed[i]);
    for (int i = 0; i < 20; i++) { /* a child forked at any moment can compile */
        pid_t pid = fork();
        if (!pid) {
            cg_code *code;
            char why[CG_WHY];
            _exit(cg_jit(add_text, &code, why) != CONVGEN_OK);
        }
        int state;
        waitpid(pid, &state, 0);
        ck_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_int_eq(failed[i], 0);
    }
}
END_TEST

/* ---- parallel.c ---- */

typedef struct cover {
    unsigned char seen[1000];
    int threads;
    bool bad, many;
} cover;

static void mark(void *user, long first, long last, int thread)
{
    cover *c = user;
    if (thread < 0 || thread >= c->threads)
        c->bad = true;
    if (thread > 0)
        c->many = true;
    for (long i = first; i < last; i++)
        c->seen[i]++;
}

static void check_cover(int threads, long tasks)
{
    cover c = {.threads = threads};
    cg_parallel par = {.threads = threads};
    cg_parallel_run(&par, tasks, mark, &c);
    ck_assert(!c.bad);
    for (long i = 0; i < 1000; i++)
        ck_assert_int_eq(c.seen[i], i < tasks);
}

START_TEST(shares_cover_all_tasks_once)
{
    for (int threads = 1; threads <= 5; threads++)
        for (long tasks = 0; tasks <= 1000; tasks = tasks * 3 + 1)
            check_cover(threads, tasks);
    cover c = {.threads = 1};
    cg_parallel_run(NULL, 10, mark, &c);
    ck_assert_int_eq(c.seen[9], 1);
}
END_TEST

static void own_pool(void *user, long tasks, int threads, void (*body)(void *task, long first, long last, int thread), void *task)
{
    *(int *)user = threads;
    for (int t = 0; t < threads; t++)
        body(task, tasks * t / threads, tasks * (t + 1) / threads, t);
}

START_TEST(the_hosts_pool_is_used)
{
    int asked = 0;
    cover c = {.threads = 4};
    cg_parallel par = {.threads = 4, .parallel_for = own_pool, .user = &asked};
    cg_parallel_run(&par, 3, mark, &c);
    ck_assert_int_eq(asked, 3);
    ck_assert(c.seen[0] == 1 && c.seen[2] == 1 && c.seen[3] == 0);
}
END_TEST

/* Runs a region in a child, or in a child's child: 0 in one thread, 1 in many, 2 wrong or hung. */
static int region_in_child(int generations)
{
    pid_t pid = fork();
    if (!pid) {
        if (generations > 1) _exit(region_in_child(generations - 1));
        cover c = {.threads = 2};
        cg_parallel par = {.threads = 2};
        alarm(20);
        cg_parallel_run(&par, 100, mark, &c);
        _exit(c.bad ? 2 : c.many);
    }
    int state;
    waitpid(pid, &state, 0);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 2;
}

START_TEST(fork_after_a_region)
{
    ck_assert_int_eq(region_in_child(1), 1); /* no thread yet: the child may have its own */
    ck_assert_int_eq(region_in_child(2), 1);
    check_cover(2, 100);
    ck_assert_int_eq(region_in_child(1), 0); /* the pool is the parent's: serial, and no hang */
    ck_assert_int_eq(region_in_child(2), 0); /* though its parent has but one thread */
    check_cover(2, 100);
}
END_TEST

/* In a child: what `limit` leaves it with, then regions of all sizes, in several threads at once. */
enum { WELL, NO_LIMIT = 70, WRONG, ENDED };
static pthread_mutex_t hosts_are_there = PTHREAD_MUTEX_INITIALIZER;

static void *regions(void *user)
{
    pthread_mutex_lock(&hosts_are_there);
    pthread_mutex_unlock(&hosts_are_there);
    for (int k = 0; k < 10; k++)
        for (long tasks = 1; tasks <= 40; tasks = tasks * 3) {
            int threads = k < 5 ? 2 + k : 11 - k;
            cover c = {.threads = threads};
            cg_parallel par = {.threads = threads};
            cg_parallel_run(&par, tasks, mark, &c);
            if (c.bad) *(bool *)user = true;
            for (long i = 0; i < 100; i++)
                if (c.seen[i] != (i < tasks)) *(bool *)user = true;
        }
    return NULL;
}

static int regions_in_child(bool (*limit)(int n), int n, int hosts)
{
    pid_t pid = fork();
    if (!pid) {
        pthread_t host[4];
        bool wrong[4] = {false};
        int made = 0;
        if (!limit(n)) _exit(NO_LIMIT);
        pthread_mutex_lock(&hosts_are_there);
        while (made < hosts && !pthread_create(&host[made], NULL, regions, &wrong[made + 1])) made++;
        pthread_mutex_unlock(&hosts_are_there);
        regions(&wrong[0]);
        for (int i = 0; i < made; i++) pthread_join(host[i], NULL);
        _exit(wrong[0] || wrong[1] || wrong[2] || wrong[3] ? WRONG : WELL);
    }
    int state;
    waitpid(pid, &state, 0);
    bool ours = WIFEXITED(state) && (WEXITSTATUS(state) == WELL || WEXITSTATUS(state) == NO_LIMIT || WEXITSTATUS(state) == WRONG);
    return ours ? WEXITSTATUS(state) : ENDED;
}

/* Of a user who has nothing else running: root is not bound. */
static bool few_threads(int n)
{
    struct rlimit limit = {(rlim_t)n, (rlim_t)n};
    return !setrlimit(RLIMIT_NPROC, &limit) && (geteuid() || !setresuid(70000 + (uid_t)getpid(), 70000 + (uid_t)getpid(), 70000 + (uid_t)getpid()));
}

/* n quarters of a megabyte more than it has: a thread's stack takes 8 MB. */
static bool little_memory(int n)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    bool read = file && fscanf(file, "%ld", &pages) == 1;
    if (file) fclose(file);
    rlim_t bytes = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)n << 18);
    struct rlimit limit = {bytes, bytes};
    return read && !setrlimit(RLIMIT_AS, &limit);
}

START_TEST(threads_that_cannot_be_made)
{
    for (int n = 1; n <= 12; n++)
        for (int hosts = 0; hosts <= 3; hosts += 3) {
            int state = regions_in_child(few_threads, n, hosts);
            ck_assert_msg(state <= NO_LIMIT, "%d threads allowed, %d threads call: %s", n, hosts + 1, state == WRONG ? "wrong" : "the process was ended");
        }
}
END_TEST

START_TEST(threads_without_memory)
{
#ifndef __SANITIZE_ADDRESS__ /* its shadow is beyond any limit */
    for (int n = 0; n <= 240; n += 3) {
        int state = regions_in_child(little_memory, n, 0);
        ck_assert_msg(state <= NO_LIMIT, "%d KB more than before: %s", n << 8, state == WRONG ? "wrong" : "the process was ended");
    }
#else
    (void)little_memory;
#endif
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("jit");
    TCase *t = test_case(suite, "all", 120);
    tcase_add_loop_test(t, compiles_and_calls, 0, 2);
    tcase_add_loop_test(t, products_are_rounded, 0, 2);
    tcase_add_loop_test(t, wrong_text_says_why, 0, 2);
    tcase_add_test(t, no_file_of_the_machine_is_read);
    tcase_add_test(t, conversions_and_copies);
    tcase_add_test(t, too_long);
    tcase_add_test(t, nothing_is_writable_and_executable_at_rest);
    tcase_add_test(t, nothing_is_ever_writable_and_executable);
    tcase_add_test(t, refused_executable_memory_is_a_status);
    tcase_add_test(t, writable_and_executable_is_not_asked_for);
    tcase_add_loop_test(t, every_failing_allocation, 0, SANITIZED ? 2 : 4);
    tcase_add_test(t, compiles_that_end_anywhere);
    tcase_add_test(t, every_compile_is_the_first);
    tcase_add_test(t, what_libtcc_stands_on);
    tcase_add_test(t, an_object_is_loaded);
    tcase_add_test(t, what_cannot_be_loaded_is_refused);
    tcase_add_test(t, damaged_objects);
    tcase_add_test(t, temporary_files_are_removed);
    tcase_add_test(t, a_compiler_ends_with_all_it_started);
    tcase_add_test(t, left_folders_are_swept);
    tcase_add_test(t, no_shell);
    tcase_add_test(t, constants_in_any_locale);
    tcase_add_test(t, the_hosts_locale_stays);
    /* libasan (GCC 12) takes none of its allocator's locks at a fork, as glibc's malloc does: a child forked while another thread
     * is inside malloc or free waits for ever in __sanitizer::Mutex::Lock below SizeClassAllocator64::GetFromAllocator. */
#ifndef __SANITIZE_ADDRESS__
    tcase_add_test(t, threads_and_forks);
#else
    (void)threads_and_forks;
#endif
    tcase_add_test(t, shares_cover_all_tasks_once);
    tcase_add_test(t, the_hosts_pool_is_used);
    tcase_add_test(t, fork_after_a_region);
    tcase_add_test(t, threads_that_cannot_be_made);
    tcase_add_test(t, threads_without_memory);
    return test_run(suite);
}

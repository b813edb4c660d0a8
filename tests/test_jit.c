/* test_jit.c: text to code, with libtcc and with the system's compiler; tasks over threads. */
#define _GNU_SOURCE
#include "internal.h"
#include "suite.h"

#include <dirent.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

/* From here on mprotect to executable is refused, as on hardened systems. */
static bool refuse_executable(void)
{
#ifdef __x86_64__
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
#else
    return false;
#endif
}

START_TEST(refused_executable_memory_is_a_status)
{
    cg_code *code;
    char why[CG_WHY];
    if (!refuse_executable())
        return; /* this system has no seccomp: nothing to see */
    ck_assert_int_eq(cg_jit(add_text, &code, why), CONVGEN_NO_EXEC);
    ck_assert_ptr_null(code);
    ck_assert_ptr_nonnull(strstr(why, "executable"));
}
END_TEST

START_TEST(every_failing_allocation)
{
    for (int c = 0; c < (SANITIZED ? 1 : 2); c++) {
        cg_status status = CONVGEN_NO_MEMORY;
        for (long n = 1; status != CONVGEN_OK; n++) {
            cg_code *code;
            char why[CG_WHY];
            cg_fail_allocation = n;
            status = cg_code_new(add_text, compilers[c], "", &code, why);
            cg_fail_allocation = 0;
            ck_assert(status == CONVGEN_OK || status == CONVGEN_NO_MEMORY);
            ck_assert_int_lt(n, 20);
            if (!status)
                cg_code_free(code);
        }
    }
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
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        return; /* not installed */
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

/* Runs a region in a child: 0 in one thread, 1 in many, 2 wrong or hung. */
static int region_in_child(void)
{
    pid_t pid = fork();
    if (!pid) {
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
    ck_assert_int_eq(region_in_child(), 1); /* no thread yet: the child may have its own */
    check_cover(2, 100);
    ck_assert_int_eq(region_in_child(), 0); /* the pool is the parent's: serial, and no hang */
    check_cover(2, 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("jit");
    TCase *t = test_case(suite, "all", 120);
    tcase_add_loop_test(t, compiles_and_calls, 0, 2);
    tcase_add_loop_test(t, wrong_text_says_why, 0, 2);
    tcase_add_test(t, no_file_of_the_machine_is_read);
    tcase_add_test(t, conversions_and_copies);
    tcase_add_test(t, too_long);
    tcase_add_test(t, nothing_is_writable_and_executable_at_rest);
    tcase_add_test(t, refused_executable_memory_is_a_status);
    tcase_add_test(t, every_failing_allocation);
    tcase_add_test(t, temporary_files_are_removed);
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
    return test_run(suite);
}

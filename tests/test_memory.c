/* test_memory.c: allocation that fails on demand, guard pages, errors, texts. */
#define _GNU_SOURCE
#include "plan.h"
#include "suite.h"

#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(nth_allocation_fails)
{
    for (long n = 1; n <= 3; n++) {
        cg_fail_allocation = n;
        for (long i = 1; i <= 4; i++) {
            void *p = cg_malloc(8);
            ck_assert_int_eq(p == NULL, i == n);
            cg_free(p);
        }
        ck_assert_int_eq(cg_fail_allocation, 0);
    }
    cg_fail_onwards = true;
    cg_fail_allocation = 3;
    for (long i = 1; i <= 10; i++) {
        void *p = cg_malloc(8);
        ck_assert_int_eq(p == NULL, i >= 3);
        cg_free(p);
    }
    ck_assert_int_eq(cg_fail_allocation, 1);
    cg_fail_onwards = false;
    cg_fail_allocation = 1;
    ck_assert_ptr_null(cg_pages(1));
    cg_fail_allocation = 1;
    ck_assert_ptr_null(cg_calloc(1, 1));
    cg_fail_allocation = 1;
    ck_assert_ptr_null(cg_realloc(NULL, 1));
    cg_fail_allocation = 1;
    ck_assert_ptr_null(cg_aligned(1));
    cg_fail_allocation = 1;
    ck_assert_ptr_null(cg_strdup("x"));
    cg_guarded g;
    cg_fail_allocation = 1;
    ck_assert_int_eq(cg_guarded_new(8, true, 8, &g), CONVGEN_NO_MEMORY);
    cg_guarded_free(&g);
}
END_TEST

/* What lies in an arena stays as it is while others come, grow, shrink and go; a resize that fails leaves it. */
START_TEST(arenas)
{
    enum { BLOCKS = 200, STEPS = 20000 };
    static struct {
        unsigned char *at, tag;
        size_t size;
    } block[BLOCKS];
    cg_arena a = {0};
    uint64_t seed = 5;
    for (int step = 0; step < STEPS; step++) {
        int i = (int)(cg_random(&seed) % BLOCKS);
        size_t size = cg_random(&seed) % (step % 50 ? 400 : 60000), kept = size < block[i].size ? size : block[i].size;
        if (cg_random(&seed) % 16 == 0) cg_fail_allocation = 1;
        unsigned char *now = size ? cg_arena_resize(&a, block[i].at, block[i].size, size) : NULL;
        if (size && !now) {
            ck_assert_int_eq(cg_fail_allocation, 0); /* that was why */
            now = block[i].at, kept = size = block[i].size;
        }
        cg_fail_allocation = 0;
        if (!size && block[i].at) cg_arena_free(&a, block[i].at, block[i].size);
        ck_assert_uint_eq((uintptr_t)now % 16, 0);
        for (size_t b = 0; b < kept; b++) ck_assert_uint_eq(now[b], block[i].tag);
        block[i].at = now, block[i].size = size, block[i].tag = (unsigned char)cg_random(&seed);
        if (size) memset(now, block[i].tag, size);
    }
    cg_arena_end(&a);
    ck_assert(!a.large && !a.at);
}
END_TEST

/* Blocks of one size that come and go take no more memory. */
START_TEST(an_arena_uses_its_memory_again)
{
    cg_arena a = {0};
    void *kept[64];
    for (int round = 0; round < 100; round++) {
        cg_fail_allocation = 1000000;
        for (int i = 0; i < 64; i++) ck_assert_ptr_nonnull(kept[i] = cg_arena_new(&a, 200));
        for (int i = 0; i < 64; i++) cg_arena_free(&a, kept[i], 195);
        if (round) ck_assert_int_eq(cg_fail_allocation, 1000000); /* none was asked for */
    }
    cg_fail_allocation = 0;
    cg_arena_end(&a);
}
END_TEST

START_TEST(sizes)
{
    size_t out;
    ck_assert(cg_multiply(1u << 20, 1u << 20, &out) && out == (size_t)1 << 40);
    ck_assert(!cg_multiply(SIZE_MAX, 2, &out));
    ck_assert_ptr_null(cg_calloc(SIZE_MAX, 2));
    for (size_t size = 0; size < 200; size += 33) {
        char *p = cg_aligned(size);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 64, 0);
        memset(p, 1, size);
        cg_free(p);
    }
}
END_TEST

/* True when reading the byte kills a child. */
static bool faults(const volatile char *byte)
{
    pid_t pid = fork();
    if (!pid) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        (void)*byte;
        _exit(0);
    }
    int state;
    waitpid(pid, &state, 0);
    return WIFSIGNALED(state) && WTERMSIG(state) == SIGSEGV;
}

START_TEST(guard_pages)
{
    size_t sizes[] = {0, 4, 4096, 4100, 12345 * 4};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        cg_guarded left, right;
        ck_assert_int_eq(cg_guarded_new(sizes[i], false, 4, &left), CONVGEN_OK);
        ck_assert_int_eq(cg_guarded_new(sizes[i], true, 4, &right), CONVGEN_OK);
        memset(left.data, 7, sizes[i]);
        memset(right.data, 7, sizes[i]);
        ck_assert(faults((char *)left.data - 1));
        ck_assert(faults((char *)right.data + sizes[i]));
        if (sizes[i])
            ck_assert(!faults(left.data) && !faults((char *)right.data + sizes[i] - 1));
        cg_guarded_free(&left);
        cg_guarded_free(&right);
    }
    cg_guarded again = {0};
    size_t fits[] = {40000, 4, 12288, 40000, 50000, 36};
    for (size_t i = 0; i < sizeof fits / sizeof *fits; i++) {
        bool right = i % 2;
        ck_assert_int_eq(cg_guarded_fit(fits[i], right, 4, &again), CONVGEN_OK);
        memset(again.data, 7, fits[i]);
        ck_assert(faults(right ? (char *)again.data + fits[i] : (char *)again.data - 1));
        ck_assert(faults((char *)again.data + (right ? -4096 : ((ptrdiff_t)fits[i] + 4095) / 4096 * 4096)));
        ck_assert(!faults(again.data) && !faults((char *)again.data + fits[i] - 1));
    }
    ck_assert_int_eq(cg_guarded_fit(SIZE_MAX - 5, true, 1, &again), CONVGEN_NO_MEMORY);
    cg_guarded_free(&again);
    cg_guarded huge;
    ck_assert_int_eq(cg_guarded_new(SIZE_MAX - 5, true, 1, &huge), CONVGEN_NO_MEMORY);
    ck_assert_int_eq(cg_guarded_new((size_t)1 << 60, true, 1, &huge), CONVGEN_NO_MEMORY);
}
END_TEST

static void *other_thread(void *unused)
{
    (void)unused;
    ck_assert_str_eq(cg_error_text(), "");
    cg_fail(CONVGEN_STORE, "theirs");
    return NULL;
}

START_TEST(errors)
{
    pthread_t thread;
    ck_assert_int_eq(cg_fail(CONVGEN_BAD_PROBLEM, "%s is %d", "kh", 0), CONVGEN_BAD_PROBLEM);
    pthread_create(&thread, NULL, other_thread, NULL);
    pthread_join(thread, NULL);
    ck_assert_str_eq(convgen_error(NULL), "kh is 0");
    cg_fail(CONVGEN_INTERNAL, "list: %s", cg_error_text());
    ck_assert_str_eq(cg_error_text(), "list: kh is 0");
    char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    cg_fail(CONVGEN_INTERNAL, "%s", longer);
    ck_assert_uint_gt(strlen(cg_error_text()), 500);
    for (int i = CONVGEN_OK; i <= CONVGEN_INTERNAL; i++)
        ck_assert_str_ne(convgen_status_text((convgen_status)i), "unknown status");
    ck_assert_str_eq(convgen_status_text((convgen_status)77), "unknown status");
}
END_TEST

START_TEST(buffers)
{
    cg_buffer b = {0};
    for (int i = 0; i < 1000; i++)
        cg_buffer_printf(&b, "%d,", i);
    cg_buffer_add(&b, "end", 3);
    ck_assert(!b.failed);
    ck_assert_uint_eq(b.length, strlen(b.text));
    ck_assert_str_eq(b.text + b.length - 7, "999,end");
    cg_fail_allocation = 1000;
    for (int i = 0; i < 10000; i++)
        cg_buffer_add(&b, "12345678", 8);
    ck_assert(!b.failed && cg_fail_allocation > 990); /* it doubles: few allocations */
    cg_fail_allocation = 1;
    for (int i = 0; i < 20000; i++)
        cg_buffer_add(&b, "12345678", 8);
    ck_assert(b.failed); /* it sticks, also after memory is there again */
    cg_buffer_free(&b);
    ck_assert_ptr_null(b.text);
}
END_TEST

START_TEST(files)
{
    char path[] = "/tmp/convgen-test-XXXXXX";
    int file = mkstemp(path), next = dup(file);
    close(next); /* the next descriptor that is free, at the end as well */
    cg_buffer b;
    ck_assert_int_eq(cg_read_file(path, 10, &b), CONVGEN_OK);
    ck_assert_str_eq(b.text, "");
    cg_buffer_free(&b);
    ck_assert_int_eq(write(file, "0123456789", 10), 10);
    ck_assert_int_eq(cg_read_file(path, 10, &b), CONVGEN_OK);
    ck_assert_str_eq(b.text, "0123456789");
    cg_buffer_free(&b);
    ck_assert_int_eq(cg_read_file(path, 9, &b), CONVGEN_STORE);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), path));
    close(file);
    unlink(path);
    ck_assert_int_eq(cg_read_file(path, 9, &b), CONVGEN_STORE);
    ck_assert_int_eq(cg_read_file("/tmp", 9, &b), CONVGEN_STORE);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), "directory"));
    file = open("/tmp", O_RDONLY);
    ck_assert_int_eq(dup(file), next);
}
END_TEST

START_TEST(the_locale_is_the_threads_again)
{
    locale_t before = uselocale((locale_t)0);
    void *host = cg_locale_enter();
    ck_assert(uselocale((locale_t)0) != before);
    cg_locale_leave(host);
    ck_assert(uselocale((locale_t)0) == before);
}
END_TEST

START_TEST(numbers)
{
    ck_assert_uint_eq(cg_hash("", 0, 0), 0xcbf29ce484222325u);
    ck_assert_uint_eq(cg_hash("a", 1, 0), 0xaf63dc4c8601ec8cu); /* FNV-1a's published vector */
    ck_assert_uint_eq(cg_hash("b", 1, cg_hash("a", 1, 0)), cg_hash("ab", 2, 0));
    uint64_t state = 0;
    ck_assert_uint_eq(cg_random(&state), 0xe220a8397b1dcdafu); /* splitmix64's first number from 0 */
    double low = 1, high = -1, before = cg_now();
    for (int i = 0; i < 10000; i++) {
        double x = cg_uniform(&state);
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    ck_assert(low >= -1 && low < -0.99 && high < 1 && high > 0.99);
    ck_assert(cg_now() >= before);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *t = test_case(suite, "all", 60);
    tcase_add_test(t, nth_allocation_fails);
    tcase_add_test(t, arenas);
    tcase_add_test(t, an_arena_uses_its_memory_again);
    tcase_add_test(t, sizes);
    tcase_add_test(t, guard_pages);
    tcase_add_test(t, errors);
    tcase_add_test(t, buffers);
    tcase_add_test(t, files);
    tcase_add_test(t, the_locale_is_the_threads_again);
    tcase_add_test(t, numbers);
    return test_run(suite);
}

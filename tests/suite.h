/* suite.h: how every test program of libcheck's begins and ends.
 *
 * $CK_RUN_CASE=name runs one case alone, $CK_VERBOSITY=verbose names the tests. */
#ifndef SUITE_H
#define SUITE_H

#include <check.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A test has hung when it takes so many times what the slowest of its case usually does: no busy or slow machine goes that far. */
enum { HANGS = 30 };

/* A case of the suite, whose tests usually take less than so many seconds each. */
static inline TCase *test_case(Suite *suite, const char *name, int seconds)
{
    TCase *c = tcase_create(name);
    tcase_set_timeout(c, (double)HANGS * seconds);
    suite_add_tcase(suite, c);
    return c;
}

/* Numbers have a decimal comma from here on; false where no such locale is installed, which leaves the usual one. */
static inline bool comma_locale(void)
{
    if (setlocale(LC_ALL, "de_DE.UTF-8")) return true;
    printf("skipped: the locale de_DE.UTF-8 is not installed\n"); /* (Debian: locales, before the build) */
    fflush(stdout);
    return false;
}

/* A store of the test's own, in a new folder: what a test that failed left there is not found again. */
static inline void store_begin(char path[static 64])
{
    strcpy(path, "/tmp/convgen-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(path));
    strcat(path, "/store");
}

static inline void store_end(const char *path)
{
    char other[80];
    snprintf(other, sizeof other, "%s.lock", path);
    unlink(path);
    unlink(other);
    snprintf(other, sizeof other, "%.*s", (int)(strrchr(path, '/') - path), path);
    rmdir(other);
}

/* The exit status of main. */
static inline int test_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

#endif

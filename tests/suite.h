/* suite.h: how every test program of libcheck's begins and ends.
 *
 * $CK_RUN_CASE=name runs one case alone, $CK_VERBOSITY=verbose names the tests. */
#ifndef SUITE_H
#define SUITE_H

#include <check.h>

/* A test has hung when it takes this many times as long as is usual for the slowest of its case: no busy or slow machine does that. */
enum { HANGS = 30 };

/* A case of the suite, whose tests usually take less than so many seconds each. */
static inline TCase *test_case(Suite *suite, const char *name, int seconds)
{
    TCase *c = tcase_create(name);
    tcase_set_timeout(c, (double)HANGS * seconds);
    suite_add_tcase(suite, c);
    return c;
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

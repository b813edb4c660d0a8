/* suite.h: how every test program of libcheck's begins and ends.
 *
 * $CK_RUN_CASE=name runs one case alone, $CK_VERBOSITY=verbose names the tests. */
#ifndef SUITE_H
#define SUITE_H

#include <check.h>

/* A case of the suite, whose tests may each take so many seconds. */
static inline TCase *test_case(Suite *suite, const char *name, int seconds)
{
    TCase *c = tcase_create(name);
    tcase_set_timeout(c, seconds);
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

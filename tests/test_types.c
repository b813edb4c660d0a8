/* test_types.c: every row of the table of types, by what its own read and write do. */
#include "plan.h"
#include "suite.h"
#include <math.h>
#include <string.h>

#define ROW const cg_type_row *t = &cg_types[_i]; convgen_type type = (convgen_type)_i

START_TEST(rounding)
{
    ROW;
    double unit = ldexp(1, 1 - t->digits), more = 1.5 * ldexp(1, -t->digits);
    ck_assert(cg_rounded(type, 1 + unit) == 1 + unit);
    ck_assert(cg_rounded(type, 1 + unit / 4) == 1);
    ck_assert_msg(t->digits == 53 || cg_rounded(type, 1 + more) == 1 + unit, "a double has no more");
    ck_assert(cg_rounded(type, t->exact) == t->exact && t->exact <= ldexp(1, t->digits) && t->careful <= t->exact);
    ck_assert(t->largest * t->largest <= t->careful);
}
END_TEST

START_TEST(the_smallest_normal_number)
{
    ROW;
    double least = ldexp(1, t->lowest - 1), digit = ldexp(1, t->lowest - t->digits);
    ck_assert(cg_rounded(type, least + digit) == least + digit);
    ck_assert(cg_rounded(type, least / 2 + digit) == least / 2 + digit);
    ck_assert_msg(digit / 2 == 0 || cg_rounded(type, digit / 2) != digit / 2, "digits end where the smallest normal number's do");
}
END_TEST

/* Arithmetic sets one bit of a NaN, and leaves the others. */
START_TEST(a_quiet_nan)
{
    ROW;
    unsigned char element[16] = {0};
    uint32_t word = 0x7FF5A5A5 & ~t->nan.quiet, after; /* a signalling one in every type */
    volatile double zero = 0; /* else nothing is computed */
    for (size_t i = 0; i + 4 <= t->bytes; i += 4) memcpy(element + i, &word, 4);
    cg_put(type, element, 0, cg_get(type, element, 0) + zero);
    memcpy(&after, element + t->nan.at, 4);
    ck_assert(isnan(cg_get(type, element, 0)));
    ck_assert_msg((after | t->nan.quiet) == (word | t->nan.quiet) && (after & t->nan.quiet), "%s: %x became %x", t->name, word, after);
}
END_TEST

START_TEST(elements_stand_side_by_side)
{
    ROW;
    double values[5] = {1, -2, 0, 4, -0.5}, back[5];
    unsigned char data[64];
    memset(data, 0xAA, sizeof data);
    t->write(data, 1, 3, values + 1);
    cg_put(type, data, 0, values[0]);
    cg_put(type, data, 4, values[4]);
    t->read(data, 0, 5, back);
    for (int i = 0; i < 5; i++) ck_assert(back[i] == values[i] && cg_get(type, data, i) == values[i]);
    for (size_t i = 5 * t->bytes; i < sizeof data; i++) ck_assert_uint_eq(data[i], 0xAA);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("types");
    TCase *c = test_case(suite, "types", 60);
    tcase_add_loop_test(c, rounding, 0, CG_TYPES);
    tcase_add_loop_test(c, the_smallest_normal_number, 0, CG_TYPES);
    tcase_add_loop_test(c, a_quiet_nan, 0, CG_TYPES);
    tcase_add_loop_test(c, elements_stand_side_by_side, 0, CG_TYPES);
    return test_run(suite);
}

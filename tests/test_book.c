/* test_book.c: all lines of a file: torn tails, what is skipped and named, what is kept, merging. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sample_records.h"

/* ---- damage --------------------------------------------------------------------------------------------------------- */

START_TEST(test_a_torn_tail_is_ended_first)
{
    cg_record a = sample(1, 1, 1000), b = sample(2, 1, 2000), c = sample(3, 1, 3000), out;
    cg_store *s = store_at(path);
    cg_record_list list;
    cg_buffer text = {0};
    put(path, &a);
    put(path, &b);
    text = text_of(path);
    ck_assert_int_eq(truncate(path, (off_t)text.length - 20), 0);
    put(path, &c);
    ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
    ck_assert_int_eq(list.count, 2);
    ck_assert(same(&list.at[0], &a) && same(&list.at[1], &c));
    ck_assert_int_eq(list.bad_count, 1);
    ck_assert_str_eq(list.bad[0], "records:2: cut short: no checksum at its end");
    ck_assert_int_eq(cg_store_find(s, &b, &out), CONVGEN_NO_RECORD);
    ck_assert_int_eq(cg_store_find(s, &c, &out), CONVGEN_OK);
    cg_records_free(&list);
    cg_buffer_free(&text);
    cg_store_free(s);
}
END_TEST

START_TEST(test_a_tail_that_lacks_only_its_end_counts)
{
    cg_record a = sample(1, 1, 1000), b = sample(2, 1, 2000), out;
    cg_store *s = store_at(path);
    put(path, &a);
    cg_buffer text = text_of(path);
    ck_assert_int_eq(truncate(path, (off_t)text.length - 1), 0);
    ck_assert_int_eq(cg_store_find(s, &a, &out), CONVGEN_OK);
    put(path, &b);
    ck_assert_int_eq(cg_store_find(s, &a, &out), CONVGEN_OK);
    ck_assert_int_eq(cg_store_find(s, &b, &out), CONVGEN_OK);
    cg_buffer_free(&text);
    cg_store_free(s);
}
END_TEST

static bool names(const cg_record_list *list, const char *part)
{
    for (int i = 0; i < list->bad_count; i++)
        if (strstr(list->bad[i], part)) return true;
    return false;
}

START_TEST(test_what_is_skipped_is_named)
{
    cg_record_list list;
    write_mess();
    ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
    ck_assert_int_eq(list.count, 2);
    for (int i = 0; i < list.bad_count; i++) ck_assert_msg(i < 5, "%s", list.bad[i]);
    ck_assert_int_eq(list.bad_count, 5);
    ck_assert(names(&list, "records:4: not a record: it does not begin with convgen1"));
    ck_assert(names(&list, "records:5: longer than 4096 bytes"));
    ck_assert(names(&list, "records:6: of a later format than convgen1, left alone"));
    ck_assert(names(&list, "records:7: of a later format than convgen1, left alone"));
    ck_assert(names(&list, "records:10: checksum does not match"));
    cg_records_free(&list);
}
END_TEST

START_TEST(test_forget_keeps_what_it_does_not_understand)
{
    cg_store *s = store_at(path);
    cg_record_list list;
    double value;
    int asked = 0, dropped = -1;
    write_mess();
    chmod(path, 0640);
    ck_assert_int_eq(cg_store_forget(s, drop_layer_2, &asked, &dropped), CONVGEN_OK);
    ck_assert_int_eq(asked, 2);
    ck_assert_int_eq(dropped, 1);
    cg_buffer text = text_of(path);
    ck_assert_ptr_nonnull(strstr(text.text, future));
    ck_assert_ptr_nonnull(strstr(text.text, "\nconvgen3 xxx"));
    ck_assert_ptr_eq(strstr(text.text, comment), text.text);
    ck_assert_ptr_null(memmem(text.text, text.length, "noise", 5));
    ck_assert_int_eq(cg_store_fact(s, "m", "peak", &value), CONVGEN_OK);
    ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
    ck_assert_int_eq(list.count, 1);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0640);
    ck_assert_int_eq(cg_store_forget(s, drop_layer_2, &asked, &dropped), CONVGEN_OK);
    ck_assert_int_eq(dropped, 0);
    cg_records_free(&list);
    cg_buffer_free(&text);
    cg_store_free(s);
}
END_TEST

START_TEST(test_random_files_do_no_harm)
{
    uint64_t seed = seed_of_run(), state = seed;
    cg_record r = sample(1, 1, 1), out;
    cg_store *s = store_at(path);
    for (int round = 0; round < 200; round++) {
        char noise[3000];
        unlink(path);
        put(path, &r);
        for (size_t i = 0; i < sizeof noise; i++) {
            static const char common[] = "convgen12 machine= fact\"\n\\# sum=0nan";
            uint64_t x = cg_random(&state);
            noise[i] = x & 256 ? (char)x : common[(x >> 16) % (sizeof common - 1)];
        }
        add_text(path, noise, 1 + cg_random(&state) % sizeof noise);
        put(path, &r);
        cg_record_list list;
        ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
        ck_assert_msg(list.count == 1, "CONVGEN_SEED=%llu, round %d", (unsigned long long)seed, round);
        ck_assert_int_eq(cg_store_find(s, &r, &out), CONVGEN_OK);
        cg_records_free(&list);
    }
    cg_store_free(s);
}
END_TEST

START_TEST(test_names_of_many_bad_lines_are_bounded)
{
    cg_record_list list;
    for (int i = 0; i < 1500; i++) add_line(path, "nothing\n");
    ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
    ck_assert_int_eq(list.bad_count, 1000);
    ck_assert_str_eq(list.bad[999], "records: more lines were skipped than are named here");
    cg_records_free(&list);
}
END_TEST

/* ---- merge ---------------------------------------------------------------------------------------------------------- */

static double median_of(int layer)
{
    cg_store *s = store_at(path);
    cg_record key = sample(layer, 1, 0), out = {0};
    cg_store_find(s, &key, &out);
    cg_store_free(s);
    return out.ns_median;
}

START_TEST(test_merge_keeps_the_better)
{
    cg_store *s = store_at(path);
    cg_record r;
    double value;
    r = sample(1, 1, 100), put(path, &r);
    r = sample(1, 1, 300), put(path, &r); /* in one file the later line, though it is slower */
    r = sample(1, 1, 200), put(other, &r);
    r = sample(2, 1, 100), put(path, &r);
    r = sample(2, 1, 200), put(other, &r);
    r = sample(3, 1, 100), put(other, &r);
    r = sample(4, 1, 100), put(path, &r);
    r = sample(4, 1, 400), r.version = 4, put(other, &r); /* slower, but of the newer generator */
    r = sample(5, 1, 0), put(path, &r);
    r = sample(5, 1, 500), put(other, &r);
    r = sample(6, 1, 600), put(path, &r);
    r = sample(6, 1, 600), strcpy(r.schedule, "direct.p1.v1"), put(other, &r);
    r = sample(7, 1, 700), put(path, &r);
    r = sample(7, 1, 0), put(other, &r); /* never timed */
    add_line(other, future);
    add_line(path, comment);
    add_line(path, "# ends like # another\n");
    add_line(other, "# another\n");
    cg_store *o = store_at(other);
    ck_assert_int_eq(cg_store_put_fact(s, "m", "peak", 1), CONVGEN_OK);
    ck_assert_int_eq(cg_store_put_fact(o, "m", "peak", 2), CONVGEN_OK);
    ck_assert_int_eq(cg_store_put_fact(o, "n", "peak", 3), CONVGEN_OK);
    ck_assert_msg(!cg_store_merge(s, other), "%s", cg_error_text());
    ck_assert_double_eq(median_of(1), 200);
    ck_assert_double_eq(median_of(2), 100);
    ck_assert_double_eq(median_of(3), 100);
    ck_assert_double_eq(median_of(4), 400);
    ck_assert_double_eq(median_of(5), 500);
    ck_assert_double_eq(median_of(7), 700);
    r = sample(6, 1, 0);
    ck_assert_int_eq(cg_store_find(s, &r, &r), CONVGEN_OK);
    ck_assert_str_eq(r.schedule, "direct.p6.v2");
    ck_assert_int_eq(cg_store_fact(s, "m", "peak", &value), CONVGEN_OK);
    ck_assert_double_eq(value, 1);
    ck_assert_int_eq(cg_store_fact(s, "n", "peak", &value), CONVGEN_OK);
    cg_buffer once = text_of(path);
    ck_assert_ptr_nonnull(strstr(once.text, future));
    ck_assert_ptr_nonnull(strstr(once.text, comment));
    ck_assert_ptr_nonnull(strstr(once.text, "\n# another\n")); /* a line of its own, not the end of ours */
    ck_assert_int_eq(cg_store_merge(s, other), CONVGEN_OK);
    ck_assert_int_eq(cg_store_merge(s, path), CONVGEN_OK);
    cg_buffer twice = text_of(path);
    ck_assert_str_eq(once.text, twice.text);
    cg_buffer_free(&once);
    cg_buffer_free(&twice);
    cg_store_free(s);
    cg_store_free(o);
}
END_TEST

START_TEST(test_merge_of_nothing_is_an_error)
{
    cg_store *s = store_at(path);
    says(cg_store_merge(s, "/nowhere/records"), "/nowhere/records: No such file");
    add_line(other, "GIF89a\n");
    says(cg_store_merge(s, other), "holds no records: other.records:1: not a record");
    says(cg_store_merge(s, folder), "Is a directory");
    ck_assert_int_ne(access(path, F_OK), 0);
    cg_store_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("book");
    TCase *t = test_case(suite, "book", 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_a_torn_tail_is_ended_first);
    tcase_add_test(t, test_a_tail_that_lacks_only_its_end_counts);
    tcase_add_test(t, test_what_is_skipped_is_named);
    tcase_add_test(t, test_forget_keeps_what_it_does_not_understand);
    tcase_add_test(t, test_random_files_do_no_harm);
    tcase_add_test(t, test_names_of_many_bad_lines_are_bounded);
    tcase_add_test(t, test_merge_keeps_the_better);
    tcase_add_test(t, test_merge_of_nothing_is_an_error);
    return test_run(suite);
}

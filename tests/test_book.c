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
    ck_assert(names(&list, "records:6: of a later format than convgen3, left alone"));
    ck_assert(names(&list, "records:7: of a later format than convgen3, left alone"));
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
    ck_assert_ptr_nonnull(strstr(text.text, "\nconvgen4 xxx"));
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

static int lines_of(int layer, bool merged)
{
    cg_record_list list;
    cg_record key = sample(layer, 1, 0);
    int n = 0;
    ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
    for (int i = 0; i < list.count; i++) n += !strcmp(list.at[i].problem, key.problem) && list.at[i].merged == merged;
    cg_records_free(&list);
    return n;
}

/* What was measured here stays, whatever is said elsewhere; what comes from there waits beside it, the faster of two. */
START_TEST(test_merge_prefers_what_was_measured_here)
{
    cg_store *s = store_at(path);
    cg_record r;
    double value;
    r = sample(1, 1, 100), put(path, &r);
    r = sample(1, 1, 300), put(path, &r); /* in one file the later line, though it is slower */
    r = sample(1, 1, 2), put(other, &r);
    r = sample(2, 1, 100), put(path, &r);
    r = sample(2, 1, 200), put(other, &r);
    r = sample(3, 1, 100), put(other, &r);
    r = sample(4, 1, 400), r.merged = true, put(path, &r);
    r = sample(4, 1, 300), put(other, &r);
    r = sample(5, 1, 500), r.merged = true, put(path, &r);
    r = sample(5, 1, 0), put(other, &r); /* never timed */
    r = sample(6, 1, 600), put(path, &r);
    put(other, &r); /* our own, come back */
    add_line(other, future);
    add_line(path, comment);
    add_line(path, "# ends like # another\n");
    add_line(other, "# another\n");
    cg_store *o = store_at(other);
    ck_assert_int_eq(cg_store_put_fact(s, "m", "peak", 1), CONVGEN_OK);
    ck_assert_int_eq(cg_store_put_fact(o, "m", "peak", 2), CONVGEN_OK);
    ck_assert_int_eq(cg_store_put_fact(o, "n", "peak", 3), CONVGEN_OK);
    ck_assert_msg(!cg_store_merge(s, other), "%s", cg_error_text());
    static const double expected[] = {0, 300, 100, 100, 300, 500, 600};
    static const int merged[] = {0, 1, 1, 1, 1, 1, 0};
    for (int layer = 1; layer <= 6; layer++) {
        ck_assert_double_eq(median_of(layer), expected[layer]);
        ck_assert_int_eq(lines_of(layer, true), merged[layer]);
        ck_assert_int_eq(lines_of(layer, false), layer <= 2 || layer == 6);
    }
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

/* A merged record that was checked is one of this store's, unless what was measured here before is as fast. */
START_TEST(test_a_checked_record_settles)
{
    cg_store *s = store_at(path);
    cg_record own = sample(1, 1, 100), from = sample(1, 1, 1), checked = sample(1, 1, 90);
    put(path, &own);
    from.merged = true, put(path, &from);
    strcpy(from.schedule, checked.schedule);
    ck_assert_int_eq(cg_store_settle(s, &from, &checked), CONVGEN_OK);
    ck_assert_int_eq(lines_of(1, true), 0);
    ck_assert_double_eq(median_of(1), 90);
    put(path, &from);
    checked = sample(1, 1, 95);
    ck_assert_int_eq(cg_store_settle(s, &from, &checked), CONVGEN_OK);
    ck_assert_int_eq(lines_of(1, true), 0);
    ck_assert_double_eq(median_of(1), 90);
    cg_store_free(s);
}
END_TEST

static cg_record stamped(const char *generator, const char *family, int version, double ns)
{
    cg_record r = sample(1, 1, ns);
    strcpy(r.generator, generator);
    strcpy(r.family, family);
    r.version = version;
    return r;
}

static bool of_version_6(const cg_record *r, void *user)
{
    return (void)user, r->version == 6;
}

/* Two versions of convgen that share a store: each finds its own, however lines, rewriting and merging mix them. */
START_TEST(test_versions_keep_their_own)
{
    cg_store *s = store_at(path);
    cg_record newer = stamped("4.6", "winograd", 6, 100), older = stamped("4.5", "direct", 4, 50), out, key;
    cg_record unknown_newer = stamped("", "winograd", 6, 300), unknown_older = stamped("", "winograd", 5, 200);
    int asked = 0, dropped;
    put(path, &unknown_newer);
    put(path, &unknown_older);
    put(path, &newer);
    put(path, &older); /* the later line hides none */
    for (int round = 0; round < 3; round++) {
        key = newer;
        ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_OK);
        ck_assert(same(&out, &newer));
        key = older;
        ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_OK);
        ck_assert(same(&out, &older));
        strcpy(key.generator, "");
        ck_assert_int_eq(cg_store_find_if(s, &key, of_version_6, NULL, &out), CONVGEN_OK);
        ck_assert(same(&out, &unknown_newer));
        ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_OK);
        ck_assert(same(&out, &unknown_older));
        if (round == 0) {
            cg_record two = sample(2, 1, 1);
            put(path, &two);
            ck_assert_int_eq(cg_store_forget(s, drop_layer_2, &asked, &dropped), CONVGEN_OK); /* compacts */
        } else if (round == 1) {
            ck_assert_int_eq(rename(path, other), 0);
            ck_assert_int_eq(cg_store_merge(s, other), CONVGEN_OK);
        }
    }
    ck_assert_int_eq(lines_of(1, true), 4);
    cg_store_free(s);
}
END_TEST

/* convgen 0.1 wrote format 1 and keeps what it does not know as it is: what it wrote stays so for it. */
START_TEST(test_old_lines_stay_old)
{
    cg_record r = sample(1, 1, 1);
    cg_buffer line = {0};
    cg_record_format(&r, &line);
    ck_assert(!strncmp(line.text, "convgen1 ", 9) && !strstr(line.text, "generator"));
    cg_buffer_free(&line);
    line = (cg_buffer){0};
    r.merged = true;
    cg_record_format(&r, &line);
    ck_assert(!strncmp(line.text, "convgen2 ", 9) && strstr(line.text, " generator=- merged=yes partial=no cut_after=0 sum="));
    cg_buffer_free(&line);
}
END_TEST

/* A file that has been to another system: line ends of two characters, blanks behind, a mark at its beginning. */
START_TEST(test_line_ends_of_others)
{
    static const char *const ends[] = {"\r\n", "  \n", "\t\r\n"};
    cg_record a = sample(1, 1, 1000), b = sample(2, 1, 2000), out;
    cg_store *s = store_at(path);
    cg_record_list list;
    put(other, &a);
    put(other, &b);
    cg_buffer text = text_of(other);
    for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
        unlink(path);
        add_line(path, "\xef\xbb\xbf");
        for (char *line = text.text, *end; (end = strchr(line, '\n')); line = end + 1) {
            add_text(path, line, (size_t)(end - line));
            add_line(path, ends[e]);
        }
        add_line(path, "# by hand\r\n\r\n");
        ck_assert_int_eq(cg_store_find(s, &a, &out), CONVGEN_OK);
        ck_assert(same(&out, &a));
        ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
        ck_assert_int_eq(list.count, 2);
        ck_assert_int_eq(list.bad_count, 0);
        cg_records_free(&list);
        put(path, &a);
        ck_assert_int_eq(cg_store_find(s, &b, &out), CONVGEN_OK);
    }
    ck_assert_int_eq(cg_store_merge(s, other), CONVGEN_OK); /* rewritten: as any other */
    cg_buffer after = text_of(path);
    ck_assert_ptr_null(strchr(after.text, '\r'));
    ck_assert(after.text[0] == '#');
    cg_buffer_free(&after);
    cg_buffer_free(&text);
    cg_store_free(s);
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
    tcase_add_test(t, test_merge_prefers_what_was_measured_here);
    tcase_add_test(t, test_a_checked_record_settles);
    tcase_add_test(t, test_versions_keep_their_own);
    tcase_add_test(t, test_old_lines_stay_old);
    tcase_add_test(t, test_line_ends_of_others);
    tcase_add_test(t, test_merge_of_nothing_is_an_error);
    return test_run(suite);
}

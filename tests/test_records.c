/* test_records.c: the store of records: its lines, its damage, its writers.
 *
 * Every test has a folder of its own under $TMPDIR and removes it. Random tests take $CONVGEN_SEED and print it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <check.h>
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[72], path[96], other[96];

static uint64_t seed_of_run(void)
{
    const char *text = getenv("CONVGEN_SEED");
    return text ? strtoull(text, NULL, 0) : 20240229u;
}

static void setup(void)
{
    snprintf(folder, sizeof folder, "%.40s/convgen-records-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/records", folder);
    snprintf(other, sizeof other, "%s/other.records", folder);
    setenv("CONVGEN_TUNED", "/nowhere", 1);
}

static void remove_tree(const char *tree)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", tree);
    ck_assert_int_eq(system(command), 0);
}

static void teardown(void)
{
    remove_tree(folder);
}

static cg_record sample(int layer, int threads, double ns)
{
    cg_record r = {.threads = threads, .version = 3, .ns_min = ns * 0.9, .ns_median = ns, .error_normwise = 1.25e-7,
                   .error_vs_loop = 0.1, .error_vs_bound = NAN};
    strcpy(r.machine, "amd-25-97-0123456789abcdef-32k-1m-32m");
    strcpy(r.target, "avx2");
    snprintf(r.problem, sizeof r.problem, "--dir=FWD_B --dt=f32 --tag=nhwc mb1ic%dih56oc64kh3ph1", layer);
    strcpy(r.family, "direct");
    strcpy(r.schedule, "direct.p6.v2");
    strcpy(r.form, "c");
    strcpy(r.compiler, "tcc");
    return r;
}

static bool same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static bool same(const cg_record *a, const cg_record *b)
{
    return !strcmp(a->machine, b->machine) && !strcmp(a->target, b->target) && a->threads == b->threads &&
           !strcmp(a->problem, b->problem) && !strcmp(a->family, b->family) && a->version == b->version &&
           !strcmp(a->schedule, b->schedule) && !strcmp(a->form, b->form) && !strcmp(a->compiler, b->compiler) &&
           same_number(a->ns_min, b->ns_min) && same_number(a->ns_median, b->ns_median) &&
           same_number(a->error_normwise, b->error_normwise) && same_number(a->error_vs_loop, b->error_vs_loop) &&
           same_number(a->error_vs_bound, b->error_vs_bound);
}

static cg_store *store_at(const char *where)
{
    cg_store *s = NULL;
    ck_assert_int_eq(cg_store_new(where, &s), CONVGEN_OK);
    return s;
}

static void put(const char *where, const cg_record *r)
{
    cg_store *s = store_at(where);
    ck_assert_msg(cg_store_put(s, r) == CONVGEN_OK, "%s", cg_error_text());
    cg_store_free(s);
}

static void add_text(const char *where, const char *text, size_t length)
{
    FILE *f = fopen(where, "ab");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, length, f), length);
    ck_assert_int_eq(fclose(f), 0);
}

static void add_line(const char *where, const char *text)
{
    add_text(where, text, strlen(text));
}

static cg_buffer text_of(const char *where)
{
    cg_buffer b = {0};
    ck_assert_int_eq(cg_read_file(where, 1 << 26, &b), CONVGEN_OK);
    return b;
}

static void says(cg_status status, const char *part)
{
    ck_assert_msg(status == CONVGEN_STORE, "status %d: %s", status, cg_error_text());
    ck_assert_msg(strstr(cg_error_text(), part) != NULL, "\"%s\" does not say \"%s\"", cg_error_text(), part);
}

/* Refreshes the checksum of a changed line, so that what stands behind it is tested. */
static void sign(char *line)
{
    char *sum = strstr(line, "sum=");
    sprintf(sum, "sum=%016llx\n", (unsigned long long)cg_hash(line, (size_t)(sum - line), 0));
}

/* ---- lines ---------------------------------------------------------------------------------------------------------- */

START_TEST(test_line_is_as_documented)
{
    cg_record r = sample(64, 2, 1234.5);
    cg_buffer line = {0};
    strcpy(r.compiler, "/opt/a \"b\"\\cc");
    cg_record_format(&r, &line);
    static const char expected[] =
        "convgen1 machine=amd-25-97-0123456789abcdef-32k-1m-32m target=avx2 threads=2 "
        "problem=\"--dir=FWD_B --dt=f32 --tag=nhwc mb1ic64ih56oc64kh3ph1\" form=c compiler=\"/opt/a \\\"b\\\"\\\\cc\" "
        "family=direct version=3 schedule=direct.p6.v2 ns_min=1111.05 ns_median=1234.5 error_normwise=1.25e-07 "
        "error_vs_loop=0.1 error_vs_bound=nan sum=";
    size_t length = sizeof expected - 1;
    ck_assert_uint_eq(line.length, length + 17);
    ck_assert_msg(!strncmp(line.text, expected, length), "%s", line.text);
    char sum[18];
    snprintf(sum, sizeof sum, "%016llx\n", (unsigned long long)cg_hash(line.text, length - 4, 0));
    ck_assert_str_eq(line.text + length, sum);
    cg_buffer_free(&line);
}
END_TEST

static void random_text(uint64_t *state, char *out, int most, const char *letters)
{
    int length = 1 + (int)(cg_random(state) % (uint64_t)most), count = (int)strlen(letters);
    for (int i = 0; i < length; i++) out[i] = letters[cg_random(state) % (uint64_t)count];
    out[length] = 0;
}

static double random_number(uint64_t *state)
{
    switch (cg_random(state) % 6) {
    case 0: return 0;
    case 1: return INFINITY;
    case 2: return NAN;
    case 3: return (double)(cg_random(state) % 1000);
    default: return ldexp(fabs(cg_uniform(state)), (int)(cg_random(state) % 110) - 60);
    }
}

static cg_record random_record(uint64_t *state)
{
    static const char name[] = "abcXYZ019._+-", word[] = "abcXYZ019._+-=/:,;()", quoted[] = "ab \"\\=#'\xc3\xa9";
    cg_record r = {.threads = 1 + (int)(cg_random(state) % 1024), .version = (int)(cg_random(state) % 1000)};
    random_text(state, r.machine, CG_KEY - 1, word);
    random_text(state, r.target, 15, name);
    random_text(state, r.problem, CG_TEXT - 1, quoted);
    random_text(state, r.family, 15, name);
    random_text(state, r.schedule, CG_NAME - 1, name);
    random_text(state, r.form, 11, name);
    random_text(state, r.compiler, CG_NAME - 1, quoted);
    r.ns_min = fmin(fabs(random_number(state)), 1e18);
    r.ns_median = fmin(fabs(random_number(state)), 1e18);
    r.error_normwise = random_number(state);
    r.error_vs_loop = random_number(state);
    r.error_vs_bound = random_number(state);
    return r;
}

START_TEST(test_random_records_read_back)
{
    uint64_t seed = seed_of_run(), state = seed;
    for (int i = 0; i < 3000; i++) {
        cg_record r = random_record(&state), back;
        cg_buffer line = {0};
        char why[CG_WHY] = "differs";
        cg_record_format(&r, &line);
        bool good = !cg_record_parse(line.text, line.length, &back, why) && same(&r, &back);
        ck_assert_msg(good, "CONVGEN_SEED=%llu, record %d: %s\n%s", (unsigned long long)seed, i, why, line.text);
        cg_buffer_free(&line);
    }
}
END_TEST

START_TEST(test_any_damage_is_seen)
{
    cg_record r = sample(64, 1, 1000), back;
    cg_buffer line = {0};
    char why[CG_WHY];
    cg_record_format(&r, &line);
    size_t whole = line.length - 1; /* the line end may be missing */
    ck_assert_int_eq(cg_record_parse(line.text, whole, &back, why), CONVGEN_OK);
    for (size_t n = 0; n < whole; n++) ck_assert_int_ne(cg_record_parse(line.text, n, &back, why), CONVGEN_OK);
    for (size_t n = 0; n < whole; n++) {
        for (int bit = 0; bit < 8; bit++) {
            line.text[n] ^= (char)(1 << bit);
            ck_assert_int_ne(cg_record_parse(line.text, whole, &back, why), CONVGEN_OK);
            line.text[n] ^= (char)(1 << bit);
        }
    }
    cg_buffer_free(&line);
}
END_TEST

/* Lines with a good checksum and bad contents. */
static const struct {
    const char *from, *to, *why;
} hostile[] = {
    {"schedule=direct.p6.v2", "schedule=../../etc/passwd", "value of schedule"},
    {"schedule=direct.p6.v2", "schedule=$(reboot)", "value of schedule"},
    {"schedule=direct.p6.v2", "schedule=", "value of schedule"},
    {"family=direct", "family=direct.and.much.too.long", "value of family"},
    {"family=direct", "fam=direct", "family= is missing"},
    {"threads=1", "threads=0", "value of threads"},
    {"threads=1", "threads=01", "value of threads"},
    {"threads=1", "threads=99999999999999999999", "value of threads"},
    {"threads=1", "threads=-1", "value of threads"},
    {"version=3", "version=3x", "value of version"},
    {"ns_min=900", "ns_min=-1", "value of ns_min"},
    {"ns_min=900", "ns_min=nan", "value of ns_min"},
    {"ns_min=900", "ns_min=inf", "value of ns_min"},
    {"ns_min=900", "ns_min=0x10", "value of ns_min"},
    {"ns_min=900", "ns_min=1e999", "value of ns_min"},
    {"ns_min=900", "ns_min=", "value of ns_min"},
    {"ns_min=900", "ns_min=1111111111111111111111111111111111111111111111", "value of ns_min"},
    {"error_vs_loop=0.1", "error_vs_loop=-0.1", "value of error_vs_loop"},
    {"compiler=\"tcc\"", "compiler=\"t\tcc\"", "value of compiler"},
    {"compiler=\"tcc\"", "compiler=\"t\\ncc\"", "value of compiler"},
    {"compiler=\"tcc\"", "compiler=\"tcc", "value of compiler"},
    {"compiler=\"tcc\"", "compiler=tcc", "value of compiler"},
    {"compiler=\"tcc\"", "compiler=\"tcc\"x", "value of compiler"},
    {"target=avx2", "target=avx2 target=avx2", "threads= is missing"},
    {" sum=", " more=1 sum=", "more words than expected"},
    {"machine=amd", "machine=\x80md", "value of machine"},
};

START_TEST(test_hostile_values)
{
    cg_record r = sample(64, 1, 1000), untouched, back;
    cg_buffer line = {0};
    char changed[2048], why[CG_WHY] = "";
    cg_record_format(&r, &line);
    char *place = strstr(line.text, hostile[_i].from);
    ck_assert_ptr_nonnull(place);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(place - line.text), line.text, hostile[_i].to,
             place + strlen(hostile[_i].from));
    sign(changed);
    memset(&untouched, 0x55, sizeof untouched);
    back = untouched;
    ck_assert_int_eq(cg_record_parse(changed, strlen(changed), &back, why), CONVGEN_STORE);
    ck_assert_msg(strstr(why, hostile[_i].why) != NULL, "%s", why);
    ck_assert_int_eq(memcmp(&back, &untouched, sizeof back), 0);
    cg_buffer_free(&line);
}
END_TEST

START_TEST(test_put_refuses_what_cannot_be_read_back)
{
    cg_store *s = store_at(path);
    cg_record r = sample(64, 1, 1000);
    strcpy(r.schedule, "two words");
    ck_assert_int_eq(cg_store_put(s, &r), CONVGEN_BAD_ARGUMENT);
    strcpy(r.schedule, "two;words");
    ck_assert_int_eq(cg_store_put(s, &r), CONVGEN_BAD_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(cg_error_text(), "schedule"));
    r = sample(64, 1, NAN);
    ck_assert_int_eq(cg_store_put(s, &r), CONVGEN_BAD_ARGUMENT);
    r = sample(64, 1, 1);
    strcpy(r.problem, "ic3\nconvgen1");
    ck_assert_int_eq(cg_store_put(s, &r), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_eq(cg_store_put_fact(s, "m", "peak", NAN), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_eq(cg_store_put_fact(s, "", "peak", 1), CONVGEN_BAD_ARGUMENT);
    ck_assert_int_ne(access(path, F_OK), 0);
    cg_store_free(s);
}
END_TEST

/* ---- finding -------------------------------------------------------------------------------------------------------- */

START_TEST(test_missing_store_is_empty)
{
    cg_store *s = store_at(path);
    cg_record key = sample(64, 1, 0), out;
    cg_record_list list;
    double value;
    int dropped;
    ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_NO_RECORD);
    ck_assert_int_eq(cg_store_hint(s, &key, &out), CONVGEN_NO_RECORD);
    ck_assert_int_eq(cg_store_fact(s, "m", "peak", &value), CONVGEN_NO_RECORD);
    ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
    ck_assert_int_eq(list.count + list.bad_count, 0);
    cg_records_free(&list);
    ck_assert_int_eq(cg_store_forget(s, NULL, NULL, &dropped), CONVGEN_OK);
    ck_assert_int_eq(rmdir(folder), 0); /* looking leaves no trace */
    cg_store_free(s);
}
END_TEST

START_TEST(test_latest_line_wins)
{
    cg_store *s = store_at(path);
    cg_record first = sample(64, 1, 1000), second = sample(64, 1, 2000), out;
    strcpy(second.schedule, "direct.p4.v3");
    second.version = 7;
    put(path, &first);
    put(path, &second);
    ck_assert_int_eq(cg_store_find(s, &first, &out), CONVGEN_OK);
    ck_assert(same(&out, &second));
    cg_store_free(s);
}
END_TEST

START_TEST(test_find_wants_the_whole_key)
{
    cg_store *s = store_at(path);
    cg_record r = sample(64, 1, 1000), key, out;
    put(path, &r);
    key = r, key.threads = 10;
    ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_NO_RECORD);
    key = r, strcpy(key.target, "avx");
    ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_NO_RECORD);
    key = r, strcpy(key.compiler, "cc");
    ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_NO_RECORD);
    key = r, strcpy(key.form, "machine");
    ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_NO_RECORD);
    key = r, strcpy(key.machine, "amd");
    ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_NO_RECORD);
    key = r, strcat(key.problem, "0");
    ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_NO_RECORD);
    key = r, key.version = 9, strcpy(key.schedule, "");
    ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_OK);
    ck_assert(same(&out, &r));
    cg_store_free(s);
}
END_TEST

START_TEST(test_hint_is_the_nearest)
{
    cg_store *s = store_at(path);
    cg_record key = sample(64, 4, 0), out, r;
    r = sample(64, 1, 1000), put(path, &r);
    r = sample(64, 6, 2000), put(path, &r);
    r = sample(64, 16, 3000), put(path, &r);
    r = sample(65, 4, 4000), put(path, &r);
    r = sample(64, 4, 5000), strcpy(r.compiler, "cc"), put(path, &r);
    ck_assert_int_eq(cg_store_hint(s, &key, &out), CONVGEN_OK);
    ck_assert_double_eq(out.ns_median, 2000);
    strcpy(key.compiler, "cc");
    ck_assert_int_eq(cg_store_hint(s, &key, &out), CONVGEN_OK);
    ck_assert_double_eq(out.ns_median, 5000);
    strcpy(key.form, "machine");
    ck_assert_int_eq(cg_store_hint(s, &key, &out), CONVGEN_NO_RECORD);
    cg_store_free(s);
}
END_TEST

START_TEST(test_shipped_records_come_after_the_users)
{
    cg_store *s = store_at(path);
    cg_record shipped = sample(64, 1, 1000), later = sample(64, 1, 900), own = sample(64, 1, 5000), out;
    char file[128];
    setenv("CONVGEN_TUNED", folder, 1);
    snprintf(file, sizeof file, "%s/z.records", folder);
    put(file, &later);
    snprintf(file, sizeof file, "%s/a.records", folder);
    put(file, &shipped);
    ck_assert_int_eq(cg_store_find(s, &own, &out), CONVGEN_OK);
    ck_assert(same(&out, &shipped));
    own.threads = 2;
    ck_assert_int_eq(cg_store_hint(s, &own, &out), CONVGEN_OK);
    ck_assert(same(&out, &shipped));
    own.threads = 1;
    put(path, &own);
    ck_assert_int_eq(cg_store_find(s, &own, &out), CONVGEN_OK);
    ck_assert(same(&out, &own));
    cg_store_free(s);
}
END_TEST

START_TEST(test_facts)
{
    cg_store *s = store_at(path);
    double value = -1;
    cg_record r = sample(64, 1, 1000);
    ck_assert_int_eq(cg_store_put_fact(s, "m-1", "peak avx2 f32", 55.1), CONVGEN_OK);
    ck_assert_int_eq(cg_store_put_fact(s, "m-1", "peak avx2 f32", 0.1), CONVGEN_OK);
    ck_assert_int_eq(cg_store_put_fact(s, "m-1", "peak avx2", 9), CONVGEN_OK);
    put(path, &r);
    ck_assert_int_eq(cg_store_fact(s, "m-1", "peak avx2 f32", &value), CONVGEN_OK);
    ck_assert_double_eq(value, 0.1);
    ck_assert_int_eq(cg_store_fact(s, "m-2", "peak avx2 f32", &value), CONVGEN_NO_RECORD);
    ck_assert_int_eq(cg_store_fact(s, "m-1", "peak", &value), CONVGEN_NO_RECORD);
    cg_store_free(s);
}
END_TEST

static void find_in(const char *expected)
{
    cg_store *s = store_at(NULL);
    ck_assert_str_eq(cg_store_path(s), expected);
    cg_store_free(s);
}

START_TEST(test_default_places)
{
    char cache[96], expected[160];
    cg_store *s = NULL;
    cg_record r = sample(64, 1, 1), out;
    struct stat st;
    unsetenv("CONVGEN_STORE");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    says(cg_store_new(NULL, &s), "$CONVGEN_STORE");
    ck_assert_ptr_null(s);
    setenv("HOME", folder, 1);
    snprintf(expected, sizeof expected, "%s/.cache/convgen/records", folder);
    find_in(expected);
    setenv("XDG_CACHE_HOME", "relative", 1);
    find_in(expected);
    snprintf(cache, sizeof cache, "%s/cache", folder);
    setenv("XDG_CACHE_HOME", cache, 1);
    snprintf(expected, sizeof expected, "%s/convgen/records", cache);
    find_in(expected);
    s = store_at(NULL);
    ck_assert_int_eq(cg_store_find(s, &r, &out), CONVGEN_NO_RECORD);
    ck_assert_int_ne(access(cache, F_OK), 0);
    ck_assert_msg(!cg_store_put(s, &r), "%s", cg_error_text());
    ck_assert_int_eq(stat(cache, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0700);
    ck_assert_int_eq(cg_store_find(s, &r, &out), CONVGEN_OK);
    cg_store_free(s);
    setenv("CONVGEN_STORE", path, 1);
    find_in(path);
}
END_TEST

START_TEST(test_numbers_ignore_the_locale)
{
    cg_record r = sample(64, 1, 1234.5), back;
    cg_buffer line = {0};
    char why[CG_WHY] = "";
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    for (size_t i = 0; i < sizeof names / sizeof *names && !setlocale(LC_ALL, names[i]); i++) continue;
    cg_record_format(&r, &line);
    ck_assert_ptr_nonnull(strstr(line.text, "ns_median=1234.5 "));
    ck_assert_msg(!cg_record_parse(line.text, line.length, &back, why), "%s", why);
    setlocale(LC_ALL, "C");
    cg_buffer_free(&line);
}
END_TEST

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

static const char future[] = "convgen2 whatever=\"will be\" sum=new\n", comment[] = "# by hand\n";

static bool names(const cg_record_list *list, const char *part)
{
    for (int i = 0; i < list->bad_count; i++)
        if (strstr(list->bad[i], part)) return true;
    return false;
}

/* A store with all that can be in one: comment, record, blank, noise with NULs, damage, too long, future, a fact. */
static void write_mess(void)
{
    static char huge[6000];
    cg_record a = sample(1, 1, 1000), b = sample(2, 1, 2000);
    cg_store *s = store_at(path);
    add_line(path, comment);
    put(path, &a);
    add_text(path, "\n\0\0\xff noise\n", 11);
    memset(huge, 'x', sizeof huge - 2);
    huge[sizeof huge - 2] = '\n';
    add_line(path, huge);
    memcpy(huge, "convgen3 ", 9);
    add_line(path, huge);
    add_line(path, future);
    ck_assert_int_eq(cg_store_put_fact(s, "m", "peak", 3), CONVGEN_OK);
    put(path, &b);
    cg_buffer line = {0};
    cg_record_format(&a, &line);
    line.text[60] ^= 1;
    add_text(path, line.text, line.length);
    cg_buffer_free(&line);
    cg_store_free(s);
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

static bool drop_layer_2(const cg_record *r, void *user)
{
    return (*(int *)user)++, strstr(r->problem, "ic2ih") != NULL;
}

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

START_TEST(test_a_link_to_the_store_stays_a_link)
{
    cg_record a = sample(1, 1, 1), b = sample(2, 1, 2);
    struct stat st;
    int asked = 0, dropped;
    put(other, &a);
    put(other, &b);
    ck_assert_int_eq(symlink(other, path), 0);
    cg_store *s = store_at(path);
    ck_assert_int_eq(cg_store_forget(s, drop_layer_2, &asked, &dropped), CONVGEN_OK);
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(cg_store_find(s, &a, &b), CONVGEN_OK);
    cg_store_free(s);
}
END_TEST

/* ---- what cannot be written ------------------------------------------------------------------------------------------ */

START_TEST(test_unreadable_and_unwritable_places)
{
    cg_record r = sample(1, 1, 1), out;
    char under_file[128], nowhere[128];
    cg_record_list list;
    cg_store *s = store_at(folder);
    says(cg_store_put(s, &r), "Is a directory");
    says(cg_store_find(s, &r, &out), "Is a directory");
    says(cg_records_read(folder, &list), "Is a directory");
    cg_store_free(s);
    add_line(other, comment);
    snprintf(under_file, sizeof under_file, "%s/records", other);
    s = store_at(under_file);
    says(cg_store_put(s, &r), "Not a directory");
    cg_store_free(s);
    snprintf(nowhere, sizeof nowhere, "%s/missing/records", folder);
    s = store_at(nowhere);
    says(cg_store_put(s, &r), "missing/records: No such file or directory");
    cg_store_free(s);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    s = store_at(path);
    says(cg_store_put(s, &r), "it is not a file");
    says(cg_store_find(s, &r, &out), "it is not a file");
    cg_store_free(s);
}
END_TEST

START_TEST(test_no_permission)
{
    cg_record r = sample(1, 1, 1), out;
    int status;
    put(path, &r);
    chmod(path, 0);
    chmod(folder, 0555);
    pid_t child = fork();
    if (!child) { /* root reads and writes everything: look as somebody else */
        if (geteuid() == 0 && (setgid(65534) || setuid(65534))) _exit(0);
        cg_store *s = store_at(path);
        bool good = cg_store_find(s, &r, &out) == CONVGEN_STORE && strstr(cg_error_text(), "Permission denied");
        good = good && cg_store_put(s, &r) == CONVGEN_STORE && strstr(cg_error_text(), "Permission denied");
        cg_store_free(s);
        _exit(good ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    chmod(folder, 0700);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(test_devices)
{
    cg_record r = sample(1, 1, 1), out;
    cg_store *s = store_at("/dev/full");
    says(cg_store_put(s, &r), "/dev/full: No space left on device");
    ck_assert_int_eq(cg_store_find(s, &r, &out), CONVGEN_NO_RECORD);
    says(cg_store_merge(s, "/dev/null"), "it is a device");
    cg_store_free(s);
    s = store_at("/dev/null");
    ck_assert_int_eq(cg_store_put(s, &r), CONVGEN_OK);
    ck_assert_int_eq(cg_store_find(s, &r, &out), CONVGEN_NO_RECORD);
    cg_store_free(s);
    ck_assert_int_ne(access("/dev/full.lock", F_OK), 0);
}
END_TEST

START_TEST(test_a_full_disk_leaves_the_store_as_it_was)
{
    cg_record a = sample(1, 1, 1), b = sample(2, 1, 2), longer = sample(3, 1, 3);
    int dropped, asked = 0;
    cg_store *s = store_at(path);
    memset(longer.problem, 'x', CG_TEXT - 1);
    put(path, &a);
    put(path, &b);
    put(other, &longer);
    cg_buffer before = text_of(path);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t more = 0; more < 300; more += 50) {
        struct rlimit old, small;
        ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
        small = old, small.rlim_cur = before.length + more;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
        cg_status put_status = cg_store_put(s, &longer);
        char sentence[256];
        snprintf(sentence, sizeof sentence, "%s", cg_error_text());
        cg_status merge_status = cg_store_merge(s, other);
        setrlimit(RLIMIT_FSIZE, &old);
        ck_assert_int_eq(put_status, CONVGEN_STORE);
        ck_assert_int_eq(merge_status, CONVGEN_STORE);
        ck_assert_msg(strstr(sentence, path) && strstr(sentence, more ? "No space left" : "File too large"), "%s", sentence);
        cg_buffer after = text_of(path);
        ck_assert_uint_eq(after.length, before.length);
        ck_assert_str_eq(after.text, before.text);
        cg_buffer_free(&after);
    }
    char left[128];
    snprintf(left, sizeof left, "%s.new", path);
    ck_assert_int_ne(access(left, F_OK), 0);
    ck_assert_int_eq(cg_store_forget(s, drop_layer_2, &asked, &dropped), CONVGEN_OK);
    ck_assert_int_eq(dropped, 1);
    cg_buffer_free(&before);
    cg_store_free(s);
}
END_TEST

static bool drop_all(const cg_record *r, void *user)
{
    return (void)r, (void)user, true;
}

/* Every allocation of every operation fails once: a status, nothing lost, nothing leaked (valgrind and ASan look). */
static cg_status operation(int which, cg_store *s)
{
    cg_record r = sample(1, 1, 5), out;
    cg_record_list list;
    cg_store *made;
    double value;
    int dropped;
    cg_status status = CONVGEN_OK;
    switch (which) {
    case 0: return cg_store_put(s, &r);
    case 1: return cg_store_find(s, &r, &out);
    case 2: return cg_store_hint(s, &r, &out);
    case 3: return cg_store_fact(s, "m", "peak", &value);
    case 4: return cg_store_put_fact(s, "m", "peak", 2);
    case 5: return cg_store_merge(s, other);
    case 6: return cg_store_forget(s, drop_all, NULL, &dropped);
    case 7:
        if ((status = cg_records_read(path, &list))) return status;
        cg_records_free(&list);
        return status;
    default:
        if ((status = cg_store_new(path, &made))) return status;
        cg_store_free(made);
        return status;
    }
}

START_TEST(test_each_allocation_fails)
{
    cg_record a = sample(1, 1, 1), b = sample(2, 1, 2);
    cg_store *s = store_at(path);
    put(other, &a);
    put(other, &b);
    add_line(other, future);
    for (long n = 1;; n++) {
        unlink(path);
        write_mess();
        cg_fail_allocation = n;
        cg_status status = operation(_i, s);
        bool failed = cg_fail_allocation == 0;
        cg_fail_allocation = 0;
        cg_record_list list;
        if (!failed) {
            ck_assert_msg(!status, "%s", cg_error_text());
            break;
        }
        ck_assert_msg(status == CONVGEN_NO_MEMORY, "operation %d, allocation %ld: %d", _i, n, status);
        ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
        ck_assert_int_eq(list.count, 2);
        cg_records_free(&list);
    }
    cg_store_free(s);
}
END_TEST

/* ---- many writers ----------------------------------------------------------------------------------------------------- */

enum { WRITERS = 8, NUMBERS = 1 << 16 };

typedef struct said {
    int writer, number;
} said;

/* Puts records and says so afterwards. Now and then the whole store is rewritten. */
static void write_for_ever(int writer, int from, int pipe_end)
{
    cg_store *s = store_at(path);
    for (int n = from; n < NUMBERS; n++) {
        cg_record r = sample(writer * NUMBERS + n, 1, 100);
        said word = {writer, n};
        int dropped;
        if (cg_store_put(s, &r)) fprintf(stderr, "writer %d: %s\n", writer, cg_error_text()), _exit(1);
        if (write(pipe_end, &word, sizeof word) != sizeof word) _exit(2);
        if (n % 16 == writer && cg_store_merge(s, path)) fprintf(stderr, "writer %d: %s\n", writer, cg_error_text()), _exit(3);
        if (n % 64 == writer && cg_store_forget(s, drop_layer_2, &dropped, &dropped)) _exit(4);
    }
    _exit(0);
}

static pid_t start_writer(int writer, int from, int ends[2])
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) {
        close(ends[0]); /* so that a writer ends when the test does */
        write_for_ever(writer, from, ends[1]);
    }
    return child;
}

static void read_words(int end, unsigned char heard[WRITERS][NUMBERS], int next[WRITERS])
{
    said word;
    while (read(end, &word, sizeof word) == sizeof word) {
        heard[word.writer][word.number] = 1;
        next[word.writer] = word.number + 1;
    }
}

START_TEST(test_writers_that_are_killed_lose_nothing)
{
    static unsigned char heard[WRITERS][NUMBERS];
    uint64_t seed = seed_of_run(), state = seed;
    int ends[2], next[WRITERS] = {0}, status;
    pid_t child[WRITERS];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    for (int w = 0; w < WRITERS; w++) child[w] = start_writer(w, 0, ends);
    int kills = 0;
    for (double end = cg_now() + 3; cg_now() < end; kills++) {
        int w = (int)(cg_random(&state) % WRITERS);
        usleep((useconds_t)(cg_random(&state) % 20000));
        kill(child[w], SIGKILL);
        ck_assert_int_eq(waitpid(child[w], &status, 0), child[w]);
        ck_assert_msg(WIFSIGNALED(status), "a writer failed with %d", WEXITSTATUS(status));
        read_words(ends[0], heard, next);
        child[w] = start_writer(w, next[w] + 1, ends); /* the one in the air may or may not be there */
    }
    for (int w = 0; w < WRITERS; w++) {
        kill(child[w], SIGKILL);
        waitpid(child[w], &status, 0);
    }
    read_words(ends[0], heard, next);
    cg_record_list list;
    ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
    int found = 0, said_so = 0;
    for (int w = 0; w < WRITERS; w++)
        for (int n = 0; n < NUMBERS; n++) said_so += heard[w][n] && !(w == 0 && n == 2);
    for (int i = 0; i < list.count; i++) {
        int layer = -1;
        ck_assert_int_eq(sscanf(list.at[i].problem, "--dir=FWD_B --dt=f32 --tag=nhwc mb1ic%dih", &layer), 1);
        cg_record expected = sample(layer, 1, 100);
        ck_assert(same(&list.at[i], &expected));
        found += layer != 2 && heard[layer / NUMBERS][layer % NUMBERS];
    }
    ck_assert_msg(found == said_so && said_so > WRITERS, "CONVGEN_SEED=%llu: %d of %d records are there after %d kills",
                  (unsigned long long)seed, found, said_so, kills);
    for (int i = 0; i < list.bad_count; i++) ck_assert_msg(strstr(list.bad[i], "cut short") != NULL, "%s", list.bad[i]);
    cg_records_free(&list);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

static void *thread_writes(void *number)
{
    cg_store *s = store_at(path);
    for (int n = 0; n < 50; n++) {
        cg_record r = sample(*(int *)number * 1000 + n, 1, 100);
        if (cg_store_put(s, &r)) return "failed";
    }
    cg_store_free(s);
    return NULL;
}

START_TEST(test_threads)
{
    pthread_t thread[4];
    int number[4] = {1, 2, 3, 4};
    void *failed;
    for (int i = 0; i < 4; i++) ck_assert_int_eq(pthread_create(&thread[i], NULL, thread_writes, &number[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], &failed);
        ck_assert_ptr_null(failed);
    }
    cg_record_list list;
    ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
    ck_assert_int_eq(list.count, 200);
    ck_assert_int_eq(list.bad_count, 0);
    cg_records_free(&list);
}
END_TEST

/* Against the time of parsing everything, not a clock: that also holds on a busy machine and under valgrind. */
START_TEST(test_finding_is_fast)
{
    cg_store *s = store_at(path);
    cg_buffer text = {0};
    cg_record key = sample(0, 1, 0), out;
    cg_record_list list;
    for (int i = 0; i < 1000; i++) {
        cg_record r = sample(i, 1, 100);
        cg_record_format(&r, &text);
    }
    add_text(path, text.text, text.length);
    double find = 1e9, read_all = 1e9;
    for (int i = 0; i < 10; i++) {
        double start = cg_now();
        ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_OK);
        find = fmin(find, cg_now() - start);
        start = cg_now();
        ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
        read_all = fmin(read_all, cg_now() - start);
        cg_records_free(&list);
    }
    ck_assert_msg(find < read_all / 4, "find %.3f ms, all %.3f ms", find * 1e3, read_all * 1e3);
    if (getenv("CONVGEN_VERBOSE")) printf("1,000 lines: find %.3f ms, read all %.3f ms\n", find * 1e3, read_all * 1e3);
    cg_buffer_free(&text);
    cg_store_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("records");
    TCase *t = tcase_create("records");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_line_is_as_documented);
    tcase_add_test(t, test_random_records_read_back);
    tcase_add_test(t, test_any_damage_is_seen);
    tcase_add_loop_test(t, test_hostile_values, 0, sizeof hostile / sizeof *hostile);
    tcase_add_test(t, test_put_refuses_what_cannot_be_read_back);
    tcase_add_test(t, test_missing_store_is_empty);
    tcase_add_test(t, test_latest_line_wins);
    tcase_add_test(t, test_find_wants_the_whole_key);
    tcase_add_test(t, test_hint_is_the_nearest);
    tcase_add_test(t, test_shipped_records_come_after_the_users);
    tcase_add_test(t, test_facts);
    tcase_add_test(t, test_default_places);
    tcase_add_test(t, test_numbers_ignore_the_locale);
    tcase_add_test(t, test_a_torn_tail_is_ended_first);
    tcase_add_test(t, test_a_tail_that_lacks_only_its_end_counts);
    tcase_add_test(t, test_what_is_skipped_is_named);
    tcase_add_test(t, test_forget_keeps_what_it_does_not_understand);
    tcase_add_test(t, test_random_files_do_no_harm);
    tcase_add_test(t, test_names_of_many_bad_lines_are_bounded);
    tcase_add_test(t, test_merge_keeps_the_better);
    tcase_add_test(t, test_merge_of_nothing_is_an_error);
    tcase_add_test(t, test_a_link_to_the_store_stays_a_link);
    tcase_add_test(t, test_unreadable_and_unwritable_places);
    tcase_add_test(t, test_no_permission);
    tcase_add_test(t, test_devices);
    tcase_add_test(t, test_a_full_disk_leaves_the_store_as_it_was);
    tcase_add_loop_test(t, test_each_allocation_fails, 0, 9);
    tcase_add_test(t, test_writers_that_are_killed_lose_nothing);
    tcase_add_test(t, test_threads);
    tcase_add_test(t, test_finding_is_fast);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}

/* test_records.c: the line of a record: its spelling, random records, damage, hostile values. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sample_records.h"

#include <locale.h>

/* Refreshes the checksum of a changed line, so that what stands behind it is tested. */
static void sign(char *line)
{
    char *sum = strstr(line, "sum=");
    sprintf(sum, "sum=%016llx\n", (unsigned long long)cg_hash(line, (size_t)(sum - line), 0));
}

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
    random_text(state, r.schedule, CG_NAME - 4, name);
    if (cg_random(state) % 2) strcat(r.schedule, "/a1");
    random_text(state, r.form, 11, name);
    random_text(state, r.compiler, CG_NAME - 1, quoted);
    r.ns_min = fmin(fabs(random_number(state)), 1e18);
    r.ns_median = fmin(fabs(random_number(state)), 1e18);
    r.error_normwise = random_number(state);
    r.error_vs_loop = random_number(state);
    r.error_vs_bound = random_number(state);
    if (cg_random(state) % 2) random_text(state, r.generator, CG_NAME - 1, "0123456789.");
    r.merged = cg_random(state) % 3 == 0;
    r.partial = cg_random(state) % 3 == 0;
    r.network = cg_random(state) % 3 == 0;
    r.cut_after = cg_random(state) % 2 ? 0 : 1 + (int)(cg_random(state) % 100);
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
        bool good = !cg_record_parse(line.text, line.length, &back, why) && same(&r, &back) && r.merged == back.merged;
        ck_assert_msg(good, "CONVGEN_SEED=%llu, record %d: %s\n%s", (unsigned long long)seed, i, why, line.text);
        cg_buffer_free(&line);
    }
}
END_TEST

/* Names of convgen 0.1, and what the same schedules are called now. */
static const struct {
    const char *before, *now;
} renamed[] = {
    {"direct.p7.v4.rows4", "direct.p7.v4.rows4"},
    {"direct.p7.v4.rows4.fetch.across.stream", "direct.p7.v4.rows4.fetch.across.stream"},
    {"direct.p7.v4.rows4.copies", "gather/direct.p7.v4.rows4"},
    {"direct.p7.v4.rows4.copies.fetch", "gather/direct.p7.v4.rows4.fetch"},
    {"direct.p7.v4.rows16.s12.fetch", "planes.s12/direct.p7.v4.rows16.fetch"},
    {"direct.i8.v2.copies.panel.fetch.ahead", "gather/panel/direct.i8.v2.fetch.ahead"},
    {"direct.i8.v2.panel", "panel/direct.i8.v2"},
    {"planar.c6.v4.rows8.panel", "planar.c6.v4.rows8.panel"},
    {"depthwise.h3.w3.v2.p4", "depthwise.h3.w3.v2.p4"},
    {"depthwise.stream.p12", "depthwise.stream.p12"},
    {"plain", "plain"},
    {"winograd.4+3x4+3.t28.r14.v2.s1.d2.a16.c64.fetch.stream", "winograd.4+3x4+3.t28.s1.d2.fetch.stream/product.r14.v2.a16.c64"},
    {"winograd.4x4.t56.r6.v2.s1", "winograd.4x4.t56.s1/product.r6.v2"},
    {"winograd.2x2.t14.r6.v2.s1.c32.half", "winograd.2x2.t14.s1/product.r6.v2.c32.half"},
    {"winograd.4x4.t56.r6.v2.s2.p3", "split.p3/winograd.4x4.t56.s2/product.r6.v2"},
    {"winograd.4x4.t56.s2/product.r6.v2.a16", "winograd.4x4.t56.s2/product.r6.v2.a16"},
    {"nonsense.r6", "nonsense.r6"},
};

/* A line that 0.1 wrote is read as the schedule of now, and what that does not know is written in a format that it leaves alone. */
START_TEST(test_old_names_are_read_as_the_new)
{
    cg_record r = sample(64, 1, 1000), back;
    cg_buffer line = {0};
    char why[CG_WHY] = "", name[CG_NAME];
    strcpy(r.schedule, renamed[_i].before);
    cg_record_format(&r, &line);
    ck_assert_msg(cg_record_parse(line.text, line.length, &back, why) == CONVGEN_OK, "%s", why);
    ck_assert_str_eq(back.schedule, renamed[_i].now);
    cg_buffer_free(&line);
    cg_record_format(&back, &line);
    ck_assert(!strncmp(line.text, strchr(back.schedule, '/') ? "convgen2 " : "convgen1 ", 9));
    cg_buffer_free(&line);
    snprintf(name, sizeof name, "%s", renamed[_i].now);
    cg_schedule_rename(name); /* no further */
    ck_assert_str_eq(name, renamed[_i].now);
}
END_TEST

/* A name that would be too long stays. */
START_TEST(test_long_names_stay)
{
    char name[CG_NAME] = "winograd", before[CG_NAME];
    while (strlen(name) + 4 < CG_NAME) strcat(name, ".p1");
    strcpy(before, name);
    cg_schedule_rename(name);
    ck_assert_str_eq(name, before);
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
    {"schedule=direct.p6.v2", "schedule=/direct.p6.v2", "value of schedule"},
    {"schedule=direct.p6.v2", "schedule=direct.p6.v2/", "value of schedule"},
    {"schedule=direct.p6.v2", "schedule=gather//direct.p6.v2", "value of schedule"},
    {"schedule=direct.p6.v2", "schedule=gather/../direct.p6.v2", "value of schedule"},
    {"family=direct", "family=direct/x", "value of family"},
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

/* Each field of the key makes another record, a time or a schedule does not. */
START_TEST(test_order_of_keys)
{
    const cg_record a = sample(64, 1, 1000);
    cg_record r[8] = {a, a, a, a, a, a, a, a};
    strcat(r[0].machine, "z"), strcat(r[1].target, "z"), r[2].threads = 10, strcat(r[3].problem, "z"), strcat(r[4].form, "z");
    strcat(r[5].compiler, "z");
    for (int i = 0; i < 6; i++) ck_assert_msg(cg_record_order(&a, &r[i]) < 0 && cg_record_order(&r[i], &a) > 0, "field %d", i);
    r[6].ns_min++, strcat(r[6].schedule, "z");
    ck_assert_int_eq(cg_record_order(&a, &r[6]), 0);
    r[7].network = true; /* the conditions are of the key, and the warm record comes first */
    ck_assert(cg_record_order(&a, &r[7]) < 0 && cg_record_order(&r[7], &a) > 0);
}
END_TEST

START_TEST(test_numbers_ignore_the_locale)
{
    cg_record r = sample(64, 1, 1234.5), back;
    cg_buffer line = {0};
    char why[CG_WHY] = "";
    comma_locale();
    cg_record_format(&r, &line);
    ck_assert_ptr_nonnull(strstr(line.text, "ns_median=1234.5 "));
    ck_assert_msg(!cg_record_parse(line.text, line.length, &back, why), "%s", why);
    setlocale(LC_ALL, "C");
    cg_buffer_free(&line);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("records");
    TCase *t = test_case(suite, "records", 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_line_is_as_documented);
    tcase_add_test(t, test_random_records_read_back);
    tcase_add_test(t, test_any_damage_is_seen);
    tcase_add_loop_test(t, test_old_names_are_read_as_the_new, 0, sizeof renamed / sizeof *renamed);
    tcase_add_test(t, test_long_names_stay);
    tcase_add_loop_test(t, test_hostile_values, 0, sizeof hostile / sizeof *hostile);
    tcase_add_test(t, test_numbers_ignore_the_locale);
    tcase_add_test(t, test_order_of_keys);
    return test_run(suite);
}

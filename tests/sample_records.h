/* sample_records.h: what the tests of records share: a folder of their own, sample records, and files of them.
 *
 * Every test has its folder under $TMPDIR and removes it. Random tests take $CONVGEN_SEED and print it. */
#ifndef SAMPLE_RECORDS_H
#define SAMPLE_RECORDS_H

#include "plan.h"
#include "suite.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[72], path[96], other[96];

static inline uint64_t seed_of_run(void)
{
    const char *text = getenv("CONVGEN_SEED");
    return text ? strtoull(text, NULL, 0) : 20240229u;
}

static inline void setup(void)
{
    snprintf(folder, sizeof folder, "%.40s/convgen-records-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/records", folder);
    snprintf(other, sizeof other, "%s/other.records", folder);
    setenv("CONVGEN_TUNED", "/nowhere", 1);
}

static inline void remove_tree(const char *tree)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", tree);
    ck_assert_int_eq(system(command), 0);
}

static inline void teardown(void)
{
    remove_tree(folder);
}

static inline cg_record sample(int layer, int threads, double ns)
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

static inline bool same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static inline bool same(const cg_record *a, const cg_record *b)
{
    return !strcmp(a->machine, b->machine) && !strcmp(a->target, b->target) && a->threads == b->threads &&
           !strcmp(a->problem, b->problem) && !strcmp(a->family, b->family) && a->version == b->version &&
           !strcmp(a->schedule, b->schedule) && !strcmp(a->form, b->form) && !strcmp(a->compiler, b->compiler) &&
           same_number(a->ns_min, b->ns_min) && same_number(a->ns_median, b->ns_median) &&
           same_number(a->error_normwise, b->error_normwise) && same_number(a->error_vs_loop, b->error_vs_loop) &&
           same_number(a->error_vs_bound, b->error_vs_bound) && !strcmp(a->generator, b->generator) && a->partial == b->partial &&
           a->cut_after == b->cut_after && a->network == b->network;
}

static inline cg_store *store_at(const char *where)
{
    cg_store *s = NULL;
    ck_assert_int_eq(cg_store_new(where, &s), CONVGEN_OK);
    return s;
}

static inline void put(const char *where, const cg_record *r)
{
    cg_store *s = store_at(where);
    ck_assert_msg(cg_store_put(s, r) == CONVGEN_OK, "%s", cg_error_text());
    cg_store_free(s);
}

static inline void add_text(const char *where, const char *text, size_t length)
{
    FILE *f = fopen(where, "ab");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, length, f), length);
    ck_assert_int_eq(fclose(f), 0);
}

static inline void add_line(const char *where, const char *text)
{
    add_text(where, text, strlen(text));
}

static inline cg_buffer text_of(const char *where)
{
    cg_buffer b = {0};
    ck_assert_int_eq(cg_read_file(where, 1 << 26, &b), CONVGEN_OK);
    return b;
}

static inline void says(cg_status status, const char *part)
{
    ck_assert_msg(status == CONVGEN_STORE, "status %d: %s", status, cg_error_text());
    ck_assert_msg(strstr(cg_error_text(), part) != NULL, "\"%s\" does not say \"%s\"", cg_error_text(), part);
}

static const char future[] = "convgen4 whatever=\"will be\" sum=new\n", comment[] = "# by hand\n";

/* A store with all that can be in one: comment, record, blank, noise with NULs, damage, too long, future, a fact. */
static inline void write_mess(void)
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
    memcpy(huge, "convgen4 ", 9);
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

static inline bool drop_layer_2(const cg_record *r, void *user)
{
    return (*(int *)user)++, strstr(r->problem, "ic2ih") != NULL;
}

#endif

/* records.c: what was tuned, as readable lines of text: a record or a fact to its line and back, and found in a text.
 *
 *   convgen1 machine=... target=avx2 threads=1 problem="..." form=c compiler="tcc" family=direct version=1
 *            schedule=... ns_min=... ns_median=... error_normwise=... error_vs_loop=... error_vs_bound=... [partial=...] sum=<16 hex>
 *   convgen1 fact machine=... name="..." value=... sum=<16 hex>
 *
 * (each in one line of 4096 bytes at most). The sum is FNV-1a of everything before the word "sum="; it finds damage, not
 * malice. A record is data: its names are checked for their letters, and nothing is executed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SUM_LENGTH = 4 + 16 };
#define FORMAT "convgen1"

/* ---- the fields of a line ------------------------------------------------------------------------------------------ */

/* WORD: printable, no blanks. NAME: letters, digits and ._+- only. QUOTED: blanks too, \" and \\ inside. RATIO: may be nan. */
typedef enum { WORD, NAME, QUOTED, COUNT, NUMBER, RATIO } shape;

typedef struct field {
    const char *name;
    shape shape;
    size_t at, size;
    double low, high;
} field;

#define FIELD(type, shape, name, low, high) {#name, shape, offsetof(type, name), sizeof(((type *)0)->name), low, high}

/* The key comes first and has one spelling, so that a record is found by comparing the beginnings of lines. */
static const field record_fields[] = {
    FIELD(cg_record, WORD, machine, 0, 0),         FIELD(cg_record, NAME, target, 0, 0),
    FIELD(cg_record, COUNT, threads, 1, 1 << 20),  FIELD(cg_record, QUOTED, problem, 0, 0),
    FIELD(cg_record, NAME, form, 0, 0),            FIELD(cg_record, QUOTED, compiler, 0, 0),
    FIELD(cg_record, NAME, family, 0, 0),          FIELD(cg_record, COUNT, version, 0, 1 << 20),
    FIELD(cg_record, NAME, schedule, 0, 0),        FIELD(cg_record, NUMBER, ns_min, 0, 1e18),
    FIELD(cg_record, NUMBER, ns_median, 0, 1e18),  FIELD(cg_record, RATIO, error_normwise, 0, INFINITY),
    FIELD(cg_record, RATIO, error_vs_loop, 0, INFINITY), FIELD(cg_record, RATIO, error_vs_bound, 0, INFINITY),
};
enum {
    RECORD_FIELDS = sizeof record_fields / sizeof *record_fields,
    KEY_FIELDS = 6,
    PROBLEM_FIELD = 3
};

/* Written where they are not 0, read where they stand. An older convgen takes a line that has one for damaged: it skips and names it. */
static const field record_options[] = {FIELD(cg_record, COUNT, partial, 1, 1 << 20)};
enum { RECORD_OPTIONS = sizeof record_options / sizeof *record_options };

static const field fact_fields[] = {
    FIELD(cg_fact, WORD, machine, 0, 0), FIELD(cg_fact, QUOTED, name, 0, 0), FIELD(cg_fact, NUMBER, value, -1e300, 1e300),
};
enum { FACT_FIELDS = sizeof fact_fields / sizeof *fact_fields, FACT_KEY_FIELDS = 2 };

static bool may_stand_in(shape is, unsigned char c)
{
    if (is == QUOTED) return c >= ' ' && c != 127;
    if (is == WORD) return c > ' ' && c < 127 && c != '"' && c != '\\';
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("._+-", c));
}

/* ---- record -> line ------------------------------------------------------------------------------------------------ */

static void quoted_add(cg_buffer *b, const char *text, size_t size)
{
    cg_buffer_add(b, "\"", 1);
    for (size_t i = 0; i < size && text[i]; i++) {
        if (text[i] == '"' || text[i] == '\\') cg_buffer_add(b, "\\", 1);
        cg_buffer_add(b, text + i, 1);
    }
    cg_buffer_add(b, "\"", 1);
}

static void fields_add(cg_buffer *b, const field *f, int count, const void *from)
{
    char text[40];
    for (const field *end = f + count; f < end; f++) {
        const char *at = (const char *)from + f->at;
        cg_buffer_printf(b, " %s=", f->name);
        if (f->shape == QUOTED) {
            quoted_add(b, at, f->size);
        } else if (f->shape == COUNT) {
            cg_buffer_printf(b, "%d", *(const int *)at);
        } else if (f->shape >= NUMBER) {
            double value = *(const double *)at;
            cg_write_real(value, text);
            cg_buffer_printf(b, "%s", isnan(value) ? "nan" : text); /* never "-nan" */
        } else {
            cg_buffer_add(b, at, strnlen(at, f->size));
        }
    }
}

static void options_add(cg_buffer *b, const field *f, int count, const void *from)
{
    for (const field *end = f + count; f < end; f++)
        if (*(const int *)((const char *)from + f->at)) fields_add(b, f, 1, from);
}

/* The fields of a fact or a record; a record's options. */
static void line_add(cg_buffer *b, const char *head, const field *f, int count, int options, const void *from)
{
    size_t start = b->length;
    cg_buffer_printf(b, "%s", head);
    fields_add(b, f, count, from);
    options_add(b, record_options, options, from);
    cg_buffer_add(b, " ", 1);
    if (b->failed) return;
    cg_buffer_printf(b, "sum=%016llx\n", (unsigned long long)cg_hash(b->text + start, b->length - start, 0));
}

void cg_record_format(const cg_record *r, cg_buffer *line)
{
    line_add(line, FORMAT, record_fields, RECORD_FIELDS, RECORD_OPTIONS, r);
}

void cg_fact_format(const cg_fact *f, cg_buffer *line)
{
    line_add(line, FORMAT " fact", fact_fields, FACT_FIELDS, 0, f);
}

/* ---- line -> record ------------------------------------------------------------------------------------------------ */

typedef struct cursor {
    const char *at, *end;
} cursor;

static bool take(cursor *c, const char *literal)
{
    size_t length = strlen(literal);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, literal, length)) return false;
    c->at += length;
    return true;
}

static bool take_text(cursor *c, const field *f, char *out)
{
    size_t length = 0;
    if (f->shape == QUOTED && !take(c, "\"")) return false;
    for (; c->at < c->end && *c->at != (f->shape == QUOTED ? '"' : ' '); c->at++) {
        if (f->shape == QUOTED && *c->at == '\\') {
            if (++c->at == c->end || (*c->at != '"' && *c->at != '\\')) return false;
        }
        if (!may_stand_in(f->shape, (unsigned char)*c->at) || length + 1 >= f->size) return false;
        out[length++] = *c->at;
    }
    return length > 0 && (f->shape != QUOTED || take(c, "\""));
}

static bool take_count(cursor *c, const field *f, int *out)
{
    const char *start = c->at;
    int value = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9' && c->at - start < 8; c->at++)
        value = value * 10 + (*c->at - '0');
    *out = value;
    return c->at > start && (*start != '0' || c->at == start + 1) && value >= f->low && value <= f->high;
}

static bool take_number(cursor *c, const field *f, double *out)
{
    if (f->shape == RATIO && take(c, "nan")) return *out = NAN, true;
    if (f->shape == RATIO && take(c, "inf")) return *out = INFINITY, true;
    char text[40], *end;
    size_t length = 0;
    for (; c->at < c->end && *c->at && strchr("0123456789.e+-", *c->at); c->at++) {
        if (length + 1 >= sizeof text) return false;
        text[length++] = *c->at;
    }
    text[length] = 0;
    *out = cg_read_real(text, &end);
    return length > 0 && !*end && *out >= f->low && *out <= f->high;
}

static bool take_fields(cursor *c, const field *f, int count, void *to, char why[CG_WHY])
{
    for (const field *end = f + count; f < end; f++) {
        void *at = (char *)to + f->at;
        if (!take(c, " ") || !take(c, f->name) || !take(c, "=")) {
            snprintf(why, CG_WHY, "%s= is missing", f->name);
            return false;
        }
        bool good = f->shape <= QUOTED  ? take_text(c, f, at)
                    : f->shape == COUNT ? take_count(c, f, at)
                                        : take_number(c, f, at);
        if (!good || c->at == c->end || *c->at != ' ') {
            snprintf(why, CG_WHY, "the value of %s is not allowed", f->name);
            return false;
        }
    }
    return true;
}

/* "convgen2 ...": of a convgen that is newer than this one. */
static bool line_is_future(const char *line, size_t length)
{
    size_t i = strlen("convgen");
    if (length < i + 2 || memcmp(line, "convgen", i) || line[i] < '1' || line[i] > '9') return false;
    size_t start = i;
    while (i < length && line[i] >= '0' && line[i] <= '9') i++;
    return i < length && line[i] == ' ' && !(i == start + 1 && line[start] == '1');
}

cg_line_kind cg_line_kind_of(const char *line, size_t length)
{
    static const char fact[] = FORMAT " fact ";
    if (length && line[0] == '#') return CG_COMMENT_LINE;
    if (line_is_future(line, length)) return CG_FUTURE_LINE;
    return length >= sizeof fact - 1 && !memcmp(line, fact, sizeof fact - 1) ? CG_FACT_LINE : CG_RECORD_LINE;
}

static cg_status bad_line(char why[CG_WHY], const char *text)
{
    snprintf(why, CG_WHY, "%s", text);
    return CONVGEN_STORE;
}

/* Everything but the fields: length, version, checksum. The cursor is left after the head. */
static cg_status line_open(const char *line, size_t length, const char *head, cursor *c, char why[CG_WHY])
{
    if (line_is_future(line, length)) {
        snprintf(why, CG_WHY, "of a later format than " FORMAT ", left alone");
        return CONVGEN_UNSUPPORTED;
    }
    if (length > CG_LINE) return bad_line(why, "longer than 4096 bytes");
    *c = (cursor){line, line + length};
    if (!take(c, FORMAT " ")) return bad_line(why, "not a record: it does not begin with " FORMAT);
    char sum[SUM_LENGTH + 1];
    if (length < SUM_LENGTH + strlen(FORMAT " ") || memcmp(line + length - SUM_LENGTH, "sum=", 4))
        return bad_line(why, "cut short: no checksum at its end");
    snprintf(sum, sizeof sum, "sum=%016llx", (unsigned long long)cg_hash(line, length - SUM_LENGTH, 0));
    if (memcmp(line + length - SUM_LENGTH, sum, SUM_LENGTH)) return bad_line(why, "checksum does not match");
    *c = (cursor){line, line + length - SUM_LENGTH};
    return take(c, head) ? CONVGEN_OK : bad_line(why, "of another kind than expected");
}

static bool take_options(cursor *c, const field *f, int count, void *to, char why[CG_WHY])
{
    for (const field *end = f + count; f < end; f++) {
        cursor ahead = *c;
        if (take(&ahead, " ") && take(&ahead, f->name) && take(&ahead, "=") && !take_fields(c, f, 1, to, why)) return false;
    }
    return true;
}

static cg_status line_parse(const char *line, size_t length, const char *head, const field *f, int count, int options, void *out,
                            char why[CG_WHY])
{
    cursor c;
    if (length && line[length - 1] == '\n') length--;
    cg_status status = line_open(line, length, head, &c, why);
    if (status) return status;
    if (!take_fields(&c, f, count, out, why) || !take_options(&c, record_options, options, out, why)) return CONVGEN_STORE;
    return take(&c, " ") && c.at == c.end ? CONVGEN_OK : bad_line(why, "more words than expected");
}

cg_status cg_record_parse(const char *line, size_t length, cg_record *out, char why[CG_WHY])
{
    cg_record r = {0};
    cg_status status = line_parse(line, length, FORMAT, record_fields, RECORD_FIELDS, RECORD_OPTIONS, &r, why);
    if (!status) *out = r;
    return status;
}

cg_status cg_fact_parse(const char *line, size_t length, cg_fact *out, char why[CG_WHY])
{
    cg_fact f = {0};
    cg_status status = line_parse(line, length, FORMAT " fact", fact_fields, FACT_FIELDS, 0, &f, why);
    if (!status) *out = f;
    return status;
}

/* ---- the order of keys --------------------------------------------------------------------------------------------- */

static int compare_fields(const field *f, int count, const void *a, const void *b)
{
    for (int i = 0; i < count; i++) {
        const char *x = (const char *)a + f[i].at, *y = (const char *)b + f[i].at;
        int m = 0, n = 0, order = 0;
        if (f[i].shape == COUNT) memcpy(&m, x, sizeof m), memcpy(&n, y, sizeof n);
        else order = strcmp(x, y);
        order = order ? order : (m > n) - (m < n);
        if (order) return order;
    }
    return 0;
}

int cg_record_order(const void *a, const void *b)
{
    return compare_fields(record_fields, KEY_FIELDS, a, b);
}

int cg_fact_order(const void *a, const void *b)
{
    return compare_fields(fact_fields, FACT_KEY_FIELDS, a, b);
}

/* ---- looking up ---------------------------------------------------------------------------------------------------- */

/* 0: the key itself. Another compiler is further away than any number of threads, the other form (which runs the same program)
 * further, another machine further still. */
static int distance(const cg_record *key, const cg_record *r)
{
    if (strcmp(key->target, r->target) || strcmp(key->problem, r->problem)) return INT_MAX;
    return abs(key->threads - r->threads) + (strcmp(key->compiler, r->compiler) ? 1 << 24 : 0) +
           (strcmp(key->form, r->form) ? 1 << 26 : 0) + (strcmp(key->machine, r->machine) ? 1 << 28 : 0);
}

/* The last line first: it is the latest. False: that was all. */
static bool line_before(const char *text, const char **end, const char **line, size_t *length)
{
    if (*end == text) return false;
    const char *stop = (*end)[-1] == '\n' ? *end - 1 : *end;
    const char *before = memrchr(text, '\n', (size_t)(stop - text));
    *line = before ? before + 1 : text;
    *length = (size_t)(stop - *line);
    *end = *line;
    return true;
}

static bool begins(const char *line, size_t length, const cg_buffer *b)
{
    return length >= b->length && !memcmp(line, b->text, b->length);
}

/* Only lines that begin with the key's words, and contain those of its middle, are worth parsing. */
cg_status cg_record_search(const cg_buffer *text, const cg_record *key, int *nearest, cg_record *out)
{
    cg_buffer begin = {0}, middle = {0};
    const char *end = text->text ? text->text + text->length : NULL, *line;
    size_t length;
    char why[CG_WHY];
    cg_record r;
    cg_buffer_printf(&begin, FORMAT);
    if (*nearest == 1) fields_add(&begin, record_fields, KEY_FIELDS, key);
    cg_buffer_add(&begin, " ", 1);
    fields_add(&middle, record_fields + PROBLEM_FIELD, 1, key);
    bool ready = !begin.failed && !middle.failed;
    while (ready && *nearest > 0 && end && line_before(text->text, &end, &line, &length)) {
        if (!begins(line, length, &begin) || !memmem(line, length, middle.text, middle.length)) continue;
        if (cg_record_parse(line, length, &r, why)) continue;
        int d = distance(key, &r);
        if (d < *nearest) *nearest = d, *out = r;
    }
    cg_buffer_free(&begin);
    cg_buffer_free(&middle);
    return ready ? CONVGEN_OK : cg_fail(CONVGEN_NO_MEMORY, "not enough memory for the records");
}

cg_status cg_fact_search(const cg_buffer *text, const cg_fact *key, double *value)
{
    cg_buffer begin = {0};
    const char *end = text->text ? text->text + text->length : NULL, *line;
    size_t length;
    char why[CG_WHY];
    cg_fact f;
    cg_buffer_printf(&begin, FORMAT " fact");
    fields_add(&begin, fact_fields, FACT_KEY_FIELDS, key);
    cg_buffer_add(&begin, " ", 1);
    cg_status status = begin.failed ? cg_fail(CONVGEN_NO_MEMORY, "not enough memory for the records") : CONVGEN_NO_RECORD;
    while (status == CONVGEN_NO_RECORD && end && line_before(text->text, &end, &line, &length)) {
        if (!begins(line, length, &begin) || cg_fact_parse(line, length, &f, why)) continue;
        *value = f.value;
        status = CONVGEN_OK;
    }
    cg_buffer_free(&begin);
    return status;
}

/* records.c: what was tuned, as readable lines of text: a record or a fact to its line and back, and found in a text.
 *
 *   convgen1 machine=... target=avx2 threads=1 problem="..." form=c compiler="tcc" family=direct version=1
 *            schedule=... ns_min=... ns_median=... error_normwise=... error_vs_loop=... error_vs_bound=... sum=<16 hex>
 *   convgen2 ... error_vs_bound=... generator=4.5.3.6.1 merged=no partial=no cut_after=0 sum=<16 hex>
 *   convgen3 ... cut_after=0 network=yes sum=<16 hex>
 *   convgen1 fact machine=... name="..." value=... sum=<16 hex>
 *
 * (each in one line of 4096 bytes at most). A line of format 3 was timed as a network meets its convolution, which is of its key. A line of format 2 says which generator made it (- is unknown), whether it came from
 * elsewhere and has not been checked here, whether its search was not a whole one, and after how many candidates time cut it short
 * (0: it did not). convgen 0.1 reads and writes format 1 alone and leaves lines of later formats as they are: so two versions can share a
 * store. What lacks all of these is still written in format 1, unless its schedule's name nests, which 0.1 knows nothing of.
 * The sum is FNV-1a of everything before the word "sum="; it finds damage, not malice. A record is data: its names are checked for
 * their letters, and nothing is executed. Blanks and a carriage return at the end of a line do not count. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "remember/remember.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SUM_LENGTH = 4 + 16 };
#define FORMAT "convgen1" /* of facts, and of records that need no more */
#define LATEST "convgen3"

/* ---- the fields of a line ------------------------------------------------------------------------------------------ */

/* WORD: printable, no blanks. NAME: letters, digits and ._+- only. NEST: names with / between them, each but the first beginning with
 * a small letter. STAMP: a name, or - for "". QUOTED: blanks too, \" and \\ inside. FLAG: yes or no. RATIO: may be nan. */
typedef enum { WORD, NAME, NEST, STAMP, QUOTED, COUNT, FLAG, NUMBER, RATIO } shape;

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
    FIELD(cg_record, NEST, schedule, 0, 0),        FIELD(cg_record, NUMBER, ns_min, 0, 1e18),
    FIELD(cg_record, NUMBER, ns_median, 0, 1e18),  FIELD(cg_record, RATIO, error_normwise, 0, INFINITY),
    FIELD(cg_record, RATIO, error_vs_loop, 0, INFINITY), FIELD(cg_record, RATIO, error_vs_bound, 0, INFINITY),
    FIELD(cg_record, STAMP, generator, 0, 0),      FIELD(cg_record, FLAG, merged, 0, 0), /* from here on: format 2 */
    FIELD(cg_record, FLAG, partial, 0, 0),         FIELD(cg_record, COUNT, cut_after, 0, 1 << 20),
    FIELD(cg_record, FLAG, network, 0, 0), /* format 3 */
};
enum {
    KEY_FIELDS = 6,
    PROBLEM_FIELD = 3
};

static const struct record_format {
    const char *head;
    int fields;
} formats[] = {{FORMAT, 14}, {"convgen2", 18}, {LATEST, sizeof record_fields / sizeof *record_fields}};

static const field fact_fields[] = {
    FIELD(cg_fact, WORD, machine, 0, 0), FIELD(cg_fact, QUOTED, name, 0, 0), FIELD(cg_fact, NUMBER, value, -1e300, 1e300),
};
enum { FACT_FIELDS = sizeof fact_fields / sizeof *fact_fields, FACT_KEY_FIELDS = 2 };

static bool may_stand_in(shape is, unsigned char c)
{
    if (is == QUOTED) return c >= ' ' && c != 127;
    if (is == WORD) return c > ' ' && c < 127 && c != '"' && c != '\\';
    if (is == NEST && c == '/') return true;
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
        } else if (f->shape == FLAG) {
            cg_buffer_printf(b, "%s", *(const bool *)at ? "yes" : "no");
        } else if (f->shape == STAMP && !*at) {
            cg_buffer_add(b, "-", 1);
        } else if (f->shape >= NUMBER) {
            double value = *(const double *)at;
            cg_write_real(value, text);
            cg_buffer_printf(b, "%s", isnan(value) ? "nan" : text); /* never "-nan" */
        } else {
            cg_buffer_add(b, at, strnlen(at, f->size));
        }
    }
}

static void line_add(cg_buffer *b, const char *head, const field *f, int count, const void *from)
{
    size_t start = b->length;
    cg_buffer_printf(b, "%s", head);
    fields_add(b, f, count, from);
    cg_buffer_add(b, " ", 1);
    if (b->failed) return;
    cg_buffer_printf(b, "sum=%016llx\n", (unsigned long long)cg_hash(b->text + start, b->length - start, 0));
}

void cg_record_format(const cg_record *r, cg_buffer *line)
{
    bool more = r->generator[0] || r->merged || r->partial || r->cut_after || strchr(r->schedule, '/');
    const struct record_format *f = &formats[r->network ? 2 : more];
    line_add(line, f->head, record_fields, f->fields, r);
}

void cg_fact_format(const cg_fact *f, cg_buffer *line)
{
    line_add(line, FORMAT " fact", fact_fields, FACT_FIELDS, f);
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

static bool take_flag(cursor *c, bool *out)
{
    *out = take(c, "yes");
    return *out || take(c, "no");
}

static bool take_stamp(cursor *c, const field *f, char *out)
{
    if (!take_text(c, f, out)) return false;
    if (!strcmp(out, "-")) memset(out, 0, f->size);
    return true;
}

static bool take_nest(cursor *c, const field *f, char *out)
{
    if (!take_text(c, f, out) || *out == '/') return false;
    for (const char *at = out; (at = strchr(at, '/')); at++)
        if (at[1] < 'a' || at[1] > 'z') return false;
    return true;
}

static bool take_value(cursor *c, const field *f, void *at)
{
    switch (f->shape) {
    case COUNT: return take_count(c, f, at);
    case FLAG: return take_flag(c, at);
    case STAMP: return take_stamp(c, f, at);
    case NEST: return take_nest(c, f, at);
    case NUMBER:
    case RATIO: return take_number(c, f, at);
    default: return take_text(c, f, at);
    }
}

static bool take_fields(cursor *c, const field *f, int count, void *to, char why[CG_WHY])
{
    for (const field *end = f + count; f < end; f++) {
        void *at = (char *)to + f->at;
        if (!take(c, " ") || !take(c, f->name) || !take(c, "=")) {
            snprintf(why, CG_WHY, "%s= is missing", f->name);
            return false;
        }
        if (!take_value(c, f, at) || c->at == c->end || *c->at != ' ') {
            snprintf(why, CG_WHY, "the value of %s is not allowed", f->name);
            return false;
        }
    }
    return true;
}

/* "convgen4 ...": of a convgen that is newer than this one. */
static bool line_is_future(const char *line, size_t length)
{
    size_t i = strlen("convgen");
    if (length < i + 2 || memcmp(line, "convgen", i) || line[i] < '1' || line[i] > '9') return false;
    size_t start = i;
    while (i < length && line[i] >= '0' && line[i] <= '9') i++;
    return i < length && line[i] == ' ' && !(i == start + 1 && line[start] <= '3');
}

/* Of a record's line by its head; NULL: it has none of these. */
static const struct record_format *format_of(const char *line, size_t length)
{
    enum { HEAD = sizeof FORMAT - 1 };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (length > HEAD && !memcmp(line, formats[i].head, HEAD) && line[HEAD] == ' ') return &formats[i];
    return NULL;
}

size_t cg_line_length(const char *line, size_t length)
{
    while (length && strchr(" \t\r\n", line[length - 1]) && line[length - 1]) length--;
    return length;
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
        snprintf(why, CG_WHY, "of a later format than " LATEST ", left alone");
        return CONVGEN_UNSUPPORTED;
    }
    if (length > CG_LINE) return bad_line(why, "longer than 4096 bytes");
    if (!format_of(line, length)) return bad_line(why, "not a record: it does not begin with " FORMAT);
    char sum[SUM_LENGTH + 1];
    if (length < SUM_LENGTH + strlen(FORMAT " ") || memcmp(line + length - SUM_LENGTH, "sum=", 4))
        return bad_line(why, "cut short: no checksum at its end");
    snprintf(sum, sizeof sum, "sum=%016llx", (unsigned long long)cg_hash(line, length - SUM_LENGTH, 0));
    if (memcmp(line + length - SUM_LENGTH, sum, SUM_LENGTH)) return bad_line(why, "checksum does not match");
    *c = (cursor){line, line + length - SUM_LENGTH};
    return take(c, head) ? CONVGEN_OK : bad_line(why, "of another kind than expected");
}

/* What a line begins with, and the fields that follow. */
typedef struct line_form {
    const char *head;
    const field *at;
    int count;
} line_form;

static cg_status line_parse(const char *line, size_t length, line_form form, void *out, char why[CG_WHY])
{
    cursor c;
    length = cg_line_length(line, length);
    cg_status status = line_open(line, length, form.head, &c, why);
    if (status) return status;
    if (!take_fields(&c, form.at, form.count, out, why)) return CONVGEN_STORE;
    return take(&c, " ") && c.at == c.end ? CONVGEN_OK : bad_line(why, "more words than expected");
}

cg_status cg_record_parse(const char *line, size_t length, cg_record *out, char why[CG_WHY])
{
    cg_record r = {0};
    const struct record_format *f = format_of(line, length);
    if (!f) f = &formats[0];
    cg_status status = line_parse(line, length, (line_form){f->head, record_fields, f->fields}, &r, why);
    if (status) return status;
    cg_schedule_rename(r.schedule);
    *out = r;
    return CONVGEN_OK;
}

cg_status cg_fact_parse(const char *line, size_t length, cg_fact *out, char why[CG_WHY])
{
    cg_fact f = {0};
    cg_status status = line_parse(line, length, (line_form){FORMAT " fact", fact_fields, FACT_FIELDS}, &f, why);
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
    const cg_record *x = a, *y = b;
    int order = compare_fields(record_fields, KEY_FIELDS, a, b);
    if (!order) order = x->network - y->network;
    if (!order) order = strcmp(x->generator, y->generator);
    return order ? order : x->merged - y->merged;
}

int cg_fact_order(const void *a, const void *b)
{
    return compare_fields(fact_fields, FACT_KEY_FIELDS, a, b);
}

/* ---- looking up ---------------------------------------------------------------------------------------------------- */

/* Below CG_EXACT the key itself: what this generator measured here, another one, what was merged from elsewhere. Another number of
 * threads, or other conditions, are further away, another compiler further than any, the other form (which runs the same program) further, another machine
 * further still. */
static int distance(const cg_record *key, const cg_record *r)
{
    if (strcmp(key->target, r->target) || strcmp(key->problem, r->problem)) return INT_MAX;
    return (strcmp(key->generator, r->generator) ? 1 : 0) + (r->merged ? 2 : 0) + CG_EXACT_KEY * (abs(key->threads - r->threads) + (key->network != r->network)) +
           (strcmp(key->compiler, r->compiler) ? 1 << 24 : 0) + (strcmp(key->form, r->form) ? 1 << 26 : 0) +
           (strcmp(key->machine, r->machine) ? 1 << 28 : 0);
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

/* Only lines with the key's words, and those that contain its problem's, are worth parsing. */
static bool worth_parsing(const char *line, size_t length, const cg_buffer *begin, const cg_buffer *problem)
{
    if (!format_of(line, length)) return false;
    const size_t head = strlen(FORMAT);
    return begins(line + head, length - head, begin) && memmem(line, length, problem->text, problem->length);
}

cg_status cg_record_search(const cg_buffer *text, const cg_record *key, cg_record_filter *takes, void *user, int *nearest,
                           cg_record *out)
{
    cg_buffer begin = {0}, problem = {0};
    const char *end = text->text ? text->text + text->length : NULL, *line;
    size_t length;
    char why[CG_WHY];
    cg_record r;
    if (*nearest <= CG_EXACT_KEY) fields_add(&begin, record_fields, KEY_FIELDS, key);
    cg_buffer_add(&begin, " ", 1);
    fields_add(&problem, record_fields + PROBLEM_FIELD, 1, key);
    bool ready = !begin.failed && !problem.failed;
    while (ready && *nearest > 0 && end && line_before(text->text, &end, &line, &length)) {
        if (!worth_parsing(line, length, &begin, &problem) || cg_record_parse(line, length, &r, why)) continue;
        int d = distance(key, &r);
        if (d < *nearest && (!takes || takes(&r, user))) *nearest = d, *out = r;
    }
    cg_buffer_free(&begin);
    cg_buffer_free(&problem);
    return ready ? CONVGEN_OK : cg_fail(CONVGEN_NO_MEMORY, "not enough memory for the records");
}

/* Only lines of that machine's facts are worth parsing. */
static bool is_fact_of(const char *line, size_t length, const cg_buffer *begin, cg_fact *f)
{
    char why[CG_WHY];
    return begins(line, length, begin) && !cg_fact_parse(line, length, f, why);
}

static cg_fact *fact_named(cg_fact *fact, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(fact[i].name, name)) return &fact[i];
    return NULL;
}

cg_status cg_facts_search(const cg_buffer *text, cg_fact *fact, int count, int *found)
{
    cg_buffer begin = {0};
    const char *end = text->text ? text->text + text->length : NULL, *line;
    size_t length;
    cg_fact f, *at;
    *found = 0;
    for (int i = 0; i < count; i++) fact[i].value = NAN;
    cg_buffer_printf(&begin, FORMAT " fact");
    fields_add(&begin, fact_fields, 1, fact);
    cg_buffer_add(&begin, " ", 1);
    bool ready = !begin.failed;
    while (ready && *found < count && end && line_before(text->text, &end, &line, &length)) {
        if (!is_fact_of(line, length, &begin, &f) || !(at = fact_named(fact, count, f.name)) || !isnan(at->value)) continue;
        at->value = f.value;
        *found += 1;
    }
    cg_buffer_free(&begin);
    return ready ? CONVGEN_OK : cg_fail(CONVGEN_NO_MEMORY, "not enough memory for the records");
}

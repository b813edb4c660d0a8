/* book.c: all lines of a file of records: filed under what they are, one of each key, sorted, merged, written again.
 *
 * Lines that begin with # are comments. A line that is torn, damaged or of a later format is skipped and named; comments and
 * lines of later formats come out again as they are. Nothing here touches a file. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "remember/remember.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { NAMED_LIMIT = 1000 };

static cg_status no_memory(void)
{
    return cg_fail(CONVGEN_NO_MEMORY, "not enough memory for the records");
}

void cg_records_free(cg_record_list *list)
{
    cg_free(list->at);
    cg_free(list->bad);
    *list = (cg_record_list){0};
}

void cg_book_free(cg_book *b)
{
    cg_records_free(&b->records);
    cg_free(b->fact);
    cg_buffer_free(&b->kept);
    *b = (cg_book){0};
}

/* ---- one of each key ----------------------------------------------------------------------------------------------- */

/* Of two entries that stand for each other. */
typedef bool relation(const void *later, const void *earlier);

static bool always(const void *later, const void *earlier)
{
    return (void)later, (void)earlier, true;
}

/* Of two merged records the faster, else the one that is already there. A time of 0 was never taken. What was measured here is
 * of one file: the later one. */
static bool faster_wins(const void *later, const void *earlier)
{
    const cg_record *l = later, *e = earlier;
    return !l->merged || (l->ns_median > 0 && (l->ns_median < e->ns_median || e->ns_median == 0));
}

/* Records of one key and generator are. Where the generator is not known, the version of the family tells what can be told of it. */
static bool same_generator(const void *later, const void *earlier)
{
    const cg_record *l = later, *e = earlier;
    return l->generator[0] || (!strcmp(l->family, e->family) && l->version == e->version);
}

/* What differs between records and facts. */
typedef struct entries {
    size_t size;
    int (*order)(const void *, const void *);
    relation *stands_for; /* of two of one key */
} entries;
static const entries records = {sizeof(cg_record), cg_record_order, same_generator}, facts = {sizeof(cg_fact), cg_fact_order, always};

/* Equal keys stay in the order of their lines: entries of one array compare by their place at last. */
static int by_key(const void *a, const void *b, void *how)
{
    const char *x = *(const void *const *)a, *y = *(const void *const *)b;
    int order = ((const entries *)how)->order(x, y);
    return order ? order : (x > y) - (x < y);
}

/* Adds one to those of its key, which stand in the order of their lines: in place of what it wins over, or not at all. */
static int settle_one(const void **of_key, int count, const void *entry, const entries *how, relation *wins)
{
    for (int i = 0; i < count; i++) {
        if (!how->stands_for(entry, of_key[i])) continue;
        if (!wins(entry, of_key[i])) return count;
        memmove(of_key + i, of_key + i + 1, (size_t)(count - i - 1) * sizeof *of_key);
        count--;
    }
    of_key[count] = entry;
    return count + 1;
}

/* Takes an array and gives a sorted one with one entry for each key (and generator); NULL without memory, and the old one stays. */
static void *settle(void *at, int *count, int *room, const entries *how, relation *wins)
{
    const void **order = cg_calloc((size_t)*count + 1, sizeof *order);
    char *out = cg_calloc((size_t)*count + 1, how->size);
    int kept = 0;
    if (!order || !out) goto failed;
    for (int i = 0; i < *count; i++) order[i] = (char *)at + (size_t)i * how->size;
    qsort_r(order, (size_t)*count, sizeof *order, by_key, (void *)how);
    for (int i = 0, first = 0; i < *count; i++) { /* what is kept stands before what is looked at */
        if (kept > first && how->order(order[first], order[i])) first = kept;
        kept = first + settle_one(order + first, kept - first, order[i], how, wins);
    }
    for (int i = 0; i < kept; i++) memcpy(out + (size_t)i * how->size, order[i], how->size);
    *room = *count + 1, *count = kept;
    cg_free(order);
    cg_free(at);
    return out;
failed:
    cg_free(order);
    cg_free(out);
    return NULL;
}

static bool book_settle(cg_book *b, relation *record_wins)
{
    cg_record_list *l = &b->records;
    cg_record *record = settle(l->at, &l->count, &l->room, &records, record_wins);
    if (!record) return false;
    l->at = record;
    cg_fact *fact = settle(b->fact, &b->fact_count, &b->fact_room, &facts, always);
    if (!fact) return false;
    b->fact = fact;
    return true;
}

/* ---- reading and writing -------------------------------------------------------------------------------------------- */

/* The array, moved when it was full; NULL without memory, and the old one stays. */
static void *grow(void *at, int count, int *room, size_t size)
{
    size_t bytes;
    if (count < *room) return at;
    if (*room > INT_MAX / 4 || !cg_multiply((size_t)*room * 2 + 16, size, &bytes)) return NULL;
    void *more = cg_realloc(at, bytes);
    if (more) *room = *room * 2 + 16;
    return more;
}

static bool add_record(cg_record_list *l, const cg_record *r)
{
    cg_record *at = grow(l->at, l->count, &l->room, sizeof *at);
    if (!at) return false;
    l->at = at, l->at[l->count++] = *r;
    return true;
}

static bool add_fact(cg_book *b, const cg_fact *f)
{
    cg_fact *at = grow(b->fact, b->fact_count, &b->fact_room, sizeof *at);
    if (!at) return false;
    b->fact = at, b->fact[b->fact_count++] = *f;
    return true;
}

static bool name_bad_line(cg_record_list *l, const char *path, long number, const char *why)
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    if (l->bad_count == NAMED_LIMIT) {
        snprintf(l->bad[NAMED_LIMIT - 1], CG_WHY, "%.100s: more lines were skipped than are named here", base);
        return true;
    }
    void *bad = grow(l->bad, l->bad_count, &l->bad_room, sizeof *l->bad);
    if (!bad) return false;
    l->bad = bad;
    snprintf(l->bad[l->bad_count++], CG_WHY, "%.100s:%ld: %.100s", base, number, why);
    return true;
}

static bool keep_line(cg_book *b, const char *line, size_t length)
{
    cg_buffer_add(&b->kept, line, length);
    cg_buffer_add(&b->kept, "\n", 1);
    return !b->kept.failed;
}

/* Files a line under what it is; false without memory. */
static bool book_line(cg_book *b, const char *path, long number, const char *line, size_t length)
{
    char why[CG_WHY];
    cg_record r;
    cg_fact f;
    length = cg_line_length(line, length);
    if (!length) return true;
    cg_line_kind kind = cg_line_kind_of(line, length);
    if (kind == CG_COMMENT_LINE) return keep_line(b, line, length);
    if (kind == CG_FUTURE_LINE && !keep_line(b, line, length)) return false;
    if (kind == CG_FACT_LINE && !cg_fact_parse(line, length, &f, why)) return add_fact(b, &f);
    if (kind != CG_FACT_LINE && !cg_record_parse(line, length, &r, why)) return add_record(&b->records, &r);
    return name_bad_line(&b->records, path, number, why);
}

cg_status cg_book_parse(cg_book *b, const char *path, const cg_buffer *text)
{
    const char *at = text->text, *end = at ? at + text->length : at;
    for (long number = 1; at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        if (!book_line(b, path, number, at, (size_t)(stop - at))) return no_memory();
        at = stop < end ? stop + 1 : end;
    }
    return book_settle(b, always) ? CONVGEN_OK : no_memory();
}

void cg_book_format(const cg_book *b, cg_buffer *out)
{
    cg_buffer_add(out, b->kept.text ? b->kept.text : "", b->kept.length);
    for (int i = 0; i < b->fact_count; i++) cg_fact_format(&b->fact[i], out);
    for (int i = 0; i < b->records.count; i++) cg_record_format(&b->records.at[i], out);
}

/* ---- merging -------------------------------------------------------------------------------------------------------- */

static bool has_fact(const cg_book *b, int count, const cg_fact *f)
{
    for (int i = 0; i < count; i++)
        if (!cg_fact_order(&b->fact[i], f)) return true;
    return false;
}

/* Lines that only the other has and we cannot read come along too, but once: a merge done twice changes nothing. */
static bool kept_join(cg_buffer *ours, const cg_buffer *other)
{
    const char *at = other->text, *end = at ? at + other->length : at;
    while (at < end) {
        size_t length = (size_t)((char *)memchr(at, '\n', (size_t)(end - at)) + 1 - at);
        bool known = false;
        for (const char *mine = ours->text; mine && !known;) {
            const char *stop = ours->text + ours->length;
            mine = memmem(mine, (size_t)(stop - mine), at, length);
            if (!mine) break;
            known = mine == ours->text || mine[-1] == '\n';
            mine++;
        }
        if (!known) cg_buffer_add(ours, at, length);
        at += length;
    }
    return !ours->failed;
}

/* Of one key and generator: whether they say the same. */
static bool same_result(const cg_record *a, const cg_record *b)
{
    return a->version == b->version && !strcmp(a->family, b->family) && !strcmp(a->schedule, b->schedule) &&
           a->ns_min == b->ns_min && a->ns_median == b->ns_median;
}

/* Whether a record was measured here: its own line, come back. `l` is sorted. */
static bool is_ours(const cg_record_list *l, int count, const cg_record *r)
{
    cg_record own = *r;
    int low = 0;
    own.merged = false;
    for (int high = count; low < high;) {
        int middle = low + (high - low) / 2;
        if (cg_record_order(&l->at[middle], &own) < 0) low = middle + 1;
        else high = middle;
    }
    for (; low < count && !cg_record_order(&l->at[low], &own); low++)
        if (same_result(&l->at[low], &own)) return true;
    return false;
}

/* The other's records after ours, so that ours win a tie; facts that we have stay as they are. */
cg_status cg_book_join(cg_book *ours, const cg_book *other)
{
    int own = ours->fact_count, measured = ours->records.count;
    for (int i = 0; i < other->records.count; i++) {
        cg_record r = other->records.at[i];
        if (is_ours(&ours->records, measured, &r)) continue;
        r.merged = true;
        if (!add_record(&ours->records, &r)) return no_memory();
    }
    for (int i = 0; i < other->fact_count; i++)
        if (!has_fact(ours, own, &other->fact[i]) && !add_fact(ours, &other->fact[i])) return no_memory();
    return book_settle(ours, faster_wins) && kept_join(&ours->kept, &other->kept) ? CONVGEN_OK : no_memory();
}

/* ---- merged -> checked ---------------------------------------------------------------------------------------------- */

cg_status cg_book_settle(cg_book *b, const cg_record *merged, const cg_record *own)
{
    cg_record_list *l = &b->records;
    bool better = true;
    int kept = 0;
    for (int i = 0; i < l->count; i++) {
        const cg_record *r = &l->at[i];
        if (!cg_record_order(r, merged) && same_result(r, merged)) continue;
        if (!cg_record_order(r, own) && r->ns_min > 0 && r->ns_min <= own->ns_min) better = false;
        l->at[kept++] = *r;
    }
    l->count = kept;
    if (better && !add_record(l, own)) return no_memory();
    return book_settle(b, always) ? CONVGEN_OK : no_memory();
}

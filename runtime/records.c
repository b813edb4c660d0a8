/* records.c: what was tuned, remembered as readable lines of text.
 *
 *   convgen1 machine=... target=avx2 threads=1 problem="..." form=c compiler="tcc" family=direct version=1
 *            schedule=... ns_min=... ns_median=... error_normwise=... error_vs_loop=... error_vs_bound=... sum=<16 hex>
 *   convgen1 fact machine=... name="..." value=... sum=<16 hex>
 *
 * (each in one line). The sum is FNV-1a of everything before the word "sum="; it finds damage, not malice. Lines that
 * begin with # are comments. A line that is torn, damaged or of a later format is skipped and named; rewrites keep
 * comments and lines of later formats as they are. A record is data: its names are checked for their letters, and nothing
 * is executed.
 *
 * Writers exclude each other by flock on PATH.lock, which is opened anew for each operation: so the lock also holds
 * between threads, and no mutex is there that a fork could leave locked. Readers need no lock: appends are one write,
 * rewrites one rename. A store of more than 64 MB is refused. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef CONVGEN_TUNED_DIR
#define CONVGEN_TUNED_DIR "/usr/local/share/convgen/tuned"
#endif

enum { LINE_LIMIT = 4096, STORE_LIMIT = 64 << 20, NAMED_LIMIT = 1000, LOCK_SECONDS = 20, SUM_LENGTH = 4 + 16 };
#define FORMAT "convgen1"

struct cg_store {
    char *path;
    bool own_folder; /* the default path: its folders are ours to make */
};

typedef struct fact {
    char machine[CG_KEY], name[CG_NAME];
    double value;
} fact;

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
    THREADS_FIELD = 2,
    PROBLEM_FIELD = 3
};

static const field fact_fields[] = {
    FIELD(fact, WORD, machine, 0, 0), FIELD(fact, QUOTED, name, 0, 0), FIELD(fact, NUMBER, value, -1e300, 1e300),
};
enum { FACT_FIELDS = sizeof fact_fields / sizeof *fact_fields, FACT_KEY_FIELDS = 2 };

static bool may_stand_in(shape is, unsigned char c)
{
    if (is == QUOTED) return c >= ' ' && c != 127;
    if (is == WORD) return c > ' ' && c < 127 && c != '"' && c != '\\';
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("._+-", c));
}

/* ---- record -> line ------------------------------------------------------------------------------------------------ */

/* Shortest of 15 to 17 digits that reads back exactly; in the C locale, whatever the host has set. */
static void number_text(double value, char text[40])
{
    void *host = cg_locale_enter();
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, 40, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    cg_locale_leave(host);
    if (isnan(value)) strcpy(text, "nan"); /* never "-nan" */
}

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
            number_text(*(const double *)at, text);
            cg_buffer_add(b, text, strlen(text));
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
    line_add(line, FORMAT, record_fields, RECORD_FIELDS, r);
}

static void fact_format(const fact *f, cg_buffer *line)
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
    if (f->shape == RATIO && take(c, "nan")) {
        *out = NAN;
        return true;
    }
    if (f->shape == RATIO && take(c, "inf")) {
        *out = INFINITY;
        return true;
    }
    char text[40], *end;
    size_t length = 0;
    for (; c->at < c->end && *c->at && strchr("0123456789.e+-", *c->at); c->at++) {
        if (length + 1 >= sizeof text) return false;
        text[length++] = *c->at;
    }
    text[length] = 0;
    void *host = cg_locale_enter();
    *out = strtod(text, &end);
    cg_locale_leave(host);
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
    if (length > LINE_LIMIT) return bad_line(why, "longer than 4096 bytes");
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

static cg_status line_parse(const char *line, size_t length, const char *head, const field *f, int count, void *out,
                            char why[CG_WHY])
{
    cursor c;
    if (length && line[length - 1] == '\n') length--;
    cg_status status = line_open(line, length, head, &c, why);
    if (status) return status;
    if (!take_fields(&c, f, count, out, why)) return CONVGEN_STORE;
    return take(&c, " ") && c.at == c.end ? CONVGEN_OK : bad_line(why, "more words than expected");
}

cg_status cg_record_parse(const char *line, size_t length, cg_record *out, char why[CG_WHY])
{
    cg_record r = {0};
    cg_status status = line_parse(line, length, FORMAT, record_fields, RECORD_FIELDS, &r, why);
    if (!status) *out = r;
    return status;
}

static cg_status fact_parse(const char *line, size_t length, fact *out, char why[CG_WHY])
{
    fact f = {0};
    cg_status status = line_parse(line, length, FORMAT " fact", fact_fields, FACT_FIELDS, &f, why);
    if (!status) *out = f;
    return status;
}

/* ---- the order of lines -------------------------------------------------------------------------------------------- */

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

/* Equal keys stay in the order of their lines: entries of one array compare by their place at last. */
static int by_record_key(const void *a, const void *b)
{
    const char *x = *(const void *const *)a, *y = *(const void *const *)b;
    int order = compare_fields(record_fields, KEY_FIELDS, x, y);
    return order ? order : (x > y) - (x < y);
}

static int by_fact_key(const void *a, const void *b)
{
    const char *x = *(const void *const *)a, *y = *(const void *const *)b;
    int order = compare_fields(fact_fields, FACT_KEY_FIELDS, x, y);
    return order ? order : (x > y) - (x < y);
}

/* Which of two entries with one key stays. */
typedef bool better(const void *later, const void *earlier);

static bool later_wins(const void *later, const void *earlier)
{
    return (void)later, (void)earlier, true;
}

/* The rule of a merge: of one family the newer version (an older one is not trusted), else the faster, else the one that is
 * already there. A time of 0 was never taken. */
static bool faster_wins(const void *later, const void *earlier)
{
    const cg_record *l = later, *e = earlier;
    if (!strcmp(l->family, e->family) && l->version != e->version) return l->version > e->version;
    return l->ns_median > 0 && (l->ns_median < e->ns_median || e->ns_median == 0);
}

/* What differs between records and facts when they are sorted. */
typedef struct sorting {
    size_t size;
    const field *fields;
    int keys;
    int (*order)(const void *, const void *);
} sorting;
static const sorting record_sorting = {sizeof(cg_record), record_fields, KEY_FIELDS, by_record_key};
static const sorting fact_sorting = {sizeof(fact), fact_fields, FACT_KEY_FIELDS, by_fact_key};

/* Takes an array and gives a sorted one with one entry for each key; NULL without memory, and the old one stays. */
static void *settle(void *at, int *count, int *room, const sorting *how, better *wins)
{
    const void **order = cg_calloc((size_t)*count + 1, sizeof *order);
    char *out = cg_calloc((size_t)*count + 1, how->size);
    int kept = 0;
    if (!order || !out) goto failed;
    for (int i = 0; i < *count; i++) order[i] = (char *)at + (size_t)i * how->size;
    qsort(order, (size_t)*count, sizeof *order, how->order);
    for (int i = 0; i < *count; kept++) {
        const void *best = order[i++];
        for (; i < *count && !compare_fields(how->fields, how->keys, best, order[i]); i++)
            if (wins(order[i], best)) best = order[i];
        memcpy(out + (size_t)kept * how->size, best, how->size);
    }
    *room = *count + 1, *count = kept;
    cg_free(order);
    cg_free(at);
    return out;
failed:
    cg_free(order);
    cg_free(out);
    return NULL;
}

/* ---- all of a file ------------------------------------------------------------------------------------------------- */

typedef struct book {
    cg_record_list records;
    fact *fact;
    int fact_count, fact_room;
    cg_buffer kept; /* comments and lines of later formats, as they are */
} book;

static void book_free(book *b)
{
    cg_records_free(&b->records);
    cg_free(b->fact);
    cg_buffer_free(&b->kept);
    *b = (book){0};
}

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

static bool add_fact(book *b, const fact *f)
{
    fact *at = grow(b->fact, b->fact_count, &b->fact_room, sizeof *at);
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

/* Files a line under what it is; false without memory. */
static bool book_line(book *b, const char *path, long number, const char *line, size_t length)
{
    char why[CG_WHY];
    cg_record r;
    fact f;
    bool comment = length && line[0] == '#', is_fact = length > 13 && !memcmp(line, FORMAT " fact ", 14);
    if (!length) return true;
    if (comment || line_is_future(line, length)) {
        cg_buffer_add(&b->kept, line, length);
        cg_buffer_add(&b->kept, "\n", 1);
        if (b->kept.failed) return false;
        if (comment) return true;
    }
    if (is_fact && !fact_parse(line, length, &f, why)) return add_fact(b, &f);
    if (!is_fact && !cg_record_parse(line, length, &r, why)) return add_record(&b->records, &r);
    return name_bad_line(&b->records, path, number, why);
}

static bool book_settle(book *b, better *record_wins)
{
    cg_record_list *l = &b->records;
    cg_record *records = settle(l->at, &l->count, &l->room, &record_sorting, record_wins);
    if (!records) return false;
    l->at = records;
    fact *facts = settle(b->fact, &b->fact_count, &b->fact_room, &fact_sorting, later_wins);
    if (!facts) return false;
    b->fact = facts;
    return true;
}

static cg_status no_memory(void)
{
    return cg_fail(CONVGEN_NO_MEMORY, "not enough memory for the records");
}

static cg_status store_failed(const char *verb, const char *path, const char *reason)
{
    return cg_fail(CONVGEN_STORE, "cannot %s the records in %s: %s", verb, path, reason);
}

/* The text of a file. A missing one is empty when `may_miss`; so is a device such as /dev/null, which remembers nothing. */
static cg_status text_read(const char *path, bool may_miss, cg_buffer *out)
{
    struct stat st;
    if (stat(path, &st)) return may_miss && errno == ENOENT ? CONVGEN_OK : store_failed("read", path, strerror(errno));
    if (S_ISCHR(st.st_mode)) return CONVGEN_OK;
    if (S_ISDIR(st.st_mode)) return store_failed("read", path, strerror(EISDIR));
    if (!S_ISREG(st.st_mode)) return store_failed("read", path, "it is not a file");
    return cg_read_file(path, STORE_LIMIT, out);
}

static cg_status book_read(const char *path, bool may_miss, book *out)
{
    cg_buffer text = {0};
    cg_status status = text_read(path, may_miss, &text);
    const char *at = text.text, *end = at ? at + text.length : at;
    for (long number = 1; !status && at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        if (!book_line(out, path, number, at, (size_t)(stop - at))) status = no_memory();
        at = stop < end ? stop + 1 : end;
    }
    if (!status && !book_settle(out, later_wins)) status = no_memory();
    cg_buffer_free(&text);
    return status;
}

static void book_write(const book *b, cg_buffer *out)
{
    cg_buffer_add(out, b->kept.text ? b->kept.text : "", b->kept.length);
    for (int i = 0; i < b->fact_count; i++) fact_format(&b->fact[i], out);
    for (int i = 0; i < b->records.count; i++) cg_record_format(&b->records.at[i], out);
}

cg_status cg_records_read(const char *path, cg_record_list *out)
{
    book b = {0};
    *out = (cg_record_list){0};
    cg_status status = book_read(path, true, &b);
    if (!status) *out = b.records, b.records = (cg_record_list){0};
    book_free(&b);
    return status;
}

void cg_records_free(cg_record_list *list)
{
    cg_free(list->at);
    cg_free(list->bad);
    *list = (cg_record_list){0};
}

/* ---- the store's place --------------------------------------------------------------------------------------------- */

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* The first of these that is there. A cache folder must be an absolute path (XDG Base Directory Specification). */
static const struct {
    const char *variable, *rest;
    bool absolute;
} places[] = {
    {"CONVGEN_STORE", "", false},
    {"XDG_CACHE_HOME", "/convgen/records", true},
    {"HOME", "/.cache/convgen/records", true},
};

static void default_path(cg_buffer *path, bool *own_folder)
{
    for (size_t i = 0; i < sizeof places / sizeof *places && !path->length && !path->failed; i++) {
        const char *value = environment(places[i].variable);
        if (!value || (places[i].absolute && value[0] != '/')) continue;
        cg_buffer_printf(path, "%s%s", value, places[i].rest);
        *own_folder = places[i].absolute;
    }
}

cg_status cg_store_new(const char *path, cg_store **out)
{
    cg_buffer text = {0};
    cg_status status = CONVGEN_OK;
    cg_store *s = cg_calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return no_memory();
    if (path && *path) cg_buffer_add(&text, path, strlen(path));
    else default_path(&text, &s->own_folder);
    if (!text.failed && !text.length)
        status = cg_fail(CONVGEN_STORE, "no place for the records: name a file, or set $CONVGEN_STORE, "
                                        "$XDG_CACHE_HOME or $HOME");
    else if (text.failed || !(s->path = cg_strdup(text.text)))
        status = no_memory();
    cg_buffer_free(&text);
    if (status) cg_store_free(s);
    else *out = s;
    return status;
}

void cg_store_free(cg_store *s)
{
    if (!s) return;
    cg_free(s->path);
    cg_free(s);
}

const char *cg_store_path(const cg_store *s)
{
    return s->path;
}

/* ---- the lock ------------------------------------------------------------------------------------------------------ */

typedef struct hold {
    int fd;              /* of the lock; -1: a device, which needs none */
    char path[PATH_MAX]; /* where the store really is, so that a link to it shares its lock and survives a rename */
} hold;

static void make_folders(const char *path)
{
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s", path) >= (int)sizeof folder) return;
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(folder, 0700); /* a failure shows when the lock is opened */
        *slash = '/';
    }
}

static int lock_open(const cg_store *s, const char *path)
{
    char name[PATH_MAX];
    if (snprintf(name, sizeof name, "%s.lock", path) >= (int)sizeof name) return errno = ENAMETOOLONG, -1;
    int fd = open(name, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0 || errno != ENOENT || !s->own_folder) return fd;
    make_folders(path);
    return open(name, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
}

/* Tries again and again rather than block: a stopped process that holds the lock must not stop all others for ever. */
static bool lock_wait(int fd)
{
    double end = cg_now() + LOCK_SECONDS;
    for (long pause = 100000; flock(fd, LOCK_EX | LOCK_NB); pause = pause < 5000000 ? pause * 2 : pause) {
        if (errno != EWOULDBLOCK && errno != EINTR) return false;
        if (cg_now() > end) return errno = ETIMEDOUT, false;
        nanosleep(&(struct timespec){0, pause}, NULL);
    }
    return true;
}

static cg_status hold_take(const cg_store *s, hold *h)
{
    struct stat st;
    h->fd = -1;
    if (!realpath(s->path, h->path) && snprintf(h->path, sizeof h->path, "%s", s->path) >= (int)sizeof h->path)
        return store_failed("write", s->path, strerror(ENAMETOOLONG));
    if (!stat(h->path, &st)) {
        if (S_ISCHR(st.st_mode)) return CONVGEN_OK;
        if (S_ISDIR(st.st_mode)) return store_failed("write", s->path, strerror(EISDIR));
        if (!S_ISREG(st.st_mode)) return store_failed("write", s->path, "it is not a file");
    }
    h->fd = lock_open(s, h->path);
    if (h->fd < 0) return store_failed("write", s->path, strerror(errno));
    if (lock_wait(h->fd)) return CONVGEN_OK;
    store_failed("write", s->path, errno == ETIMEDOUT ? "another process holds the lock" : strerror(errno));
    close(h->fd);
    return CONVGEN_STORE;
}

static void hold_give(hold *h)
{
    if (h->fd < 0) return;
    flock(h->fd, LOCK_UN); /* not by close alone: a forked child may have a copy of the descriptor */
    close(h->fd);
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static bool write_all(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        text += n, length -= (size_t)n;
    }
    return true;
}

/* EINVAL, EROFS: nothing there to flush, such as a device. */
static bool flush(int fd)
{
    return !fdatasync(fd) || errno == EINVAL || errno == EROFS;
}

/* One write; what a full disk cut short is taken back. `text` begins with a line end that only follows a torn line. */
static const char *append_text(int fd, const char *text, size_t length)
{
    struct stat st;
    char last = '\n';
    if (fstat(fd, &st)) return strerror(errno);
    bool file = S_ISREG(st.st_mode);
    if (file && st.st_size > STORE_LIMIT - LINE_LIMIT) return "it holds 64 MB already; `convgen records forget` makes room";
    if (file && st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) != 1) return strerror(errno);
    if (last == '\n') text++, length--;
    ssize_t n;
    do n = write(fd, text, length);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)length && flush(fd)) return NULL;
    const char *reason = n >= 0 && n < (ssize_t)length ? strerror(ENOSPC) : strerror(errno);
    if (file && ftruncate(fd, st.st_size)) return "it is full, and a torn line could not be taken back";
    return reason;
}

static cg_status append(const cg_store *s, const cg_buffer *text)
{
    hold h;
    cg_status status = hold_take(s, &h);
    if (status) return status;
    int fd = open(h.path, (h.fd < 0 ? O_WRONLY : O_RDWR) | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
    const char *reason = fd < 0 ? strerror(errno) : append_text(fd, text->text, text->length);
    if (fd >= 0 && close(fd) && !reason) reason = strerror(errno);
    if (reason) status = store_failed("write", s->path, reason);
    hold_give(&h);
    return status;
}

/* Under the lock the new file has one name: what a killed process left is overwritten by the next. */
static cg_status replace(const cg_store *s, const hold *h, const cg_buffer *text)
{
    char name[PATH_MAX];
    struct stat st;
    if (h->fd < 0) return store_failed("rewrite", s->path, "it is a device");
    if (snprintf(name, sizeof name, "%s.new", h->path) >= (int)sizeof name)
        return store_failed("rewrite", s->path, strerror(ENAMETOOLONG));
    unlink(name);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return store_failed("rewrite", s->path, strerror(errno));
    if (!stat(h->path, &st)) fchmod(fd, st.st_mode & 0777);
    bool done = write_all(fd, text->text ? text->text : "", text->length) && !fsync(fd);
    int reason = errno;
    if (close(fd) && done) done = false, reason = errno;
    if (done && rename(name, h->path)) done = false, reason = errno;
    if (done) return CONVGEN_OK;
    unlink(name);
    return store_failed("rewrite", s->path, strerror(reason));
}

static cg_status replace_by_book(const cg_store *s, const hold *h, const book *b)
{
    cg_buffer text = {0};
    book_write(b, &text);
    cg_status status = text.failed                  ? no_memory()
                       : text.length > STORE_LIMIT ? store_failed("rewrite", s->path, "more than 64 MB")
                                                   : replace(s, h, &text);
    cg_buffer_free(&text);
    return status;
}

/* A line that could not be read back is never written. */
cg_status cg_store_put(cg_store *s, const cg_record *r)
{
    cg_buffer text = {0};
    char why[CG_WHY];
    cg_record back;
    cg_status status;
    cg_buffer_add(&text, "\n", 1);
    cg_record_format(r, &text);
    if (text.failed)
        status = no_memory();
    else if (cg_record_parse(text.text + 1, text.length - 1, &back, why))
        status = cg_fail(CONVGEN_BAD_ARGUMENT, "a record that cannot be kept: %s", why);
    else
        status = append(s, &text);
    cg_buffer_free(&text);
    return status;
}

/* Copies text into a field of the same kind; what is too long is refused when the line is read back. */
static bool fact_key(fact *f, const char *machine, const char *name)
{
    *f = (fact){0};
    if (strlen(machine) >= sizeof f->machine || strlen(name) >= sizeof f->name) return false;
    strcpy(f->machine, machine);
    strcpy(f->name, name);
    return true;
}

cg_status cg_store_put_fact(cg_store *s, const char *machine, const char *name, double value)
{
    cg_buffer text = {0};
    char why[CG_WHY] = "its name is too long";
    fact f, back;
    cg_status status;
    bool fits = fact_key(&f, machine, name);
    f.value = value;
    cg_buffer_add(&text, "\n", 1);
    fact_format(&f, &text);
    if (text.failed)
        status = no_memory();
    else if (!fits || fact_parse(text.text + 1, text.length - 1, &back, why))
        status = cg_fail(CONVGEN_BAD_ARGUMENT, "a fact that cannot be kept: %s", why);
    else
        status = append(s, &text);
    cg_buffer_free(&text);
    return status;
}

cg_status cg_store_forget(cg_store *s, cg_record_filter *drop, void *user, int *dropped)
{
    hold h;
    book b = {0};
    int kept = 0;
    *dropped = 0;
    if (access(s->path, F_OK) && errno == ENOENT) return CONVGEN_OK;
    cg_status status = hold_take(s, &h);
    if (status) return status;
    status = book_read(s->path, true, &b);
    if (status) goto done;
    cg_record_list *l = &b.records;
    for (int i = 0; i < l->count; i++)
        if (!drop(&l->at[i], user)) l->at[kept++] = l->at[i];
    int gone = l->count - kept;
    l->count = kept;
    if (gone) status = replace_by_book(s, &h, &b);
    if (!status) *dropped = gone;
done:
    book_free(&b);
    hold_give(&h);
    return status;
}

static bool has_fact(const book *b, int count, const fact *f)
{
    for (int i = 0; i < count; i++)
        if (!compare_fields(fact_fields, FACT_KEY_FIELDS, &b->fact[i], f)) return true;
    return false;
}

/* The other book's records after ours, so that ours win a tie; facts that we have stay as they are. */
static bool book_join(book *ours, const book *other)
{
    int own = ours->fact_count;
    for (int i = 0; i < other->records.count; i++)
        if (!add_record(&ours->records, &other->records.at[i])) return false;
    for (int i = 0; i < other->fact_count; i++)
        if (!has_fact(ours, own, &other->fact[i]) && !add_fact(ours, &other->fact[i])) return false;
    return book_settle(ours, faster_wins);
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

cg_status cg_store_merge(cg_store *s, const char *from)
{
    hold h;
    book ours = {0}, other = {0};
    cg_status status = book_read(from, false, &other);
    if (!status && other.records.bad_count && !other.records.count && !other.fact_count && !other.kept.length)
        status = cg_fail(CONVGEN_STORE, "%s holds no records: %s", from, other.records.bad[0]);
    if (!status) status = hold_take(s, &h);
    if (status) goto done;
    status = book_read(s->path, true, &ours);
    if (!status && !(book_join(&ours, &other) && kept_join(&ours.kept, &other.kept))) status = no_memory();
    if (!status) status = replace_by_book(s, &h, &ours);
    hold_give(&h);
done:
    book_free(&ours);
    book_free(&other);
    return status;
}

/* ---- looking up ---------------------------------------------------------------------------------------------------- */

/* What a line must begin with and contain before it is worth parsing, and how far from the key a record may be. */
typedef struct query {
    const cg_record *key;
    cg_buffer begin, middle;
    int distance; /* of the best so far; only nearer ones are taken */
    cg_record *best;
} query;

/* 0: the key itself. Another compiler is further away than any number of threads. */
static int distance(const cg_record *key, const cg_record *r)
{
    if (strcmp(key->machine, r->machine) || strcmp(key->target, r->target)) return INT_MAX;
    if (strcmp(key->problem, r->problem) || strcmp(key->form, r->form)) return INT_MAX;
    return abs(key->threads - r->threads) + (strcmp(key->compiler, r->compiler) ? 1 << 24 : 0);
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

static void query_text(query *q, const cg_buffer *text)
{
    const char *end = text->text ? text->text + text->length : NULL, *line;
    size_t length;
    char why[CG_WHY];
    cg_record r;
    while (q->distance > 0 && text->text && line_before(text->text, &end, &line, &length)) {
        if (!begins(line, length, &q->begin)) continue;
        if (q->middle.length && !memmem(line, length, q->middle.text, q->middle.length)) continue;
        if (cg_record_parse(line, length, &r, why)) continue;
        int d = distance(q->key, &r);
        if (d < q->distance) q->distance = d, *q->best = r;
    }
}

/* The next *.records of a folder in the order of names, so that the answer does not depend on the file system. */
static bool next_name(DIR *folder, char name[NAME_MAX + 1])
{
    char next[NAME_MAX + 1] = "";
    rewinddir(folder);
    for (struct dirent *d; (d = readdir(folder));) {
        size_t length = strlen(d->d_name), ending = strlen(".records");
        if (length <= ending || length > NAME_MAX || strcmp(d->d_name + length - ending, ".records")) continue;
        if (strcmp(d->d_name, name) > 0 && (!*next || strcmp(d->d_name, next) < 0)) strcpy(next, d->d_name);
    }
    strcpy(name, next);
    return *name;
}

/* What ships with convgen is a help, not a need: what cannot be read there is as if it were not there. */
static void query_shipped(query *q)
{
    const char *path = environment("CONVGEN_TUNED") ? environment("CONVGEN_TUNED") : CONVGEN_TUNED_DIR;
    DIR *folder = opendir(path);
    char name[NAME_MAX + 1] = "", file[PATH_MAX];
    while (folder && q->distance > 0 && next_name(folder, name)) {
        cg_buffer text = {0};
        bool fits = snprintf(file, sizeof file, "%s/%s", path, name) < (int)sizeof file;
        if (fits && !text_read(file, true, &text)) query_text(q, &text);
        cg_buffer_free(&text);
    }
    if (folder) closedir(folder);
}

static cg_status query_run(cg_store *s, query *q)
{
    cg_buffer text = {0};
    int start = q->distance;
    cg_status status = q->begin.failed || q->middle.failed ? no_memory() : text_read(s->path, true, &text);
    if (!status) {
        query_text(q, &text);
        query_shipped(q);
        if (q->distance == start) status = CONVGEN_NO_RECORD;
    }
    cg_buffer_free(&text);
    cg_buffer_free(&q->begin);
    cg_buffer_free(&q->middle);
    return status;
}

cg_status cg_store_find(cg_store *s, const cg_record *key, cg_record *out)
{
    query q = {.key = key, .distance = 1, .best = out};
    cg_buffer_printf(&q.begin, FORMAT);
    fields_add(&q.begin, record_fields, KEY_FIELDS, key);
    cg_buffer_add(&q.begin, " ", 1);
    return query_run(s, &q);
}

cg_status cg_store_hint(cg_store *s, const cg_record *key, cg_record *out)
{
    query q = {.key = key, .distance = INT_MAX, .best = out};
    cg_buffer_printf(&q.begin, FORMAT);
    fields_add(&q.begin, record_fields, THREADS_FIELD, key);
    fields_add(&q.middle, record_fields + PROBLEM_FIELD, 2, key);
    return query_run(s, &q);
}

cg_status cg_store_fact(cg_store *s, const char *machine, const char *name, double *value)
{
    cg_buffer text = {0}, begin = {0};
    char why[CG_WHY];
    fact key, f;
    const char *line;
    size_t length;
    if (!fact_key(&key, machine, name)) return CONVGEN_NO_RECORD;
    cg_buffer_printf(&begin, FORMAT " fact");
    fields_add(&begin, fact_fields, FACT_KEY_FIELDS, &key);
    cg_buffer_add(&begin, " ", 1);
    cg_status status = begin.failed ? no_memory() : text_read(s->path, true, &text);
    if (status) goto done;
    status = CONVGEN_NO_RECORD;
    const char *end = text.text ? text.text + text.length : NULL;
    while (status && end && line_before(text.text, &end, &line, &length)) {
        if (!begins(line, length, &begin) || fact_parse(line, length, &f, why)) continue;
        *value = f.value;
        status = CONVGEN_OK;
    }
done:
    cg_buffer_free(&text);
    cg_buffer_free(&begin);
    return status;
}

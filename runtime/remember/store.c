/* store.c: the files that records are remembered in: the user's, and those that ship with convgen.
 *
 * Writers exclude each other by flock on PATH.lock, which is opened anew for each operation: so the lock also holds
 * between threads, and no mutex is there that a fork could leave locked. Readers need no lock: appends are one write,
 * rewrites one rename. A store of more than 64 MB is refused. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "remember/remember.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef CONVGEN_TUNED_DIR
#define CONVGEN_TUNED_DIR "/usr/local/share/convgen/tuned"
#endif

enum { STORE_LIMIT = 64 << 20, LOCK_SECONDS = 20 };

struct cg_store {
    char *path;      /* "": there is no place */
    bool own_folder; /* the default path: its last two folders are ours to make */
};

static cg_status no_memory(void)
{
    return cg_fail(CONVGEN_NO_MEMORY, "not enough memory for the records");
}

static cg_status store_failed(const char *verb, const char *path, const char *reason)
{
    return cg_fail(CONVGEN_STORE, "cannot %s the records in %s: %s", verb, path, reason);
}

/* Editors of other systems mark a text as UTF-8 at its beginning. */
static void drop_mark(cg_buffer *text)
{
    static const char mark[] = "\xef\xbb\xbf";
    const size_t size = sizeof mark - 1;
    if (text->length < size || memcmp(text->text, mark, size)) return;
    text->length -= size;
    memmove(text->text, text->text + size, text->length + 1);
}

/* The text of a file. A missing one is empty when `may_miss`; so is a device such as /dev/null, which remembers nothing. */
static cg_status text_read(const char *path, bool may_miss, cg_buffer *out)
{
    struct stat st;
    if (stat(path, &st)) return may_miss && errno == ENOENT ? CONVGEN_OK : store_failed("read", path, strerror(errno));
    if (S_ISCHR(st.st_mode)) return CONVGEN_OK;
    if (S_ISDIR(st.st_mode)) return store_failed("read", path, strerror(EISDIR));
    if (!S_ISREG(st.st_mode)) return store_failed("read", path, "it is not a file");
    cg_status status = cg_read_file(path, STORE_LIMIT, out);
    if (!status) drop_mark(out);
    return status;
}

static cg_status book_read(const char *path, bool may_miss, cg_book *out)
{
    cg_buffer text = {0};
    cg_status status = text_read(path, may_miss, &text);
    if (!status) status = cg_book_parse(out, path, &text);
    cg_buffer_free(&text);
    return status;
}

cg_status cg_records_read(const char *path, cg_record_list *out)
{
    cg_book b = {0};
    *out = (cg_record_list){0};
    cg_status status = book_read(path, true, &b);
    if (!status) *out = b.records, b.records = (cg_record_list){0};
    cg_book_free(&b);
    return status;
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
    if (text.failed || !(s->path = cg_strdup(text.length ? text.text : ""))) status = no_memory();
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

/* The last two folders of a path, as .cache/convgen of a home; not the home: one that is not there was not meant to be written to. A
 * failure shows when the lock is opened. */
static void make_folders(const char *path)
{
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s", path) >= (int)sizeof folder) return;
    char *inner = strrchr(folder, '/');
    if (!inner) return;
    *inner = 0;
    char *outer = strrchr(folder, '/');
    if (outer && outer > folder) {
        *outer = 0;
        mkdir(folder, 0700);
        *outer = '/';
    }
    mkdir(folder, 0700);
}

/* Who may read and write is the umask's to say, as of any file. */
enum { FILE_MODE = 0666 };

static int lock_open(const cg_store *s, const char *path)
{
    char name[PATH_MAX];
    if (snprintf(name, sizeof name, "%s.lock", path) >= (int)sizeof name) return errno = ENAMETOOLONG, -1;
    int fd = open(name, O_RDONLY | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (fd >= 0 || errno != ENOENT || !s->own_folder) return fd;
    make_folders(path);
    return open(name, O_RDONLY | O_CREAT | O_CLOEXEC, FILE_MODE);
}

/* The name that a symbolic link stands for, in place; false: it is none, or cannot be followed (errno 0: it is none). */
static bool follow(char path[PATH_MAX])
{
    char to[PATH_MAX];
    ssize_t length = readlink(path, to, sizeof to);
    if (length < 0) return errno = errno == EINVAL || errno == ENOENT ? 0 : errno, false;
    char *slash = strrchr(path, '/');
    size_t kept = length && to[0] == '/' ? 0 : slash ? (size_t)(slash + 1 - path) : 0;
    if (kept + (size_t)length >= PATH_MAX) return errno = ENAMETOOLONG, false;
    memcpy(path + kept, to, (size_t)length);
    path[kept + (size_t)length] = 0;
    return true;
}

/* Its folder by its one name, if it is there. */
static bool name_folder(char path[PATH_MAX])
{
    char folder[PATH_MAX], name[PATH_MAX], *slash = strrchr(path, '/');
    strcpy(name, slash ? slash + 1 : path);
    if (slash) slash[slash == path] = 0;
    if (!realpath(slash ? path : ".", folder)) {
        if (slash) *slash = '/', strcpy(slash + 1, name);
        return true;
    }
    bool root = !strcmp(folder, "/");
    return snprintf(path, PATH_MAX, "%s/%s", root ? "" : folder, name) < PATH_MAX || (errno = ENAMETOOLONG, false);
}

/* Where a file is or will be: links are followed even to what is not there yet, so that all names of a store have one lock. */
static bool real_place(const char *path, char out[PATH_MAX])
{
    enum { LINKS = 40 };
    if (realpath(path, out)) return true;
    if (snprintf(out, PATH_MAX, "%s", path) >= PATH_MAX) return errno = ENAMETOOLONG, false;
    for (int i = 0; i < LINKS; i++)
        if (!follow(out)) return !errno && name_folder(out);
    return errno = ELOOP, false;
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
    if (!*s->path)
        return cg_fail(CONVGEN_STORE, "no place for the records: name a file, or set $CONVGEN_STORE, $XDG_CACHE_HOME or $HOME");
    if (!real_place(s->path, h->path)) return store_failed("write", s->path, strerror(errno));
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
static const char *append_text(int fd, const char *text, size_t length, bool keep)
{
    struct stat st;
    char last = '\n';
    if (fstat(fd, &st)) return strerror(errno);
    bool file = S_ISREG(st.st_mode);
    if (file && st.st_size > STORE_LIMIT - CG_LINE) return "it holds 64 MB already; `convgen records forget` makes room";
    if (file && st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) != 1) return strerror(errno);
    if (last == '\n') text++, length--;
    ssize_t n;
    do n = write(fd, text, length);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)length && flush(fd) && (keep || !file || !ftruncate(fd, st.st_size))) return NULL;
    const char *reason = n >= 0 && n < (ssize_t)length ? strerror(ENOSPC) : strerror(errno);
    if (file && ftruncate(fd, st.st_size)) return "it is full, and a torn line could not be taken back";
    return reason;
}

static cg_status append(const cg_store *s, const char *text, size_t length, bool keep)
{
    hold h;
    cg_status status = hold_take(s, &h);
    if (status) return status;
    int fd = open(h.path, (h.fd < 0 ? O_WRONLY : O_RDWR) | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, FILE_MODE);
    const char *reason = fd < 0 ? strerror(errno) : append_text(fd, text, length, keep);
    if (fd >= 0 && close(fd) && !reason) reason = strerror(errno);
    if (reason) status = store_failed("write", s->path, reason);
    hold_give(&h);
    return status;
}

/* Empty lines, since a process that is killed in between leaves them; a block of them, since a full disk may have room for less. */
cg_status cg_store_check(const cg_store *s)
{
    char lines[CG_LINE];
    memset(lines, '\n', sizeof lines);
    return append(s, lines, sizeof lines, false);
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
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
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

/* A line that could not be read back is never written. */
static cg_status put_line(const cg_store *s, cg_buffer *text, bool readable, const char *what, const char *why)
{
    cg_status status = text->failed ? no_memory()
                       : readable   ? append(s, text->text, text->length, true)
                                    : cg_fail(CONVGEN_BAD_ARGUMENT, "a %s that cannot be kept: %s", what, why);
    cg_buffer_free(text);
    return status;
}

cg_status cg_store_put(cg_store *s, const cg_record *r)
{
    cg_buffer text = {0};
    char why[CG_WHY];
    cg_record back;
    cg_buffer_add(&text, "\n", 1);
    cg_record_format(r, &text);
    bool readable = !text.failed && !cg_record_parse(text.text + 1, text.length - 1, &back, why);
    return put_line(s, &text, readable, "record", why);
}

static bool fact_key(cg_fact *f, const char *machine, const char *name)
{
    *f = (cg_fact){0};
    if (strlen(machine) >= sizeof f->machine || strlen(name) >= sizeof f->name) return false;
    strcpy(f->machine, machine);
    strcpy(f->name, name);
    return true;
}

cg_status cg_store_put_facts(cg_store *s, const cg_fact *fact, int count)
{
    cg_buffer text = {0};
    char why[CG_WHY] = "";
    cg_fact back;
    bool readable = true;
    cg_buffer_add(&text, "\n", 1);
    for (int i = 0; i < count && readable && !text.failed; i++) {
        size_t start = text.length;
        cg_fact_format(&fact[i], &text);
        readable = text.failed || !cg_fact_parse(text.text + start, text.length - start, &back, why);
    }
    return put_line(s, &text, readable, "fact", why);
}

cg_status cg_store_put_fact(cg_store *s, const char *machine, const char *name, double value)
{
    cg_fact f;
    if (!fact_key(&f, machine, name)) return cg_fail(CONVGEN_BAD_ARGUMENT, "a fact that cannot be kept: its name is too long");
    f.value = value;
    return cg_store_put_facts(s, &f, 1);
}

/* ---- rewriting ----------------------------------------------------------------------------------------------------- */

static cg_status replace_by_book(const cg_store *s, const hold *h, const cg_book *b)
{
    cg_buffer text = {0};
    cg_book_format(b, &text);
    cg_status status = text.failed                  ? no_memory()
                       : text.length > STORE_LIMIT ? store_failed("rewrite", s->path, "more than 64 MB")
                                                   : replace(s, h, &text);
    cg_buffer_free(&text);
    return status;
}

cg_status cg_store_forget(cg_store *s, cg_record_filter *drop, void *user, int *dropped)
{
    hold h;
    cg_book b = {0};
    int kept = 0;
    *dropped = 0;
    if (!*s->path) return CONVGEN_OK;
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
    cg_book_free(&b);
    hold_give(&h);
    return status;
}

cg_status cg_store_merge(cg_store *s, const char *from)
{
    hold h;
    cg_book ours = {0}, other = {0};
    cg_status status = book_read(from, false, &other);
    if (!status && other.records.bad_count && !other.records.count && !other.fact_count && !other.kept.length)
        status = cg_fail(CONVGEN_STORE, "%s holds no records: %s", from, other.records.bad[0]);
    if (!status) status = hold_take(s, &h);
    if (status) goto done;
    status = book_read(s->path, true, &ours);
    if (!status) status = cg_book_join(&ours, &other);
    if (!status) status = replace_by_book(s, &h, &ours);
    hold_give(&h);
done:
    cg_book_free(&ours);
    cg_book_free(&other);
    return status;
}

/* A merged record, and what it turned out to be here. */
cg_status cg_store_settle(cg_store *s, const cg_record *merged, const cg_record *own)
{
    hold h;
    cg_book b = {0};
    cg_status status = hold_take(s, &h);
    if (status) return status;
    status = book_read(s->path, true, &b);
    if (!status) status = cg_book_settle(&b, merged, own);
    if (!status) status = replace_by_book(s, &h, &b);
    cg_book_free(&b);
    hold_give(&h);
    return status;
}

/* ---- looking up ---------------------------------------------------------------------------------------------------- */

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
static void search_shipped(const cg_record *key, cg_record_filter *takes, void *user, int *nearest, cg_record *out)
{
    const char *path = environment("CONVGEN_TUNED") ? environment("CONVGEN_TUNED") : CONVGEN_TUNED_DIR;
    DIR *folder = opendir(path);
    char name[NAME_MAX + 1] = "", file[PATH_MAX];
    while (folder && *nearest > 0 && next_name(folder, name)) {
        cg_buffer text = {0};
        int before = *nearest;
        bool fits = snprintf(file, sizeof file, "%s/%s", path, name) < (int)sizeof file;
        if (fits && !text_read(file, true, &text)) cg_record_search(&text, key, takes, user, nearest, out);
        if (*nearest < before) out->shipped = true;
        cg_buffer_free(&text);
    }
    if (folder) closedir(folder);
}

/* The user's, whatever it is worth, is before what is shipped when it is the key's own. */
static cg_status search(cg_store *s, const cg_record *key, cg_record_filter *takes, void *user, int below, cg_record *out)
{
    cg_buffer text = {0};
    int nearest = below;
    cg_status status = *s->path ? text_read(s->path, true, &text) : CONVGEN_OK;
    if (!status) status = cg_record_search(&text, key, takes, user, &nearest, out);
    if (!status) {
        if (nearest >= CG_EXACT_KEY) search_shipped(key, takes, user, &nearest, out);
        if (nearest == below) status = CONVGEN_NO_RECORD;
    }
    cg_buffer_free(&text);
    return status;
}

cg_status cg_store_find_if(cg_store *s, const cg_record *key, cg_record_filter *takes, void *user, cg_record *out)
{
    return search(s, key, takes, user, CG_EXACT_KEY, out);
}

cg_status cg_store_find(cg_store *s, const cg_record *key, cg_record *out)
{
    return cg_store_find_if(s, key, NULL, NULL, out);
}

cg_status cg_store_hint(cg_store *s, const cg_record *key, cg_record *out)
{
    return search(s, key, NULL, NULL, INT_MAX, out);
}

/* The first of them says of which machine. */
static cg_status find_facts(cg_store *s, cg_fact *fact, int count, int *found)
{
    cg_buffer text = {0};
    *found = 0;
    cg_status status = *s->path ? text_read(s->path, true, &text) : CONVGEN_OK;
    if (!status) status = cg_facts_search(&text, fact, count, found);
    cg_buffer_free(&text);
    return status;
}

int cg_store_facts(cg_store *s, cg_fact *fact, int count)
{
    int found;
    return find_facts(s, fact, count, &found) ? 0 : found;
}

cg_status cg_store_fact(cg_store *s, const char *machine, const char *name, double *value)
{
    cg_fact f;
    int found;
    if (!fact_key(&f, machine, name)) return CONVGEN_NO_RECORD;
    cg_status status = find_facts(s, &f, 1, &found);
    if (!status && !found) return CONVGEN_NO_RECORD;
    if (!status) *value = f.value;
    return status;
}

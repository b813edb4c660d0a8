/* test_store.c: the files of records: finding, places that cannot be written, many writers. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sample_records.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

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
    strcpy(key.machine, "another");
    ck_assert_int_eq(cg_store_hint(s, &key, &out), CONVGEN_OK);
    ck_assert_double_eq(out.ns_median, 5000);
    r = sample(64, 60, 6000), strcpy(r.machine, "another"), put(path, &r); /* its own is nearer, whatever else differs */
    ck_assert_int_eq(cg_store_hint(s, &key, &out), CONVGEN_OK);
    ck_assert_double_eq(out.ns_median, 6000);
    strcpy(key.form, "machine"); /* the same program in the other form: the hint of tuning for emitted C */
    ck_assert_int_eq(cg_store_hint(s, &key, &out), CONVGEN_OK);
    ck_assert_double_eq(out.ns_median, 6000);
    strcpy(key.target, "portable");
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
    ck_assert(same(&out, &shipped) && out.shipped);
    own.threads = 2;
    ck_assert_int_eq(cg_store_hint(s, &own, &out), CONVGEN_OK);
    ck_assert(same(&out, &shipped));
    own.threads = 1;
    put(path, &own);
    ck_assert_int_eq(cg_store_find(s, &own, &out), CONVGEN_OK);
    ck_assert(same(&out, &own) && !out.shipped);
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
    double value;
    unsetenv("CONVGEN_STORE");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    find_in(""); /* no place: nothing is there, and nothing can be put */
    s = store_at(NULL);
    ck_assert_int_eq(cg_store_find(s, &r, &out), CONVGEN_NO_RECORD);
    ck_assert_int_eq(cg_store_hint(s, &r, &out), CONVGEN_NO_RECORD);
    ck_assert_int_eq(cg_store_fact(s, "m", "peak", &value), CONVGEN_NO_RECORD);
    says(cg_store_put(s, &r), "$CONVGEN_STORE");
    says(cg_store_put_fact(s, "m", "peak", 1), "$CONVGEN_STORE");
    says(cg_store_check(s), "$CONVGEN_STORE");
    cg_store_free(s);
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

/* A home that is not there (a service's) was not meant to be written to, not even by root. */
START_TEST(test_no_home_is_made)
{
    char home[96], cache[160];
    cg_record r = sample(64, 1, 1);
    unsetenv("CONVGEN_STORE");
    unsetenv("XDG_CACHE_HOME");
    snprintf(home, sizeof home, "%s/nobody", folder);
    setenv("HOME", home, 1);
    cg_store *s = store_at(NULL);
    says(cg_store_put(s, &r), "No such file or directory");
    ck_assert_int_ne(access(home, F_OK), 0);
    cg_store_free(s);
    snprintf(cache, sizeof cache, "%s/far/cache", home);
    setenv("XDG_CACHE_HOME", cache, 1);
    s = store_at(NULL);
    says(cg_store_put(s, &r), "No such file or directory");
    ck_assert_int_ne(access(home, F_OK), 0);
    cg_store_free(s);
}
END_TEST

static int mode_of(const char *file)
{
    struct stat st;
    ck_assert_msg(!stat(file, &st), "%s", file);
    return st.st_mode & 0777;
}

START_TEST(test_modes_are_the_umasks)
{
    static const int masks[] = {022, 077, 002, 027};
    char lock[128];
    cg_record a = sample(1, 1, 1), b = sample(2, 1, 2);
    snprintf(lock, sizeof lock, "%s.lock", path);
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        mode_t before = umask((mode_t)masks[i]);
        int asked = 0, dropped;
        put(path, &a);
        put(path, &b);
        ck_assert_int_eq(mode_of(path), 0666 & ~masks[i]);
        ck_assert_int_eq(mode_of(lock), 0666 & ~masks[i]);
        cg_store *s = store_at(path);
        ck_assert_int_eq(cg_store_forget(s, drop_layer_2, &asked, &dropped), CONVGEN_OK);
        ck_assert_int_eq(mode_of(path), 0666 & ~masks[i]);
        ck_assert_int_eq(unlink(path), 0);
        put(other, &a);
        ck_assert_int_eq(cg_store_merge(s, other), CONVGEN_OK); /* made anew by a rewrite */
        ck_assert_int_eq(mode_of(path), 0666 & ~masks[i]);
        cg_store_free(s);
        umask(before);
        unlink(path), unlink(lock), unlink(other);
    }
}
END_TEST

/* ---- what is not written ------------------------------------------------------------------------------------------- */

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

/* A link to what is not there yet: it stays one, its file is made, and both names have one lock. Links: of folder `at`, to `to`. */
static void make_link(const char *to, const char *at)
{
    ck_assert_int_eq(symlink(to, at), 0);
}

static void put_through(const char *link, const char *real)
{
    char lock[128];
    cg_record a = sample(1, 1, 1), b = sample(2, 1, 2), out;
    struct stat st;
    cg_store *s = store_at(link);
    ck_assert_msg(!cg_store_put(s, &a), "%s", cg_error_text());
    ck_assert(!lstat(link, &st) && S_ISLNK(st.st_mode));
    ck_assert(!lstat(real, &st) && S_ISREG(st.st_mode));
    snprintf(lock, sizeof lock, "%s.lock", real);
    ck_assert_int_eq(access(lock, F_OK), 0);
    snprintf(lock, sizeof lock, "%s.lock", link);
    ck_assert_int_ne(access(lock, F_OK), 0);
    unlink(real);
    put(other, &b);
    ck_assert_int_eq(cg_store_merge(s, other), CONVGEN_OK); /* a rewrite of what is not there */
    ck_assert(!lstat(link, &st) && S_ISLNK(st.st_mode));
    ck_assert_int_eq(cg_store_find(s, &b, &out), CONVGEN_OK);
    cg_store_free(s);
}

START_TEST(test_dangling_links)
{
    char below[128], real[160], chain[128], inside[128], via[128], loop[128];
    snprintf(below, sizeof below, "%s/below", folder);
    ck_assert_int_eq(mkdir(below, 0700), 0);
    snprintf(real, sizeof real, "%s/real", below);
    make_link("below/real", path); /* relative to where the link is, not to where we are */
    put_through(path, real);
    unlink(real);
    snprintf(chain, sizeof chain, "%s/chain", folder);
    make_link(path, chain); /* a chain */
    put_through(chain, real);
    unlink(real);
    snprintf(inside, sizeof inside, "%s/inside", folder);
    make_link("below", inside); /* a folder's link on the way */
    snprintf(via, sizeof via, "%s/via", folder);
    make_link("inside/real", via);
    put_through(via, real);
    snprintf(loop, sizeof loop, "%s/loop", folder);
    make_link("loop", loop);
    cg_record a = sample(1, 1, 1);
    cg_store *s = store_at(loop);
    says(cg_store_put(s, &a), "Too many levels of symbolic links");
    cg_store_free(s);
    unlink(chain);
    make_link("gone/real", chain);
    s = store_at(chain);
    says(cg_store_put(s, &a), "No such file or directory");
    cg_store_free(s);
}
END_TEST

/* A store is no larger than what is read again. */
START_TEST(test_a_full_store)
{
    enum { LIMIT = 64 << 20 };
    cg_record r = sample(1, 1, 1);
    struct stat st;
    cg_store *s = store_at(path);
    add_line(path, comment);
    ck_assert_int_eq(truncate(path, LIMIT - CG_LINE), 0);
    ck_assert_msg(!cg_store_put(s, &r), "%s", cg_error_text());
    ck_assert(!stat(path, &st) && st.st_size > LIMIT - CG_LINE && st.st_size <= LIMIT);
    says(cg_store_put(s, &r), "it holds 64 MB already");
    ck_assert(!stat(path, &st) && st.st_size <= LIMIT);
    cg_store_free(s);
}
END_TEST

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

/* Editors and copies leave such names. */
START_TEST(test_only_files_of_records_are_shipped)
{
    static const char *const names[] = {".records", "a.records~", "a.records.new", "records"};
    cg_record r = sample(64, 1, 1000), out;
    cg_store *s = store_at("/dev/null");
    char file[128];
    setenv("CONVGEN_TUNED", folder, 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(file, sizeof file, "%s/%s", folder, names[i]);
        put(file, &r);
        ck_assert_int_eq(cg_store_find(s, &r, &out), CONVGEN_NO_RECORD); /* the user's store is empty */
    }
    cg_store_free(s);
}
END_TEST

/* ---- what is written is flushed -------------------------------------------------------------------------------------- */

/* This program's calls of fsync and fdatasync come here: how many, on what file, and whether they fail. */
static struct {
    int calls, error;
    pid_t forked; /* 1: a child is forked when something is flushed, which is under the lock; then its id */
    ino_t file;
    off_t size;
} flushed;

static int flush_seen(int fd, long call)
{
    struct stat st;
    if (fstat(fd, &st)) return -1;
    flushed.calls++;
    flushed.file = st.st_ino, flushed.size = st.st_size;
    if (flushed.forked == 1 && !(flushed.forked = fork())) {
        alarm(100); /* should nobody end it */
        pause();
        _exit(0);
    }
    if (flushed.error) return errno = flushed.error, -1;
    return (int)syscall(call, fd);
}

int fsync(int fd)
{
    return flush_seen(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return flush_seen(fd, SYS_fdatasync);
}

/* The store as it is now was flushed after its last byte was written, and before a rename made it the store. */
static void store_was_flushed(int calls)
{
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(flushed.calls, calls);
    ck_assert(flushed.file == st.st_ino && flushed.size == st.st_size);
}

START_TEST(test_what_is_kept_is_flushed)
{
    cg_record a = sample(1, 1, 1), b = sample(2, 1, 2);
    int asked = 0, dropped;
    cg_store *s = store_at(path);
    flushed = (typeof(flushed)){0};
    put(path, &a);
    store_was_flushed(1);
    ck_assert_int_eq(cg_store_put_fact(s, "m", "peak", 1), CONVGEN_OK);
    store_was_flushed(2);
    put(path, &b);
    ck_assert_int_eq(cg_store_forget(s, drop_layer_2, &asked, &dropped), CONVGEN_OK);
    store_was_flushed(4);
    cg_store_free(s);
}
END_TEST

/* A child of the host has a copy of the lock's descriptor: closing ours alone would leave it locked. */
START_TEST(test_a_child_does_not_keep_the_lock)
{
    cg_record a = sample(1, 1, 1), b = sample(2, 1, 2);
    flushed = (typeof(flushed)){.forked = 1};
    put(path, &a);
    ck_assert_int_gt(flushed.forked, 1);
    put(path, &b);
    kill(flushed.forked, SIGKILL);
    ck_assert_int_eq(waitpid(flushed.forked, NULL, 0), flushed.forked);
}
END_TEST

START_TEST(test_a_rewrite_keeps_the_mode)
{
    cg_record a = sample(1, 1, 1), b = sample(2, 1, 2);
    struct stat st;
    int asked = 0, dropped;
    cg_store *s = store_at(path);
    put(path, &a);
    put(path, &b);
    for (mode_t mode = 0600; mode <= 0660; mode += 020) {
        ck_assert_int_eq(chmod(path, mode), 0);
        ck_assert_int_eq(cg_store_merge(s, path), CONVGEN_OK);
        ck_assert(!stat(path, &st) && (st.st_mode & 0777) == mode);
    }
    ck_assert_int_eq(chmod(path, 0604), 0);
    ck_assert_int_eq(cg_store_forget(s, drop_layer_2, &asked, &dropped), CONVGEN_OK);
    ck_assert(!stat(path, &st) && (st.st_mode & 0777) == 0604);
    cg_store_free(s);
}
END_TEST

START_TEST(test_what_cannot_be_flushed_is_not_kept)
{
    cg_record a = sample(1, 1, 1), b = sample(2, 1, 2);
    int asked = 0, dropped;
    cg_store *s = store_at(path);
    put(path, &a);
    put(path, &b);
    cg_buffer before = text_of(path);
    flushed = (typeof(flushed)){.error = EIO};
    says(cg_store_put(s, &b), strerror(EIO));
    says(cg_store_check(s), strerror(EIO));
    says(cg_store_forget(s, drop_layer_2, &asked, &dropped), strerror(EIO));
    cg_buffer after = text_of(path);
    ck_assert(after.length == before.length && !memcmp(after.text, before.text, before.length));
    flushed.error = EINVAL; /* a device has nothing to flush */
    ck_assert_int_eq(cg_store_put(s, &b), CONVGEN_OK);
    flushed.error = 0;
    cg_buffer_free(&before);
    cg_buffer_free(&after);
    cg_store_free(s);
}
END_TEST

static void same_as(const cg_buffer *before)
{
    cg_buffer after = text_of(path);
    ck_assert_uint_eq(after.length, before->length);
    ck_assert_str_eq(after.text, before->text);
    cg_buffer_free(&after);
}

START_TEST(test_a_check_leaves_no_trace)
{
    cg_record a = sample(1, 1, 1);
    struct rlimit old, small;
    cg_store *s = store_at(path);
    put(path, &a);
    FILE *f = fopen(path, "a");
    fputs("torn", f);
    fclose(f);
    cg_buffer before = text_of(path);
    ck_assert_int_eq(cg_store_check(s), CONVGEN_OK);
    same_as(&before);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old, small.rlim_cur = before.length + 1000;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    cg_status status = cg_store_check(s);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(status, CONVGEN_STORE);
    same_as(&before);
    cg_buffer_free(&before);
    cg_store_free(s);
    s = store_at("/dev/full");
    says(cg_store_check(s), "/dev/full: No space left on device");
    cg_store_free(s);
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
        same_as(&before);
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

enum { WRITERS = 8, NUMBERS = 1 << 16, KILLS = 200 };

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
    for (bool all_said = false; kills < KILLS || !all_said; kills++) { /* on a busy machine more, until each has written something */
        int w = (int)(cg_random(&state) % WRITERS);
        usleep((useconds_t)(cg_random(&state) % 20000));
        kill(child[w], SIGKILL);
        ck_assert_int_eq(waitpid(child[w], &status, 0), child[w]);
        ck_assert_msg(WIFSIGNALED(status), "a writer failed with %d", WEXITSTATUS(status));
        read_words(ends[0], heard, next);
        child[w] = start_writer(w, next[w] + 1, ends); /* the one in the air may or may not be there */
        all_said = true;
        for (int i = 0; i < WRITERS; i++) all_said = all_said && next[i] > 1;
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

/* How many texts are hashed: a line that is parsed is, for its checksum. (Linked with --wrap=cg_hash.) */
static int hashed;
uint64_t __real_cg_hash(const void *data, size_t size, uint64_t start);
uint64_t __wrap_cg_hash(const void *data, size_t size, uint64_t start);
uint64_t __wrap_cg_hash(const void *data, size_t size, uint64_t start)
{
    __atomic_add_fetch(&hashed, 1, __ATOMIC_RELAXED);
    return __real_cg_hash(data, size, start);
}

START_TEST(test_finding_parses_few_lines)
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
    hashed = 0;
    ck_assert_int_eq(cg_store_find(s, &key, &out), CONVGEN_OK);
    ck_assert_int_le(hashed, 5);
    hashed = 0;
    ck_assert_int_eq(cg_records_read(path, &list), CONVGEN_OK);
    ck_assert_int_ge(hashed, 1000);
    cg_records_free(&list);
    cg_buffer_free(&text);
    cg_store_free(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *t = test_case(suite, "store", 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_put_refuses_what_cannot_be_read_back);
    tcase_add_test(t, test_missing_store_is_empty);
    tcase_add_test(t, test_latest_line_wins);
    tcase_add_test(t, test_find_wants_the_whole_key);
    tcase_add_test(t, test_hint_is_the_nearest);
    tcase_add_test(t, test_shipped_records_come_after_the_users);
    tcase_add_test(t, test_no_home_is_made);
    tcase_add_test(t, test_modes_are_the_umasks);
    tcase_add_test(t, test_dangling_links);
    tcase_add_test(t, test_a_full_store);
    tcase_add_test(t, test_facts);
    tcase_add_test(t, test_default_places);
    tcase_add_test(t, test_a_link_to_the_store_stays_a_link);
    tcase_add_test(t, test_unreadable_and_unwritable_places);
    tcase_add_test(t, test_no_permission);
    tcase_add_test(t, test_devices);
    tcase_add_test(t, test_only_files_of_records_are_shipped);
    tcase_add_test(t, test_what_is_kept_is_flushed);
    tcase_add_test(t, test_what_cannot_be_flushed_is_not_kept);
    tcase_add_test(t, test_a_child_does_not_keep_the_lock);
    tcase_add_test(t, test_a_rewrite_keeps_the_mode);
    tcase_add_test(t, test_a_check_leaves_no_trace);
    tcase_add_test(t, test_a_full_disk_leaves_the_store_as_it_was);
    tcase_add_loop_test(t, test_each_allocation_fails, 0, 9);
    tcase_add_test(t, test_writers_that_are_killed_lose_nothing);
    tcase_add_test(t, test_threads);
#ifndef __SANITIZE_ADDRESS__ /* a ratio of times means nothing in instrumented code */
    tcase_add_test(t, test_finding_parses_few_lines);
#else
    (void)test_finding_parses_few_lines;
#endif
    return test_run(suite);
}

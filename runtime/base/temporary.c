/* temporary.c: private folders for temporary files, below $TMPDIR or /tmp.
 *
 * A folder is locked as long as its process lives. Nobody can remove it for a process that is killed (SIGKILL, no memory), so who makes
 * the next one removes those whose lock is free: what is left is at most what one run needed.
 * Limit: that needs a file system with flock; elsewhere a killed process's folder stays. */
#define _GNU_SOURCE
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "convgen-cc-" /* before six characters of mkdtemp's: nobody else's folder has such a name, our rights and our owner */

/* ---- removing --------------------------------------------------------------------------------------------------------- */

/* The entries of a folder, and of the folders in it. */
static void empty(int folder, int depth)
{
    int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    if (!d && copy >= 0) close(copy);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !unlinkat(folder, e->d_name, 0)) continue;
        int inner = depth > 0 ? openat(folder, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (inner >= 0) {
            empty(inner, depth - 1);
            close(inner);
        }
        unlinkat(folder, e->d_name, AT_REMOVEDIR);
    }
    if (d) closedir(d);
}

/* A compiler that is being killed may add a file in between: then once more. */
static void remove_open(int folder, const char *path)
{
    for (int i = 0; i < 10 && rmdir(path) && errno == ENOTEMPTY; i++) {
        if (i) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        empty(folder, 2);
    }
}

void cg_temporary_remove(cg_temporary *t)
{
    if (t->path[0]) remove_open(t->lock, t->path);
    if (t->path[0]) close(t->lock);
    *t = (cg_temporary){.lock = -1};
}

/* ---- what killed processes left ------------------------------------------------------------------------------------------ */

static bool is_ours(int folder, const char *name)
{
    struct stat s;
    return !strncmp(name, PREFIX, strlen(PREFIX)) && strlen(name) == strlen(PREFIX) + 6
        && !fstatat(folder, name, &s, AT_SYMLINK_NOFOLLOW) && S_ISDIR(s.st_mode) && s.st_uid == geteuid() && (s.st_mode & 07777) == 0700;
}

static void sweep(const char *base)
{
    char path[CG_PATH];
    DIR *d = opendir(base);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!is_ours(dirfd(d), e->d_name) || snprintf(path, sizeof path, "%s/%s", base, e->d_name) >= CG_PATH) continue;
        int folder = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (folder < 0) continue;
        if (!flock(folder, LOCK_EX | LOCK_NB)) remove_open(folder, path);
        close(folder);
    }
    if (d) closedir(d);
}

/* ---- making ---------------------------------------------------------------------------------------------------------------- */

/* Locked, and still there: a sweep may have come between its making and its lock. */
static bool make(cg_temporary *t)
{
    struct stat s;
    if (!mkdtemp(t->path)) return false;
    t->lock = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->lock >= 0 && (!flock(t->lock, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK) && !fstat(t->lock, &s) && s.st_nlink > 0) return true;
    int reason = errno;
    if (t->lock >= 0) close(t->lock);
    rmdir(t->path);
    errno = reason;
    return false;
}

cg_status cg_temporary_new(cg_temporary *t)
{
    const char *base = secure_getenv("TMPDIR");
    if (!base || !*base) base = "/tmp";
    for (int i = 0; i < 3; i++) {
        int length = snprintf(t->path, sizeof t->path, "%s/" PREFIX "XXXXXX", base);
        if (length < 0 || length >= CG_PATH - 32) errno = ENAMETOOLONG;
        else if (make(t)) {
            sweep(base);
            return CONVGEN_OK;
        }
    }
    int reason = errno;
    *t = (cg_temporary){.lock = -1};
    return cg_fail(CONVGEN_COMPILER, "no temporary directory in %.150s: %s", base, strerror(reason));
}

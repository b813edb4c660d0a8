/* folder.c: writes a directory that appears whole or not at all.
 *
 * Files go to a draft beside it, which is renamed at the end. What is replaced moves aside first and is removed last, so that
 * no moment has less than one whole directory, but for the one between two renames. While there is a draft, Ctrl-C and its kin
 * are caught: the draft is then removed like that of any failure. */
#define _GNU_SOURCE
#include "cli.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static cg_status go_on(const cli_folder *f)
{
    return cli_interrupted() ? cg_fail(CONVGEN_CANCELLED, "interrupted; %s is not written", f->path) : CONVGEN_OK;
}

static cg_status failed(const char *what, const char *path)
{
    return cg_fail(CONVGEN_STORE, "cannot %s %s: %s", what, path, strerror(errno));
}

static char *joined(const char *a, const char *b, const char *c)
{
    cg_buffer path = { 0 };
    cg_buffer_printf(&path, "%s%s%s", a, b, c);
    if (!path.failed)
        return path.text;
    cg_buffer_free(&path);
    cg_fail(CONVGEN_NO_MEMORY, "no memory for a path");
    return NULL;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

static int remove_tree(const char *path) { return nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

/* Entries of a directory but . and ..; -1: it cannot be read. */
static int count_entries(const char *path)
{
    int count = 0;
    DIR *d = opendir(path);
    if (!d)
        return -1;
    for (struct dirent *e; (e = readdir(d));)
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return count;
}

static cg_status check_place(cli_folder *f, bool force, const char *mark)
{
    struct stat st;
    if (lstat(f->path, &st))
        return errno == ENOENT ? CONVGEN_OK : failed("write", f->path);
    if (!S_ISDIR(st.st_mode))
        return cg_fail(CONVGEN_STORE, "%s is there and is no directory", f->path);
    int entries = count_entries(f->path);
    if (entries < 0)
        return failed("read", f->path);
    if (entries == 0)
        return CONVGEN_OK;
    if (!force)
        return cg_fail(CONVGEN_STORE, "%s is there and not empty; --force replaces what emit made", f->path);
    char *name = joined(f->path, "/", mark);
    if (!name)
        return CONVGEN_NO_MEMORY;
    bool ours = access(name, F_OK) == 0;
    cg_free(name);
    f->replaces = true;
    return ours ? CONVGEN_OK : cg_fail(CONVGEN_STORE, "%s holds other things: it has no %s, so `convgen emit` did not make it", f->path, mark);
}

static cg_status make_draft(cli_folder *f)
{
    mode_t mask = umask(0);
    umask(mask);
    if (!(f->draft = joined(f->path, ".draft", "XXXXXX")))
        return CONVGEN_NO_MEMORY;
    cli_catch_interrupts(NULL);
    bool made = mkdtemp(f->draft);
    if (made && !chmod(f->draft, 0777 & ~mask))
        return CONVGEN_OK;
    cg_status status = failed("make a directory beside", f->path);
    if (made)
        (void)remove_tree(f->draft);
    cli_leave_interrupts();
    cg_free(f->draft);
    f->draft = NULL;
    return status;
}

cg_status cli_folder_begin(cli_folder *f, const char *path, bool force, const char *mark)
{
    memset(f, 0, sizeof *f);
    if (!(f->path = joined(path, "", "")))
        return CONVGEN_NO_MEMORY;
    for (size_t n = strlen(f->path); n > 1 && f->path[n - 1] == '/';)
        f->path[--n] = 0;
    cg_status status = check_place(f, force, mark);
    return status ? status : make_draft(f);
}

static bool write_all(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text += n, length -= (size_t)n;
    }
    return true;
}

cg_status cli_folder_put(cli_folder *f, const char *name, const char *text, size_t length)
{
    cg_status status = go_on(f);
    char *path = status ? NULL : joined(f->draft, "/", name);
    if (!path)
        return status ? status : CONVGEN_NO_MEMORY;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    bool whole = fd >= 0 && write_all(fd, text, length);
    if ((fd >= 0 && close(fd)) || !whole)
        status = failed("write", path);
    cg_free(path);
    return status;
}

cg_status cli_folder_finish(cli_folder *f)
{
    cg_status status = go_on(f);
    char *aside = f->replaces && !status ? joined(f->draft, ".old", "") : NULL;
    if (status || (f->replaces && !aside))
        return status ? status : CONVGEN_NO_MEMORY;
    status = aside && rename(f->path, aside) ? failed("replace", f->path) : CONVGEN_OK;
    if (!status && rename(f->draft, f->path)) {
        status = failed("write", f->path);
        if (aside)
            (void)rename(aside, f->path);
    } else if (!status) {
        if (aside && remove_tree(aside))
            status = failed("remove what was replaced,", aside);
        cg_free(f->draft);
        f->draft = NULL;
        cli_leave_interrupts();
    }
    cg_free(aside);
    return status;
}

void cli_folder_free(cli_folder *f)
{
    if (f->draft) {
        (void)remove_tree(f->draft);
        cli_leave_interrupts();
    }
    cg_free(f->draft);
    cg_free(f->path);
    memset(f, 0, sizeof *f);
}

/* processes.h: which processes of a test are alive: those that were started with a word of its own in their environment. */
#ifndef PROCESSES_H
#define PROCESSES_H

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline bool process_has(const char *pid, const char *word)
{
    static char text[1 << 18];
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    if (f) fclose(f);
    for (const char *at = text; at < text + n; at += strlen(at) + 1)
        if (!strcmp(at, word)) return true;
    return false;
}

/* All but this one: some are there. What is dead and not waited for has no environment. */
static inline bool processes_are_alive(const char *word)
{
    bool found = false;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && !found && (e = readdir(d));)
        found = e->d_name[0] >= '1' && e->d_name[0] <= '9' && atoi(e->d_name) != getpid() && process_has(e->d_name, word);
    if (d) closedir(d);
    return found;
}

/* Returns when none is; the test's own limit ends it when that never comes. */
static inline void wait_until_none_is_alive(const char *word)
{
    while (processes_are_alive(word)) nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static inline void wait_for_file(const char *path)
{
    while (access(path, F_OK)) nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

#endif

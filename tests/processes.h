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

/* What /proc says of a process, as a text; its length. */
static inline size_t process_text(const char *pid, const char *file, char *text, size_t size)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, file);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;
    text[n] = 0;
    if (f) fclose(f);
    return n;
}

static inline bool process_has(const char *pid, const char *word)
{
    static char text[1 << 18];
    size_t n = process_text(pid, "environ", text, sizeof text);
    for (const char *at = text; at < text + n; at += strlen(at) + 1)
        if (!strcmp(at, word)) return true;
    return false;
}

static inline bool process_is_any(const char *pid) { return pid; }

static inline bool process_is_dead(const char *pid)
{
    char text[4096];
    return !process_text(pid, "status", text, sizeof text) || strstr(text, "\nState:\tZ") || strstr(text, "\nState:\tX");
}

/* The leader of a process's session, as a text; "0" where the process is gone. */
static inline void session_of(const char *pid, char leader[16])
{
    char text[4096];
    int id = 0;
    process_text(pid, "stat", text, sizeof text);
    const char *after = strrchr(text, ')'); /* the name before it may hold anything */
    if (!after || sscanf(after + 1, " %*c %*d %*d %d", &id) != 1) id = 0;
    snprintf(leader, 16, "%d", id);
}

/* Asleep, and no signal is on its way to it. (Between fork and exec it is a copy of ours, which sleeps for a moment only.) When a terminal
 * hangs up, the system signals the leader of the session alone, and the others when the leader has died: until then they stay for a
 * good reason. */
static inline bool process_stays(const char *pid)
{
    char text[4096], leader[16];
    session_of(pid, leader);
    if (strcmp(leader, pid) && atoi(leader) != getsid(0) && !process_is_dead(leader)) return false;
    process_text(pid, "status", text, sizeof text);
    return strncmp(text, "Name:\tconvgen\n", 14) && strstr(text, "\nState:\tS") &&
           strstr(text, "\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n");
}

/* Whether one is such, this one left out. What is dead and not waited for has no environment. */
static inline bool processes_are(bool (*such)(const char *pid), const char *word)
{
    bool found = false;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && !found && (e = readdir(d));)
        found = e->d_name[0] >= '1' && e->d_name[0] <= '9' && atoi(e->d_name) != getpid() && such(e->d_name) && process_has(e->d_name, word);
    if (d) closedir(d);
    return found;
}

/* True when none is alive any more; false when one was left alone. All that should end them has been done before: so nothing has to
 * be waited for to know that one stays. */
static inline bool all_end(const char *word)
{
    while (processes_are(process_is_any, word)) {
        if (processes_are(process_stays, word)) return false;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return true;
}

/* Until a process is dead, all its files closed, whoever waits for it. */
static inline void wait_until_dead(pid_t id)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)id);
    while (!process_is_dead(pid)) nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static inline void wait_for_file(const char *path)
{
    while (access(path, F_OK)) nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

#endif

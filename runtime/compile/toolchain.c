/* toolchain.c: turns C text into callable code, with the system's C compiler and dlopen.
 *
 * No shell: the compiler is started with an argument list, in a private temporary directory that is removed before we return.
 * It is stopped after TIME_LIMIT or at the thread's deadline, with all that it started; and so it is when this process is killed. Its
 * first error goes to the candidate's `why`. Nothing here knows what a convolution is. */
#define _GNU_SOURCE
#include "compile/compile.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIME_LIMIT = 120 /* seconds */, WORDS = 48, NAME = 64, MESSAGES = 1 << 20 };

/* One compile: its private directory and what the compiler said. */
typedef struct build {
    cg_temporary folder;
    char source[CG_PATH + 16], object[CG_PATH + 16];
    cg_buffer messages;
} build;

static cg_status refused(cg_status status, char why[CG_WHY], const char *format, ...) __attribute__((format(printf, 3, 4)));
static cg_status refused(cg_status status, char why[CG_WHY], const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(why, CG_WHY, format, list);
    va_end(list);
    return cg_fail(status, "%s", why);
}

/* ---- the private directory ---- */

static cg_status open_folder(build *b, char why[CG_WHY])
{
    cg_status status = cg_temporary_new(&b->folder);
    if (status) {
        snprintf(why, CG_WHY, "%s", cg_error_text());
        return status;
    }
    snprintf(b->source, sizeof b->source, "%s/kernel.c", b->folder.path);
    snprintf(b->object, sizeof b->object, "%s/kernel.so", b->folder.path);
    return CONVGEN_OK;
}

static cg_status write_source(const build *b, const char *text, char why[CG_WHY])
{
    FILE *file = fopen(b->source, "wxe");
    bool written = file && fputs(text, file) >= 0;
    if (file && fclose(file))
        written = false;
    return written ? CONVGEN_OK : refused(CONVGEN_COMPILER, why, "cannot write %.150s: %s", b->source, strerror(errno));
}

/* ---- the compiler's process ---- */

/* The argument list; `flags` is a copy that is cut at its spaces. False when there are too many. */
static bool list_arguments(const build *b, const char *compiler, char *flags, char *list[WORDS])
{
    static const char *const always[] = {"-O3", "-std=gnu11", "-ffp-contract=off", "-fPIC", "-shared"};
    int n = 0;
    list[n++] = (char *)compiler;
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        list[n++] = (char *)always[i];
    for (char *rest = flags, *word; (word = strtok_r(rest, " ", &rest));) {
        if (n + 5 >= WORDS)
            return false;
        list[n++] = word;
    }
    list[n++] = "-o";
    list[n++] = (char *)b->object;
    list[n++] = (char *)b->source;
    list[n++] = "-lm";
    list[n] = NULL;
    return true;
}

/* The compiler's standard input: a terminal whose other end we hold. When that closes, however we end, the system hangs up on the
 * session: the compiler and what it started. -1: there are no terminals here; then a compiler outlives a process that is killed. */
static int open_line(char name[NAME])
{
    int line = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (line >= 0 && !grantpt(line) && !unlockpt(line) && !ptsname_r(line, name, NAME))
        return line;
    if (line >= 0)
        close(line);
    snprintf(name, NAME, "/dev/null");
    return -1;
}

static void close_line(int line)
{
    if (line >= 0)
        close(line);
}

/* Starts it as the leader of a session, and so of a process group: a time limit ends what it started too. 0 or the reason. */
static int spawn(char *const list[], const char *input, int output, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    if (posix_spawn_file_actions_init(&files))
        return ENOMEM;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int error = posix_spawn_file_actions_addopen(&files, 0, input, O_RDWR, 0);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&files, output, 1);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&files, output, 2);
    if (!error)
        error = posix_spawnp(pid, list[0], &files, &attributes, list, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

/* Collects the messages until the compiler closes its output. False: it ran too long. */
static bool listen_until(build *b, int input, double deadline)
{
    char part[4096];
    for (;;) {
        double left = deadline - cg_now();
        struct pollfd ready = {.fd = input, .events = POLLIN};
        int n = left > 0 ? poll(&ready, 1, (int)(left * 1000) + 1) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        ssize_t got = read(input, part, sizeof part);
        if (got <= 0)
            return true;
        if (b->messages.length < MESSAGES)
            cg_buffer_add(&b->messages, part, (size_t)got);
    }
}

/* True when it ended well. A host that ignores SIGCHLD leaves nothing to wait for: then the file decides. */
static bool ended_well(pid_t pid)
{
    int state = 0;
    pid_t got;
    while ((got = waitpid(pid, &state, 0)) < 0 && errno == EINTR)
        ;
    return got < 0 || (WIFEXITED(state) && WEXITSTATUS(state) == 0);
}

/* The line that tells most: a linker's reason, else the first error, else the first line. */
static void first_error(const build *b, char line[CG_WHY])
{
    static const char *const marks[] = {"undefined ", "error:", "error"};
    const char *text = b->messages.text ? b->messages.text : "", *at = NULL;
    for (size_t i = 0; !at && i < sizeof marks / sizeof *marks; i++)
        at = strstr(text, marks[i]);
    while (at && at > text && at[-1] != '\n')
        at--;
    if (!at)
        at = text;
    if (!strncmp(at, b->folder.path, strlen(b->folder.path))) /* the directory is gone when this is read */
        at += strlen(b->folder.path) + 1;
    snprintf(line, CG_WHY, "%.*s", (int)strcspn(at, "\n"), at);
}

static cg_status run_compiler(build *b, const char *compiler, char *const list[], char why[CG_WHY])
{
    int ends[2];
    pid_t pid;
    char line[CG_WHY], input[NAME];
    if (pipe2(ends, O_CLOEXEC))
        return refused(CONVGEN_COMPILER, why, "no pipe for the compiler: %s", strerror(errno));
    int held = open_line(input), error = spawn(list, input, ends[1], &pid);
    close(ends[1]);
    if (error) {
        close(ends[0]);
        close_line(held);
        return refused(CONVGEN_COMPILER, why, "cannot run the compiler %.100s: %s", compiler, strerror(error));
    }
    bool in_time = listen_until(b, ends[0], fmin(cg_now() + TIME_LIMIT, cg_deadline()));
    if (!in_time)
        kill(-pid, SIGKILL);
    close(ends[0]);
    bool well = ended_well(pid);
    close_line(held);
    if (!in_time && cg_late())
        return refused(CONVGEN_CANCELLED, why, "the time was up before %.100s was done", compiler);
    if (!in_time)
        return refused(CONVGEN_COMPILER, why, "%.100s ran longer than %d seconds", compiler, TIME_LIMIT);
    if (well && !access(b->object, R_OK))
        return CONVGEN_OK;
    first_error(b, line);
    return refused(CONVGEN_COMPILER, why, "%.80s: %.160s", compiler, line[0] ? line : "failed without a message");
}

static cg_status load(const build *b, cg_code **out, char why[CG_WHY])
{
    cg_code *code = cg_calloc(1, sizeof *code);
    if (!code)
        return refused(CONVGEN_NO_MEMORY, why, "no memory for compiled code");
    code->handle = dlopen(b->object, RTLD_LOCAL | RTLD_NOW);
    if (!code->handle) {
        const char *reason = dlerror();
        cg_free(code);
        bool exec = reason && (strstr(reason, "not permitted") || strstr(reason, "failed to map segment"));
        return refused(exec ? CONVGEN_NO_EXEC : CONVGEN_COMPILER, why, "cannot load compiled code: %.200s", reason ? reason : "?");
    }
    *out = code;
    return CONVGEN_OK;
}

cg_status cg_toolchain(const char *text, const char *compiler, const char *flags, cg_code **out, char why[CG_WHY])
{
    build b = {.folder.lock = -1};
    char *list[WORDS], *words = cg_strdup(flags ? flags : "");
    cg_status status;
    why[0] = 0;
    *out = NULL;
    if (!words)
        return refused(CONVGEN_NO_MEMORY, why, "no memory for the compiler's arguments");
    if ((status = open_folder(&b, why)) || (status = write_source(&b, text, why)))
        goto done;
    if (!list_arguments(&b, compiler, words, list)) {
        status = refused(CONVGEN_COMPILER, why, "too many compiler flags (at most %d)", WORDS - 12);
        goto done;
    }
    if ((status = run_compiler(&b, compiler, list, why)))
        goto done;
    status = load(&b, out, why);
done:
    cg_temporary_remove(&b.folder);
    cg_buffer_free(&b.messages);
    cg_free(words);
    return status;
}

void *cg_toolchain_symbol(const cg_code *code, const char *name)
{
    return dlsym(code->handle, name);
}

void cg_toolchain_end(cg_code *code)
{
    dlclose(code->handle);
    code->handle = NULL;
}

/* interrupt.c: Ctrl-C and its kin: the first asks for an end, one that comes later ends the process at once.
 *
 * Some senders (timeout, a shell) signal the process and its group: two at the same time are one. A signal that is ignored
 * (nohup, a shell's background) stays so. */
#define _GNU_SOURCE
#include "cli.h"
#include <signal.h>
#include <time.h>

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
enum { SIGNALS = sizeof signals / sizeof signals[0] };
static struct sigaction usual[SIGNALS];
static volatile sig_atomic_t interrupted;
static volatile time_t interrupted_at;
static void (*tell)(void);

static time_t second_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void on_interrupt(int number)
{
    if (interrupted && second_now() > interrupted_at + 1) {
        signal(number, SIG_DFL);
        raise(number);
    }
    if (interrupted)
        return;
    interrupted_at = second_now();
    interrupted = 1;
    if (tell)
        tell();
}

bool cli_interrupted(void) { return interrupted; }

void cli_catch_interrupts(void (*also)(void))
{
    struct sigaction action = { .sa_handler = on_interrupt };
    sigemptyset(&action.sa_mask);
    tell = also;
    for (int i = 0; i < SIGNALS; i++) {
        sigaction(signals[i], NULL, &usual[i]);
        if (usual[i].sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
}

void cli_leave_interrupts(void)
{
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &usual[i], NULL);
}

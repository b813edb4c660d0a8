#!/bin/sh
# The first calls of an emitted library, by several threads at once, under gcc's ThreadSanitizer: the choice of the target is no race.
#   emitted_threads.sh CONVGEN WORK
# Exit status 77: no gcc, no ThreadSanitizer, or one that does not run here (a kernel that places memory where it expects none).
set -eu
convgen=$1 work=$2
rm -rf "$work"
mkdir -p "$work"
cd "$work"
command -v gcc >/dev/null || { echo "skipped: gcc is not installed"; exit 77; }
flags="-std=c11 -O1 -g -ffp-contract=off -fsanitize=thread -pthread"
# A program with one race: the sanitizer links, runs, and sees it.
cat >race.c <<'X'
#include <pthread.h>
static int count;
static void *add(void *unused) { count++; return unused; }
int main(void)
{
    pthread_t a, b;
    pthread_create(&a, 0, add, 0), pthread_create(&b, 0, add, 0);
    pthread_join(a, 0), pthread_join(b, 0);
    return 0;
}
X
# shellcheck disable=SC2086 # words
gcc $flags race.c -o race 2>said || { echo "skipped: gcc -fsanitize=thread does not link here"; exit 77; }
# (Where the kernel places memory too freely for the sanitizer, it need not.)
run=
for way in "" "setarch -R"; do
  $way ./race >said 2>&1 || true
  if grep -q "data race" said; then run=$way; break; fi
done
grep -q "data race" said || { echo "skipped: ThreadSanitizer does not run here: $(head -n 1 said)"; exit 77; }

CONVGEN_STORE=/dev/null "$convgen" emit --prefix=net --form=asm --target=avx512,avx2 -o net 'mb1ic8ih6oc16kh3ph1n"a"' >said 2>&1 || { cat said; exit 1; }
cat >threads.c <<'X'
#define _POSIX_C_SOURCE 200809L
#include "net.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 8 };
static float src[6 * 6 * 8], weights[3 * 3 * 8 * 16], bias[16], dst[THREADS][6 * 6 * 16];
static _Alignas(64) char workspace[THREADS][NET_A_WORKSPACE + 64];
static const char *name[THREADS];
static pthread_barrier_t start;

static void *call(void *number)
{
    int i = *(int *)number;
    pthread_barrier_wait(&start);
    if (i % 2)
        (void)net_target();
    net_a(src, weights, bias, dst[i], workspace[i]);
    name[i] = net_target();
    return NULL;
}

int main(void)
{
    pthread_t thread[THREADS];
    int number[THREADS];
    pthread_barrier_init(&start, NULL, THREADS);
    for (size_t i = 0; i < sizeof src / sizeof *src; i++)
        src[i] = (float)(i % 7) - 3;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        weights[i] = (float)(i % 5) - 2;
    for (int i = 0; i < THREADS; i++) {
        number[i] = i;
        pthread_create(&thread[i], NULL, call, &number[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 1; i < THREADS; i++)
        if (strcmp(name[i], name[0]) != 0 || memcmp(dst[i], dst[0], sizeof dst[0]) != 0) {
            printf("thread %d differs\n", i);
            return 1;
        }
    printf("%d first calls at once: %s\n", THREADS, name[0]);
    return 0;
}
X
# build CHOICE: the program, with that file for net.c
# shellcheck disable=SC2086
build() { gcc $flags -Wall -Wextra -Werror -Inet threads.c "$1" net/net_a_*.c -lm -o threads; }
build net/net.c
$run ./threads || { echo "FAILED: first calls at once"; exit 1; }
case "$(gcc -dumpmachine)" in x86_64*) ;; *) exit 0 ;; esac # elsewhere nothing is chosen
# What would be a race must be seen.
sed 's/__atomic_load_n(&chosen, __ATOMIC_RELAXED)/chosen/; s/__atomic_store_n(&chosen, t + 1, __ATOMIC_RELAXED)/chosen = t + 1/' net/net.c >net/race.c
! cmp -s net/net.c net/race.c || { echo "FAILED: the choice is written otherwise; this script must know how"; exit 1; }
build net/race.c
! $run ./threads >said 2>&1 && grep -q "data race" said || { cat said; echo "FAILED: a choice without atomics is not seen"; exit 1; }

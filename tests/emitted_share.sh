#!/bin/sh
# How an emitted library chooses a target and shares tasks, whatever runs here: with a feature of the processor missing, a target
# that needs it is not chosen; of two threads each has tasks and scratch of its own.
#   emitted_share.sh CONVGEN WORK        Exit status 77: no gcc for x86-64 with OpenMP.
set -eu
convgen=$1 work=$2
case "$(gcc -dumpmachine 2>/dev/null || true)" in x86_64*) ;; *) echo "skipped: gcc for x86-64 is not installed"; exit 77 ;; esac
rm -rf "$work"
mkdir -p "$work"
cd "$work"
CONVGEN_STORE=/dev/null "$convgen" emit --prefix=net --form=asm --threads=openmp --target=avx512,avx2 -o net 'mb1ic8ih6oc16kh3ph1n"a"' >said 2>&1 ||
  { cat said; exit 1; }
cat >net/test.c <<'X1'
#include <stdlib.h>
#include <string.h>
static int supports(const char *feature) { return !getenv("MISSING") || strcmp(feature, getenv("MISSING")); }
#define __builtin_cpu_init() ((void)0)
#define __builtin_cpu_supports supports
#include "net.c"
#include <stdio.h>

enum { TASKS = 7 };
static char memory[3 * 64];
static int times[TASKS], slot[TASKS];
static void stage(const cg_call *call, void *scratch, long first, long last)
{
    (void)call;
    for (long task = first; task < last; task++) {
#pragma omp atomic
        times[task]++;
        slot[task] = (int)((char *)scratch - memory);
    }
}

static int wrong_shares(int threads)
{
    const net_stage s = { stage, TASKS, 0 };
    const cg_call call = { 0 };
    int wrong = 0;
    memset(times, 0, sizeof times);
    share(&s, &call, memory, 64, threads);
    for (int task = 0; task < TASKS; task++) {
        const int owner = threads == 1 ? 0 : threads == 2 ? task >= 4 : task < 3 ? 0 : task < 5 ? 1 : 2; /* the first ones have one more */
        wrong += times[task] != 1 || slot[task] != 64 * owner;
    }
    return wrong;
}

int main(int count, char **names)
{
    if (count > 1) return net_choose(names[1]) == 0;
    for (int threads = 1; threads <= 3; threads++)
        if (wrong_shares(threads)) return printf("of %d threads, tasks are done twice or in another's scratch\n", threads), 1;
    return 0;
}
X1
gcc -std=gnu11 -O1 -fopenmp net/test.c net/net_*_*.c -o test -lm
OMP_DYNAMIC=false OMP_THREAD_LIMIT=4 ./test
features=0
for target in avx512 avx2; do
  ! ./test $target || { echo "$target is not chosen where all is there"; exit 1; }
  for feature in $(sed -n "s/^ *if (t == $(echo $target | tr a-z A-Z)) return //p" net/net.c | grep -o '"[^"]*"' | tr -d '"'); do
    MISSING=$feature ./test $target || { echo "$target is chosen without $feature"; exit 1; }
    features=$((features + 1))
  done
done
[ $features -ge 4 ] || { echo "$features features are asked for"; exit 1; }
echo "$features features, each needed"

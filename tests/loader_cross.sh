#!/bin/sh
# loader_cross.sh PROCESSOR SOURCE_DIR FACTS_DIR WORK_DIR [FLAG...]: loader.c on another processor, under qemu: objects of its gcc, whose
# relocations are libtcc's and more.
set -eu
cc=$1-linux-gnu-gcc qemu=qemu-$1 source=$2 facts=$3 work=$4
shift 4
for need in $cc $qemu; do
  command -v $need >/dev/null || { echo "skipped: no $need"; exit 77; }
done
mkdir -p "$work"
cd "$work"
cat >object.c <<'END'
long triple(long);
double fma(double, double, double);
static const double table[4] = {0.5, 1, 2, 3};
const long big[3] = {10, 20, 30};
static __attribute__((noinline)) long square(long x) { return x * x; }
long (*const by[2])(long) = {triple, square};
long sum(long i) { return big[i] + triple(i) + by[i & 1](i) + square(i); }
double mad(double a, double b, double c) { return fma(a, b, c) + table[0]; }
END
cat >program.c <<'END'
#include "compile/compile.h"
#include <math.h>
static long triple(long x) { return 3 * x; }
static const cg_supplied given[] = {{"triple", (cg_function *)triple}, {"fma", (cg_function *)(double (*)(double, double, double))fma}, {NULL, NULL}};
int main(int count, char **word)
{
    cg_buffer b;
    cg_code code = {0};
    char why[CG_WHY] = "";
    if (count != 2 || cg_read_file(word[1], 1 << 20, &b)) return 1;
    if (cg_load(b.text, b.length, given, &code, why)) return printf("%s\n", why), 1;
    long (*sum)(long) = (long (*)(long))cg_load_symbol(&code, "sum");
    double (*mad)(double, double, double) = (double (*)(double, double, double))cg_load_symbol(&code, "mad");
    printf("%ld %ld %g\n", sum(1), sum(2), mad(2, 3, 4));
    return sum(1) != 25 || sum(2) != 46 || mad(2, 3, 4) != 10.5;
}
END
$cc -std=gnu11 -O1 -static -I"$source/runtime" -I"$facts" program.c "$source/runtime/compile/loader.c" "$source"/runtime/base/*.c -o program -lm -lpthread
for flags in "-O0 -fno-builtin-fma" "-O2 -fno-builtin-fma" "-O1 -fPIC -fno-builtin-fma"; do
  $cc $flags "$@" -fno-asynchronous-unwind-tables -c object.c -o object.o
  $qemu ./program object.o
done

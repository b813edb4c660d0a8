#!/bin/sh
# Emits a small network, compiles it with one compiler and its flags, warnings being errors, and runs the self-check.
#   emitted.sh CONVGEN LIST WORK "EMIT OPTIONS" RUNNER COMPILER [FLAG...]
# EMIT OPTIONS say target, form, threads; RUNNER runs programs of another processor, none is this one's. Exit status 77: the compiler or the runner is not installed.
set -eu
convgen=$1 list=$2 work=$3 options=$4 runner=$5 compiler=$6
shift 6
command -v "$compiler" >/dev/null || { echo "skipped: $compiler is not installed"; exit 77; }
[ "$runner" != none ] || runner=
[ -z "$runner" ] || command -v "$runner" >/dev/null || { echo "skipped: $runner is not installed"; exit 77; }
rm -rf "$work"
mkdir -p "$work"
# shellcheck disable=SC2086 # words
CONVGEN_STORE=/dev/null "$convgen" emit --batch="$list" --prefix=net -o "$work/net" $options 2>"$work/said" || { cat "$work/said"; exit 1; }
cd "$work/net"
case $compiler in
*tcc) warnings="-Wall -Werror" ;;
*) warnings="-std=c11 -Wall -Wextra -Wpedantic -Werror -ffp-contract=off" ;;
esac
for file in *.c; do
  flags=
  if ! grep -q '^__extension__ __asm__' "$file"; then # flags are of form c
    case $file in
    *_avx512.c) flags=$(sed -n 's/#error "compile this file with \(.*\)"/\1/p' "$file") ;;
    *_avx2.c) flags=$(sed -n 's/#error "compile this file with \(.*\)"/\1/p' "$file") ;;
    esac
    case " $* $compiler" in *CG_BODY=*|*tcc|*aarch64*|*riscv*) flags= ;; esac
  fi
  # shellcheck disable=SC2086
  "$compiler" $warnings $flags "$@" -c "$file" -o "${file%.c}.o"
done
objects=$(ls ./*.o | grep -v benchmark)
case "$runner" in qemu*) static=-static ;; *) static= ;; esac
# shellcheck disable=SC2086
"$compiler" "$@" $static $objects -o selfcheck -lm
# shellcheck disable=SC2086
$runner ./selfcheck | tee "$work/out"
tail -1 "$work/out" | grep -q '^pass: '
# shellcheck disable=SC2086
"$compiler" "$@" $static $(ls ./*.o | grep -v selfcheck) -o benchmark -lm
# shellcheck disable=SC2086
$runner ./benchmark portable 0.001 >/dev/null
# The library's files call memcpy, memset and fma alone (but for what sanitizers and OpenMP add), and keep one variable.
case " $* $compiler" in *sanitize*|*fopenmp*|*tcc*|*riscv*|*aarch64*) exit 0 ;; esac
library=$(ls ./*.o | grep -v -e benchmark -e selfcheck)
# shellcheck disable=SC2086
if nm -u $library | sed -n 's/^ *U //p' | grep -v -E '^(net_.*|memcpy|memset|fma|fmaf|_GLOBAL_OFFSET_TABLE_|__cpu_model|__cpu_features2|__cpu_indicator_init)$'; then
  echo "the library needs the functions above"; exit 1
fi
# shellcheck disable=SC2086
if nm $library | grep -E ' [bBdDC] ' | grep -v -E ' b chosen$| [dD] (net_.*_kernels|net_.*|names)$'; then
  echo "the library keeps the variables above"; exit 1
fi

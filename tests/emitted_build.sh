#!/bin/sh
# The emitted directory as its user builds it: CMake, then its test, which notices a kernel that is wrong; its header in C++.
#   emitted_build.sh CONVGEN LIST WORK
set -eu
convgen=$1 list=$2 work=$3
rm -rf "$work"
mkdir -p "$work"
CONVGEN_STORE=/dev/null "$convgen" emit --batch="$list" --prefix=net -o "$work/net" 2>"$work/said" || { cat "$work/said"; exit 1; }
cmake -S "$work/net" -B "$work/build" >"$work/log"
cmake --build "$work/build" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
(cd "$work/build" && ctest >>"$work/log") || { cat "$work/log"; exit 1; }
"$work/build/net_benchmark" portable 0.001
# The same list again gives the same bytes, also from the list that was emitted.
CONVGEN_STORE=/dev/null "$convgen" emit --batch="$work/net/net.txt" --prefix=net -o "$work/again" 2>/dev/null
diff -r "$work/net" "$work/again"
# A kernel that is off by one tap, one that writes beyond its output, and one whose sums begin at NaN must fail.
for change in 's/vzero(acc\(\[[^)]*\))/vset(acc\1, 0.0 \/ 0.0)/' 's/\(vload(wv\[v\], w + v \* LANES\))/\1 + 1)/' 's/vstore_range(\(dst[^;]*\), 0, 2)/vstore_range(\1, 0, 3)/'; do
  wrong=$work/wrong
  rm -rf "$wrong" && cp -r "$work/net" "$wrong"
  sed -i "$change" "$wrong"/net_*_portable.c
  ! diff -r "$work/net" "$wrong" >/dev/null || { echo "$change changes nothing"; exit 1; }
  (cd "$wrong" && cc -std=c11 -O1 -ffp-contract=off -DCG_BODY=3 -o selfcheck net.c net_selfcheck.c net_*_*.c -lm) || exit 1
  ! "$wrong/selfcheck" >"$work/said" || { echo "the self-check does not see $change"; exit 1; }
  grep -q "FAIL" "$work/said"
done
printf '#include "net.h"\nint main() { return net_choose(net_target()); }\n' >"$work/main.cc"
for compiler in c++ clang++; do
  command -v $compiler >/dev/null || { echo "skipped: $compiler, which reads the header as C++, is not installed"; continue; }
  $compiler -Wall -Wextra -Wpedantic -Werror -I"$work/net" "$work/main.cc" "$work/build/libnet.a" -lm -o "$work/main"
  "$work/main"
done

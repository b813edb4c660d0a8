#!/bin/sh
# The emitted directory as its user builds it: CMake, then its test; its header in C++.
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
command -v c++ >/dev/null || { echo "skipped the header in C++: no compiler is installed"; exit 0; }
printf '#include "net.h"\nint main() { return net_choose(net_target()); }\n' >"$work/main.cc"
c++ -Wall -Wextra -Wpedantic -Werror -I"$work/net" "$work/main.cc" "$work/build/libnet.a" -lm -o "$work/main"
"$work/main"

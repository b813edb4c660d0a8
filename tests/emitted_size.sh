#!/bin/sh
# ResNet-50 as assembly for two targets: written within 5 seconds, compiled within 60, at most 1.5 MB of object code.
#   emitted_size.sh CONVGEN LIST WORK        Exit status 77: no gcc, or none for x86-64.
set -eu
convgen=$1 list=$2 work=$3
case "$(gcc -dumpmachine 2>/dev/null || true)" in x86_64*) ;; *) echo "skipped: gcc for x86-64 is not installed"; exit 77 ;; esac
rm -rf "$work"
mkdir -p "$work"
# seconds LIMIT WHAT COMMAND...: processor time, as other work on the machine is no fault of ours
seconds() {
  limit=$1 what=$2
  shift 2
  (ulimit -t "$limit"; "$@" >"$work/said" 2>&1) || { cat "$work/said"; echo "FAILED: $what, or not within $limit s"; exit 1; }
}
export CONVGEN_STORE=/dev/null CONVGEN_TUNED="$work"
seconds 5 "to emit" "$convgen" emit --batch="$list" --prefix=net --form=asm --target=avx512,avx2 -o "$work/net"
cd "$work/net"
cat >"$work/compile.sh" <<'X'
for file in net.c net_*_avx512.c net_*_avx2.c net_*_portable.c; do gcc -std=c11 -O2 -ffp-contract=off -Wall -Wextra -Werror -c "$file"; done
X
begin=$(awk "{ print \$16 + \$17 }" /proc/$$/stat)
sh -e "$work/compile.sh"
used=$(($(awk '{ print $16 + $17 }' /proc/$$/stat) - begin)) hertz=$(getconf CLK_TCK)
size=$(size net*.o | awk 'NR > 1 { sum += $4 } END { print sum }')
echo "compiled in $((used / hertz)) s, $size bytes"
[ $((used / hertz)) -lt 60 ] || { echo "FAILED: more than 60 s"; exit 1; }
[ "$size" -lt 1500000 ] || { echo "FAILED: more than 1.5 MB"; exit 1; }

#!/bin/sh
# ResNet-50 as assembly for two targets: at most 5 MB of text, which gcc compiles into at most 1.5 MB of object code, most of it the portable kernels'. (How much work
# it is to write, gen_work counts; how long it takes, bench.) For the machine of the examples: what is chosen depends on it.
#   emitted_size.sh CONVGEN LIST WORK        Exit status 77: no gcc, or none for x86-64.
set -eu
convgen=$1 list=$2 work=$3
case "$(gcc -dumpmachine 2>/dev/null || true)" in x86_64*) ;; *) echo "skipped: gcc for x86-64 is not installed"; exit 77 ;; esac
rm -rf "$work"
mkdir -p "$work"
export CONVGEN_STORE=/dev/null CONVGEN_TUNED="$work"
"$convgen" emit --machine="$(dirname "$0")/machines/avx2.json" --batch="$list" --prefix=net --form=asm --target=avx512,avx2 -o "$work/net" 2>"$work/said" || { cat "$work/said"; exit 1; }
cd "$work/net"
text=$(cat ./*.c ./*.h | wc -c)
for file in net.c net_*_avx512.c net_*_avx2.c net_*_portable.c; do gcc -std=c11 -O2 -ffp-contract=off -Wall -Wextra -Werror -c "$file"; done
size=$(size net*.o | awk 'NR > 1 { sum += $4 } END { print sum }')
echo "$text bytes of text, $size bytes compiled"
[ "$text" -lt 5000000 ] || { echo "FAILED: more than 5 MB of text"; exit 1; }
[ "$size" -lt 1500000 ] || { echo "FAILED: more than 1.5 MB"; exit 1; }

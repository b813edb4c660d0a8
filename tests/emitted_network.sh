#!/bin/bash
# A network's file emitted whole: compiled without a warning, its programs run, and NAME_run gives the bytes that `convgen run` gives.
#   emitted_network.sh CONVGEN WORK "EMIT_OPTIONS" NETWORK COMPILER FLAGS...      NETWORK: made, tiny, or a file NAME.net
set -euo pipefail
convgen=$1 work=$2 options=$3 network=$4 tests=$(cd "$(dirname "$0")" && pwd); shift 4
command -v "$1" >/dev/null || { echo "skipped: $1 is not installed"; exit 77; }
python=$(command -v /usr/bin/python3 || command -v python3) || { echo "skipped: python3 is not installed"; exit 77; }
"$python" -c 'import numpy' 2>/dev/null || { echo "skipped: $python has no numpy"; exit 77; }
rm -rf "$work"
mkdir -p "$work"
cd "$work"
export CONVGEN_STORE=$PWD/store CONVGEN_TUNED=/dev/null ASAN_OPTIONS=detect_leaks=0 # programs keep their memory until the end
fail() { echo "$*"; exit 1; }
case $network in
made) "$python" "$tests/network/made.py" . && network=made.net ;;
tiny) "$python" -c 'import onnx' 2>/dev/null || { echo "skipped: $python has no onnx"; exit 77; }
  "$python" "$tests/models/make.py" . tiny && PYTHONPATH=$tests/../python "$python" -m convgen.onnx tiny.onnx -o tiny && network=tiny.net ;;
esac
"$convgen" emit "$network" -o net --prefix=net $options 2>said || fail "$(cat said)"

# ---- what is emitted, compiled; flags of the targets as its build has them ----
cd net
for file in *.c; do
  flags=
  case $file in
  *_avx512.c) [[ $options == *asm* ]] || flags=$(sed -n 's/^.*_avx512\.c` with `\([^`]*\)`.*$/\1/p' README.md) ;;
  *_avx2.c) [[ $options == *asm* ]] || flags=$(sed -n 's/^.*_avx2\.c` with `\([^`]*\)`.*$/\1/p' README.md) ;;
  esac
  "$@" -std=c11 -Wall -Wextra -Wpedantic -Werror -ffp-contract=off $flags -c "$file" -o "../${file%.c}.o" || fail "$file: $* does not take it"
done
cd ..
"$python" "$tests/network/caller.py" net/net.h "$network" >caller.c
"$@" -std=c11 -Wall -Wextra -Wpedantic -Werror -Inet -c caller.c -o caller.o
objects=$(ls net*.o | grep -v -e selfcheck -e benchmark)
"$@" -o caller caller.o $objects -lm

# ---- the same bytes as the runtime's, for each target that runs here ----
"$python" "$tests/network/caller.py" --arrays "$network"
mapfile -t inputs <inputs.txt
accuracy=$(grep -o -e '--accuracy=[a-z]*' <<<"$options" || true)
count=0
for target in avx512 avx2 portable; do
  ./caller "$target" net/net.weights || { [ $? = 77 ] && continue; fail "$target: the caller fails"; }
  "$convgen" run "$network" "${inputs[@]}" --output=out --target=$target $accuracy 2>said || fail "$(cat said)"
  "$python" "$tests/network/caller.py" --compare "$network" || fail "$target: other outputs than convgen run's"
  count=$((count + 1))
done
[ $count -gt 0 ] || fail "no target ran"

# ---- its own programs ----
for program in selfcheck network_selfcheck network_benchmark; do "$@" -o $program net_$program.o $objects -lm; done
./selfcheck >said || fail "the self-check of layers: $(cat said)"
./network_selfcheck net/net.weights >said || fail "the self-check of the network: $(cat said)"
grep -q "^ok: .* operations" said || fail "the self-check says: $(cat said)"
./network_benchmark net/net.weights portable 0.001 >said || fail "the benchmark: $(cat said)"
grep -q "^sum " said || fail "the benchmark says: $(cat said)"
# Other weights are refused.
"$python" -c 'd = bytearray(open("net/net.weights", "rb").read()); d[len(d) // 2] ^= 1; open("other.weights", "wb").write(d)'
./caller portable other.weights >said && fail "other weights are taken"
grep -q "other weights" said || fail "other weights: $(cat said)"
# A kernel that is wrong is found, and named.
if [ "$network" = made.net ]; then
  sed 's/vmax(/vmin(/' net/net_m_portable.c >wrong.c
  ! cmp -s wrong.c net/net_m_portable.c || fail "nothing is changed"
  "$@" -std=c11 -ffp-contract=off -Inet -c wrong.c -o net_m_portable.o
  "$@" -o wrong net_network_selfcheck.o $objects -lm
  ! ./wrong net/net.weights >said || fail "the self-check does not see a maximum that is a minimum"
  grep -q "^FAIL: portable, operation [0-9]*, m: " said || fail "the self-check says: $(cat said)"
fi

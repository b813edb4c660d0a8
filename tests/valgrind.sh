#!/bin/sh
# valgrind.sh COMMAND: the whole way of tiny problems under valgrind's memcheck, in the command and in its worker: script, libtcc,
# generated code, verification. (valgrind knows AVX2, not AVX-512; the target follows what it says the processor has.)
set -eu
command -v valgrind >/dev/null || { echo "skipped: valgrind is not installed"; exit 77; }
errors=$(mktemp) printed=$(mktemp)
trap 'rm -f "$errors" "$printed"' EXIT
for options in --dir=FWD_B --dir=BWD_D "--dir=BWD_WB --dt=f64 --accuracy=8x"; do
    # shellcheck disable=SC2086 # words
    valgrind -q --smc-check=all "$1" check --all $options mb1ic3ih5oc4kh3ph1 2>"$errors" >"$printed" || { cat "$printed" "$errors"; exit 1; }
    if [ -s "$errors" ]; then cat "$errors"; exit 1; fi
done

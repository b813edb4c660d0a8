#!/bin/sh
# The example that is checked in is what `convgen emit` writes from the records beside it, for the machine that they are of: the same everywhere.
#   golden_emitted.sh CONVGEN SOURCE_DIR WORK            compares
#   golden_emitted.sh CONVGEN SOURCE_DIR WORK update     writes it
#   golden_emitted.sh CONVGEN SOURCE_DIR WORK tune       makes the records anew, on this machine and of it, and writes it (a processor with AVX2)
set -eu
convgen=$1 source=$2 work=$3 examples=$2/examples
rm -rf "$work"
mkdir -p "$(dirname "$work")"
export CONVGEN_STORE="$examples/records" CONVGEN_TUNED=/dev/null
if [ "${4-}" = tune ]; then
  rm -f "$CONVGEN_STORE"
  CONVGEN_STORE=/dev/null "$convgen" machine --json >"$examples/machine.json"
  for target in avx2 portable; do
    "$convgen" tune --compiler=cc --effort=exhaustive --target=$target --batch="$examples/network.txt"
  done
  rm -f "$CONVGEN_STORE.lock"
fi
"$convgen" emit --batch="$examples/network.txt" --machine="$examples/machine.json" --prefix=example --target=avx2 -o "$work" 2>"$work.said" ||
  { cat "$work.said"; exit 1; }
if grep . "$work.said"; then
  echo "examples/records are not of these families any more: cmake --build BUILD --target tune-emitted"
  exit 1
elif [ "${4-}" ]; then
  rm -rf "$examples/emitted"
  cp -r "$work" "$examples/emitted"
elif ! diff -r "$examples/emitted" "$work"; then
  echo "examples/emitted is not what emit writes now; when that is meant: cmake --build BUILD --target update-emitted"
  exit 1
fi

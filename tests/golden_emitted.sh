#!/bin/sh
# The example that is checked in is what `convgen emit` writes: no records, a machine that is none, so the same everywhere.
#   golden_emitted.sh CONVGEN SOURCE_DIR WORK [update]
set -eu
convgen=$1 source=$2 work=$3
rm -rf "$work"
mkdir -p "$(dirname "$work")"
CONVGEN_STORE=/dev/null "$convgen" emit --batch="$source/examples/network.txt" --machine="$source/examples/machine.json" \
  --prefix=example --target=avx2 -o "$work" 2>/dev/null
if [ "${4-}" = update ]; then
  rm -rf "$source/examples/emitted"
  cp -r "$work" "$source/examples/emitted"
elif ! diff -r "$source/examples/emitted" "$work"; then
  echo "examples/emitted is not what emit writes now; when that is meant: cmake --build BUILD --target update-emitted"
  exit 1
fi

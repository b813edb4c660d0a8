#!/bin/sh
# targets.sh BUILD [CTEST OPTION...]: the tests that depend on the target, once with each target that this processor has besides its best,
# which is that of a plain run of ctest. Targets that it lacks are named.
set -eu
build=$1
shift
export CONVGEN_STORE=/dev/null
has() { "$build/convgen" show --target="$1" mb1ic1ih1oc1kh1 --stage=schedules >/dev/null 2>&1; }
best=
for target in avx512 avx2 portable; do
  if ! has $target; then echo "left out: the tests with CONVGEN_TARGET=$target, which this processor lacks"; continue; fi
  [ -n "$best" ] || { best=$target; continue; }
  echo "CONVGEN_TARGET=$target:"
  (cd "$build" && unset CONVGEN_STORE && CONVGEN_TARGET=$target ctest -L target "$@")
  cp "$build/Testing/Temporary/LastTest.log" "$build/tested-$target.log"
done

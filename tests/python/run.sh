#!/bin/sh
# run.sh BUILD MODULE... | --script FILE: runs these tests with Debian's Python on the build's library. Exit status 77: skipped, no
# NumPy.
set -eu
python=/usr/bin/python3
here=$(cd "$(dirname "$0")" && pwd)
if ! $python -c 'import numpy' 2>/dev/null; then
  echo "skipped: $python has no NumPy (Debian: python3-numpy), which the tests of the Python package need"
  exit 77
fi
build=$(cd "$1" && pwd); shift
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
export CONVGEN_LIBRARY="$build/libconvgen.so" CONVGEN_STORE="$work/records" PYTHONPATH="$here/../../python:$here" PYTHONDONTWRITEBYTECODE=1
if [ "$1" = --script ]; then
  $python "$here/$2"
else
  $python -m unittest "$@"
fi

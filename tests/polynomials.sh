#!/bin/sh
# The generator and the reference have the same coefficients: all numbers of both files, in their order.
#   polynomials.sh SOURCE
set -eu
numbers() { sed 1d "$1" | grep -oE -- '-?0x[0-9a-f]+p-?[0-9]+|-?[0-9]+\.[0-9]+'; }
lua=$(numbers "$1/gen/polynomials.lua") c=$(numbers "$1/runtime/problem/polynomials.h")
[ "$(echo "$lua" | wc -l)" -gt 40 ] || { echo "FAILED: gen/polynomials.lua has no numbers"; exit 1; }
[ "$lua" = "$c" ] || { echo "FAILED: gen/polynomials.lua and runtime/problem/polynomials.h differ: run tools/polynomials.py"; exit 1; }
echo "$(echo "$c" | wc -l) coefficients, the same"

#!/bin/sh
# exports.sh LIBRARY: the shared library exports every function of convgen.h and nothing else, and has no text relocations.
set -eu
library=$1
header=$(dirname "$0")/../runtime/convgen.h
names=$(mktemp)
trap 'rm -f "$names" "$names.h"' EXIT
nm -D --defined-only "$library" | awk '{print $NF}' | sed 's/@.*//' | sort -u >"$names"
sed -n 's/^CONVGEN_API .*[ *]\(convgen_[a-z_]*\)(.*/\1/p' "$header" | sort -u >"$names.h"
[ "$(wc -l <"$names.h")" -ge 15 ] || { echo "no functions found in $header"; exit 1; }
diff "$names.h" "$names" || { echo "exported (>) and declared (<) differ"; exit 1; }
if readelf -d "$library" | grep -q TEXTREL; then echo "text relocations"; exit 1; fi
if readelf -d "$library" | grep -Eq 'NEEDED.*(lua|tcc)'; then echo "Lua or libtcc is not linked in"; exit 1; fi
if readelf -lW "$library" | grep -Eq 'GNU_STACK.*E'; then echo "an executable stack"; exit 1; fi

#!/bin/sh
# rooms.sh SOURCE_DIR "OBJECT...": runtime/ is a pipeline. A file includes headers of its own room and of those before it, and calls nothing of
# those behind it; the order is that of the objects. What others have to stay away from has one gatekeeper.
set -eu
cd "$1/runtime"
set -- $2
rooms=$(printf '%s\n' "$@" | sed -n 's|.*/runtime/\([a-z]*\)[/.].*|\1|p' | awk '!seen[$0]++') # a file beside the rooms is one of its own
[ "$(echo "$rooms" | wc -l)" -gt 5 ] || { echo "no rooms among the objects"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# number(room): its place.
numbers='BEGIN { n = split(rooms, r, /[ \n]+/); for (i = 1; i <= n; i++) number[r[i]] = i }
  function place(file) { sub("[/.].*", "", file); return file in number ? number[file] : n + 1 }'

grep -rn '^#include "' --include='*.[ch]' . | sed 's|^\./\([^:]*\):\([0-9]*\):#include "\(.*\)".*|\1 \2 \3|' |
  awk -v rooms="$rooms" "$numbers"'
    $3 == "convgen.h" || $3 == "facts.h" || $3 !~ "/" && $1 ~ "/" { next } # the contract, rows of the generator; a header of its own folder
    place($3) > place($1) { print $1 ":" $2 ": includes " $3 ", which is behind it" }' >"$work/wrong"

for object; do
  name=$(echo "$object" | sed -n 's|.*/runtime/\(.*\)\.c\.o$|\1|p')
  [ -z "$name" ] || nm "$object" | awk -v name="$name" 'NF == 2 && $1 == "U" { print "uses", name, $2 } NF == 3 && $2 ~ /[A-Z]/ { print "has", name, $3 }'
done >"$work/symbols"
awk -v rooms="$rooms" "$numbers"'
  $1 == "has" { home[$3] = $2; next }
  { use[++uses] = $2 " " $3 }
  END { for (i = 1; i <= uses; i++) { split(use[i], u, " "); if (u[2] in home && place(home[u[2]]) > place(u[1]))
    print u[1] ".c: uses " u[2] " of " home[u[2]] ".c, which is behind it" } }' "$work/symbols" >>"$work/wrong"

while read -r header keepers; do
  grep -rlE "#include [<\"]$header[>\"]" . | sed 's|^\./||' | grep -vxE "$keepers" | sed "s|\$|: includes $header, whose gatekeeper is another|"
done >>"$work/wrong" <<'END' || true
lua.h generate/script.h
libtcc.h compile/jit.c
omp.h machine/parallel.c
END
# Only a row of the table of types, and what computes in each of them (sums, activations), know which types there are.
grep -rnE 'CONVGEN_F(32|64)|\<float\>' --include='*.[ch]' problem machine check remember search plan.[ch] |
  grep -vE '^(problem/types\.c|problem/activation\.c|check/reference(_sums\.h|\.c)):' | sed 's|$|: a type has a row in problem/types.c|' >>"$work/wrong" || true
cat "$work/wrong"
[ ! -s "$work/wrong" ]

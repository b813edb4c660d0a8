#!/bin/sh
# form.sh SOURCE_DIR: functions in C of the library, the command and the tools have at most 6 parameters, as those of gen/ have.
set -eu
cd "$1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for file in $(find runtime cli tools -name '*.[ch]' | sort); do
  awk -v file="$file" '
    function parameters(head,    i, c, depth, n) {
      n = 1
      for (i = index(head, "("); i <= length(head); i++) {
        c = substr(head, i, 1)
        depth += (c == "(") - (c == ")")
        n += c == "," && depth == 1
        if (!depth) return n
      }
      return 0
    }
    /^[a-z].*\(/ { head = ""; open = NR }
    open { head = head " " $0 }
    open && /[{;]( *\/\*.*)?$/ {
      gsub(/\/\*[^*]*\*\//, "", head)
      functions++
      if (parameters(head) > 6) print file ":" open ": " parameters(head) " parameters, at most 6; a struct has room for what belongs together"
      open = 0
    }
    END { print functions + 0 >"/dev/stderr" }' "$file"
done >"$work/wrong" 2>"$work/counts"
cat "$work/wrong"
seen=$(awk '{ n += $1 } END { print n + 0 }' "$work/counts")
[ "$seen" -gt 1000 ] || { echo "only $seen functions were seen"; exit 1; }
[ ! -s "$work/wrong" ]

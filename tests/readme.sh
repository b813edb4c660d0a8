#!/bin/sh
# The README's example compiles without a warning and runs, and so do its commands that are for one problem, the store or the machine.
# Arguments: source folder, build folder. The pages of the tutorial are page.py's.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
sed -n '/^```c$/,/^```$/p' "$1/README.md" | grep -v '^```' > "$work/example.c"
lines=$(sed -n '/^int main/,$p' "$work/example.c" | wc -l)
[ "$lines" -le 15 ] || { echo "the example's main has $lines lines, at most 15"; exit 1; }
cc -Wall -Wextra -Werror -I "$1/runtime" "$work/example.c" -o "$work/example" -L "$2" -lconvgen -Wl,-rpath,"$2"
CONVGEN_STORE="$work/store" "$work/example" | grep -E '^[a-z]+[^ ]* on (avx512|avx2|portable) \(' # whichever kernel is the best here
# The commands that need no time run as well, from the source folder.
cd "$1"
# (--stage=code is for processors with AVX2.)
sed -n '/--stage=code/d; /--batch/d; s/^build\/convgen \([^#]*\).*/\1/p' README.md > "$work/commands"
[ "$(wc -l < "$work/commands")" -ge 9 ] || { echo "the README has fewer commands than it had"; exit 1; }
while read -r line; do
    CONVGEN_STORE="$work/store" "$2/convgen" $line > "$work/out"
    [ -s "$work/out" ] || { echo "convgen $line printed nothing"; exit 1; }
done < "$work/commands"

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
# (--stage=code is for processors with AVX2; what is for a network has none here.)
sed -n '/--stage=code/d; /net\.net/d; /--batch/d; s/^build\/convgen \([^#]*\).*/\1/p' README.md > "$work/commands"
[ "$(wc -l < "$work/commands")" -ge 9 ] || { echo "the README has fewer commands than it had"; exit 1; }
while read -r line; do
    CONVGEN_STORE="$work/store" "$2/convgen" $line > "$work/out"
    [ -s "$work/out" ] || { echo "convgen $line printed nothing"; exit 1; }
done < "$work/commands"
# The Python block prints what the block after it shows, and what is tuned at the default accuracy is what the course's functions find.
python=/usr/bin/python3
$python -c 'import numpy' 2>/dev/null || { echo "skipped: the README's Python lines, which need python3-numpy"; exit 0; }
sed -n '/^```python$/,/^```$/p' README.md | grep -v '^```' > "$work/block.py"
sed -n '/^```python$/,$p' README.md | awk '/^```/ { fences++; next } fences == 3' > "$work/shown"
echo 'from convgen import _library, _plan
dA, dW, db = convgen.conv_backward(Z, x, w, b.reshape(1, 1, 1, 10), {"stride": 1, "pad": 2})
kernels = {text: _library.info(kernel.handle) for (text, _), kernel in _plan._kernels.items() if "proven" in text and "BWD_W" not in text}
assert len(kernels) == 2, kernels
for text, info in kernels.items():
    assert info.recalled, text + ": tuned, and not found"' >> "$work/block.py"
CONVGEN_STORE="$work/store" CONVGEN_LIBRARY="$2/libconvgen.so" PYTHONPATH=python PYTHONDONTWRITEBYTECODE=1 $python "$work/block.py" > "$work/said"
[ "$(head -1 "$work/said")" = "$(head -1 "$work/shown")" ] || { echo "the README's Python prints other than it shows:"; cat "$work/said"; exit 1; }
[ "$(wc -l < "$work/said")" = "$(wc -l < "$work/shown")" ] || { echo "the README's Python prints more or fewer lines:"; cat "$work/said"; exit 1; }

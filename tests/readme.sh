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
# What those lines tuned, and the Python block tunes, at the default accuracy, is what the course's functions then find.
python=/usr/bin/python3
$python -c 'import numpy' 2>/dev/null || { echo "skipped: the README's Python lines, which need python3-numpy"; exit 0; }
{
    echo 'import numpy as np
rng = np.random.default_rng(1)
A_prev = x = rng.standard_normal((10, 100, 100, 3))
W = w = rng.standard_normal((5, 5, 3, 10))
b = rng.standard_normal((1, 1, 1, 10)); bias, b = b, b.ravel()'
    sed -n '/^```python$/,/^```$/p' README.md | grep -v '^```' | sed 's/conv_forward(A_prev, W, b,/conv_forward(A_prev, W, bias,/'
    echo 'convgen.forget()
Z = convgen.conv_forward(A_prev, W, bias, {"stride": 1, "pad": 2})
convgen.conv_backward(Z, A_prev, W, bias, {"stride": 1, "pad": 2})
from convgen import _library, _plan
for (text, _), kernel in _plan._kernels.items():
    info = _library.info(kernel.handle)
    print(text, info.schedule.decode(), "recalled" if info.recalled else "estimated")
    if "BWD_W" not in text: assert info.recalled, text + ": tuned, and not found"'
} > "$work/block.py"
CONVGEN_STORE="$work/store" CONVGEN_LIBRARY="$2/libconvgen.so" PYTHONPATH=python PYTHONDONTWRITEBYTECODE=1 $python "$work/block.py"

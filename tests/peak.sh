#!/bin/sh
# peak.sh LIBRARY: the loops that `convgen machine` measures the peak with are what they are counted as: in machine.o of the static
# library, every round has twelve chains of multiply-adds of the full width. (A compiler that saw through them would give a higher peak.)
set -eu
library=$1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
objdump -d --no-show-raw-insn "$library" >"$work/code"
case "$(uname -m)" in x86_64) ;; *) echo "left out: this looks at x86-64 alone"; exit 0 ;; esac
for row in 512_f32:zmm:ps 512_f64:zmm:pd 256_f32:ymm:ps 256_f64:ymm:pd 128_f32:xmm:ps 128_f64:xmm:pd; do
  name=peak_${row%%:*} type=${row##*:} register=${row#*:}
  register=${register%:*}
  sed -n "/^[0-9a-f]* <$name>:/,/^\$/p" "$work/code" | grep -E "vfn?m(add|sub)[0-9]*$type.*%$register" >"$work/fma" || true
  count=$(wc -l <"$work/fma") chains=$(sed 's/.*,//' "$work/fma" | sort -u | wc -l)
  [ "$count" -gt 0 ] && [ $((count % 12)) = 0 ] && [ "$chains" = 12 ] || {
    echo "$name: $count multiply-adds into $chains registers, where there are 12 chains"; cat "$work/fma"; exit 1; }
done

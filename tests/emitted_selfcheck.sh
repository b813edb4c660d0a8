#!/bin/sh
# The emitted self-check notices what a kernel may do wrong: each fault is put into its results, right after the kernel has run.
#   emitted_selfcheck.sh CONVGEN WORK
set -eu
convgen=$1 work=$2
rm -rf "$work"
mkdir -p "$work"
cat >"$work/list.txt" <<'X1'
--reset --dir=FWD_B --epilogue=residual+relu mb1ic3ih6oc5kh3ph1n"summed"
--reset --dir=FWD_D --dt=f64 --weights=fixed mb1ic3ih6oc5kh3ph1n"double"
--reset --dir=BWD_D mb1ic3ih6oc5kh3ph1n"data"
--reset --dir=BWD_WB --dt=f64 mb1ic3ih6oc5kh3ph1n"gradient"
--reset --dir=FWD_D --accuracy=8x --weights=fixed mb1ic32ih24oc32kh3ph1n"transformed"
X1
CONVGEN_STORE=/dev/null "$convgen" emit --batch="$work/list.txt" --prefix=net --target=portable -o "$work/net" 2>"$work/said" || { cat "$work/said"; exit 1; }
cd "$work/net"
grep -q '  schedule  winograd' net_transformed_portable.c || { echo "the layer that should be transformed is not"; exit 1; }

# spoil() stands after each run; $FAULT, $HOW (packed, whole or any), $DATA (integers, real or any) say when and what.
cat >spoil.h <<'X2'
enum { OUT_NAN_FIRST, OUT_NAN_LAST, OUT_INFINITE, OUT_ONE_OFF, OUT_LITTLE_OFF, OUT_UNWRITTEN, OUT_HALF, OUT_SWAPPED, OUT_SCALED, BEFORE, BEHIND,
       BEHIND_WORKSPACE, BEHIND_PACKED, INPUT_NAN, INPUT_CHANGED };
static int output_of(const layer *l) { return l->pass == FORWARD ? DST : l->pass == BACKWARD_DATA ? SRC : getenv("BIAS") ? BIAS : WEIGHTS; }
static double get_one(const layer *l, void *data, long i) { return l->f64 ? ((double *)data)[i] : (double)((float *)data)[i]; }
static void put_one(const layer *l, void *data, long i, double x)
{
    if (l->f64) ((double *)data)[i] = x;
    else ((float *)data)[i] = (float)x;
}
static void spoil(const layer *l, const memory *m, int integers, int packed)
{
    const int fault = atoi(getenv("FAULT")), slot = output_of(l);
    if (getenv("ONLY") && strcmp(getenv("ONLY"), l->name)) return;
    const char *how = getenv("HOW"), *data = getenv("DATA");
    if (strcmp(how, "any") && (strcmp(how, "packed") == 0) != packed) return;
    if (strcmp(data, "any") && (strcmp(data, "integers") == 0) != integers) return;
    void *out = m->at[slot];
    const long n = elements(l, slot), some = n / 2;
    const size_t bytes = (size_t)n * element_size(l);
    switch (fault) {
    case OUT_NAN_FIRST: put_one(l, out, 0, NAN); break;
    case OUT_NAN_LAST: put_one(l, out, n - 1, NAN); break;
    case OUT_INFINITE: put_one(l, out, some, INFINITY); break;
    case OUT_ONE_OFF: put_one(l, out, some, get_one(l, out, some) + 1); break;
    case OUT_LITTLE_OFF: put_one(l, out, some, get_one(l, out, some) + 1e-3); break;
    case OUT_UNWRITTEN: memset((char *)out + bytes - element_size(l), 0xFF, element_size(l)); break;
    case OUT_HALF: memset(out, 0, bytes / 2); break;
    case OUT_SWAPPED: for (long i = 0; i + 1 < n; i += 2) { const double x = get_one(l, out, i); put_one(l, out, i, get_one(l, out, i + 1)), put_one(l, out, i + 1, x); } break;
    case OUT_SCALED: for (long i = 0; i < n; i++) put_one(l, out, i, get_one(l, out, i) * (1 + (l->budget[0] > 0 ? 1e-4 : 1e-5))); break;
    case BEFORE: ((char *)out)[-1] = 0; break;
    case BEHIND: ((char *)out)[bytes] = 0; break;
    case BEHIND_WORKSPACE: ((char *)m->at[WORKSPACE])[l->workspace] = 0; break;
    case BEHIND_PACKED: ((char *)m->at[PACKED])[l->packed] = 0; break;
    case INPUT_NAN: put_one(l, m->at[l->pass == BACKWARD_DATA ? DST : SRC], 0, NAN); break;
    case INPUT_CHANGED: put_one(l, m->at[l->pass == BACKWARD_DATA ? DST : SRC], 0, 5); break;
    }
}
X2
sed -e 's/^    l->run(m->at, packed ? WITH_PACKED : WHOLE, THREADS);/&\n    spoil(l, m, integers, packed);/' \
    -e 's/^static const char \*check_run(/#include "spoil.h"\n&/' net_selfcheck.c >spoiled.c
[ "$(grep -c spoil spoiled.c)" = 2 ] || { echo "spoil() has no place in the self-check"; exit 1; }
for file in net.c net_*_portable.c; do cc -std=c11 -O1 -ffp-contract=off -DCG_BODY=3 -c "$file"; done
for file in net_selfcheck.c spoiled.c; do cc -std=c11 -O1 -ffp-contract=off -Wall -Wextra -Werror -o "${file%.c}" "$file" net.o net_*_portable.o -lm; done
./net_selfcheck >said || { echo "what is right fails:"; cat said; exit 1; }

layers="summed double data_backward_data gradient_backward_weights transformed"
# notices FAULT DATA HOW LAYER WORDS: the layer fails, with those words
notices() {
  if FAULT=$1 DATA=$2 HOW=$3 ./spoiled "$4" >said 2>&1; then echo "not noticed: fault $1 on $2 data, $3 run, of $4"; cat said; exit 1; fi
  grep -q "^$4 .* FAIL: .*$5" said && grep -q '^FAIL: 1 kernels checked, 1 failed' said || { echo "fault $1 of $4 is told as:"; cat said; exit 1; }
}
wrong="outputs are wrong" faults=0
for layer in $layers; do
  for how in packed whole; do
    case "$layer $how" in *backward_weights\ packed) continue ;; esac
    for data in integers real; do
      for fault in 0 1 2 5; do notices $fault $data $how "$layer" "$wrong"; done
      notices 7 $data $how "$layer" "$([ $layer$data = transformedreal ] && echo 'normwise error' || echo "$wrong")"
      notices 9 $data $how "$layer" "outside of its output"
      notices 10 $data $how "$layer" "outside of its output"
      notices 11 $data $how "$layer" "beyond its workspace"
      notices 12 $data $how "$layer" "beyond its packed weights"
      notices 13 $data $how "$layer" "changed what it may only read"
      notices 14 $data $how "$layer" "changed what it may only read"
      faults=$((faults + 11))
    done
    notices 3 integers $how "$layer" "$wrong"
    notices 6 integers $how "$layer" "$wrong"
    [ $layer = transformed ] || notices 4 real $how "$layer" "$wrong"
    notices 8 real $how "$layer" "$([ $layer = transformed ] && echo 'normwise error' || echo "$wrong")"
    faults=$((faults + 4))
  done
done
for data in integers real; do
  for fault in 0 1 2 5 7; do BIAS=1 notices $fault $data any gradient_backward_weights "$wrong"; done
  BIAS=1 notices 9 $data any gradient_backward_weights "outside of its output"
  BIAS=1 notices 10 $data any gradient_backward_weights "outside of its output"
  faults=$((faults + 7))
done
# One of many layers is enough; nothing checked is no pass.
! ONLY=summed FAULT=0 DATA=any HOW=any ./spoiled >said || { echo "one of five layers is wrong, and it passes"; exit 1; }
grep -q '^FAIL: 5 kernels checked, 1 failed' said
! ./net_selfcheck no_such_layer >said || { echo "no kernel was checked, and it passes"; exit 1; }
grep -q '^FAIL: 0 kernels checked' said
echo "$faults faults, all noticed"

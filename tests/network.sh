#!/bin/bash
# network.sh CONVGEN WORK_DIR: the command with a network in place of problems: run, bench, tune, show, check; what is refused; nothing is half written.
set -euo pipefail
convgen=$1
rm -rf "$2"
mkdir -p "$2"
cd "$2"
export CONVGEN_STORE=$PWD/store CONVGEN_TUNED=/nowhere
python=$(command -v /usr/bin/python3 || command -v python3) || { echo "skipped: python3 is not installed"; exit 77; }
fail() { echo "$*"; exit 1; }
# refused STATUS SENTENCE WORD...
refused() {
    local status=0 wanted=$1 sentence=$2; shift 2
    "$convgen" "$@" >out.txt 2>err.txt || status=$?
    [ "$status" = "$wanted" ] || fail "convgen $*: status $status, expected $wanted: $(cat err.txt)"
    grep -qF -- "$sentence" err.txt || fail "convgen $*: no '$sentence' in: $(cat err.txt)"
}

# ---- a network, an input, and what comes out of it ----
cat >make.py <<'END'
import random, struct, zlib
random.seed(1)
w = [random.uniform(-1, 1) for _ in range(4 * 2 * 9)] + [random.uniform(-1, 1) for _ in range(4)]
data = struct.pack("<76f", *w)
w = struct.unpack("<76f", data)
open("n.weights", "wb").write(data)
open("n.net", "w").write(f"""weights n.weights bytes {len(data)} hash {zlib.crc32(data):08x}
tensor w f32 4x2x3x3 @0
tensor b f32 4 @288
input "in put" f32 1x2x6x5
c = conv("in put", w, b) ic2ih6iw5oc4oh6ow5kh3kw3ph1pw1
"out/put" = activate(c) relu
p = maxpool("out/put") k2x2 s2x2
d = conv("out/put", w2) ic4ih6iw5oc1oh6ow5kh1kw1
output "out/put"
output p
output d
""".replace("input \"in", "tensor w2 f32 1x4x1x1 @288\ninput \"in", 1))


def npy(path, descr, shape, values, version=1, order="False"):
    head = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
    head = head.ljust(118 - 2 * (version == 2)) + "\n"
    size = struct.pack("<H" if version == 1 else "<I", len(head))
    open(path, "wb").write(b"\x93NUMPY" + bytes([version, 0]) + size + head.encode() + struct.pack(f"<{len(values)}{'f' if descr[2] == '4' else 'd'}", *values))


x = [random.uniform(-1, 1) for _ in range(60)]
npy("x.npy", "<f4", (1, 2, 6, 5), x)
npy("x2.npy", "<f4", (1, 2, 6, 5), x, 2)
npy("fortran.npy", "<f4", (1, 2, 6, 5), x, 1, "True")
npy("f8.npy", "<f8", (1, 2, 6, 5), x)
npy("other.npy", "<f4", (1, 2, 5, 6), x)
npy("short.npy", "<f4", (1, 2, 6, 5), x[:-1])
open("none.npy", "wb").write(b"none")
END
cat >compare.py <<'END'
import struct
exec(open("make.py").read())
x = struct.unpack("<60f", struct.pack("<60f", *x))


def read(path, shape):
    data = open(path, "rb").read()
    length = struct.unpack("<H", data[8:10])[0]
    head = data[10:10 + length].decode()
    assert data[:8] == b"\x93NUMPY\1\0" and (10 + length) % 64 == 0 and head.endswith("\n")
    assert eval(head) == {"descr": "<f4", "fortran_order": False, "shape": shape}, head
    return struct.unpack(f"<{(len(data) - 10 - length) // 4}f", data[10 + length:])


y, p, d = read("out/out_put.npy", (1, 4, 6, 5)), read("out/p.npy", (1, 4, 3, 2)), read("out/d.npy", (1, 1, 6, 5))
at = lambda i, h, v: x[i * 30 + h * 5 + v] if 0 <= h < 6 and 0 <= v < 5 else 0
for o in range(4):
    for h in range(6):
        for v in range(5):
            exact = w[72 + o] + sum(at(i, h + r - 1, v + s - 1) * w[o * 18 + i * 9 + r * 3 + s] for i in range(2) for r in range(3) for s in range(3))
            assert abs(y[o * 30 + h * 5 + v] - max(0, exact)) < 1e-5, (o, h, v)
    for h in range(3):
        for v in range(2):
            assert p[o * 6 + h * 2 + v] == max(y[o * 30 + (2 * h + r) * 5 + 2 * v + s] for r in (0, 1) for s in (0, 1))
for at in range(30):
    assert abs(d[at] - sum(w[72 + o] * y[o * 30 + at] for o in range(4))) < 1e-5
END
"$python" make.py
for file in x x2; do
    rm -rf out
    "$convgen" run n.net --input="in put=$file.npy" --output=out
    "$python" compare.py
done
"$convgen" run --threads=2 --accuracy=proven n.net --output=out --input="in put=x.npy" # over what is there
"$python" compare.py
[ "$(ls out | xargs)" = "d.npy out_put.npy p.npy" ] || fail "other files than outputs: $(ls out)"

# ---- what is refused, before anything is written ----
rm -rf out
refused 2 'no network is given' run
refused 2 '--output=DIR is missing' run n.net --input="in put=x.npy"
refused 2 'input in put (f32 1x2x6x5) is not given' run n.net --output=out
refused 2 'no input of n.net is called so' run n.net --input=x=x.npy --output=out
refused 2 'in put is given twice' run n.net --input="in put=x.npy" --input="in put=x.npy" --output=out
refused 1 'f8.npy has <f8 1x2x6x5; in put is f32 1x2x6x5 (<f4)' run n.net --input="in put=f8.npy" --output=out
refused 1 'other.npy has <f4 1x2x5x6; in put is f32 1x2x6x5' run n.net --input="in put=other.npy" --output=out
refused 1 "fortran.npy is in Fortran's order" run n.net --input="in put=fortran.npy" --output=out
refused 1 'short.npy has not as many bytes' run n.net --input="in put=short.npy" --output=out
refused 1 'none.npy is no .npy file' run n.net --input="in put=none.npy" --output=out
refused 1 'cannot read nowhere.npy' run n.net --input="in put=nowhere.npy" --output=out
refused 1 'cannot read nowhere.net' run nowhere.net --input="in put=x.npy" --output=out
refused 1 'out/put: nothing is remembered for' run n.net --effort=recall --input="in put=x.npy" --output=out
refused 2 'a network stands alone' bench n.net mb1ic1ih3oc1kh3
refused 2 'a second network' bench n.net n.net
refused 2 '--accuracy, --threads and --target are those of networks' bench --dir=FWD_D n.net
refused 2 'the stages of a network are simplified' show n.net --stage=code
[ ! -e out ] || fail "something was written: $(ls out)"
mkdir out out/p.npy
refused 1 'cannot write out/p.npy' run n.net --input="in put=x.npy" --output=out
! ls out | grep -q draft || fail "a draft is left: $(ls out)"
rm -rf out
sed 's/relu/rule/' n.net >bad.net
refused 1 "bad.net:7: 'rule' is not an activation" run bad.net --output=out
printf 'x' | dd of=n.weights bs=1 conv=notrunc status=none
refused 1 'these are other weights' bench n.net
"$python" make.py

# ---- bench, tune, show, check ----
# rows FILE: a row for each operation, then the network's.
rows() {
    "$python" - "$1" <<'END'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
of, whole = [r for r in rows if "share" in r], rows[-1]
assert whole["name"] == "network" and whole["ns_min"] > 0 and whole["ns_median"] >= whole["ns_min"], whole
assert whole["arena_bytes"] >= whole["arena_lower_bound"] >= 0 and whole["packed_bytes"] > 0, whole
assert [r["op"] for r in of if r["op"] != "copy"] == ["conv", "maxpool", "conv"], [r["op"] for r in of]
assert all(r["ns_min"] > 0 and r["ns_median"] >= r["ns_min"] and r["name"] for r in of)
assert abs(sum(r["share"] for r in of) - 1) < 1e-6
END
}
"$convgen" bench n.net --seconds=0 --json >bench.json
rows bench.json
"$convgen" bench n.net --seconds=0 >bench.txt
grep -q '^the whole: minimum ' bench.txt || fail "bench does not tell of the whole: $(cat bench.txt)"
"$convgen" tune n.net --seconds=0.1 --json >tune.json 2>/dev/null
rows tune.json
[ "$(grep -c '"conditions":"network"' tune.json)" = 2 ] || fail "the convolutions were not tuned for a network: $(cat tune.json)"
[ "$(grep -c '^convgen3 .* network=yes ' store)" -ge 2 ] || fail "the store has no records of a network: $(cat store)"
"$convgen" run n.net --effort=recall --input="in put=x.npy" --output=out
"$python" compare.py
"$convgen" bench n.net --effort=recall --seconds=0 | grep -q '^its convolutions alone, as recorded: ' || fail "bench does not tell of the convolutions alone"
for stage in simplified fused layout memory driver source; do
    "$convgen" show n.net --stage=$stage >"$stage.txt"
    [ -s "$stage.txt" ] || fail "show --stage=$stage printed nothing"
done
"$convgen" show n.net | cmp - simplified.txt
grep -q -- '--epilogue=relu' fused.txt || fail "the activation is not in the convolution: $(cat fused.txt)"
"$convgen" show fused.txt >/dev/null 2>&1 && fail "fused.txt is no .net"
cp fused.txt fused.net
"$convgen" run fused.net --input="in put=x.npy" --output=out # what is shown is a network
"$python" compare.py
"$convgen" check n.net >check.txt
grep -q '^all [0-9]* operations are right' check.txt || fail "$(cat check.txt)"
"$convgen" check n.net --all --json --input="in put=x.npy" >check.json
[ "$(grep -c '"verdict":"ok"' check.json)" -ge 3 ] || fail "$(cat check.json)"
[ "$(grep -c '"name":"network","output":' check.json)" = 3 ] || fail "$(cat check.json)"

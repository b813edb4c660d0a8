#!/bin/sh
# What `convgen emit` refuses, with one sentence and nothing written; and what --force replaces.
#   emit_refuses.sh CONVGEN SOURCE_DIR WORK
set -u
convgen=$1 source=$2 work=$3 failed=0
rm -rf "$work"
mkdir -p "$work"
cd "$work" || exit 1
export CONVGEN_STORE=/dev/null

# refuses SENTENCE STATUS WORDS...
refuses() {
  sentence=$1 expected=$2
  shift 2
  "$convgen" emit "$@" >out 2>err
  status=$?
  if [ $status != "$expected" ] || ! grep -qF -e "$sentence" err || [ "$(wc -l <err)" != 1 ] || [ -s out ]; then
    echo "FAILED: emit $*: status $status, expected $expected and: $sentence"
    cat err
    failed=1
  fi
  if ls -d new* 2>/dev/null; then echo "FAILED: emit $* left something behind"; failed=1; rm -rf new*; fi
}
p=mb1ic3ih5oc4kh3ph1
refuses "-o DIR names the directory" 2 --prefix=net $p
refuses "--prefix=NAME is missing" 2 -o new $p
refuses "no problem is given" 2 -o new --prefix=net
for name in 9a a-b "a b" _a cg cg_x é abcdefghijabcdefghijabcdefghijabc; do refuses "--prefix=$name: at most 32" 2 -o new "--prefix=$name" $p; done
refuses "--form=elf: the forms are" 2 -o new --prefix=net --form=elf $p
refuses "--embed: only a network's file" 2 -o new --prefix=net --embed $p
refuses "--threads=openmp: a network runs on the thread that calls it" 2 -o new --prefix=net --threads=openmp none.net
refuses "cannot read none.net" 1 -o new --prefix=net none.net
printf 'input x f32 1x2\ny = activate(x) relu\noutput y\n' >flat.net
refuses "flat.net: a network without a convolution" 1 -o new --prefix=net flat.net
refuses "--threads=4: emit takes none or openmp" 2 -o new --prefix=net --threads=4 $p
refuses "no target is called mips; there are avx512" 1 -o new --prefix=net --target=mips $p
refuses "a target between two commas is missing" 1 -o new --prefix=net --target=avx2,,avx512 $p
refuses "--no-portable leaves no kernels" 1 -o new --prefix=net --target=portable --no-portable $p
# Without the portable kernels a processor may have none: the library says so, and leaves outputs as they are.
"$convgen" emit -o bare --prefix=net --target=avx2 --no-portable "$p"n'"a"' >out 2>err || { echo "FAILED: --no-portable"; cat err; failed=1; }
if ls bare/*portable* 2>/dev/null || grep -i portable bare/net.h bare/net.c; then echo "FAILED: portable kernels are left"; failed=1; fi
cat >main.c <<'END'
#include "bare/net.h"
int main(void)
{
    float none[1] = { 7 };
    net_a(none, none, none, none, 0);
    return net_target() || net_choose("avx2") != -1 || none[0] != 7;
}
END
cc -std=c11 -Wall -Wextra -Wpedantic -Werror -D__TINYC__ -I. -o bare_none main.c bare/net.c bare/net_*_avx2.c && ./bare_none ||
  { echo "FAILED: no kernel for a processor is not said"; failed=1; }
cc -std=c11 -O1 -mavx2 -mfma -ffp-contract=off -o bare_check bare/net.c bare/net_selfcheck.c bare/net_*_avx2.c -lm || failed=1
if grep -q avx2 /proc/cpuinfo; then ./bare_check || { echo "FAILED: the self-check without portable kernels"; failed=1; }; fi
printf '%sn"a"\n--dir=BWD_D %sn"a"\n' $p $p >passes.txt
"$convgen" emit -o passes --prefix=net --batch=passes.txt >out 2>err || { echo "FAILED: one name in two passes"; cat err; failed=1; }
printf '%sn"a"\nmb2%sn"a"\n' $p ic3ih5oc4kh3ph1 >twice.txt
refuses "two layers are called a (forward)" 1 -o new --prefix=net --batch=twice.txt
printf -- '--target=avx2 %s\n' $p >target.txt
refuses "all layers of an emitted network have the same targets" 1 -o new --prefix=net --batch=target.txt
refuses "no/such/place" 1 -o no/such/place --prefix=net $p
echo no json >machine.json
refuses 'machine.json: no "machine"' 1 -o new --prefix=net --machine=machine.json $p
refuses "missing.json" 1 -o new --prefix=net --machine=missing.json $p
touch file
refuses "file is there and is no directory" 1 -o file --prefix=net $p
mkdir full && touch full/precious
refuses "full is there and not empty; --force replaces what emit made" 1 -o full --prefix=net $p
refuses "full holds other things" 1 -o full --prefix=net --force $p
[ -f full/precious ] || { echo "FAILED: precious is gone"; failed=1; }

mkdir empty
"$convgen" emit -o empty --prefix=net $p >out 2>err || { echo "FAILED: an empty directory"; cat err; failed=1; }
touch empty/net_old.c
"$convgen" emit -o empty/ --prefix=net --force mb1ic3ih6oc4kh3ph1 >out 2>err || { echo "FAILED: --force"; cat err; failed=1; }
[ ! -e empty/net_old.c ] && [ -f empty/net.h ] || { echo "FAILED: --force replaces"; failed=1; }
if ls -d ./*.draft* 2>/dev/null; then echo "FAILED: drafts are left"; failed=1; fi

# A disk that is full: files may have two blocks here.
(trap '' XFSZ; ulimit -f 2; "$convgen" emit -o new --prefix=net $p >out 2>err) && { echo "FAILED: a full disk"; failed=1; }
grep -q "cannot write" err || { echo "FAILED: a full disk is not said"; cat err; failed=1; }
if ls -d new* 2>/dev/null; then echo "FAILED: a full disk leaves something behind"; failed=1; fi

# Names: made valid and unique, case told apart by none; what is derived from them too.
printf '%sn"%s"\n' $p "a:b" mb2ic3ih5oc4kh3ph1 "a b" mb3ic3ih5oc4kh3ph1 A_B mb4ic3ih5oc4kh3ph1 a_b_pack mb5ic3ih5oc4kh3ph1 ++ mb6ic3ih5oc4kh3ph1 int >names.txt
"$convgen" emit -o names --prefix=Net --batch=names.txt >out 2>err || { echo "FAILED: names"; cat err; failed=1; }
for name in a_b a_b_2 A_B_3 a_b_pack_2 layer int; do
  grep -q "^void Net_$name(" names/Net.h || { echo "FAILED: no Net_$name in names/Net.h"; grep '^void' names/Net.h; failed=1; }
done
"$convgen" emit -o unchecked --prefix=net --batch="$source/tuned/networks/mobilenetv2.txt" >out 2>err || { echo "FAILED: mobilenetv2"; failed=1; }
exit $failed

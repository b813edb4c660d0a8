#!/bin/sh
# What `convgen emit` says of records: of the form, of the other form, of none; and the same bytes whatever order they stand in.
#   emitted_records.sh CONVGEN WORK        Exit status 77: this processor has no AVX2, whose kernels have both forms.
set -eu
convgen=$1 work=$2
rm -rf "$work"
mkdir -p "$work"
cd "$work"
export CONVGEN_STORE="$work/records" CONVGEN_TUNED="$work"
"$convgen" show --target=avx2 mb1ic1ih1oc1kh1 --stage=schedules >/dev/null 2>&1 || { echo "skipped: this processor has no AVX2"; exit 77; }
printf '%s\n' --target=avx2 'mb1ic16ih6oc16kh3ph1n"a"' 'mb1ic8ih6oc16kh1n"b"' >net.txt
"$convgen" tune --seconds=0.01 --batch=net.txt >/dev/null
sed 1d net.txt >list.txt
failed=0
expect() { grep -qF -e "$2" "$1" || { echo "FAILED: $1 has no: $2"; cat "$1"; failed=1; }; }
without() { ! grep -F -e "$2" "$1" || { echo "FAILED: $1 has the line above"; failed=1; }; }

"$convgen" emit --batch=list.txt --prefix=net --target=avx2 --form=asm -o asm >/dev/null 2>said
without said "avx2:"
expect said "portable: 2 of 2 layers have no record; the best estimates are taken"
expect asm/README.md "tuned in this form:"
"$convgen" emit --batch=list.txt --prefix=net --target=avx2 -o c >/dev/null 2>said
expect said "avx2: 2 of 2 layers have a record of the other form only; \`convgen tune --target=avx2 --compiler=cc\` tunes this one"
expect c/README.md "tuned in the other form, machine code:"

# The lines in reverse, and the same again as what ships.
for form in asm c; do
  tac records >reversed
  CONVGEN_STORE="$work/reversed" "$convgen" emit --batch=list.txt --prefix=net --target=avx2 --form=$form -o $form.reversed >/dev/null 2>&1
  diff -r $form $form.reversed || failed=1
  mkdir -p shipped && cp records shipped/machine.records
  CONVGEN_STORE=/dev/null CONVGEN_TUNED="$work/shipped" "$convgen" emit --batch=list.txt --prefix=net --target=avx2 --form=$form -o $form.shipped \
    >/dev/null 2>&1
  diff -r $form $form.shipped || failed=1
done

# Records of this machine are none of another's.
echo '{"machine":"other","name":"another","vendor":"none","l1d":32768,"l2":1048576,"l3":33554432,"line":64,"features":"avx avx2 fma"}' >other.json
"$convgen" emit --batch=list.txt --prefix=net --target=avx2 --machine=other.json -o other >/dev/null 2>said
expect said "avx2: 2 of 2 layers have no record of that machine; the best estimates are taken"
exit $failed

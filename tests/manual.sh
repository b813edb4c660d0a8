#!/bin/bash
# manual.sh SOURCE_DIR BUILD_DIR: the manual page tells of every verb and option that --help tells of and of no others, and bash
# completes verbs, options, values, schedules and files, with and without '=' among the characters that break words.
set -euo pipefail
build=$2
source=$(cd "$1" && pwd)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
export CONVGEN_STORE=$work/store PATH=$build:$PATH
cd "$work"
fail() { echo "$*"; exit 1; }

# ---- the page ----
page=$(sed 's/\\fB//g; s/\\fI//g; s/\\fR//g; s/\\-/-/g' "$build/convgen.1")
options_of() { sed -n 's/^  *\(--*[a-z]*\).*/\1/p' | sort -u; }
problems=$(sed -n '/^\.SH PROBLEMS/,/^\.SH ENV/p' <<<"$page" | sed -n 's/^-/  -/p' | options_of)
verbs=$(convgen --help | sed -n 's/^  \([a-z][a-z]*\)  *.*/\1/p')
[ "$(wc -w <<<"$verbs")" = "$(grep -c '^\.SS convgen' <<<"$page")" ] || fail "the page has other verbs than --help: $verbs"
for verb in $verbs; do
    help=$(convgen "$verb" --help)
    here=$(awk -v verb="$verb" '/^\.S[SH] /{on = $2 == "convgen" && $3 == verb} on' <<<"$page" | sed -n 's/^-/  -/p' | options_of)
    [ -n "$here" ] || fail "the page has no option of $verb"
    all=$here
    ! grep -q '^A PROBLEM' <<<"$help" || all=$(sort -u <<<"$here"$'\n'"$problems")
    if [ "$verb" = emit ]; then # --threads and --target are its own
        own=$(sed -n '1,/^A PROBLEM/p' <<<"$help" | options_of)
        [ "$here" = "$own" ] || fail "emit: the page has $here; --help has $own"
    fi
    [ "$all" = "$(options_of <<<"$help")" ] || fail "$verb: the page has"$'\n'"$all"$'\n'"--help has"$'\n'"$(options_of <<<"$help")"
done
if command -v mandoc >/dev/null; then
    mandoc -Tlint -Wwarning "$build/convgen.1" >"$work/lint" || grep -v 'missing date' "$work/lint" && fail "mandoc finds fault with convgen.1"
else
    echo "skipped: mandoc is not installed"
fi
if command -v groff >/dev/null; then
    complaints=$(LC_ALL=C groff -man -Tascii -ww -z "$build/convgen.1" 2>&1)
    [ -z "$complaints" ] || fail "groff: $complaints"
else
    echo "skipped: groff is not installed"
fi

# ---- the completion ----
. "$build/convgen.bash"
families=$(sed -n 's/^  { name = "\([a-z]*\)", version.*/\1/p' "$source"/gen/space.lua | sort | xargs)
[ "$_convgen_families" = "$families" ] || fail "the families are $families; the completion has $_convgen_families"
touch 'net list.txt' net.txt

# complete WORD...: what stands for the last word.
complete_line() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _convgen; (IFS=' '; echo "${COMPREPLY[*]}"); }
expect() { # EXPECTED WORD...
    local expected=$1; shift
    local got=$(complete_line "$@")
    [ "$got" = "$expected" ] || fail "completing '$*': $got; expected: $expected"
}
expect 'tune' convgen tu
expect '--version' convgen --v
expect "$(xargs <<<"$verbs") --help --version --man --completion" convgen ''
expect '--effort=' convgen tune --ef
expect '--seconds= --store= --src-stride=' convgen tune --s
expect 'measure exhaustive' convgen tune --effort =
expect 'recall' convgen bench --effort = r
expect '--effort=exhaustive' convgen tune --effort=ex
expect 'loop proven 2x 8x' convgen check --accuracy =
expect 'BWD_D BWD_W BWD_WB' convgen tune --dir = BWD
expect 'avx512 avx2' convgen show --target = avx
expect 'avx512,avx2' convgen emit --target = avx512,avx2
expect 'avx512,portable' convgen emit --target = avx512,p
expect 'none openmp' convgen emit --threads =
expect '' convgen tune --threads =
expect '--help --problem= --machine= --all --every= --strict --store= --json list merge export forget verify' convgen records ''
expect 'merge' convgen records m
expect 'net list.txt net.txt' convgen records merge net
expect 'net list.txt net.txt' convgen tune --batch = ne
expect '--batch=net list.txt --batch=net.txt' convgen tune --batch=ne
expect 'net list.txt net.txt' convgen emit net.txt -o ne
expect "$families" convgen show --schedule =
expect 'plain planar' convgen show --schedule = pl
names=$(complete_line convgen bench --dt = f64 --cold mb1ic8ih9oc8kh3 --schedule = direct)
[[ "$names" == direct.p* && $(wc -w <<<"$names") -ge 2 ]] || fail "schedules of a problem: $names"
names=$(complete_line convgen bench --dt = f64 --cold mb1ic8ih9oc8kh3 --schedule =)
[ "$(wc -w <<<"$names")" = "$(convgen show --dt=f64 mb1ic8ih9oc8kh3 --stage=schedules | grep -c '^ *[0-9]')" ] || fail "not all schedules: $names"
bad=$(complete_line convgen bench 'mb1;touch${IFS}harm' '$(touch harm)' --schedule = p)
[[ "$bad" == 'plain planar' && ! -e harm ]] || fail "words of the line were executed, or gave $bad"

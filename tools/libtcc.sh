#!/bin/sh
# libtcc.sh LD OBJCOPY LIBTCC.a OUT.o: libtcc as one object that stands on runtime/compile/libc.c where it would on the C library. All its
# names begin with cg_tcc_, so that a program may have another libtcc beside it.
set -eu
ld=$1 objcopy=$2 library=$3 out=$4
here=$(dirname "$0")
trap 'rm -f "$out.names" "$out.all"' EXIT
sed -n 's/^[A-Z]*(\(.*\))$/\1 cg_tcc_\1/p' "$here/../runtime/compile/libtcc_names.h" >"$out.names"
"$ld" -r -d -T "$here/libtcc.ld" --whole-archive "$library" -o "$out.all"
"$objcopy" --redefine-syms="$out.names" "$out.all"
"$objcopy" --wildcard --keep-global-symbol='cg_tcc_*' "$out.all" "$out"

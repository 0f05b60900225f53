# Every target sets up .venv on its own when pyproject.toml or constraints.txt are newer than it.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/installed
# Processes that the tests run in, each with one thread and some 2 GB of memory.
WORKERS ?= 2
# Ray wants an older cloudpickle than joblib does.
RAY_STAMP := .venv-ray/installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-ray lint bench bench-data bench-training bench-report bench-published counterexample clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv and install invsmooth with what the tests need

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed; set PYTHON to a Python >= 3.11, < 3.14: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## train, attack, certify and report on the bundled photographs (minutes on two cores)
	$(BIN)/python -m invsmooth.train experiment=quickstart

test: lint ## lint, types and all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-fast: $(STAMP) ## the tests but for those marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not slow'

test-ray: $(RAY_STAMP) ## a sweep with launcher=ray, in .venv-ray, an environment of its own
	.venv-ray/bin/python -m pytest tests/sweeps/test_ray.py

$(RAY_STAMP): pyproject.toml constraints.txt constraints-ray.txt
	$(PYTHON) -m venv .venv-ray
	grep -v -e '^cloudpickle==' -e '^python-dateutil==' constraints.txt > .venv-ray/constraints.txt
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-ray/constraints.txt -c constraints-ray.txt \
		-e '.[ray]' pytest pytest-timeout
	@touch $(RAY_STAMP)

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## time certificates against bare forward passes, and the memory settings, side by side
	$(BIN)/python -m tests.benchmarks.certify
	$(BIN)/python -m tests.benchmarks.allocator

bench-data: $(STAMP) ## patches per second, and the share of a training step that waits for them (a minute)
	$(BIN)/python -m tests.benchmarks.loader

bench-training: $(STAMP) ## seconds per training batch of the five algorithms (some ten minutes)
	$(BIN)/python -m tests.benchmarks.training

bench-report: $(STAMP) ## seconds to read, aggregate and report on 500 runs (two minutes)
	$(BIN)/python -m tests.benchmarks.report

bench-published: $(STAMP) ## the certificates of a published ISTA-Net++, and 10 000 attempts to break them: NET=FILE IMAGES=FOLDER (an hour)
	@test -f "$(NET)" -a -d "$(IMAGES)" || { echo "error: give NET=net_params_….pkl and IMAGES=the folder of Set11"; exit 2; }
	$(BIN)/python -m tests.benchmarks.published_mean "$(NET)" "$(IMAGES)"
	$(BIN)/python -m tests.benchmarks.violations "$(NET)" "$(IMAGES)"

counterexample: $(STAMP) ## draw docs/images/counterexample.png
	$(BIN)/python -m tests.benchmarks.counterexample

clean: ## remove .venv, .venv-ray and caches; outputs/ stays
	rm -rf .venv .venv-ray .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

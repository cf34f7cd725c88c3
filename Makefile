# Everything runs inside .venv, which is made (and brought up to date) on demand from constraints.txt.
PYTHON ?= python3
PYTEST_ARGS ?= -n 2
BUDGET ?= cpu
SEED ?= 0
BIN := .venv/bin
OLD_CORE := $(if $(filter x86_64,$(shell uname -m)),Nehalem,ARMV8)
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test tests test-elsewhere lint bench figures theorems fuzz faults atlas rooms clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

$(STAMP): pyproject.toml setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "$(PYTHON) is not Python 3.11 or newer: name one that is, as in make PYTHON=python3.12." >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --no-compile -c constraints.txt -e ".[dev]"
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true # on all cores, which pip does on one; some templates are no code
	@touch $@

demo: $(STAMP) ## a first study: digits through white residual networks, left in demo/
	$(BIN)/resnet-sde study --input digits --law white --depth 10 --depth 100 --depth 1000 \
	  --beta 0.25 --beta 0.5 --beta 1 --width 40 --samples 200 --block res-3 --workers 2 --seed 0 --out demo

lint: $(STAMP) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint tests ## style, types and tests (PYTEST_ARGS="-k datasets" is passed on)

tests: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-elsewhere: $(STAMP) ## the tests as on an old processor, then on one core that another process burns
	ATEN_CPU_CAPABILITY=default OPENBLAS_CORETYPE=$(OLD_CORE) MKL_CBWR=COMPATIBLE \
	  $(BIN)/python -m pytest $(PYTEST_ARGS)
	taskset -c 0 sh -c 'while :; do :; done' & burner=$$!; trap "kill $$burner" EXIT; \
	  taskset -c 0 $(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(STAMP) ## speed and memory beside peers, the naive way and the floor
	$(BIN)/python -m benchmarks

figures: $(STAMP) ## every figure at the budget cpu (or BUDGET=smoke, paper), and the gallery
	$(BIN)/python -m paper_figs all --budget $(BUDGET) --workers 2

theorems: $(STAMP) ## every theorem and its controls at full budget (or with SEED=1), into results/theorems/
	mkdir -p docs/theorems results
	$(BIN)/resnet-sde verify --budget full --controls --workers 2 --seed $(SEED) --out results/theorems \
	  --report results/theorems-seed-$(SEED).html --table docs/theorems/seed-$(SEED).md

fuzz: $(STAMP) ## ten thousand random modules through the depth check, in parts that are kept (20 minutes)
	$(BIN)/python tests/support/depth_fuzz.py --pairs 10000

faults: $(STAMP) ## a thousand faults injected into study, train, verify and figures, in parts that are kept (20 minutes)
	$(BIN)/python tests/support/faults.py results/faults --injections 1000 --planted

atlas: $(STAMP) ## every architecture of the depth atlas, with docs/depth-atlas.md
	$(BIN)/python -m experiments own/depth_atlas --workers 2 --page docs/depth-atlas.md

rooms: $(STAMP) ## docs/house.md, which says where things are
	$(BIN)/python tests/support/rooms.py

clean: ## remove everything that was built, .venv included
	rm -rf .venv build dist demo .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

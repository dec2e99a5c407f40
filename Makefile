# The commands of this repository; `make` alone lists them. No system package is ever installed.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first interpreter of a list which runs (a version manager's shim may not) and is new enough.
first = $(shell for name in $(1); do \
	if "$$name" -c 'import sys, venv; sys.exit(sys.version_info < $(2))' >/dev/null 2>&1; \
	then command -v "$$name"; break; fi; done)

PYTHON ?= $(call first,python3.11 $(HOME)/.pyenv/versions/3.11*/bin/python3.11 python3,(3, 11))
PYTHON_313 ?= $(call first,python3.13 $(HOME)/.pyenv/versions/3.13*/bin/python3.13,(3, 13))

# Options for the command behind a target, such as `make demo ARGS='--scale 1.0'`.
ARGS ?=
# How many seeds the simulation walks; its own default stands in tests/conftest.py.
SEEDS ?=
# Any value: a bench of a minute or two.
SHORT ?=

HASH := $(shell cat pyproject.toml constraints.txt | { sha256sum || shasum -a 256; } | cut -c1-16)
READY := .venv/.ready-$(HASH)
READY_313 := .venv-313/.ready-$(HASH)
SOURCES := $(wildcard comity node clearing cli tests bench tools)
BIN := .venv/bin

.PHONY: help setup demo test test-313 check bench bench-million proto format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## make the environment .venv
	@:

demo: $(READY) ## run a whole network on real data; ARGS are options of `comity demo`
	$(BIN)/comity demo $(ARGS)

test: $(READY) ## run the tests; SEEDS=1000 for a longer simulation, ARGS for pytest
	COMITY_SEEDS=$(SEEDS) $(BIN)/python -m pytest $(ARGS)

test-313: ## run the unit and store tests on Python 3.13, where it is found
ifeq ($(PYTHON_313),)
	@echo "No Python 3.13 was found: set PYTHON_313 to run these tests."
else
	@$(MAKE) $(READY_313)
	.venv-313/bin/python -m pytest -p no:cacheprovider tests/unit tests/store $(ARGS)
endif

check: $(READY) ## format, lint, types, import contracts, protos, generated code and reference
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(if $(wildcard proto/released.binpb),$(BIN)/buf breaking --against proto/released.binpb)
	$(BIN)/python tools/generate.py --check
	$(BIN)/python -m tools.reference --check

bench: $(READY) ## measure, print a table, write bench/results.json; SHORT=1 for a quick one
	$(BIN)/python -m bench $(if $(SHORT),--short) $(ARGS)

bench-million: $(READY) ## rate a million members again, expire a million lots; half an hour or more
	$(BIN)/python -m bench --million retier expiry

proto: $(READY) ## generate comity/v1 from proto/
	$(BIN)/buf format --write
	$(BIN)/python tools/generate.py

format: $(READY) ## format sources and protos, mend what the linter can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/buf format --write

clean: ## remove environments, caches and build results
	rm -rf .venv .venv-313 .gen-venv build dist *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(1): the folder, $(2): the interpreter.
define environment
	@test -n "$(2)" || { echo "Python 3.11 or later is needed: set PYTHON to one." >&2; exit 1; }
	if command -v uv >/dev/null; then \
		test -x $(1)/bin/python || uv venv --quiet --python "$(2)" $(1); \
		uv pip install --quiet --python $(1)/bin/python -c constraints.txt -e '.[demo,dev]'; \
	else \
		"$(2)" -m venv $(1); \
		$(1)/bin/python -m pip install --quiet --disable-pip-version-check \
			-c constraints.txt -e '.[demo,dev]'; \
	fi
	@rm -f $(1)/.ready-*
	@touch $@
endef

$(READY):
	$(call environment,.venv,$(PYTHON))

$(READY_313):
	$(call environment,.venv-313,$(PYTHON_313))

# `make demo` and `make test` are all the set-up there is; both work on a fresh clone with Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
OLDEST_VENV ?= .venv-oldest
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --constraint
INSTALL := $(BIN)/python $(PIP_INSTALL) constraints.txt
OLDEST_TORCH := $(shell sed -n 's/.*"torch>=\([0-9.]*\),.*/\1/p' pyproject.toml).0

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-oldest check format clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the demo needs into $(VENV): about a minute ..."
	$(INSTALL) --editable '.[prepare]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the tests need into $(VENV): about two minutes ..."
	$(INSTALL) --editable '.[dev]'
	@touch $@

demo: $(VENV)/.demo  ## Prepare real text, pre-train a small BERT, export it, fill in masks: about 6 minutes on 2 cores
	@$(BIN)/python -m bert_lightning.demo forecast
	$(BIN)/bert-prepare corpus=demo output_dir=outputs/demo-data tokenizer.vocab_size=8192 validation_fraction=0.1
	$(BIN)/bert-pretrain experiment=demo data.path=outputs/demo-data run_name=demo resume=auto
	$(BIN)/bert-export checkpoint=outputs/demo output_dir=outputs/demo-hf
	$(BIN)/python -m bert_lightning.demo data=outputs/demo-data run=outputs/demo model=outputs/demo-hf

check: $(VENV)/.dev  ## Lint, format check, import contracts, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test: $(VENV)/.dev  ## Every test but the slow ones and those that need a GPU
	$(BIN)/python -m pytest -n auto --maxprocesses 4

test-slow: $(VENV)/.dev  ## The slow tests: many processes, kills, SLURM and two nodes if their packages are installed
	$(BIN)/python -m pytest -m slow

$(OLDEST_VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OLDEST_VENV)
	@echo "Installing torch $(OLDEST_TORCH) and what the tests need into $(OLDEST_VENV): several GB ..."
	sed 's/^torch==.*/torch==$(OLDEST_TORCH)/' constraints.txt > $(OLDEST_VENV)/constraints.txt
	$(OLDEST_VENV)/bin/python $(PIP_INSTALL) $(OLDEST_VENV)/constraints.txt --editable '.[dev]'
	@touch $@

test-oldest: $(OLDEST_VENV)/.dev  ## The tests with the oldest torch that is supported; PYTHON=python3.12 chooses the Python
	$(OLDEST_VENV)/bin/python -m pytest -n auto --maxprocesses 4

format: $(VENV)/.dev  ## Format and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment and what runs have written here
	rm -rf $(VENV) $(OLDEST_VENV) outputs multirun .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

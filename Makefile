# Everything happens in .venv; it is rebuilt only when pyproject.toml or constraints.txt change,
# so a second run of any target needs no network.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed

.PHONY: demo test lint check docs clean

demo: $(STAMP)
	$(BIN)/raytune run studies/digits.yaml --name digits-$$(date +%Y%m%d-%H%M%S)

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(BIN)/python -m pytest -q -m "not ray and not slow and not browser and not gpu"

# The pages that are written by the code itself: the study schema and the command reference.
docs: $(STAMP)
	$(BIN)/raytune schema > studies/study.schema.json
	$(BIN)/python tools/command_reference.py > docs/commands.md

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# torch first and by itself: pip takes whichever build it is pointed at, and nothing later replaces it.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,jobs,gpu]'
	touch $@

# The two commands of this repository: `make demo` and `make test`.
# PYTHON: the interpreter to create the virtual environment with. VENV: where to put it.

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/demo
DEMO ?= munit/shapes
DEMO_ARGS ?=
PYTEST_ARGS ?=

BIN = $(VENV)/bin

.PHONY: demo test lint types install

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# Train a small MUNIT on the built-in synthetic data, translate, score, write a page of results.
demo: install
	rm -rf $(RUN)
	$(BIN)/munit-zoo train $(DEMO) $(DEMO_ARGS) --run $(RUN)
	$(BIN)/munit-zoo samples $(RUN)/config.yaml --domain a --count 6 --out $(RUN)/inputs
	$(BIN)/munit-zoo translate $(RUN) $(RUN)/inputs --to b --styles 8 --same-styles --grid
	$(BIN)/munit-zoo evaluate $(RUN)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 $(PYTEST_ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy munit_zoo

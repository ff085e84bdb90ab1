# Everything a fresh clone needs is two commands: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-slow test-slurm lint clean

# Installs are redone when the project's metadata or the tested versions change.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "fuxi-ens needs Python 3.11 or newer, this is " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	touch $@

demo: $(VENV)/.installed  ## train, forecast and verify on the packaged sample, in minutes
	$(BIN)/fuxi-ens demo

test: $(VENV)/.installed-dev lint  ## the suite without the slow tests
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m 'not slow'

test-slow: $(VENV)/.installed-dev  ## the rest: runs that are killed and resumed, the whole demo
	$(BIN)/python -m pytest -q -m 'slow and not slurm'

test-slurm: $(VENV)/.installed-dev  ## jobs on a SLURM that the tests start themselves; as root, with the packages in .ci/run
	$(BIN)/python -m pytest -q -m slurm

lint: $(VENV)/.installed-dev  ## style, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## remove the environment and what runs wrote
	rm -rf $(VENV) runs

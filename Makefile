# The two commands of the README are `make lab` and `make test`; both set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.factviz-installed
NODE_STAMP := frontend/node_modules/.factviz-installed
QUICKSTART := notebooks/00_quickstart.ipynb
BUNDLES := factviz/views/static

# Spinning OpenMP threads make the small model's forward pass fifty times slower on a busy machine.
export OMP_WAIT_POLICY := passive
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export npm_config_update_notifier := false

.DEFAULT_GOAL := help
.PHONY: help setup lab test test-all lint frontend browser bench constraints

help:
	@echo "make lab       JupyterLab on the quickstart notebook"
	@echo "make test      every check: style, types, imports, front end, tests, browser"
	@echo "make test-all  the same with the slow tests"
	@echo "make lint      style, types and imports only"
	@echo "make bench     time and memory"
	@echo "make setup     only the environment in .venv (the others do it themselves)"

setup: $(STAMP)

# Making the environment again over an old one is harmless, and mends one without pip.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "factviz needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	    "Name another one: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lab,sweep,dev]'
	@touch $@

# Root (in a container, say) has to be let in by name; without a screen nothing can be opened,
# and Jupyter prints the address with its token. `make lab LAB_FLAGS=--ip=0.0.0.0` adds to it.
lab: setup
	@browser=; if [ "$$(uname)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
	  browser=--no-browser; fi; \
	root=; if [ "$$(id -u)" = 0 ]; then root=--allow-root; fi; \
	exec $(BIN)/jupyter lab $$root $$browser --LabApp.default_url=/lab/tree/$(QUICKSTART) $(LAB_FLAGS)

# pytest comes last: its summary is the last line of the run.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: lint frontend browser
	$(PYTEST) -m "not slow"

test-all: lint frontend browser
	$(PYTEST)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

browser: setup
	$(BIN)/python -m tests.browser.chromium

$(NODE_STAMP): frontend/package-lock.json $(STAMP)
	cd frontend && PATH="$(abspath $(BIN)):$$PATH" npm ci --no-audit --no-fund
	@touch $@

# The bundle is committed, so that installing needs no Node; it must be what the sources build.
frontend: $(NODE_STAMP)
	@cd frontend && export PATH="$(abspath $(BIN)):$$PATH" && \
	npm run check && npm run lint && npm test
	@before=$$(cat $(BUNDLES)/* | cksum); \
	(cd frontend && PATH="$(abspath $(BIN)):$$PATH" npm run build) && \
	[ "$$before" = "$$(cat $(BUNDLES)/* | cksum)" ] || { \
	  echo "$(BUNDLES) was not what frontend/ builds; it has been rebuilt, commit it." >&2; exit 1; }

bench: setup
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

constraints: setup
	$(BIN)/python .ci/constraints.py constraints.txt

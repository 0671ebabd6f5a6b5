# What a developer types. A virtual environment is made in .venv; nothing outside this directory is changed.
#   make demo [ARGS=--check]   watch an order go through; --check runs the story once and exits 0 or 1
#   make test [ARGS=…]         the tests, on the embedded PostgreSQL or the one DATABASE_URL names
#   make schedules             ten thousand random schedules of deliveries, crashes and operators (SCHEDULES=…)
#   make screenshots           the README's pictures, taken of the demo in Chromium
#   make lint, make bench, make sql

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
WORKERS ?= 2
SCHEDULES ?= 10000

# What pip could say about a newer pip is of no use here.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test schedules screenshots lint format bench sql clean

demo: $(VENV)/installed-demo
	@$(BIN)/python -m django_hookflow demo $(ARGS)

test: $(VENV)/installed-development
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

schedules: $(VENV)/installed-development
	HOOKFLOW_SCHEDULES=$(SCHEDULES) $(BIN)/python -m pytest -n $(WORKERS) tests/crashes/test_schedules.py $(ARGS)

screenshots: $(VENV)/installed-development
	$(BIN)/python -m tests.browser.screenshots

lint: $(VENV)/installed-development
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/installed-development
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/installed-development
	$(BIN)/python -m benchmarks $(ARGS)

sql: $(VENV)/installed-development
	$(BIN)/python -m migrations_sql $(ARGS)

clean:
	rm -rf $(VENV) .demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Installing again when pyproject.toml changes is quick when nothing in it did.
$(VENV)/installed-demo: pyproject.toml $(VENV)/ready
	@echo "Installing the demo into $(VENV) (once) …"
	@$(BIN)/python -m pip install --quiet --editable ".[demo]"
	@touch $@

# pip knows dependency groups from 25.1 on; a new environment may bring an older one.
$(VENV)/installed-development: pyproject.toml $(VENV)/ready
	@echo "Installing what tests and linters need into $(VENV) (once) …"
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --editable . --group test --group lint
	@touch $@

$(VENV)/ready:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "$(PYTHON) was not found: install Python 3.10 or later (Debian, Ubuntu: apt-get install python3 python3-venv;" \
	    "macOS: brew install python), or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is older than Python 3.10: install a later one, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv and pip" \
	    "(Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

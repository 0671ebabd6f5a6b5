# What a developer types. A virtual environment is made in .venv; nothing outside this directory is changed.
#   make demo [ARGS=--check]   watch an order go through; --check runs the story once and exits 0 or 1
#   make test [ARGS=…]         the tests, on the embedded PostgreSQL or the one DATABASE_URL names: some minutes
#   make test-all [ARGS=…]     those and the slow ones: crashes, random schedules, environments, a browser, packaging
#   make schedules             ten thousand random schedules of deliveries, crashes and operators (SCHEDULES=…)
#   make screenshots           the README's pictures, taken of the demo in Chromium
#   make sql [ARGS=--check]    migrations as plain SQL, and what they install, object by object
#   make lint, make bench

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
WORKERS ?= 2
# A worker that has nothing left takes over half of what the other has: tests of one module stay together until then.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
SCHEDULES ?= 10000

# What pip could say about a newer pip is of no use here.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# As images of containers have it. Tests start hundreds of processes, and each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all schedules screenshots lint format bench sql clean

demo: $(VENV)/installed-demo
	@$(BIN)/python -m django_hookflow demo $(ARGS)

test: $(VENV)/installed-development
	$(PYTEST) -m "not slow" $(ARGS)

# Of several -m the last counts: with ARGS="-m slow" it runs what `make test` leaves out.
test-all: $(VENV)/installed-development
	$(PYTEST) $(ARGS)

schedules: $(VENV)/installed-development
	HOOKFLOW_SCHEDULES=$(SCHEDULES) $(PYTEST) tests/crashes/test_schedules.py $(ARGS)

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
	$(BIN)/python -m migrations_sql --installed $(ARGS)

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

# Every target makes what it needs: a fresh machine has Python 3.11 or later, and no more.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: test lint check coverage demo example bench venv clean

venv: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# The example's services are an installable package of their own. The second command makes matplotlib
# look for the fonts of this machine now, which takes seconds, and not when a service starts.
example: $(VENV)/.example
$(VENV)/.example: $(VENV)/.installed examples/dataquality/pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e 'examples/dataquality[demo]'
	$(BIN)/python -c 'import matplotlib.font_manager'
	touch $@

demo: example
	$(BIN)/python examples/demo.py

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint example
	$(BIN)/pytest

check: test

# First what the tests without processes reach of the decisions (modules marked as pure in the maps of their
# rooms), which must be nearly all of it; then what all tests reach, forked workers included.
DECISIONS := config/*,protocol/*,supervision/lifecycle.py,supervision/restart.py,supervision/roster.py,$\
	supervision/instances.py,supervision/rolling.py,supervision/workers.py,supervision/watches.py,$\
	supervision/slots.py,relay/ledger.py,relay/dispatch.py,relay/requests.py,control/commands.py,$\
	control/targets.py,control/report.py,control/letters.py,control/roles.py,client/drawing.py,client/table.py
comma := ,
coverage: example
	$(BIN)/coverage erase
	$(BIN)/pytest -q --cov --cov-report= tests/unit tests/machines
	$(BIN)/coverage report --skip-covered --fail-under=95 \
		--include='zocalo_daemon/$(subst $(comma),$(comma)zocalo_daemon/,$(DECISIONS))'
	$(BIN)/pytest -q --cov --cov-append --cov-report=term:skip-covered --ignore=tests/unit --ignore=tests/machines

clean:
	rm -rf $(VENV) demo-output build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

bench: venv
	$(BIN)/python -m benchmarks

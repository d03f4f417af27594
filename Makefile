# Every target makes what it needs: a fresh machine has Python 3.11 or later, and no more.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: test test-systemd beside lint check coverage demo example bench deb rpm binary compiled venv clean

venv: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[dev]'
	touch $@

# pip compiles what it installs; this checkout is run in place, and where Python may not write (or is told not to:
# PYTHONDONTWRITEBYTECODE) every process would compile it again, which takes longer than all else at its start.
# editable_mode=compat above is for the same reason: a path, and not a finder that each start has to import.
compiled: venv
	$(BIN)/python -m compileall -q zocalo_daemon

# The example's services are an installable package of their own. The second command makes matplotlib
# look for the fonts of this machine now, which takes seconds, and not when a service starts.
example: $(VENV)/.example
$(VENV)/.example: $(VENV)/.installed examples/dataquality/pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat \
		-e 'examples/dataquality[demo]'
	$(BIN)/python -c 'import matplotlib.font_manager'
	touch $@

demo: example compiled
	$(BIN)/python examples/demo.py

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd packaging && $(abspath $(BIN))/mypy --config-file ../pyproject.toml *.py
	$(BIN)/lint-imports

# Tests wait more than they work, so that two files at a time take half as long; a broker is started for each.
test: lint example compiled
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

# The daemon and zocalo installed side by side, and processes of both on the same brokers. The environment of its own
# shows that all the rest needs no zocalo.
BESIDE := $(VENV)-beside
beside: $(BESIDE)/.installed
	$(BESIDE)/bin/python -m compileall -q zocalo_daemon
	$(BESIDE)/bin/pytest -n 2 --dist loadfile tests/beside $(PYTEST)
$(BESIDE)/.installed: pyproject.toml
	$(PYTHON) -m venv $(BESIDE)
	$(BESIDE)/bin/pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e '.[beside]'
	touch $@

check: test

# As root, with Python 3.11, which is the one of the Debian tree that is booted. The first run makes that tree, within a minute.
# A test waits for the packages that it installs to be built.
test-systemd: venv compiled
	$(BIN)/python -m tests.systemd.tree
	$(BIN)/pytest --timeout=400 tests/systemd

# deb and rpm are for the version of Python that PYTHON is, which the target system must have; the binary is for all.
# docs/installation.md says what they contain.
deb rpm binary: venv
	$(BIN)/python packaging/build.py dist $@

bench: compiled
	$(BIN)/python -m benchmarks

# First what the tests without processes reach of the decisions (modules marked as pure in the maps of their
# rooms), which must be nearly all of it; then what all tests reach, forked workers included.
DECISIONS := config/*,protocol/*,supervision/lifecycle.py,supervision/restart.py,supervision/roster.py,$\
	supervision/instances.py,supervision/rolling.py,supervision/workers.py,supervision/watches.py,$\
	supervision/slots.py,relay/ledger.py,relay/dispatch.py,relay/requests.py,control/commands.py,$\
	control/targets.py,control/report.py,control/letters.py,control/roles.py,client/drawing.py,$\
	client/runs.py,client/table.py,definitions/items.py,definitions/plan.py,doctor/findings.py,doctor/judging.py,wrapper/ways.py
comma := ,
coverage: example
	$(BIN)/coverage erase
	$(BIN)/pytest -q --cov --cov-report= tests/unit tests/machines
	$(BIN)/coverage report --skip-covered --fail-under=95 \
		--include='zocalo_daemon/$(subst $(comma),$(comma)zocalo_daemon/,$(DECISIONS))'
	$(BIN)/pytest -q --cov --cov-append --cov-report=term:skip-covered --ignore=tests/unit --ignore=tests/machines

clean:
	rm -rf $(VENV) $(BESIDE) demo-output build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
# Every target makes what it needs: a fresh machine has Python 3.11 or later, and no more.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: test lint check demo example bench venv clean

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

clean:
	rm -rf $(VENV) demo-output build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

bench: venv
	$(BIN)/python -m benchmarks

# Every target does its own set-up: on a fresh clone, `make demo` or `make test` is all it takes.
PYTHON ?= python3
BIN := .venv/bin
# Tests at once: on two cores three, as many of them wait for processes.
WORKERS ?= 3
READY := .venv/.installed

.PHONY: demo test check docs bench install

demo: $(READY)
	$(BIN)/lightmem demo

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog -I scripts --check --diff README.md

docs: $(READY)
	$(BIN)/cog -I scripts -r README.md

bench: $(READY)
	set -e; for script in scripts/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

install: $(READY)

$(READY): pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

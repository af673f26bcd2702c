# Every target does its own set-up: on a fresh clone, `make demo` or `make test` is all it takes.
PYTHON ?= python3
BIN := .venv/bin
# Tests at once: on two cores three, as many of them wait for processes.
WORKERS ?= 3
READY := .venv/.installed

# The one version that is chosen by hand: a plain `torch` pulls several gigabytes of CUDA packages on Linux.
TORCH := torch==2.13.0
# constraints.txt holds all that is installed, and what it is built with: older pips read the first, newer ones both.
LOCKED := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt
PIP := -m pip --disable-pip-version-check --quiet

# What `make newest` tests, and what `make lowest` does: together these files use every dependency.
SUITE ?= tests
SMOKE ?= $(addprefix tests/test_, smoke.py packaging.py layers.py profiles.py doctor.py extract_rules.py times.py \
	segment_cli.py compress_words.py compress_entropy.py compress_llmlingua2.py token_pass.py word_index.py \
	vector_index.py embed_onnx.py embed_sentence_transformer.py local_models.py llm_patience.py llm_ollama.py \
	llm_openai.py llm_transformers.py)

.PHONY: demo test check docs bench install lock newest lowest

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
	$(LOCKED) $(BIN)/python $(PIP) install -e '.[dev]'
	touch $@

# Writes constraints.txt anew, with what is newest today.
lock:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python scripts/lock.py $(TORCH)

# Tests what somebody gets who installs today, in an environment of its own that is made anew each time.
newest:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python $(PIP) install $(TORCH) -e '.[dev]'
	.venv-newest/bin/python -m pip list | grep -E '^(transformers|onnxruntime|typer) '
	.venv-newest/bin/python -m pytest -n $(WORKERS) --dist worksteal $(SUITE)

# Uses everything at the lowest versions that pyproject.toml allows, in an environment of its own, made anew each time.
lowest:
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python $(PIP) install packaging
	.venv-lowest/bin/python scripts/floors.py torch > .venv-lowest/floors.txt
	PIP_CONSTRAINT=.venv-lowest/floors.txt PIP_BUILD_CONSTRAINT=.venv-lowest/floors.txt \
		.venv-lowest/bin/python $(PIP) install $(TORCH) -e '.[dev]'
	.venv-lowest/bin/python -m pytest -n $(WORKERS) --dist worksteal $(SMOKE)

# make demo            build, install, recognise a clip and write its results into demo-output/
# make demo CLIP=FILE  the same for a clip of your own
# make test            build, install with what the tests need, and run them
# make lint            formatting, static analysis and types
# make bench           measure the ops on this machine; PART=models, pipeline, accuracy or all for the rest

PYTHON ?= python3
VENV   ?= .venv
CLIP   ?=
OUT    ?= demo-output
PART   ?= ops

# Whatever ends up in the wheel; a change of any of it reinstalls.
SOURCES := $(shell git ls-files -- pyproject.toml CMakeLists.txt README.md csrc pyemo plugins benchmarks 2>/dev/null)

.PHONY: demo test lint bench clean

demo: $(VENV)/installed
	$(VENV)/bin/pyemo demo $(if $(CLIP),"$(CLIP)") --out "$(OUT)"

test: $(VENV)/installed-dev
	$(VENV)/bin/pytest tests

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	git ls-files 'csrc/*.h' 'csrc/*.cc' 'csrc/*.cu' 'csrc/*.cuh' 'tests/*.h' 'tests/*.cc' | xargs $(VENV)/bin/clang-format --dry-run --Werror

bench: $(VENV)/installed-dev
	$(VENV)/bin/pyemo bench $(PART)

$(VENV)/installed: $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install .
	touch $@

$(VENV)/installed-dev: $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build demo-output

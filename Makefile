# make demo            build, install, recognise a clip and write its results into demo-output/
# make demo CLIP=FILE  the same for a clip of your own
# make test            build, install with what the tests need, and run them
# make lint            formatting, static analysis and types
# make sanitize        the kernels of every instruction set on random problems, under sanitizers; PROBLEMS=500 SEED=3
# make bench           measure the ops on this machine; PART=models, pipeline, accuracy or all for the rest

PYTHON ?= python3
VENV   ?= .venv
CLIP   ?=
OUT    ?= demo-output
PART   ?= ops
PROBLEMS ?= 100
SEED   ?= 1

# Whatever ends up in the wheel; a change of any of it reinstalls.
SOURCES := $(shell git ls-files -- pyproject.toml CMakeLists.txt cmake README.md csrc pyemo plugins benchmarks 2>/dev/null)

.PHONY: demo test lint sanitize bench clean

demo: $(VENV)/installed
	$(VENV)/bin/pyemo demo $(if $(CLIP),"$(CLIP)") --out "$(OUT)"

test: $(VENV)/installed-dev
	$(VENV)/bin/pytest tests

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	git ls-files 'csrc/*.h' 'csrc/*.cc' 'csrc/*.cu' 'csrc/*.cuh' 'tests/*.h' 'tests/*.cc' | xargs $(VENV)/bin/clang-format --dry-run --Werror

sanitize:
	cmake -S tests/sanitize -B build/sanitize
	cmake --build build/sanitize --parallel $$(nproc)
	build/sanitize/sanitize --problems $(PROBLEMS) --seed $(SEED)

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

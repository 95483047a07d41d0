# make book [FRESH=1] · make test · make verify · make lint · make install · make notebooks · make bench
# Each makes the virtual environment itself when it is missing or older than pyproject.toml.
# With an environment of your own (conda): make book VENV= PYTHON=python

VENV   ?= .venv
PYTHON ?= $(VENV)/bin/python
STAMP  := $(if $(VENV),$(VENV)/.installed)
BIN    := $(if $(VENV),$(VENV)/bin/)

# Kernels are forked from a process that has loaded the library: lmc_lib/cli/forked.py.
export JUPYTER_DEFAULT_PROVISIONER_NAME := lmc-forked

# Two notebooks run at a time, and threads of torch that wait for each other keep a core busy: the guides took ten times
# the processor time with two threads each on two cores. The digits do not depend on it.
export OMP_NUM_THREADS ?= 1

.PHONY: book test verify lint install notebooks bench
.DEFAULT_GOAL := book

book: $(STAMP)
	PYTHONPATH=book$${PYTHONPATH:+:$$PYTHONPATH} $(PYTHON) -m builder $(if $(FRESH),--fresh)

# The notebooks run first, on an empty store of their own, so that their digits are computed, not replayed. The tests then
# compare the records that ship with that store. Two notebooks at a time with one process each need less time than one with two.
test: $(STAMP)
	store=$$(mktemp -d); \
	LMC_STORE=$$store LMC_WORKERS=1 $(PYTHON) -m pytest -c notebooks/pytest.ini --nbval --nbval-current-env -n 2 \
	  --dist loadfile notebooks && \
	LMC_QUICK_STORE=$$store $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder; \
	code=$$?; rm -rf "$$store"; exit $$code

# A few records computed anew and compared, in about a minute; `make test` does so with all of the quick scale.
verify: $(STAMP)
	$(BIN)lmc verify --all

install: $(STAMP)

lint: $(STAMP)
	$(BIN)ruff format --check .
	$(BIN)ruff check .
	$(BIN)ruff check --preview --select PLW1514 lmc_lib book/builder book/_ext notebooks/refresh.py  # texts are UTF-8 everywhere
	$(BIN)mypy
	$(BIN)lint-imports

notebooks: $(STAMP)
	$(PYTHON) notebooks/refresh.py

bench: $(STAMP)
	for program in benchmarks/*.py; do $(PYTHON) $$program --json results/$$(basename $$program .py).json || exit 1; done

$(STAMP): pyproject.toml
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable ".[book,dev,cluster]"
	touch $@

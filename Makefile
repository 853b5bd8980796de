# The lab's commands.  Each installs what it needs into .venv first, once.   make PYTHON=python3.12 … names another Python.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run test check lab notebooks html student grade bench lock clean

PYTHON ?= python3
# What is handed on to the command: make run ARGS="--profile smoke", make test ARGS="-k schedules -x"
ARGS ?=
# Parallel test processes, one thread each
JOBS ?= 2
# make setup V=1 shows the installer's own output
V ?=

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
QUIET := $(if $(V),,--quiet)
NOTEBOOKS = $(wildcard notebooks/*.ipynb)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(READY)  ## install into .venv and nothing else; done again only when requirements.lock or pyproject.toml changes
	@echo "$(VENV) is ready"

run: $(READY)  ## make a synthetic dance, train, validate and test: table, grade, GIFs in outputs/
	@$(PY) -m labutils run $(ARGS)

test: $(READY)  ## unit, notebook and browser tests, in one go
	@LAB_PROFILE=smoke OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile \
	    $(if $(NOTEBOOKS),--nbval-lax --nbval-current-env --nbval-cell-timeout=600) $(wildcard tests) $(NOTEBOOKS) $(ARGS)

check: $(READY)  ## ruff, format, types, unit tests: what to run while working, about a minute
	@$(VENV)/bin/ruff check --quiet . && $(VENV)/bin/ruff format --quiet --check . && $(VENV)/bin/mypy
	@LAB_PROFILE=smoke OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(JOBS) -m "not browser and not slow" $(ARGS) tests

lab: $(READY)  ## open JupyterLab
	@$(PY) -m jupyterlab $(ARGS)

notebooks: $(READY)  ## run the notebooks and store their outputs (ARGS="3 4": only these, ARGS=--check: look only)
	@$(PY) -m labutils notebooks $(ARGS)

html: $(READY)  ## the notebooks as static pages in site/, widgets alive, no network needed
	@$(PY) -m labutils html $(ARGS)

student: $(READY)  ## the folder to hand out, in student/: notebooks without solutions
	@$(PY) -m labutils student $(ARGS)

grade: $(READY)  ## grade submissions: make grade ARGS="submissions --out grades.csv"
	@$(PY) -m labutils grade $(ARGS)

bench: $(READY)  ## measure the course's way of training beside ours
	@$(PY) -m labutils bench $(ARGS)

lock: $(READY)  ## choose newer versions for requirements.lock
	@$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --upgrade --extra dev \
	    --no-header --no-annotate --output-file requirements.lock pyproject.toml

clean:  ## remove .venv, outputs and caches; data sets stay
	@rm -rf $(VENV) outputs site student build dist *.egg-info .pytest_cache .ruff_cache
	@find $(wildcard labutils tests notebooks) -name __pycache__ -prune -exec rm -rf {} + -o -name .ipynb_checkpoints -prune -exec rm -rf {} +

# About 5.5 GB on disk.  uv fetches and unpacks four times as fast as pip, and writes the bytecode that saves seconds at each start.
$(READY): requirements.lock pyproject.toml
	@version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=none; \
	case "$$version" in 3.11|3.12|3.13) ;; *) \
	    echo "error: this lab needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is $$version." >&2; \
	    echo "       Install one and name it: make setup PYTHON=python3.12" >&2; exit 1;; esac
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "error: '$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PY) -c '' 2>/dev/null || { \
	    echo "Creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing requirements.lock into $(VENV) (2.6 GB to fetch: half a minute on a fast line, minutes on a slow one)"
	@export PIP_DISABLE_PIP_VERSION_CHECK=1; start=$$SECONDS; \
	if $(PY) -m pip install $(QUIET) uv \
	   && $(PY) -m uv pip install $(QUIET) --python $(PY) --compile-bytecode -r requirements.lock \
	   && $(PY) -m uv pip install $(QUIET) --python $(PY) --no-deps -e .; then :; \
	else \
	    echo "uv did not work here; installing with pip, which takes longer"; \
	    $(PY) -m pip install $(QUIET) -r requirements.lock; \
	    $(PY) -m pip install $(QUIET) --no-deps -e .; \
	fi; \
	touch $@; echo "Installed in $$((SECONDS - start)) s"

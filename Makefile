# Set-up and checks. Needs Python >= 3.11 with venv and pip, and a shell; a C++ compiler is welcome, not necessary.
#
#   make demo           install into .venv, relax and run ethanol with the shipped model: results in ./demo
#   make test           install with the test extra, run the fast tests
#   make test-slow      the physics tests as well (minutes)
#   make test-cluster   add torch-cluster (compiles for ten minutes the first time), test every neighbour back end
#   make lint           ruff and mypy --strict
#   make docs           the site of docs/, into build/site; warnings and dead links are errors
#   make clean          remove the environment and what was built
#
# On Linux without an NVIDIA GPU only a CPU build of torch is accepted, never the CUDA libraries (several GB). Where pip's usual sources
# hold none, name the CPU wheel index that PyTorch's installation page shows, once:   make test TORCH_INDEX_URL=...
# (Leaving out torch's CUDA dependencies instead, with --no-deps, does not help: a CUDA build does not import without them.)

VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
WORKERS ?= auto
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(VENV)/bin/python -m pytest

TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
HAS_GPU := $(shell nvidia-smi -L 2>/dev/null | grep -c GPU)
ifeq ($(shell uname -s)-$(HAS_GPU),Linux-0)
TORCH ?= torch==$(TORCH_VERSION)+cpu
else
TORCH ?= torch==$(TORCH_VERSION)
endif
TORCH_SOURCE := $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))

# A second busy process makes waiting OpenMP threads spin, and a step fifty times slower.
export OMP_WAIT_POLICY ?= PASSIVE

PACKAGE := pyproject.toml setup.cfg setup.py constraints.txt $(wildcard potentials/ops/native/* polcalc/engines/native/cpp/*)

.PHONY: demo test test-slow test-cluster lint docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/.core
	$(VENV)/bin/python -m md_runs.demo

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(PYTEST) -n $(WORKERS) --maxprocesses 4

test-slow: $(VENV)/.test
	OMP_NUM_THREADS=1 $(PYTEST) -n $(WORKERS) --maxprocesses 4 -m "slow or not slow"

test-cluster: $(VENV)/.cluster
	$(VENV)/bin/python -c "import torch_cluster"
	OMP_NUM_THREADS=1 $(PYTEST) -k "neighbor or pairs"

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs --quiet build --strict
	@echo "The site is build/site/index.html"

clean:
	rm -rf $(VENV) build dist *.egg-info potentials/ops/*.so polcalc/engines/native/*.so

# ---- the environment, one stamp per stage -------------------------------------------------------------------------------------------

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "make: Python >= 3.11 with venv and pip is needed; name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: $(VENV)/bin/python constraints.txt
	@echo "Installing $(TORCH)"
	@$(PIP) $(TORCH_SOURCE) -c constraints.txt "$(TORCH)" || { \
		echo "make: no $(TORCH) among pip's sources. Name the CPU wheel index of PyTorch's installation page, TORCH_INDEX_URL=...," >&2; \
		echo "make: or accept the default build with its CUDA libraries, several GB: TORCH=torch==$(TORCH_VERSION)" >&2; exit 1; }
	@touch $@

KERNELS = $(VENV)/bin/python -c "from importlib.util import find_spec as find; \
	print('Compiled kernels:', ', '.join(n for n in ('potentials.ops._kernels', 'polcalc.engines.native._native') if find(n)) or 'none, pure Python')"

$(VENV)/.core: $(VENV)/.torch $(PACKAGE)
	@echo "Installing polcalc"
	@$(PIP) -c constraints.txt -e .
	@$(KERNELS)
	@touch $@

$(VENV)/.test: $(VENV)/.torch $(PACKAGE)
	@echo "Installing polcalc and what its tests need"
	@$(PIP) -c constraints.txt -e ".[test]"
	@$(PIP) -c constraints.txt --no-deps auto3d  # its networks label closed shells; the rest of it is not needed
	@$(KERNELS)
	@touch $@ $(VENV)/.core

$(VENV)/.docs: $(VENV)/.core
	@echo "Installing what the site needs"
	@$(PIP) -c constraints.txt -e ".[docs]"
	@touch $@

$(VENV)/.cluster: $(VENV)/.test
	@echo "Installing torch-cluster; the first time it compiles for about ten minutes"
	@$(PIP) -c constraints.txt setuptools wheel pybind11
	@$(PIP) -c constraints.txt --no-build-isolation -e ".[cluster]"
	@touch $@

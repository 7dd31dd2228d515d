# Everything here needs only `make` and a `python3` of 3.11 or later; the rest is installed, pinned by hash, into
# environments beside this file:
#   .venv       the service on ONNX Runtime for CPUs
#   .venv-cuda  the service on ONNX Runtime for NVIDIA GPUs: both engines have one import name, so never both in one
#   .venv-dev   everything: service, training, tests and linters. Apart, so that the service never sees torch.
#   .venv-bench  the servers that `make bench` measures beside ours.

PYTHON ?= python3
HOST   ?= 127.0.0.1
PORT   ?= 8000
DEVICE ?= auto
PRECISION ?= auto
ARGS   ?=

ifeq ($(filter $(DEVICE),auto cpu cuda),)
  $(error DEVICE is '$(DEVICE)'; allowed are auto, cpu and cuda)
endif

ifeq ($(filter $(PRECISION),auto fp32 int8 fp16),)
  $(error PRECISION is '$(PRECISION)'; allowed are auto, fp32, int8 and fp16)
endif

SERVE_ENV := $(if $(filter cuda,$(DEVICE)),.venv-cuda,.venv)
DEV_ENV   := .venv-dev
SERVE_PY  := $(SERVE_ENV)/bin/python
DEV_PY    := $(DEV_ENV)/bin/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test lint format bench pins clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

serve: $(SERVE_ENV)/.installed ## serve the shipped models; HOST=127.0.0.1 PORT=8000 DEVICE=auto|cpu|cuda PRECISION=auto|fp32|int8|fp16
	@exec $(SERVE_PY) -m service --host $(HOST) --port $(PORT) --device $(DEVICE) --precision $(PRECISION) $(ARGS)

# A process for each CPU, each with one thread: two tests then run at a time, not two threads of one. Who has run out of
# tests takes some of another's, or the last long file would be waited for.
test: $(DEV_ENV)/.installed ## run all tests; ARGS="-k attack -x"
	@OMP_NUM_THREADS=1 $(DEV_PY) -m pytest -n auto --dist worksteal $(ARGS)

lint: $(DEV_ENV)/.installed ## ruff, format check, mypy --strict
	@$(DEV_PY) -m ruff check .
	@$(DEV_PY) -m ruff format --check .
	@$(DEV_PY) -m mypy

format: $(DEV_ENV)/.installed ## let ruff mend what it can
	@$(DEV_PY) -m ruff check --fix-only --quiet .
	@$(DEV_PY) -m ruff format .

# What it measures beside us may be impossible to install here: then it says so, and measures the others.
bench: $(SERVE_ENV)/.installed $(DEV_ENV)/.installed ## ours beside other servers, and in process; ARGS="--rounds 1 --seconds 1"
	@$(MAKE) --no-print-directory .venv-bench/.installed || echo "the peers' environment could not be installed" >&2
	@PURIFIER_DEVICE=$(DEVICE) PURIFIER_PRECISION=$(PRECISION) $(DEV_PY) -m tests.benchmarks --service-python $(SERVE_PY) $(ARGS)

clean: ## remove the environments and caches
	rm -rf .venv .venv-cuda .venv-dev .venv-bench .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find service training tests -type d -name __pycache__ -prune -exec rm -rf {} +

# --- environments -----------------------------------------------------------------------------------------------
# `.installed` is touched last: an interrupted or failed install leaves none (or one older than its pins), and the
# next `make` resumes. `uv pip sync` also removes what is no longer pinned. uv and not pip, because pip mixes local
# wheel folders into its choice, and torchvision fits only the torch build of the same index.

REQUIREMENTS_.venv      := requirements/serve.txt
REQUIREMENTS_.venv-cuda := requirements/serve-cuda.txt
REQUIREMENTS_.venv-dev  := requirements/dev.txt
REQUIREMENTS_.venv-bench := tests/benchmarks/requirements.txt

define CHECK_PYTHON
import sys
if sys.version_info < (3, 11):
    sys.exit("%s is Python %d.%d; 3.11 or later is needed: make PYTHON=python3.12 ..." % ((sys.executable,) + sys.version_info[:2]))
try:
    import ensurepip, venv
except ImportError as error:
    sys.exit("%s cannot create environments (%s). On Debian and Ubuntu: apt-get install python3-venv" % (sys.executable, error))
endef
export CHECK_PYTHON

.venv/.installed: requirements/serve.txt
.venv-cuda/.installed: requirements/serve-cuda.txt
.venv-dev/.installed: requirements/dev.txt
.venv-bench/.installed: tests/benchmarks/requirements.txt

.venv/.installed .venv-cuda/.installed .venv-dev/.installed .venv-bench/.installed: requirements/uv.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; Python 3.11 or later is needed" >&2; exit 1; }
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@rm -f $@
	@echo "Installing $(REQUIREMENTS_$(@D)) into $(@D) ..."
	@$(@D)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(@D)/bin/python -m uv pip sync --quiet --python $(@D)/bin/python --require-hashes $(REQUIREMENTS_$(@D))
	@touch $@

# Resolves pyproject.toml again. Pins that still fit are kept; `make pins ARGS=--upgrade` takes the newest. The
# service gets the versions that the tests ran with, hence dev.txt as a constraint.
COMPILE := $(DEV_PY) -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-annotate --no-emit-index-url --custom-compile-command "make pins"

pins: $(DEV_ENV)/.installed ## resolve the requirements again; ARGS=--upgrade for the newest
	$(COMPILE) $(ARGS) pyproject.toml --extra cpu --extra training --extra loadtest --extra otel --extra scale --group dev -o requirements/dev.txt
	$(COMPILE) $(ARGS) pyproject.toml --extra cpu -c requirements/dev.txt -o requirements/serve.txt
	$(COMPILE) $(ARGS) pyproject.toml --extra cuda -c requirements/dev.txt -o requirements/serve-cuda.txt
	$(COMPILE) $(ARGS) pyproject.toml --extra scale -c requirements/dev.txt -o requirements/scale.txt
	$(COMPILE) $(ARGS) tests/benchmarks/requirements.in -o tests/benchmarks/requirements.txt
	$(COMPILE) $(ARGS) requirements/uv.in -o requirements/uv.txt

# What you can do here; `make` alone lists it. Every target sets up .venv first if it has to.
# Needs a POSIX shell, make, a Python 3.10 or later, and PyPI.
.DEFAULT_GOAL := help
.PHONY: help setup beam-jars airflow kfp run test test-fast lint format lock bench

# What the environment is made from. Its checksum is in the stamp's name, so the environment is
# brought up to date when the content changes, whatever a checkout does to the files' times.
INSTALLED_FROM := requirements/lock.txt requirements/bootstrap.txt setup.py
CHECKSUM := $(shell { cat $(INSTALLED_FROM); pwd; } | cksum | cut -d ' ' -f 1)
# A virtual environment whose Python is gone is no environment, whatever the stamp says.
BROKEN := $(shell test -x .venv/bin/python || echo -broken)
STAMP := .venv/stamp-$(CHECKSUM)
BIN := .venv/bin

# The two Airflows that tests run DAG files on, each in an environment of its own, kept likewise.
airflow_stamp = .venv-airflow$(1)/stamp-$(shell { cat requirements/airflow-$(1).txt \
    requirements/bootstrap.txt; pwd; } | cksum | cut -d ' ' -f 1)$(shell \
    test -x .venv-airflow$(1)/bin/python || echo -broken)
AIRFLOWS := $(call airflow_stamp,3) $(call airflow_stamp,2)
# The Kubeflow Pipelines SDK that tests load compiled pipelines with.
KFP := .venv-kfp/stamp-$(shell { cat requirements/kfp.txt requirements/bootstrap.txt; pwd; } | \
    cksum | cut -d ' ' -f 1)$(shell test -x .venv-kfp/bin/python || echo -broken)

# The tests' workers. Each holds TensorFlow (about 1.5 GB).
JOBS ?= 2
# More for pytest, for instance: make test PYTEST_ARGS='-k taxi'
PYTEST_ARGS ?=

help: ## list what make can do
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | \
	    awk -F '|' '{ printf "%-18s%s\n", $$1, $$2 }'

$(STAMP)$(BROKEN):
	@python=$$(PYTHON='$(PYTHON)' sh tools/find_python.sh) && \
	    rm -f $(STAMP) && "$$python" tools/setup_env.py $(STAMP)

setup: $(STAMP)$(BROKEN) ## make the environment in .venv (the other targets do it themselves)
	@:

$(AIRFLOWS):
	@python=$$(PYTHON='$(PYTHON)' sh tools/find_python.sh) && \
	    rm -f $(@:-broken=) && "$$python" tools/setup_airflow.py $(@:-broken=)

$(KFP):
	@python=$$(PYTHON='$(PYTHON)' sh tools/find_python.sh) && \
	    rm -f $(@:-broken=) && "$$python" tools/setup_kfp.py $(@:-broken=)

kfp: $(KFP) ## make .venv-kfp, for the tests of compiled Vertex and Kubeflow pipelines
	@:

airflow: $(AIRFLOWS) ## make .venv-airflow3 and .venv-airflow2, for the tests of DAG files
	@:

run: setup ## the main job: raw taxi data to a model that answers requests
	@$(BIN)/assay demo

test: setup airflow kfp beam-jars lint ## lint, then every test (half an hour on 2 cores)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

test-fast: setup ## the quick tests (under 3 minutes)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'not slow' $(PYTEST_ARGS)

beam-jars: setup ## fetch Flink, Spark and Beam's job servers, once, for the tests (about 900 MB)
	@$(BIN)/python tools/beam_jars.py

lint: setup ## style, types, import rules, and whether generated files are fresh
	@$(BIN)/python tools/lint.py

format: setup ## format the code, and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only . && $(BIN)/ruff format .

lock: ## make the locks in requirements/ from their inputs (LOCK_ARGS=--upgrade: newest releases)
	@python=$$(PYTHON='$(PYTHON)' sh tools/find_python.sh) && \
	    UV=$$("$$python" tools/bootstrap_uv.py) && export UV && \
	    "$$python" tools/lock.py $(LOCK_ARGS)

bench: setup ## the benchmarks of the README, side by side with TFX's own pipeline
	@$(BIN)/python benchmarks/taxi_dag.py

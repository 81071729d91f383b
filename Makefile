# Every target does the set-up it needs: `make reproduce` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# "owner/name" on GitHub, for the links of the documentation that open a walkthrough on Colab or Binder.
REPOSITORY ?=

.DEFAULT_GOAL := help
.PHONY: help setup reproduce reference test quick lint format notebooks lab docs clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv and install ovss with the versions in constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ovss needs Python 3.11 or newer; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,cluster,app,coco,geo,heic,docs]'
	touch $@

reproduce: $(STAMP) ## run the study on the embedded model and build reports/run/tiny/index.html
	$(BIN)/ovss reproduce

reference: $(STAMP) ## for maintainers: write the reference run in reports/tiny anew, and the README's results
	$(BIN)/ovss reproduce --out reports/tiny
	$(BIN)/ovss report reports/tiny --readme README.md

test: $(STAMP) lint ## lint, type-check and run every test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

quick: $(STAMP) ## the tests that need less than three minutes in all
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m 'not slow'

lint: $(STAMP) ## ruff, pyright and the direction of imports, notebooks too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright

format: $(STAMP) ## let ruff format everything
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(STAMP) ## execute the walkthroughs in place and normalise their outputs
	$(BIN)/python tools/walkthroughs.py

lab: $(STAMP) ## open the notebooks in JupyterLab (loopback only, with its token)
	$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 notebooks

docs: $(STAMP) ## build the documentation: build/docs/html/index.html
	rm -rf build/docs
	OVSS_REPOSITORY=$(REPOSITORY) $(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --jobs 2 -d build/docs/doctrees docs build/docs/html
	$(BIN)/python tools/check_links.py build/docs/html

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist *.egg-info

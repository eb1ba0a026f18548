# Needs only Python 3.11 or newer (with pip) and make: everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
SETTINGS := settings.ini setup.py pyproject.toml
HAS_RUNTIME := $(VENV)/.has-runtime
HAS_DEV := $(VENV)/.has-dev

.DEFAULT_GOAL := help
.PHONY: help demo test test-all tutorials pages bench bench-scale lab docs export readme book clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(HAS_RUNTIME) ## Fit a mixture to Old Faithful: table, numbers, picture
	@$(BIN)/python -m gmm_lit

test: $(HAS_DEV) ## Run every chapter and the tests; compare notebooks with modules
	@$(BIN)/python .ci/check.py

test-all: $(HAS_DEV) ## The same, with the tutorials, slow cells, thorough and slow tests
	@$(BIN)/python .ci/check.py --slow

tutorials: $(HAS_DEV) ## Run the tutorials
	@$(BIN)/python .ci/check.py --tutorials

pages: $(HAS_DEV) ## Check every page as the web site shows it: links, equations, pictures, spelling (needs no Quarto)
	@$(BIN)/python .ci/pages.py

bench: $(HAS_DEV) ## Measure against scikit-learn, minutes on an idle machine (QUICK=1: seconds, tiny)
	@$(BIN)/python .ci/bench.py $(if $(QUICK),--quick)

bench-scale: $(HAS_DEV) ## Measure files larger than memory and a cluster, half an hour and 4 GB of disk (QUICK=1: seconds)
	@$(BIN)/python .ci/bench_scale.py $(if $(QUICK),--quick)

lab: $(HAS_DEV) ## Open the tutorial in JupyterLab
	@$(BIN)/python -m jupyter lab nbs/index.ipynb

docs: $(HAS_DEV) readme ## Make the web site in _docs (needs Quarto)
	@command -v quarto >/dev/null || { echo "make docs needs Quarto: install it from https://quarto.org/docs/get-started/"; exit 1; }
	@touch README.md # newer than nbs/index.ipynb, so that nbdev_docs leaves it alone
	@PATH="$(CURDIR)/$(BIN):$$PATH" nbdev_docs

export: $(HAS_DEV) ## Write the modules from the notebooks, and clean the notebooks
	@$(BIN)/nbdev_export && $(BIN)/nbdev_clean

readme: $(HAS_DEV) ## Write README.md from nbs/index.ipynb, and the site's list of pages
	@$(BIN)/python .ci/readme.py
	@$(BIN)/python .ci/website.py

book: $(HAS_DEV) ## Run all notebooks (or NB="nbs/02_em.ipynb ...") and store their outputs
	@$(BIN)/nbdev_export
	@$(BIN)/python .ci/book.py $(NB)
	@$(BIN)/nbdev_clean
	@$(BIN)/python .ci/readme.py
	@$(BIN)/python .ci/website.py

clean: ## Remove .venv and everything that can be made again
	rm -rf $(VENV) build dist *.egg-info _docs _proc .pytest_cache .hypothesis gmm_lit_demo.png
	find gmm_lit nbs tests .ci \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# Without ensurepip (some Linux systems package it apart) the machine's pip puts pip into .venv.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "gmm_lit needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1): name another, as in: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
	  $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	  $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check -qq install pip; } || { rm -rf $(VENV); exit 1; }

$(HAS_RUNTIME): $(SETTINGS) | $(BIN)/python
	@echo "Installing gmm_lit and what it needs into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

$(HAS_DEV): $(SETTINGS) | $(BIN)/python
	@echo "Installing gmm_lit and its development tools into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $(HAS_RUNTIME) $@

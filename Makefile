# Two commands for a fresh machine: `make demo` and `make test`. Both install what is missing first.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test bench lint notebook clean setup
help: ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## install what is missing

$(READY): requirements.lock pyproject.toml .ci/setup
	@bash .ci/setup $(VENV)
	@touch $@

demo: $(READY) ## bring a mesh up, show what it does, remove it
	@$(BIN)/python -m meshlab.demo

test: lint ## lint, types, import contracts, all tests
	@$(BIN)/python -m pytest

bench: $(READY) ## measure: tables on the terminal, bench-results.json (CASES="life data-path" for some)
	@$(BIN)/python -m meshlab.bench $(CASES)

lint: $(READY) ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

notebook: $(READY) ## open the notebooks in JupyterLab
	@cd notebooks && ../$(BIN)/jupyter lab --allow-root --ip=127.0.0.1

clean: ## remove the virtual environment and caches
	@rm -rf $(VENV) .ruff_cache .mypy_cache .pytest_cache .import_linter_cache .hypothesis build dist

PYTHON ?= python3
PORT ?= 3000

BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install run ui test verify coverage check bench prices soak pictures matrix proof

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv with everything needed (the other commands do it by themselves)

run: $(STAMP) ## Run the whole example; offline unless ANTHROPIC_API_KEY or ANTHROPIC_BASE_URL is set
	@$(BIN)/python -m example_project.run

ui: $(STAMP) ## Show the example in Dagster on http://localhost:3000 (PORT=3001 for another port)
	@home="$$($(BIN)/python -m example_project.instance)" && \
	DAGSTER_HOME="$$home" PYTHONWARNINGS=ignore \
	$(BIN)/dagster dev -m example_project -h 127.0.0.1 -p $(PORT)

# Whatever the shell says, what is compiled is kept: each worker, and each process a test starts, would compile it again.
test verify coverage soak: export PYTHONDONTWRITEBYTECODE =

test: $(STAMP) ## Run the tests of every change: under 5 minutes
	$(BIN)/pytest -n 3 --dist loadfile -m "not verify and not soak"

verify: check ## Run all that is proved on every push, random lives of this commit among it: half an hour
	$(BIN)/pytest -n 5 --dist loadfile -m "not soak"

coverage: $(STAMP) ## Run what `make verify` runs and count the lines and branches it reaches (a third slower)
	$(BIN)/pytest -n 4 --dist loadfile -m "not soak" --cov --cov-report=term --cov-fail-under=95

matrix: $(STAMP) ## Run the tests with the oldest and the newest of every dependency, on every Python there is
	@$(BIN)/nox; code=$$?; $(BIN)/python -m proof.matrix; exit $$code

check: $(STAMP) ## Lint, format, types, imports: changes nothing
	$(BIN)/ruff check --no-cache
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP) ## Build the pages of the docs into site/, with search
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

bench: $(STAMP) ## Measure speed and memory
	$(BIN)/python -m bench

prices: $(STAMP) ## Write the price tables of docs/cost.md anew, by the price list that is installed
	$(BIN)/python -m bench.cost

soak: $(STAMP) ## Run the tests that take minutes
	$(BIN)/pytest -m soak

proof: $(STAMP) ## Prove it all again, for hours, and write docs/reliability.md and its pages
	for part in singles pairs seeds answers cuts kills million planted mutation; do $(BIN)/python -m proof $$part || exit 1; done
	$(BIN)/python -m proof.report

pictures: $(STAMP) ## Take the pictures of the docs anew, in a real browser
	UPDATE_SCREENSHOTS=1 $(BIN)/pytest tests/acceptance -m browser

# Runs once, and again when what it installs has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make install PYTHON=python3.12" >&2; \
		exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv; this takes a minute or two the first time ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

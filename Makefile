BIN := .venv/bin
PUBLISHED := vision prefill decode
DATA := results/published/data

.PHONY: report test check bench mutants docs coverage quick

.venv/installed: requirements.lock pyproject.toml
	python3 -m venv .venv
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

report: .venv/installed
	$(BIN)/sweepengine report released serving --out results/released
	for stage in $(PUBLISHED); do \
		$(BIN)/sweepengine run grids/published-$$stage.toml --out $(DATA)/$$stage --overwrite || exit; \
	done
	$(BIN)/sweepengine report $(PUBLISHED:%=$(DATA)/%) --out results/published \
		--reference tests/data/reference --against deepseek-ocr-3b

test: .venv/installed
	$(BIN)/pytest

check: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.readme

mutants: .venv/installed
	$(BIN)/python -m tests.mutations

docs: .venv/installed
	$(BIN)/mkdocs build

quick: .venv/installed
	$(BIN)/pytest -m "not slow"

coverage: .venv/installed
	$(BIN)/pytest --cov --cov-report=term-missing:skip-covered

BIN := .venv/bin
PUBLISHED := vision prefill decode
DATA := results/published/data
PRICES := --price h100-sxm=2.5 --price l40s=0.9 --price rtx-4090=0.4
PARALLEL := --numprocesses 2 --dist worksteal

FUZZ := 20

MEASURED := a100-80gb h100-sxm h200 b200 b300 gb200 gb300 l40s rtx-pro-6000

.PHONY: report test check bench attack fuzz mutants docs coverage quick configs silicon memory rates serving

.venv/installed: requirements.lock pyproject.toml
	python3 -m venv .venv
	$(BIN)/pip install --quiet --constraint requirements.lock --editable .
	touch $@

.venv/everything: .venv/installed
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[test]'
	touch $@

report: .venv/installed
	$(BIN)/sweepengine report released serving --out results/released
	for stage in $(PUBLISHED); do \
		$(BIN)/sweepengine run grids/published-$$stage.toml --out $(DATA)/$$stage --overwrite || exit; \
	done
	$(BIN)/sweepengine report $(PUBLISHED:%=$(DATA)/%) --out results/published \
		--reference tests/data/reference --against deepseek-ocr-3b
	$(BIN)/sweepengine report ocr-models --out results/ocr-models $(PRICES)

# Threads of two workers on as many cores would wait for each other.
test fuzz quick coverage: export OMP_NUM_THREADS := 1

test: .venv/everything
	$(BIN)/pytest $(PARALLEL)

check: .venv/everything
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.venv/bench: .venv/everything
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[bench]'
	touch $@

.venv/peers: benchmarks/peers.lock
	python3 -m venv $@
	$@/bin/pip install --quiet --requirement benchmarks/peers.lock
	touch $@

bench: .venv/bench .venv/peers
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.readme

attack: .venv/everything
	$(BIN)/python -m tests.attacks
	SWEEPENGINE_KILLS=50 $(BIN)/pytest -k "killed or interrupted_scan" tests/store tests/cli

fuzz: .venv/everything
	SWEEPENGINE_FUZZ=$(FUZZ) $(BIN)/pytest $(PARALLEL) --hypothesis-profile=explore \
		-k "robust or law_" tests/cli tests/laws

mutants: .venv/everything
	$(BIN)/python -m tests.mutations

configs: .venv/everything
	SWEEPENGINE_WHOLE=1 $(BIN)/pytest -k "whole_models or changed_key" tests/validation
	$(BIN)/python -m sweepengine.validation.census results/configs/README.md

silicon: .venv/everything
	$(BIN)/python -m sweepengine.validation.silicon
	$(BIN)/sweepengine validate --silicon --page results/silicon/README.md

memory: .venv/everything
	$(BIN)/sweepengine validate --memory --page results/memory/README.md

rates silicon serving: export OPENBLAS_NUM_THREADS := 1
rates: .venv/everything
	for device in $(MEASURED); do for framework in vllm trtllm sglang; do \
		$(BIN)/sweepengine calibrate $$device --framework $$framework \
			--out sweepengine/data/rates/$$device-$$framework.toml || exit; \
	done; done

serving: .venv/everything
	$(BIN)/python -m sweepengine.validation.served_constants
	$(BIN)/python -m sweepengine.validation.served_speculation
	$(BIN)/python -m sweepengine.validation.other_constants
	$(BIN)/python -m sweepengine.validation.silicon

docs: .venv/everything
	$(BIN)/mkdocs build

quick: .venv/everything
	$(BIN)/pytest $(PARALLEL) -m "not slow"

coverage: .venv/everything
	$(BIN)/pytest $(PARALLEL) --cov --cov-report=term-missing:skip-covered

# Everything a newcomer needs: `make up` runs a cluster, `make test` the quick tests. Needs Python >= 3.11 and make.
# Of the oldest version that is there, the build that runs fastest (decision 0046).
PYTHON ?= $(shell IFS=:; for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	for folder in $$PATH; do "$$folder/$$name" -c '$(SPEED)'; done 2>/dev/null | sort -n | grep . && break; \
	done | head -n 1 | cut -d " " -f 2-)
SPEED := import ensurepip, sys, timeit, venv; sys.version_info < (3, 11) and sys.exit(1); \
	took = min(timeit.repeat("sorted(str(n) for n in range(500))", number=1, repeat=200)); \
	print(round(took * 1e9), sys.executable)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= auto
SEED ?=
WORLDS ?= 1000
MINUTES ?= 30
FIRST ?= 1
UP_FLAGS ?=
SIM_WORKERS := $(if $(filter auto,$(WORKERS)),,--workers $(WORKERS))

.PHONY: help install up down status test test-all sim sim-all chaos check bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(STAMP) ## create .venv from the lock file

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || { \
		python="$(PYTHON)"; \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
			if [ -n "$$python" ]; then found="$$python is none"; else found="none was found"; fi; \
			echo "Oarlock needs Python 3.11 or newer: $$found."; \
			echo "  Install one that has its module venv (Debian: python3-venv), or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }; \
		"$$python" -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q cluster consensus actors  # or all parts compile all of it at the first start
	@touch $@

up: install ## run a highly available cluster on this machine (UP_FLAGS="--hollow 10" and so on)
	$(BIN)/oarlock up $(UP_FLAGS)

down: install ## stop it; its objects are kept
	$(BIN)/oarlock down

status: install ## show its parts
	$(BIN)/oarlock status

test: install ## the quick tests: units, simulation, one small cluster (at most 10 minutes on 2 cores)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not ray and not chaos and not thorough"

test-all: install ## every test; Ray and chaos alone, since they need the machine for themselves
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not ray and not chaos"
	$(BIN)/python -m pytest -m "ray or chaos"

sim: install ## the simulation: 1,000 worlds of the store full of faults; SEED=n replays one and tells all of it
	$(BIN)/python tests/simulation $(or $(SEED),--worlds $(WORLDS) --first $(FIRST) $(SIM_WORKERS))

sim-all: install ## as many worlds as MINUTES=30 allow, beginning at seed FIRST=1
	$(BIN)/python tests/simulation --worlds 0 --first $(FIRST) --minutes $(MINUTES) $(SIM_WORKERS)

chaos: install ## real replicas tormented for MINUTES=30 with faults from SEED=1; needs root
	$(BIN)/python tests/chaos/run.py --minutes $(MINUTES) --seed $(or $(SEED),1)

check: install build/dev/oarlock ## ruff, mypy, pyright, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/python tests/check_types.py

build/dev/oarlock:
	@mkdir -p $@
	@for room in cluster consensus actors; do ln -sfn ../../../$$room $@/$$room; done

bench: install ## measure, and write the tables of docs/benchmarks.md
	$(BIN)/python -m bench

lock: install ## choose the newest versions again
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --allow-unsafe --strip-extras --extra dev --output-file requirements.lock pyproject.toml

clean: ## remove .venv and all that was built
	rm -rf $(VENV) build dist *.egg-info

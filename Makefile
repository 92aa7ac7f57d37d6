# The two commands a newcomer needs: `make lab` and `make test`. `make help` lists the others.
SHELL := /bin/bash
.DELETE_ON_ERROR:
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Ansible stops in a locale that is not UTF-8, or was never generated. This one is everywhere.
export LC_ALL := C.UTF-8
# Of a user's own settings: with the first, `cd` goes elsewhere; the others change what Python and pytest run.
unexport CDPATH PYTHONHOME PYTHONPATH PYTHONOPTIMIZE PYTHONWARNINGS PYTEST_ADDOPTS PYTEST_PLUGINS

FUZZ_SECONDS ?= 600
HOURS ?= 8
# A third one is at work while the others wait for a timer, an answer, a console: where there is memory for it.
WORKERS ?= $(shell awk '/^MemAvailable/ { print ($$2 > 12 * 1024 ^ 2) ? 3 : 2 }' /proc/meminfo)
RELEASE ?= bookworm
FLOOR = $(shell sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

lab: setup ## A VM with both modules built, loaded, exercised and verified
	@$(BIN)/kmodlab lab

down: setup ## Stop and remove the lab's VM
	@$(BIN)/kmodlab guest down lab

check: setup-test ## What needs no VM: lint, types, unit tests
	@$(BIN)/pytest -n 2 --dist worksteal tests/unit

test: setup-all ## Everything that proves the project, VMs included
	@PYTHONPATH=tests $(BIN)/pytest -p cost -n $(WORKERS) tests/unit tests/fuzz tests/browser tests/live -m "not long"
	@PYTHONPATH=tests $(BIN)/pytest -p cost -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 20 tests/guest tests/mutants -m "(core or not mutant) and not grading"

browser: setup-test ## The dashboard's page in a browser; SHOTS=DIR keeps a picture of each view
	@$(BIN)/pytest tests/browser $(if $(SHOTS),--shots="$(SHOTS)")

live: setup-live ## The dashboard with what users have: Prometheus, nginx, PostgreSQL, TLS, DuckDB, many tabs, kills; long runs, too
	@$(BIN)/pytest tests/live

vendor: ## Remake the page's libraries from npm's packages, as they are locked (takes node)
	@.config/vendor/make

bare: ## COMMAND (make lab, make down) on a bare Debian: RELEASE=bookworm BARE_AS=root; see .config/bare
	@RELEASE=$(RELEASE) .config/bare $(COMMAND)

mutants: setup-test ## Every broken module, each caught by the contract tests
	@$(BIN)/pytest tests/mutants

fuzz: setup-test ## Look for inputs that break the tracer's parser and printer, FUZZ_SECONDS each
	@$(MAKE) -s -C tests/fuzz run SECONDS=$(FUZZ_SECONDS)

grading: setup-test ## Every fixture of the grader to its expected verdict, every lab by its own table of faults
	@$(BIN)/pytest tests/guest/test_grading.py tests/guest/test_grading_class.py tests/guest/test_grading_labs.py

matrix: setup-matrix ## The whole contract on every kernel; writes docs/kernels.md
	@$(BIN)/kmodlab matrix --write

sanitize: setup-test ## The modules in kernels that are built to find fault, SANITIZE="kasan rt" of them; writes docs/sanitizers.md
	@$(BIN)/kmodlab sanitize --write $(SANITIZE)

sanitize-mutants: setup-test ## Broken modules, each found by the step of the campaign that should
	@$(BIN)/pytest tests/sanitize

soak: setup-test ## HOURS of both modules under load in a kernel that is built to find fault: nothing grows, nothing is lost
	@$(BIN)/kmodlab sanitize kasan --write --soak $(HOURS)

neighbours: setup-test ## The tracer beside everybody else who hooks calls; writes docs/neighbours.md
	@$(BIN)/kmodlab matrix --suite neighbours --write

bench: ## Measure the lab and the tracers; writes docs/benchmarks.md
	@$(MAKE) -s bench-lab
	@$(MAKE) -s bench-tracer

bench-lab: setup ## Measure the lab
	@PYTHONPATH=tests $(BIN)/python -m bench.lab

bench-tracer: setup ## Measure the tracer beside others
	@PYTHONPATH=tests $(BIN)/python -m bench.tracer
	@$(MAKE) -s bench-instructions

bench-instructions: setup ## Count the instructions of the tracer and of others, on any machine
	@PYTHONPATH=tests $(BIN)/python -m bench.instructions

bench-grade: setup ## Measure the grader; writes docs/benchmarks-grading.md
	@$(BIN)/python tests/bench/grading.py

bench-lister: setup ## Count the instructions that it takes to see all tasks, by this module and others
	@PYTHONPATH=tests $(BIN)/python -m bench.lister

bench-live: setup-live ## Measure the dashboard: events a second, bytes an event, a day, a browser, a guest; writes docs/benchmarks-live.md
	@PYTHONPATH=tests $(BIN)/python -m bench.live

docs: setup-docs ## The documentation as a site: build/site/index.html
	@$(BIN)/python .config/site/modules.py >docs/modules.md
	@$(BIN)/sphinx-build -q -n -W --keep-going -b html -c .config/site . build/site

lock: setup ## Renew the locked dependencies from pyproject.toml
	@$(BIN)/pip install -q uv
	@$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --universal \
	  --custom-compile-command "make lock" --python-version $(FLOOR) --extra dev --extra parquet --extra postgresql --extra similarity pyproject.toml -o .config/requirements.lock
	@$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --universal \
	  --custom-compile-command "make lock" --python-version $(FLOOR) .config/requirements-live.in -o .config/requirements-live.lock
	@$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --universal \
	  --custom-compile-command "make lock" --python-version $(FLOOR) -c .config/requirements.lock .config/requirements-docs.in -o .config/requirements-docs.lock

clean: ## Remove what the checkout's own builds left behind
	@rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .ansible src/*.egg-info kmodlab-lab-*.tar.gz
	@# Kbuild's own clean needs kernel headers, which this machine may lack: then nothing was built here either.
	@for module in kernel/*_*/; do $(MAKE) -s -C $$module clean 2>/dev/null || true; done

setup:
	@.config/setup

setup-test:
	@.config/setup test

setup-live:
	@.config/setup live

setup-all:
	@.config/setup test live docs

setup-docs:
	@.config/setup docs

setup-matrix:
	@.config/setup matrix

.PHONY: help lab down check test browser live vendor bare mutants fuzz grading matrix neighbours sanitize bench bench-lab bench-tracer bench-instructions bench-grade bench-lister bench-live docs lock clean setup setup-test setup-live setup-all setup-docs setup-matrix

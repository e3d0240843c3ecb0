# The words that people and CI share. Each makes .venv when it is missing; nothing is installed twice.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/pip install --no-input --disable-pip-version-check --constraint constraints.txt
# What reads the types of the studio's page.
TYPESCRIPT := typescript@7.0.2
# One line for each package that is fetched; errors pass by on stderr.
PROGRESS := awk '/^ *Downloading|^Processing .*whl|^Installing/ { sub(/^ */, "  "); print substr($$0, 1, 96); fflush() }'

VIDEO ?= examples/demo.mp4
DEMO_POINT := 188,140
WHERE = $(or $(POINT),$(if $(filter examples/demo.mp4,$(VIDEO)),$(DEMO_POINT)))

.PHONY: help demo test check bench docs audit coverage soak wheel

demo: .venv/.plain ## Follow an object: make demo, or make demo VIDEO=clip.mp4 POINT=x,y
	@[ -n '$(WHERE)' ] || { echo "POINT is missing: where to click on the first frame, as in make demo VIDEO=$(VIDEO) POINT=320,180" >&2; exit 2; }
	@$(BIN)/masklet track "$(VIDEO)" --point "$(WHERE)" --out out/demo

test: .venv/.dev .venv/.peer ## Run the tests, in minutes; with ALL=1 also those that are slow or need a browser
	@$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist worksteal --durations 10 $(if $(ALL),,-m 'not slow and not browser')

check: .venv/.dev ## Check format, lint, types, and that imports run one way
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/pytest --quiet tests/test_layers.py
	@if command -v npx >/dev/null; then npx --yes --package $(TYPESCRIPT) tsc --project .; \
	else echo "There is no npx, which comes with node: the types of the studio's page are not checked." >&2; fi

bench: .venv/.dev .venv/.peer ## Measure masklet beside its peers on this machine: docs/performance.md
	@$(BIN)/python -m benchmarks

docs: .venv/.dev ## Build the documentation site in out/site, with search that needs no network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "out/site; to look at it: python -m http.server --directory out/site"

wheel: .venv/.wheel ## Build a wheel with compiled kernels and an sdist in dist/, and try the wheel without a compiler
	@rm -rf dist
	@HATCH_BUILD_HOOKS_ENABLE=1 .venv/wheel/bin/python -m build --outdir dist .
	@.venv/wheel/bin/twine check --strict dist/*
	@$(BIN)/python dev/try_wheel.py dist

coverage: .venv/.dev .venv/.peer ## Measure which lines of src the tests run that are neither slow nor in a browser
	@rm -rf out/coverage && mkdir -p out/coverage
	@COVERAGE_FILE=$(CURDIR)/out/coverage/data $(BIN)/python -m coverage run -m pytest --quiet \
	  --numprocesses logical --maxprocesses 4 --dist worksteal -m 'not slow and not browser'
	@COVERAGE_FILE=$(CURDIR)/out/coverage/data $(BIN)/python -m coverage combine --quiet
	@COVERAGE_FILE=$(CURDIR)/out/coverage/data $(BIN)/python -m coverage report --sort cover

soak: .venv/.dev ## An hour of use, or SOAK_MINUTES=5: a long stream, people in the studio, kills, a full disk, damaged files
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(SOAK_MINUTES),60)

audit: .venv/.dev .venv/.audit ## List licences and a bill of materials in out/audit, and look for known vulnerabilities
	@$(BIN)/python dev/audit.py out/audit
	@.venv/audit/bin/cyclonedx-py environment $(BIN)/python --output-format JSON --output-file out/audit/sbom.json
	@.venv/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off \
	  > out/audit/vulnerabilities.txt 2>&1 || grep -q 'Max retries exceeded' out/audit/vulnerabilities.txt \
	  || { cat out/audit/vulnerabilities.txt; exit 1; }
	@if grep -qE 'could not be audited|Max retries exceeded' out/audit/vulnerabilities.txt; then \
	  echo "The list of known vulnerabilities cannot be reached from here: that part is not checked." >&2; fi
	@echo "out/audit/licences.md, sbom.json, vulnerabilities.txt"

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit("masklet needs Python 3.11 or newer, and $(PYTHON) is %d.%d: make PYTHON=python3.11 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv

.venv/.plain: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "Installing masklet into .venv; the first time this takes a few minutes."
	@$(PIP_INSTALL) --editable . | $(PROGRESS)
	@touch $@

.venv/.dev: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "Installing masklet and what its tests need into .venv; the first time this takes a few minutes."
	@$(PIP_INSTALL) --editable '.[dev]' | $(PROGRESS)
	@touch .venv/.plain $@

# The auditors have requirements of their own, so they get an environment of their own.
.venv/.audit: .venv/pyvenv.cfg
	@$(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/pip install --no-input --disable-pip-version-check --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

# What builds and checks packages, apart from what they are built of.
.venv/.wheel: .venv/.dev
	@$(PYTHON) -m venv .venv/wheel
	@.venv/wheel/bin/pip install --no-input --disable-pip-version-check --quiet build==1.6.1 twine==7.0.0
	@touch $@

# The original implementation, which parity tests compare with, and the reader of Label Studio's masks. Their own
# requirements would replace our torch and OpenCV, and the original's CUDA extension is not needed.
.venv/.peer: .venv/.dev
	@echo "Installing the original sam2 and Label Studio's reader into .venv, for comparison."
	@if SAM2_BUILD_CUDA=0 $(PIP_INSTALL) --no-deps --no-build-isolation sam2 label-studio-sdk trackeval | $(PROGRESS); then touch $@; \
	else echo "The original sam2 or the reader cannot be installed here: the tests that compare with them will be skipped." >&2; fi

# `make` lists the targets. Every target first installs what it needs.

PYTHON ?= $(shell sh scripts/find_python.sh 3.11 3.12 3.13 3.14)
NEWER_PYTHON ?= $(shell sh scripts/find_python.sh 3.13)
VENV := .venv
NEWER_VENV := .venv-3.13
READY := $(VENV)/.ready
NEWER_READY := $(NEWER_VENV)/.ready
# What running needs, without the development tools. The development environment runs it as well.
RUN_VENV := $(if $(wildcard $(READY)),$(VENV),.venv-run)
RUNNABLE := $(RUN_VENV)/.ready
RUN := $(RUN_VENV)/bin/spotalis
# What compiles and audits the pins.
TOOLS := .venv-tools/bin
TOOLS_READY := .venv-tools/.ready
# Parallel tests: those that compute, and those on real control planes, which mostly wait.
WORKERS ?= 2
CONTROL_PLANES ?= 4
# Minutes of new seeds for `make test-all`.
MINUTES ?= 60
PYTEST := $(VENV)/bin/python -m pytest -q --dist worksteal
# How often `make bench` runs each benchmark, and where it writes the figures.
REPEAT ?= 3
FIGURES ?= dist/figures.json
# Where `make sbom` writes.
SBOM ?= dist/spotalis.cdx.json
# Where the tests of `make check` are (marker "check").
CHECKED := tests/unit tests/conformance/test_recorded.py tests/integration/scenarios
# Where the tests on real control planes are (marker "real").
REAL_TESTS := tests/conformance tests/delivery tests/integration
PINS := requirements/dev.txt pyproject.toml

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(RUNNABLE) ## the demo, 15 s: the real operator on an embedded cluster
	$(RUN) demo

.PHONY: run
run: $(RUNNABLE) ## run the operator against the cluster of your kubeconfig; asks first (ARGS=--yes does not)
	sh scripts/run_operator.sh $(RUN) $(ARGS)

.PHONY: check
check: lint ## the inner loop, under 90 s: lint, unit tests, one scenario of each kind
	$(PYTEST) -n $(WORKERS) -m "check and not real" --hypothesis-profile quick $(CHECKED)

.PHONY: test
test: lint test-newer ## all tests, a selection on the real test bed, about 25 minutes; what CI runs
	$(PYTEST) -n $(WORKERS) -m "not real and not long and not image" --durations=10
	$(PYTEST) -n $(CONTROL_PLANES) -m "real and not long" --reruns 1 -raR --durations=15 $(REAL_TESTS)

.PHONY: test-newer
test-newer: ## the quick unit tests on Python 3.13, if it is installed
	@if [ -n "$(NEWER_PYTHON)" ]; then $(MAKE) --no-print-directory $(NEWER_READY) && \
	    $(NEWER_VENV)/bin/python -m pytest -q -n $(WORKERS) --dist worksteal \
	        -m "check and not real" --hypothesis-profile quick tests/unit; \
	else echo "Python 3.13 is not installed: skipping its run"; fi

.PHONY: test-integration
test-integration: $(READY) ## the scenarios only, on both test beds
	$(PYTEST) -n $(WORKERS) tests/integration

.PHONY: test-all
test-all: test test-image mutants ## everything, for hours: all of both test beds, large models, MINUTES=60 of new seeds
	$(PYTEST) -n $(WORKERS) -m "long and not real" --durations=10
	$(PYTEST) -n $(CONTROL_PLANES) -m "long and real" --reruns 1 -raR --durations=15 $(REAL_TESTS)
	$(PYTEST) -n $(WORKERS) tests/unit --hypothesis-profile=search
	$(VENV)/bin/python -m tests.model --long
	$(VENV)/bin/python -m tests.simulation --minutes $(MINUTES) --seed $$(date +%s)

.PHONY: test-image
test-image: $(READY) $(TOOLS_READY) ## build the image and run it: 3 minutes; needs root and apt-get install buildah mmdebstrap runc
	$(PYTEST) -m image tests/delivery

.PHONY: mutants
mutants: $(READY) ## plant each known bug in a copy of the tree; a test must find it
	$(VENV)/bin/python -m tests.mutants

.PHONY: lint
lint: $(READY) ## ruff, mypy --strict, import-linter
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

.PHONY: format
format: $(READY) ## format, and fix what ruff can fix
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: testbed
testbed: $(READY) ## build the programs of the real test bed from Go modules, once per machine
	$(VENV)/bin/python -m testbed

.PHONY: bench
bench: $(READY) ## all benchmarks, three times, 90 minutes (REPEAT=1: once; BASELINE=FILE: another operator too)
	$(VENV)/bin/python -m benchmarks --repeat $(REPEAT) $(if $(BASELINE),--baseline $(BASELINE)) --json $(FIGURES)

.PHONY: compare
compare: $(READY) ## compare Spotalis with the capacity-spread recipe beside real Karpenter, 35 minutes
	$(VENV)/bin/python -m benchmarks.compare
	$(VENV)/bin/python -m benchmarks.compare.returns

.PHONY: docs
docs: $(READY) ## generate the pages of docs/reference that come from the code
	$(VENV)/bin/python -m scripts.configuration_page
	$(VENV)/bin/python -m scripts.metrics_page
	$(VENV)/bin/python -m scripts.dashboards
	$(VENV)/bin/python -m scripts.cli_pages
	$(VENV)/bin/python -m scripts.split_picture
	$(VENV)/bin/python -m scripts.architecture_picture
	$(VENV)/bin/python -m benchmarks.outage_picture

.PHONY: docs-site
docs-site: $(READY) ## build the documentation site in dist/site, and check its links and its search
	$(VENV)/bin/python -m scripts.docs_site

.PHONY: manifests
manifests: $(READY) ## generate values, schema and README of the chart; render build/k8s from it
	$(VENV)/bin/python -m scripts.manifests

.PHONY: docker-build
docker-build: ## build the image for both platforms with the pinned digests; needs Docker buildx (OUTPUT=type=registry pushes)
	@sh build/docker/pins.sh check
	set -a && . build/docker/pins.env && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
	    docker buildx bake --file build/docker/docker-bake.hcl $(if $(OUTPUT),--set '*.output=$(OUTPUT)') \
	    $(if $(METADATA),--metadata-file $(METADATA))

.PHONY: image-pins
image-pins: ## renew the digests of base image, SBOM scanner and BuildKit; needs Docker buildx and the registries
	sh build/docker/pins.sh renew

.PHONY: sbom
sbom: $(TOOLS_READY) ## write the bill of materials of the image's Python packages, CycloneDX, to dist/
	@mkdir -p $(dir $(SBOM))
	$(TOOLS)/cyclonedx-py requirements --output-reproducible --output-format JSON \
	    --pyproject pyproject.toml --mc-type application --output-file $(SBOM) requirements/runtime.txt

.PHONY: pins
pins: $(TOOLS_READY) ## compile requirements/ from pyproject.toml
	$(TOOLS)/uv pip compile $(COMPILE) --extra controller pyproject.toml -o requirements/runtime.txt
	$(TOOLS)/uv pip compile $(COMPILE) --extra controller --extra dev pyproject.toml -o requirements/dev.txt
	echo 'hatchling>=1.27' | $(TOOLS)/uv pip compile $(COMPILE) -c requirements/dev.txt - -o requirements/build.txt
	printf 'uv\npip-audit\ncyclonedx-bom\n' | $(TOOLS)/uv pip compile $(COMPILE) - -o requirements/tools.txt

.PHONY: audit
audit: $(TOOLS_READY) ## look for known vulnerabilities in all pins; needs an index with advisories (SECURITY.md)
	$(TOOLS)/pip-audit --strict --require-hashes --disable-pip $(patsubst %,-r %,$(wildcard requirements/*.txt))

COMPILE := --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11

define set_up
	@if [ -z "$(1)" ]; then echo "Python 3.11 or newer is needed and was not found"; exit 1; fi
	@echo "setting up $(2) with $(1)"
	@$(1) -m venv $(2)
	@$(2)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(2)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(2)/.ready
endef

$(READY): $(PINS)
	$(call set_up,$(PYTHON),$(VENV))

.venv-run/.ready: requirements/runtime.txt requirements/build.txt pyproject.toml $(shell find src -name '*.py')
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer is needed and was not found"; exit 1; fi
	@echo "setting up .venv-run with $(PYTHON), once: about 15 s"
	@$(PYTHON) -m venv .venv-run
	.venv-run/bin/pip install --progress-bar on --disable-pip-version-check --require-hashes \
	    -r requirements/runtime.txt -r requirements/build.txt
	.venv-run/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	    --force-reinstall .
	@touch .venv-run/.ready

$(TOOLS_READY): requirements/tools.txt
	@$(PYTHON) -m venv .venv-tools
	@.venv-tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt
	@touch $@

$(NEWER_READY): $(PINS)
	$(call set_up,$(NEWER_PYTHON),$(NEWER_VENV))

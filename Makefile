# make demo: a newcomer's first maps.  make test: the tests.  Both create .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
DATA := data/registry
INSTALLED := $(VENV)/.installed
TEST_INSTALLED := $(VENV)/.installed-test
DATA_INSTALLED := $(DATA)/.installed
RELEASE := build/release
RELEASE_INSTALLED := $(RELEASE)/.installed

# Processes share the cores in the tests; spinning threads would only slow each other down.
test test-slow test-slurm: export OMP_NUM_THREADS = 1

.PHONY: demo test test-slow test-slurm lint audit sbom install data clean

demo: $(INSTALLED) $(DATA_INSTALLED)
	$(BIN)/stefaland run workflows/configs/quickstart.yml

test: $(TEST_INSTALLED) $(DATA_INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not qgis and not slurm" -n 2 --dist loadfile

test-slow: $(TEST_INSTALLED) $(DATA_INSTALLED)
	$(BIN)/python -m pytest -m "(slow or qgis) and not slurm" -n 2 --dist loadfile

# Skipped, with the reason, where slurm-wlm and munge are not installed.
test-slurm: $(TEST_INSTALLED) $(DATA_INSTALLED)
	$(BIN)/python -m pytest -m slurm

lint: $(TEST_INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy

# Known vulnerabilities of the installed packages; prints why where no advisories can be had.
audit: $(INSTALLED) $(RELEASE_INSTALLED)
	$(RELEASE)/bin/python scripts/audit.py $(VENV)/lib/python3*/site-packages

# The software bill of materials of a release, as CycloneDX: the packages of this environment.
sbom: $(INSTALLED) $(RELEASE_INSTALLED)
	$(RELEASE)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o build/stefaland.cdx.json

install: $(INSTALLED)

data: $(DATA_INSTALLED)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed; {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt torch==2.13.0
	$(PIP) install -c constraints.txt -e .
	touch $@

$(TEST_INSTALLED): $(INSTALLED)
	$(PIP) install -c constraints.txt -e '.[test,peers]'
	touch $@

# An environment of its own, so that its packages are not among those that it describes.
$(RELEASE_INSTALLED): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip --disable-pip-version-check -q install -c constraints.txt \
	  pip-audit==2.10.1 cyclonedx-bom==7.5.0
	touch $@

$(DATA_INSTALLED): requirements-data.txt | $(VENV)/bin/python
	$(PIP) install --require-hashes --no-deps --no-compile --ignore-requires-python \
	  --upgrade --target $(DATA) -r requirements-data.txt
	touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache

# What people type. `make demo` shows Headgate at work; `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast test-cloud test-images test-zuul check install install-test install-openstack lock lock-openstack

demo: install          ## a sample tenant on this machine, one good and one failing change, their votes
	$(BIN)/headgate demo $(ARGS)

test: install-test install-openstack check   ## everything, against real Gerrit, Prefect, PostgreSQL, OpenStack, sshd and Chromium
	$(BIN)/pytest -n 2 -m "not slow and not zuul"
	$(BIN)/pytest -m "slow and cloud and not image and not long" --durations=5
	$(BIN)/pytest -n 2 --dist loadfile -m "slow and not cloud and not zuul and not image and not long" --durations=15

test-cloud: install-test install-openstack  ## everything on a real OpenStack of three regions, started for it (about six minutes)
	HEADGATE_REAL_GUESTS=1 HEADGATE_VOLUMES=1 $(BIN)/pytest -m cloud

test-images: install-test install-openstack  ## real images by diskimage-builder, proved at every kind of provider, used, booted by hand
	$(BIN)/pytest -m image

test-zuul: install-test  ## the configuration language against Zuul's own code and fixtures
	$(BIN)/pytest -m zuul

test-fast: install     ## the tests that start nothing but a PostgreSQL
	$(BIN)/pytest -n 2 -m "not slow and not zuul"

check: install         ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install:
	@PYTHON=$(PYTHON) ./install.sh

install-test:
	@PYTHON=$(PYTHON) ./install.sh --test

install-openstack: install-test  ## what the OpenStack of the tests runs in (.venv-openstack, 620 MB)
	$(BIN)/python -m tests.services.openstack.environment

lock:                  ## renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --group dev --generate-hashes --no-emit-find-links --custom-compile-command "make lock" -o requirements.lock

lock-openstack:        ## renew the packages of the OpenStack that test-cloud starts (needs uv)
	cd tests/services/openstack && uv pip compile requirements.in --python-version 3.11 --generate-hashes --no-emit-find-links --custom-compile-command "make lock-openstack" -q -o requirements.lock

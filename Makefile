# `make` lists what there is. Works with GNU make 3.81, the one that macOS has.

PORT ?= 8000
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
PYTEST := PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(PY) -m pytest -p anyio -p hypothesispytest -p xdist
DATA := data
# The stand-in's weights, unless a model server answers or there is no engine for them.
FETCH_MODEL = if [ -z "$$UNDERSTUDY_UPSTREAM_BASE_URL" ] \
  && $(PY) -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("xllamacpp") is None)'; then \
  $(VENV)/bin/understudy model fetch --data-dir $(DATA) >/dev/null || echo "Going on without the stand-in model."; fi
# The built-in embedding's, unless a server's model takes its place.
FETCH_EMBEDDING = if [ -z "$$UNDERSTUDY_EMBEDDING_MODEL" ]; then \
  $(VENV)/bin/understudy embedding fetch --data-dir $(DATA) >/dev/null || echo "Going on with search by words alone."; fi
# The code interpreter's smallest environment, beside the start of the server, where there is a sandbox to use it.
MAKE_SANDBOX = if [ -z "$$UNDERSTUDY_SANDBOX_URLS$$UNDERSTUDY_SANDBOX_DIR" ] && command -v bwrap >/dev/null \
  && [ ! -e $(DATA)/sandbox/environment ]; then mkdir -m 700 -p $(DATA); \
  echo "Making the code interpreter's environment meanwhile; $(DATA)/sandbox-init.log tells of it."; \
  $(VENV)/bin/understudy sandbox init --profile minimal --data-dir $(DATA) >$(DATA)/sandbox-init.log 2>&1 & fi

.PHONY: help run local chat test check fix bench soak docs sdks sandbox clean

help:
	@echo "make run     start the server on port $(PORT), with all it needs; PORT=9000 takes another port"
	@echo "make local   install the stand-in model, and all weights; make run does this by itself"
	@echo "make chat    talk to that server in the terminal"
	@echo "make test    run the tests; ARGS=\"-k cancel\" is handed to pytest"
	@echo "make check   everything that CI checks, apart from the tests themselves"
	@echo "make fix     format the code and mend what can be mended by itself"
	@echo "make bench   measure what the server costs, in a minute or two; ARGS=--quick takes ten seconds"
	@echo "make soak    let everything go wrong for ten minutes; SECONDS=60 takes another time"
	@echo "make docs    write the generated pages of docs/ anew"
	@echo "make sdks    make the environments in which the tests run the official clients"
	@echo "make sandbox  make the environment that the tests' sandboxes run"
	@echo "make clean   remove everything that make made, and nothing else: $(DATA)/ stays"

run: $(VENV)/.local
	@$(if $(findstring upstream-base-url,$(ARGS)),:,$(FETCH_MODEL))
	@$(if $(findstring embedding-model,$(ARGS)),:,$(FETCH_EMBEDDING))
	@$(if $(findstring sandbox-,$(ARGS)),:,$(MAKE_SANDBOX))
	@exec $(VENV)/bin/understudy serve --data-dir $(DATA) --port $(PORT) $(ARGS)

local: $(VENV)/.local
	@$(FETCH_MODEL)
	@$(FETCH_EMBEDDING)

chat: $(VENV)/.installed
	@exec $(VENV)/bin/understudy chat --data-dir $(DATA) --port $(PORT) $(ARGS)

test: $(VENV)/.dev
	$(PYTEST) -n auto --dist loadfile $(ARGS)

check: $(VENV)/.dev
	$(VENV)/bin/ruff check src tests bench
	$(VENV)/bin/ruff format --check src tests bench
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PYTEST) tests/test_tidy.py tests/test_docs.py

fix: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix src tests bench
	$(VENV)/bin/ruff format src tests bench

bench: $(VENV)/.dev
	$(PY) -m bench $(ARGS)

soak: $(VENV)/.dev
	PYTHONPATH=tests SECONDS=$(or $(SECONDS),600) $(PY) -m soak

docs: $(VENV)/.dev
	$(PY) -m understudy.cli.docs
	UPDATE_GOLDEN=1 $(PYTEST) tests/core/run/test_decision_table.py

sdks: $(VENV)/.dev
	$(PY) tests/sdk/environments.py

sandbox: $(VENV)/.dev
	$(PY) tests/support/sandbox_environment.py

clean:
	rm -rf $(VENV) .envs build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +

# --- the environment. Each stamp is renewed when what was installed into it changes.

# The first of these that runs and is new enough: a name on PATH may be a shim that leads nowhere.
$(PY):
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Understudy needs Python 3.11 or newer, and there is none on PATH: install one, or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	if ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "The Python found ($$found) cannot make environments; on Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" --version)"; \
	rm -rf $(VENV); "$$found" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.pip: $(PY) constraints.txt
	@$(PIP) install --quiet --upgrade --constraint constraints.txt pip
	@touch $@

$(VENV)/.installed: $(VENV)/.pip pyproject.toml constraints.txt
	@echo "Installing Understudy and what it needs, once"
	@$(PIP) install --quiet --constraint constraints.txt --build-constraint constraints.txt --editable .
	@touch $@

$(VENV)/.local: $(VENV)/.installed
	@$(PIP) install --quiet --only-binary :all: --constraint constraints.txt xllamacpp 2>/dev/null \
	  || echo "There is no ready-made stand-in model for this machine; a model server can answer instead: --upstream-base-url."
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "Installing what the tests and checks need, once"
	@$(PIP) install --quiet --constraint constraints.txt --group dev
	@touch $@

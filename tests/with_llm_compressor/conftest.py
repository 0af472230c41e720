"""LLM Compressor has a virtual environment of its own: make test-llm-compressor."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("llmcompressor") else ["test_*"]

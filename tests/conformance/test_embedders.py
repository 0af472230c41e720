"""The conformance kit on every embedder that runs here, with its real library and a real model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from class_bays import OpenEmbedder
from enginebay.testing.pytest_embedders import EmbedderConformance
from real_servers import LlamaServer

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


class OnMiniLM(EmbedderConformance):
    """Opens MiniLM in the format that a backend reads.

    Attributes:
        backend: its name.
        model: fixture with the folder or file.
    """

    backend: str
    model: str

    @pytest.fixture(scope="class")
    @classmethod
    def open_embedder(cls, class_embedder, request: pytest.FixtureRequest) -> OpenEmbedder:
        return partial(class_embedder, request.getfixturevalue(cls.model), cls.backend)


class TestSentenceTransformers(OnMiniLM):
    backend, model = "sentence_transformers", "minilm_path"


class TestCTranslate2(OnMiniLM):
    backend, model = "ctranslate2", "minilm_ctranslate2_float32"


class TestCTranslate2Int8(OnMiniLM):
    backend, model = "ctranslate2", "minilm_ctranslate2"
    alike = 0.99  # eight bits round the last bits of a batch up or down


class TestOnnx(OnMiniLM):
    backend, model = "onnx", "minilm_onnx"


class TestOnnxInt8(OnMiniLM):
    backend, model = "onnx", "minilm_onnx_int8"
    alike = 0.98  # activations are scaled by the batch that they are in


class TestLlamaCpp(OnMiniLM):
    backend, model = "llama_cpp", "minilm_gguf"


class TestXllamacpp(OnMiniLM):
    backend, model = "xllamacpp", "minilm_gguf"


class TestLlamaServer(EmbedderConformance):
    """llama.cpp's own server, in a process of its own, over HTTP."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, minilm_gguf: Path) -> Iterator[LlamaServer]:
        with LlamaServer(minilm_gguf, embedding=True) as server:
            yield server

    @pytest.fixture(scope="class")
    @classmethod
    def open_embedder(cls, class_embedder, server: LlamaServer) -> OpenEmbedder:
        options = {"base_url": server.url, "api_key": server.key}
        return partial(class_embedder, f"remote:{server.model}", "openai_llama_cpp", options=options)

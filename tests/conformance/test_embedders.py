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


class TestSentenceTransformers(EmbedderConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def open_embedder(cls, class_embedder, minilm_path: Path) -> OpenEmbedder:
        return partial(class_embedder, minilm_path, "sentence_transformers")


class TestCTranslate2(EmbedderConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def open_embedder(cls, class_embedder, minilm_ctranslate2_float32: Path) -> OpenEmbedder:
        return partial(class_embedder, minilm_ctranslate2_float32, "ctranslate2")


class TestCTranslate2Int8(EmbedderConformance):
    alike = 0.99  # eight bits round the last bits of a batch up or down

    @pytest.fixture(scope="class")
    @classmethod
    def open_embedder(cls, class_embedder, minilm_ctranslate2: Path) -> OpenEmbedder:
        return partial(class_embedder, minilm_ctranslate2, "ctranslate2")


class TestOnnx(EmbedderConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def open_embedder(cls, class_embedder, minilm_onnx: Path) -> OpenEmbedder:
        return partial(class_embedder, minilm_onnx, "onnx")


class TestOnnxInt8(EmbedderConformance):
    alike = 0.98  # activations are scaled by the batch that they are in

    @pytest.fixture(scope="class")
    @classmethod
    def open_embedder(cls, class_embedder, minilm_onnx_int8: Path) -> OpenEmbedder:
        return partial(class_embedder, minilm_onnx_int8, "onnx")


class TestLlamaCpp(EmbedderConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def open_embedder(cls, class_embedder, minilm_gguf: Path) -> OpenEmbedder:
        return partial(class_embedder, minilm_gguf, "llama_cpp")


class TestXllamacpp(EmbedderConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def open_embedder(cls, class_embedder, minilm_gguf: Path) -> OpenEmbedder:
        return partial(class_embedder, minilm_gguf, "xllamacpp")


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

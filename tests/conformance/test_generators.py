"""The conformance kit on every local generator that runs here, with its real library and a real model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from enginebay.generation.handle import GeneratorHandle
from enginebay.testing.pytest_generators import GeneratorConformance
from real_servers import LlamaServer

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


class TestLlamaCpp(GeneratorConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def handle(cls, open_generator, smollm2_path: Path) -> GeneratorHandle:
        return open_generator(smollm2_path, "llama_cpp")


class TestXllamacpp(GeneratorConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def handle(cls, open_generator, smollm2_path: Path) -> GeneratorHandle:
        return open_generator(smollm2_path, "xllamacpp")


class TestTransformers(GeneratorConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def handle(cls, open_generator, smollm2_safetensors: Path) -> GeneratorHandle:
        return open_generator(smollm2_safetensors, "transformers")


class TestCTranslate2(GeneratorConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def handle(cls, open_generator, smollm2_ctranslate2: Path) -> GeneratorHandle:
        return open_generator(smollm2_ctranslate2, "ctranslate2")


class TestLlamaServer(GeneratorConformance):
    """llama.cpp's own server, in a process of its own, over HTTP."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, smollm2_path: Path) -> Iterator[LlamaServer]:
        with LlamaServer(smollm2_path) as server:
            yield server

    @pytest.fixture(scope="class")
    @classmethod
    def handle(cls, open_generator, server: LlamaServer) -> GeneratorHandle:
        options = {"base_url": server.url, "api_key": server.key}
        return open_generator(f"remote:{server.model}", "openai_llama_cpp", streams=4, options=options)

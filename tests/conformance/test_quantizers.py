"""The conformance kit on every quantizer that runs here, with its real library and a real model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from class_bays import folders
from enginebay import Bay, HardwareProfile, Interface
from enginebay.testing.pytest_quantizers import QuantizerConformance
from enginebay.testing.quantizer_subject import QuantizerSubject

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True, scope="class")
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folders of a class: what is found out of engines and weights holds for all its rules."""
    root = tmp_path_factory.mktemp("quantizing")
    with folders(root):
        yield root


class OnModel(QuantizerConformance):
    """Quantises a real model in a format that the backend reads.

    Attributes:
        backend: its name.
        model: fixture with the folder or file.
        types: what is made, the quickest first.
        kills: how often a job is killed.
    """

    backend: str
    model: str
    types: tuple[str, ...]
    kills = 2

    @pytest.fixture(scope="class")
    @classmethod
    def subject(
        cls, request: pytest.FixtureRequest, own_folders: Path, this_machine: HardwareProfile
    ) -> Iterator[QuantizerSubject]:
        model = str(request.getfixturevalue(cls.model))
        with Bay(hardware=this_machine) as bay:
            spec = bay.plugins.spec(Interface.QUANTIZER, cls.backend)
            yield QuantizerSubject(bay, spec, model, cls.types, own_folders / "results", kills=cls.kills)


class TestLlamaCpp(OnModel):
    backend, model = "llama_cpp", "smollm2_gguf_f16"
    types = ("q8_0", "q4_k_m", "q6_k", "q4_0")
    kills = 10


class TestCTranslate2(OnModel):
    backend, model = "ctranslate2", "smollm2_safetensors"
    types = ("int8", "int8_float32")
    kills = 1


class TestOnnx(OnModel):
    backend, model = "onnx", "minilm_onnx"
    types = ("int8", "uint8")


class TestBitsAndBytes(OnModel):
    backend, model = "bitsandbytes", "smollm2_safetensors"
    types = ("nf4", "int8")
    kills = 1


class TestTorchao(OnModel):
    backend, model = "torchao", "smollm2_safetensors"
    types = ("int8",)
    kills = 1

"""The conformance kit on every quantizer that runs here, with its real library and a real model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from class_bays import folders
from enginebay import Bay, Interface
from enginebay.testing.pytest_quantizers import QuantizerConformance
from enginebay.testing.quantizer_subject import QuantizerSubject

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


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
        cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[QuantizerSubject]:
        model = str(request.getfixturevalue(cls.model))
        root = tmp_path_factory.mktemp("quantizing")
        with folders(root):
            bay = Bay()
        with bay:
            spec = bay.plugins.spec(Interface.QUANTIZER, cls.backend)
            yield QuantizerSubject(bay, spec, model, cls.types, root / "results", kills=cls.kills)


class TestLlamaCpp(OnModel):
    backend, model = "llama_cpp", "smollm2_gguf_f16"
    types = ("q8_0", "q4_k_m", "q6_k", "q4_0")
    kills = 10

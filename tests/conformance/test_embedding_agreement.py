"""One model gives the same vectors on every backend."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from enginebay import Bay, HardwareProfile
from enginebay.embedding.handle import EmbedderHandle
from enginebay.errors import TruncationWarning
from enginebay.testing.embedder_subject import RELATED, SENTENCES, WRITINGS, cosines, many_texts

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

LONG = "The quick brown fox jumps over the lazy dog. " * 60
TEXTS = ("", *SENTENCES, *RELATED, *WRITINGS, *many_texts(20), LONG)

FULL, INT8 = 0.999, 0.98

CASES = (
    ("ctranslate2", "minilm_ctranslate2_float32", FULL),
    ("ctranslate2", "minilm_ctranslate2", INT8),
    ("onnx", "minilm_onnx", FULL),
    ("onnx", "minilm_onnx_int8", INT8),
    ("llama_cpp", "minilm_gguf", FULL),
    ("llama_cpp", "minilm_gguf_f16", FULL),
    ("xllamacpp", "minilm_gguf", FULL),
)
"""Backend, fixture with the model in its format, and the least cosine to sentence-transformers' vectors."""


def embedded(handle: EmbedderHandle) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        return handle.embed_documents(TEXTS, truncate=True)


@pytest.fixture(scope="module")
def reference(minilm_path: Path, this_machine: HardwareProfile) -> tuple[NDArray[np.float32], str, list[int]]:
    """Vectors, fingerprint and token counts by the library of the model's authors."""
    with Bay(hardware=this_machine) as bay:
        handle = bay.embedder(str(minilm_path), backend="sentence_transformers")
        return embedded(handle), handle.fingerprint, handle.count_tokens(TEXTS)


@pytest.mark.parametrize(("backend", "model", "least"), CASES, ids=lambda value: str(value))
def test_vectors_agree(
    backend: str,
    model: str,
    least: float,
    reference: tuple[NDArray[np.float32], str, list[int]],
    this_machine: HardwareProfile,
    request: pytest.FixtureRequest,
) -> None:
    expected, fingerprint, counts = reference
    with Bay(hardware=this_machine) as bay:
        handle = bay.embedder(str(request.getfixturevalue(model)), backend=backend)
        found = embedded(handle)
        assert handle.context_length == 256, "as its authors have it, not the 512 that it has positions for"
        assert handle.fingerprint == fingerprint
        assert handle.count_tokens(TEXTS) == counts
    agreement = cosines(found, expected)
    worst = int(agreement.argmin())
    assert agreement[worst] >= least, f"{TEXTS[worst]!r} has cosine {agreement[worst]:.5f}"

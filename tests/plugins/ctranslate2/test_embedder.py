"""Every declared architecture and pooling on tiny random models, against sentence-transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as PoolingStep

from enginebay import Bay, ConversionRequest, HardwareProfile, Pooling
from enginebay.errors import EngineOpenError, NoMatchError
from enginebay_plugins.ctranslate2 import CTRANSLATE2_EMBEDDER
from enginebay_plugins.ctranslate2.converter import convert
from tiny_encoders import ARCHITECTURES, TEXTS, make_tiny

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

MODES = {Pooling.MEAN: "mean", Pooling.CLS: "cls", Pooling.LAST: "lasttoken"}


def expected(folder: Path, pooling: Pooling) -> NDArray[np.float32]:
    model = SentenceTransformer(str(folder), device="cpu")
    for step in model:
        if isinstance(step, PoolingStep):
            step.pooling_mode = MODES[pooling]
    return np.asarray(model.encode(list(TEXTS), normalize_embeddings=True, show_progress_bar=False))


def test_every_declared_architecture_is_tested_here() -> None:
    assert set(ARCHITECTURES) == CTRANSLATE2_EMBEDDER.architectures


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_vectors_are_those_of_sentence_transformers(
    architecture: str, tmp_path: Path, this_machine: HardwareProfile
) -> None:
    folder, made = make_tiny(tmp_path / "tiny", architecture=architecture), tmp_path / "converted"
    convert(ConversionRequest(folder, made, {"quantization": "float32"}))
    with Bay(hardware=this_machine) as bay:
        for pooling in Pooling:
            handle = bay.embedder(str(made), backend="ctranslate2", pooling=pooling)
            found = handle.embed_documents(TEXTS)
            assert found == pytest.approx(expected(folder, pooling), abs=1e-4), pooling


def test_a_model_with_other_steps_is_refused(tmp_path: Path, this_machine: HardwareProfile) -> None:
    folder = make_tiny(tmp_path / "dense", more=("Dense",))
    with Bay(hardware=this_machine) as bay, pytest.raises(NoMatchError, match="embedding_modules"):
        bay.embedder(str(folder), backend="ctranslate2")


def test_a_folder_that_is_no_encoder_is_told(
    minilm_ctranslate2: Path, tmp_path: Path, this_machine: HardwareProfile
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(minilm_ctranslate2, broken)
    (broken / "model.bin").write_bytes(b"no model")
    with Bay(hardware=this_machine) as bay, pytest.raises(EngineOpenError, match="CTranslate2 did not open"):
        bay.embedder(str(broken), backend="ctranslate2", fallback=False)

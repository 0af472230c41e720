"""Reranking by a tiny cross-encoder with random weights: it knows nothing, but its scores are the library's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder

from enginebay import Bay
from enginebay.errors import EngineOpenError, TruncationWarning
from enginebay.retrieval import Document
from enginebay_plugins.sentence_transformers.reranker import CrossEncoderReranker
from fake_index import fake_index
from tiny_encoders import make_tiny_random_cross_encoder

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

QUESTION = "w1 w2"
TEXTS = [f"w{number} w{number + 3} w{number + 7}" for number in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_random_cross_encoder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def reranker(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(folder, device="cpu", batch_size=3)


def test_scores_are_those_of_the_library(folder: Path, reranker: CrossEncoderReranker) -> None:
    expected = CrossEncoder(str(folder), device="cpu").predict([(QUESTION, text) for text in TEXTS])
    assert reranker(QUESTION, TEXTS) == pytest.approx(expected.tolist(), abs=1e-6)
    assert len(set(reranker(QUESTION, TEXTS))) == len(TEXTS)
    assert reranker(QUESTION, []) == []
    with ThreadPoolExecutor(4) as executor:
        for scores in executor.map(lambda _: reranker(QUESTION, TEXTS), range(8)):
            assert scores == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_search_is_ordered_by_it(reranker: CrossEncoderReranker, tmp_path: Path) -> None:
    with Bay() as bay:
        index = fake_index(bay, tmp_path / "store")
        index.upsert(Document(text, text) for text in TEXTS)
        found = index.search(QUESTION, len(TEXTS), rerank=reranker)
    scores = dict(zip(TEXTS, reranker(QUESTION, TEXTS), strict=True))
    assert [one.source for one in found] == sorted(TEXTS, key=lambda text: -scores[text])


def test_cut_texts_are_told(reranker: CrossEncoderReranker) -> None:
    with pytest.warns(TruncationWarning, match="1 of 2 texts were cut to 24 tokens with the question, text 1"):
        assert len(reranker(QUESTION, ["w1", "w3 " * 40])) == 2


def test_what_does_not_open(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineOpenError, match="no model folder"):
        CrossEncoderReranker(tmp_path / "none")
    with pytest.raises(EngineOpenError, match="did not open"):
        CrossEncoderReranker(tmp_path)
    with pytest.raises(EngineOpenError, match="gives 3 scores"):
        CrossEncoderReranker(make_tiny_random_cross_encoder(tmp_path / "three", labels=3), device="cpu")
    weights = load_file(folder / "model.safetensors")
    pickled = make_tiny_random_cross_encoder(tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save(weights, pickled / "pytorch_model.bin")
    with pytest.raises(EngineOpenError, match="did not open"):
        CrossEncoderReranker(pickled, device="cpu")

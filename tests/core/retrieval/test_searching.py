"""Rankings: by vectors, by words, joined, diverse, scored anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from enginebay import Bay, F
from enginebay.config.settings import SearchMode
from enginebay.errors import InvalidParameterError, StoreError, UnsupportedFeatureError
from enginebay.interfaces.vector_store import Record
from enginebay.retrieval import Document, Index
from enginebay.retrieval import lexical as lexical_module
from enginebay.retrieval.fusion import maximal_marginal_relevance, reciprocal_rank_fusion
from enginebay.retrieval.lexical import LexicalIndex
from fake_index import fake_index

TEXTS = {
    "fox": "The quick brown fox jumps over the lazy dog.",
    "code": "Error E4711 means that the disk is full.",
    "paris": "Paris is the capital of France.",
    "berlin": "Berlin is the capital of Germany.",
}

EVERYWHERE = [mode for mode in SearchMode if mode is not SearchMode.STORE_HYBRID]
"""Modes that every store has."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Bay() as bay:
        made = fake_index(bay, tmp_path / "store")
        made.upsert(Document(name, text, {"length": len(text)}) for name, text in TEXTS.items())
        yield made


def sources(found: Sequence[object]) -> list[str]:
    return [passage.source for passage in found]  # type: ignore[attr-defined]


def test_modes(index: Index) -> None:
    for mode in EVERYWHERE:
        assert index.search("What means E4711?", 1, mode=mode)[0].source == "code"
    hybrid = index.search("capital of France", 4)
    assert hybrid[0].source == "paris"
    assert hybrid[0].score == pytest.approx(2 / 61)
    assert hybrid[0].similarity == pytest.approx(index.search("capital of France", 1, mode="vector")[0].score)
    assert sources(index.search("capitals", mode="lexical")) == ["paris", "berlin"], "endings are of no weight"
    assert index.search("?!", mode="lexical") == []
    assert index.search('"quotes" OR (brackets* NEAR', mode="lexical") == []
    with pytest.raises(InvalidParameterError, match="did you mean 'hybrid'"):
        index.search("x", mode="hybird")


def test_filters_hold_in_every_mode(index: Index) -> None:
    short = F.length < len(TEXTS["berlin"])
    for mode in EVERYWHERE:
        assert sources(index.search("the capital", where=short, mode=mode)) == ["paris"]


def test_diversity(index: Index) -> None:
    question = "the capital of France"
    assert sources(index.search(question, 2, mode="vector")) == ["paris", "berlin"]
    assert sources(index.search(question, 2, mode="vector", diversity=0.9))[1] != "berlin"
    assert sources(index.search(question, 2, diversity=0)) == sources(index.search(question, 2))
    for wrong in ({"diversity": 2.0}, {"diversity": 0.5, "rerank": lambda question, texts: []}):
        with pytest.raises(InvalidParameterError):
            index.search(question, **wrong)
    for limit in (0, -1, True):
        with pytest.raises(InvalidParameterError):
            index.search(question, limit)


def test_reranking(index: Index) -> None:
    found = index.search("capital", 2, rerank=lambda question, texts: [-len(text) for text in texts])
    assert sources(found) == ["paris", "berlin"]
    assert found[0].score == -len(TEXTS["paris"])
    with pytest.raises(InvalidParameterError, match="1 scores for 4 texts"):
        index.search("capital", rerank=lambda question, texts: [1.0])


def test_reciprocal_rank_fusion_by_hand() -> None:
    scores = reciprocal_rank_fusion(["a", "b"], ["b", "c"])
    assert scores == {"b": pytest.approx(1 / 62 + 1 / 61), "a": pytest.approx(1 / 61), "c": pytest.approx(1 / 62)}
    assert list(scores) == ["b", "a", "c"]


def test_maximal_marginal_relevance_by_hand() -> None:
    vectors = np.array([[1, 0], [1, 0.01], [0, 1]], dtype=np.float32)
    assert maximal_marginal_relevance([0.9, 0.89, 0.5], vectors, 2, 0.5) == [0, 2]
    assert maximal_marginal_relevance([0.9, 0.89, 0.5], vectors, 9, 1.0) == [0, 1, 2]
    assert maximal_marginal_relevance([], vectors[:0], 2, 0.5) == []


def test_words_follow_without_reading_everything(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.search("fox", mode="lexical")
    monkeypatch.setattr(index._ledger, "entries", lambda: pytest.fail("the whole ledger was read"))
    index.upsert(Document("hen", "A hen lays eggs."))
    index.remove("fox")
    assert sources(index.search("hen eggs", mode="lexical")) == ["hen"]
    assert index.search("fox", mode="lexical") == []


def test_a_lexical_index_that_is_lost_or_broken_is_made_again(index: Index, tmp_path: Path) -> None:
    index._words.close()
    file = index._folder / "words.sqlite"
    for damage in (b"no database at all" * 100, b""):
        for ending in ("-wal", "-shm"):
            file.with_name(file.name + ending).unlink(missing_ok=True)
        file.write_bytes(damage)
        with Bay() as bay:
            again = fake_index(bay, tmp_path / "store")
            assert sources(again.search("fox", 1, mode="lexical")) == ["fox"]
            again._words.close()


def test_a_lexical_index_in_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open"):
        LexicalIndex(tmp_path / "file" / "words.sqlite")


def test_changes_are_made_whole_or_not_at_all(tmp_path: Path) -> None:
    words = LexicalIndex(tmp_path / "words.sqlite")

    def records() -> Iterator[Record]:
        yield Record("a-0", np.ones(1), {}, "fox")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), words.changing():
        words.replace("a", "1", records())
    assert (words.states(), words.search("fox", 5)) == ({}, [])


def test_without_fts5(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Connection:
        def execute(self, statement: str) -> None:
            raise lexical_module.sqlite3.OperationalError("no such module: fts5")

        def close(self) -> None:
            pass

    monkeypatch.setattr(lexical_module.sqlite3, "connect", lambda *_, **__: Connection())
    with pytest.raises(UnsupportedFeatureError, match=r'FTS5(.|\n)*search = "vector"'):
        LexicalIndex(tmp_path / "words.sqlite")

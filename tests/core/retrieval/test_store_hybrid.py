"""Hybrid search by the store itself: Weaviate's client on an emulator of Weaviate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.weaviate_emulator import WeaviateEmulator
from enginebay import Bay, F
from enginebay.config.settings import SearchMode
from enginebay.errors import UnsupportedFeatureError
from enginebay.retrieval import Document, Index, ask
from fake_engine import FakeGenerator, fake_handle, fake_model
from fake_index import fake_index, fake_index_in

TEXTS = {
    "fox": "The quick brown fox jumps over the lazy dog.",
    "code": "Error E4711 means that the disk is full.",
    "paris": "Paris is the capital of France.",
    "berlin": "Berlin is the capital of Germany.",
}


@pytest.fixture
def index() -> Iterator[Index]:
    with WeaviateEmulator() as server, Bay() as bay:
        store = bay.store("weaviate", url=server.url, options={"grpc_port": server.grpc_port})
        made = fake_index_in(store, search="store_hybrid")
        made.upsert(Document(name, text, {"length": len(text)}) for name, text in TEXTS.items())
        yield made


def test_the_stores_own_order_and_scores(index: Index) -> None:
    question = "capital of France"
    hits = index.collection.hybrid_query(question, index.embedder.embed_query(question), limit=3)
    found = index.search(question, 3)
    assert [(one.id, one.score) for one in found] == [(hit.id, hit.score) for hit in hits]
    assert found[0].source == "paris"
    nearest = {one.source: one.similarity for one in index.search(question, 4, mode="vector")}
    assert [one.similarity for one in found] == pytest.approx([nearest[one.source] for one in found], abs=1e-5)
    assert not (index._folder / "words.sqlite").exists(), "no words are kept on this machine"


def test_filters_reranking_and_diversity_hold(index: Index) -> None:
    short = F.length < len(TEXTS["berlin"])
    assert [one.source for one in index.search("the capital", where=short)] == ["paris"]
    by_length = index.search("capital", 2, rerank=lambda question, texts: [-len(text) for text in texts])
    assert [(one.source, one.score) for one in by_length] == [(name, -len(TEXTS[name])) for name in ("paris", "berlin")]
    diverse = index.search("the capital of France", 2, diversity=0.9)
    assert diverse[0].source == "paris"
    assert diverse[1].source != "berlin"


def test_words_that_are_no_words(index: Index) -> None:
    for question in ("?!", '"quotes" OR (brackets* NEAR'):
        assert len(index.search(question)) <= len(TEXTS)


def test_answers_are_cited_and_unknown_ones_refused(index: Index) -> None:
    class Scripted(FakeGenerator):
        @property
        def context_length(self) -> int:
            return 4000

    handle = fake_handle(Scripted(["The disk is full [1]."]), model=fake_model(context_length=4000))
    answer = ask(index, handle, "What means error E4711?")
    assert [(one.where, one.named) for one in answer.quotations] == [("code:1", True)]
    assert not ask(index, handle, "xylophone zebra quux").known


def test_one_call_may_take_another_mode(index: Index) -> None:
    for mode in SearchMode:
        assert index.search("What means E4711?", 1, mode=mode)[0].source == "code"


def test_a_store_without_it_says_so(tmp_path: Path) -> None:
    with Bay() as bay:
        index = fake_index(bay, tmp_path / "store")
        with pytest.raises(UnsupportedFeatureError, match=r"'sqlite' has no hybrid search of its own(.|\n)*\"hybrid\""):
            index.search("fox", mode="store_hybrid")

"""Indexes by configuration, and embedding them anew. The embedders are fakes; the store is the real sqlite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enginebay import Bay
from enginebay.errors import CollectionMismatchError, CollectionNotFoundError, ConfigError
from enginebay.retrieval import Document, Index
from enginebay.retrieval.ledger import Ledger
from enginebay.retrieval.opening import DEFAULT_EMBEDDER
from fake_embedder import fake_embedder_handle, fake_embedding_model
from fake_index import WordEmbedder

LONG = "\n".join(f"Line {number} has the word{number} in it." for number in range(30))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What bays are asked for; "narrow" reads less and makes other vectors."""
    names: list[str | None] = []

    def embedder(bay: Bay, name: str | None = None, **changes: Any) -> Any:
        names.append(name)
        engine = WordEmbedder(64 if name == "narrow" else 256)
        if name == "narrow":
            engine.context_length = 16
        model = fake_embedding_model(reference=name or "default", layers=3 if name == "narrow" else 2)
        return fake_embedder_handle(engine, model=model, query_prefix=name or "")

    monkeypatch.setattr(Bay, "embedder", embedder)
    return names


@pytest.fixture
def bay(tmp_path: Path, asked: list[str | None]) -> Iterator[Bay]:
    config = tmp_path / "enginebay.toml"
    config.write_text(
        f"""
[stores.mine]
backend = "sqlite"
path = {str(tmp_path / "mine")!r}

[stores.other]
backend = "sqlite"
path = {str(tmp_path / "other")!r}

[collections.notes]
store = "mine"
embedder = "wide"
passage_tokens = 40
max_file_bytes = "1MB"
search = "vector"

[collections.papers]
store = "other"
"""
    )
    with Bay(config=config) as opened:
        yield opened


def test_by_configuration(bay: Bay, asked: list[str | None], tmp_path: Path) -> None:
    index = Index.open(bay, "notes")
    assert asked == ["wide"]
    assert (index.settings.max_file_bytes, index.splitter.tokens) == (1_000_000, 40)
    assert (tmp_path / "mine" / "enginebay.sqlite").exists()
    moved = Index.open(bay, "notes", store="other", search="hybrid")
    assert (tmp_path / "other" / "enginebay.sqlite").exists()
    moved.upsert(Document("a", "fox"))
    assert index.documents() == []
    with pytest.raises(ConfigError, match="several are configured"):
        Index.open(bay)
    with pytest.raises(ConfigError, match="did you mean 'embedder'"):
        Index.open(bay, "notes", embeder="x")
    with pytest.raises(ConfigError, match="search"):
        Index.open(bay, "notes", search="none")
    with pytest.raises(CollectionNotFoundError):
        Index.open(bay, "papers", create=False)


def test_without_any_configuration(asked: list[str | None], own_folders: Path) -> None:
    with Bay() as bay:
        index = Index.open(bay)
        assert (index.name, index.collection.backend, asked) == ("documents", "sqlite", [DEFAULT_EMBEDDER])
        assert list((own_folders / "data" / "stores").iterdir()) == [own_folders / "data" / "stores" / "sqlite"]


def test_the_store_that_is_taken_by_default(tmp_path: Path) -> None:
    def name(text: str) -> str:
        (tmp_path / "enginebay.toml").write_text(text)
        with Bay(config=tmp_path / "enginebay.toml") as bay:
            return bay.store_config()[0]

    one = '[stores.one]\nbackend = "sqlite"\n'
    assert name("") == "sqlite"
    assert name(one) == "one"
    with pytest.raises(ConfigError, match="one, two"):
        name(one + one.replace("one", "two"))
    with pytest.raises(ConfigError, match="no store is named"):
        name('[plugins]\ndeny = ["sqlite"]\n')


def test_another_model_is_refused_until_all_is_embedded_anew(bay: Bay) -> None:
    index = Index.open(bay, "notes", passage_tokens=None)
    index.upsert([Document("long", LONG, {"year": 2024}), Document("short", "A fox.")])
    before = {passage.text for passage in index.search("word7 fox", 50)}
    assert index.splitter.tokens == 64
    with pytest.raises(CollectionMismatchError, match=r"Index\.reindex\(bay, 'notes'\)"):
        Index.open(bay, "notes", embedder="narrow")
    told: list[Any] = []
    again = Index.reindex(bay, "notes", embedder="narrow", passage_tokens=None, progress=told.append)
    assert again.collection.info.name == "notes-g2"
    assert (told[-1].documents, told[-1].total, told[-1].passages) == (2, 2, again.collection.count())
    found = again.search("word7", 1, mode="lexical")[0]
    assert found.text == LONG[found.start : found.end]
    assert found.lines is not None
    assert "word7" in found.text
    assert "\n".join(LONG.split("\n")[found.lines[0] - 1 : found.lines[1]]) == found.text
    assert found.metadata == {"year": 2024}
    passages = again.search("word", 100)
    assert all(len(passage.text.split()) <= 16 for passage in passages)
    assert len(passages) > len(before)
    assert {entry.source: entry.passages for entry in again.documents()}["short"] == 1
    assert [info.name for info in bay.store("mine").collections()] == ["notes-g2"]
    reopened = Index.open(bay, "notes", embedder="narrow", passage_tokens=None, create=False)
    assert reopened.collection.count() == again.collection.count()
    report = reopened.upsert(Document("long", LONG, {"year": 2024}))
    assert report.changed == ("long",), "what was cut by the old model's measure is cut anew"
    assert Index.reindex(bay, "notes", passage_tokens=None).collection.info.name == "notes-g3"


def test_a_reindex_that_was_broken_off_is_as_if_it_had_not_begun(bay: Bay, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index.open(bay, "notes")
    index.upsert(Document("long", LONG))
    held = index.collection.count()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            Index.reindex(bay, "notes", embedder="narrow", passage_tokens=16)
    assert {info.name for info in bay.store("mine").collections()} == {"notes", "notes-g2"}
    opened = Index.open(bay, "notes", create=False)
    assert opened.collection.info.name == "notes"
    assert opened.collection.count() == held
    assert Index.reindex(bay, "notes").collection.count() == held
    with pytest.raises(CollectionNotFoundError, match="no index 'nothing'"):
        Index.reindex(bay, "nothing", store="mine")

"""The Pinecone store on an emulator of Pinecone: faults, limits, names, and what its service does not document."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pinecone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.pinecone_emulator import Fault, PineconeEmulator
from enginebay import Bay, F, Record
from enginebay.errors import (
    CollectionNotFoundError,
    ConfigError,
    InvalidParameterError,
    OptionError,
    RecordError,
    StoreError,
)
from enginebay.interfaces.filters import OPERATORS, STRING_ORDER, matches
from enginebay.stores import Collection, Store
from enginebay.testing.store_subject import StoreSubject, random_filter
from enginebay_plugins.pinecone import names
from enginebay_plugins.pinecone.records import fields_of, record_from


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's pauses between tries are its own to test."""
    monkeypatch.setattr("pinecone._internal.http_client._retry_sleep", lambda seconds: None)


@pytest.fixture
def emulator() -> Iterator[PineconeEmulator]:
    with PineconeEmulator() as emulator:
        yield emulator


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


def open_store(bay: Bay, emulator: PineconeEmulator, **options: Any) -> Store:
    return bay.store("pinecone", url=emulator.url, api_key=emulator.key, options=options)


@pytest.fixture
def collection(bay: Bay, emulator: PineconeEmulator) -> Collection:
    return open_store(bay, emulator).create_collection("words", 2)


def written(collection: Collection, *records: Record) -> None:
    collection.upsert(records)
    collection.wait_until_visible([one.id for one in records])


def record(identity: str, **metadata: Any) -> Record:
    return Record(identity, np.array([1.0, 2.0]), metadata)


def posted(emulator: PineconeEmulator, path: str) -> int:
    return sum(target.endswith(path) for _, target in emulator.requests)


@pytest.mark.parametrize("status", [429, 500, 503, None])
def test_a_passing_fault_is_tried_again(emulator: PineconeEmulator, collection: Collection, status: int | None) -> None:
    emulator.fail(Fault("/vectors/upsert", status), Fault("/vectors/upsert", status), Fault("/query", status))
    written(collection, record("a"))
    assert collection.query([1, 2])[0].id == "a"


def test_an_upsert_whose_answer_is_lost_is_done_once(emulator: PineconeEmulator, collection: Collection) -> None:
    emulator.fail(Fault("/vectors/upsert", done=True))
    written(collection, record("a"), record("b"))
    assert posted(emulator, "/vectors/upsert") == 2
    assert {one.id for one in collection.scan()} == {"a", "b"}


@pytest.mark.parametrize(
    ("status", "told"), [(429, "slowly"), (500, "500"), (503, "503"), (400, "400"), (None, "network")]
)
def test_a_lasting_fault_is_an_error(
    emulator: PineconeEmulator, collection: Collection, status: int | None, told: str
) -> None:
    tries = 1 if status == 400 else 4
    emulator.fail(*[Fault("/query", status)] * tries)
    with pytest.raises(StoreError, match=f"(?s)words.*{told}"):
        collection.query([1, 2])
    assert collection.query([1, 2]) == []


def test_a_slow_server_is_not_waited_for(bay: Bay, emulator: PineconeEmulator) -> None:
    collection = open_store(bay, emulator, timeout=0.2).create_collection("words", 2)
    emulator.fail(*[Fault("/query", seconds=2.0)] * 4)
    with pytest.raises(StoreError, match="raise the option timeout"):
        collection.query([1, 2])


def test_a_wrong_key_is_named_and_not_shown(bay: Bay, emulator: PineconeEmulator) -> None:
    store = bay.store("pinecone", url=emulator.url, api_key="pcsk-secret")
    with pytest.raises(StoreError, match="PINECONE_API_KEY") as caught:
        store.collections()
    assert "pcsk-secret" not in str(caught.value)


def test_the_key_comes_from_the_environment(
    bay: Bay, emulator: PineconeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PINECONE_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="PINECONE_API_KEY"):
        bay.store("pinecone", url=emulator.url)
    monkeypatch.setenv("PINECONE_API_KEY", emulator.key)
    assert bay.store("pinecone", url=emulator.url).collections() == []


def test_nobody_there_is_an_error(bay: Bay, emulator: PineconeEmulator) -> None:
    with PineconeEmulator() as gone:
        store = open_store(bay, gone)
    with pytest.raises(StoreError, match="is the network there"):
        store.collections()


def test_too_much_text_is_refused_before_anything_is_written(collection: Collection) -> None:
    large = Record("large", np.array([1.0, 2.0]), {"x": 1}, "é" * 21_000)
    with pytest.raises(RecordError, match=r"'large' has 42\d\d\d bytes .* 40960"):
        collection.upsert([*(record(f"{n}") for n in range(1500)), large])
    collection.upsert([record("later")])
    collection.wait_until_visible(["later"])
    assert {one.id for one in collection.scan()} == {"later"}
    written(collection, Record("fits", np.array([1.0, 2.0]), {}, "x" * 40_900))


def test_upserts_are_cut_by_bytes(bay: Bay, emulator: PineconeEmulator) -> None:
    drawn = np.random.default_rng(1)
    wide = open_store(bay, emulator).create_collection("wide", 1536)
    wide.upsert([Record(f"{n}", drawn.normal(size=1536), {}, "x" * 5000) for n in range(200)])
    assert posted(emulator, "/vectors/upsert") > 2
    wide.wait_until_visible([f"{n}" for n in range(200)])
    assert len(wide.get([f"{n}" for n in range(200)])) == 200


def test_many_hits_come_whole(collection: Collection) -> None:
    texts = {f"{n} ü" * 20: "x" * 3000 for n in range(1500)}
    collection.upsert(Record(one, np.array([1.0, 2.0]), {"n": 1}, text) for one, text in texts.items())
    collection.wait_until_visible(list(texts))
    hits = collection.query([1, 2], limit=10_000, with_vectors=True)
    assert {hit.id: hit.text for hit in hits} == texts
    assert all(hit.vector is not None and hit.vector.tolist() == [1, 2] for hit in hits)


def test_writes_are_not_seen_at_once_and_waiting_has_an_end(bay: Bay) -> None:
    with PineconeEmulator(delay=3600) as slow:
        collection = open_store(bay, slow).create_collection("words", 2)
        assert not collection.immediate
        collection.upsert([record("a")])
        assert collection.query([1, 2]) == []
        with pytest.raises(StoreError, match=r"after 0\.2 s"):
            collection.wait_until_visible(["a"], timeout=0.2)


def test_waiting_is_for_the_new_version_of_a_record(emulator: PineconeEmulator, collection: Collection) -> None:
    for turn in range(5):
        written(collection, record("a", turn=turn))
        assert collection.query([1, 2])[0].metadata == {"turn": turn}


@pytest.mark.parametrize("ne_matches_missing", [False, True])
def test_filters_depend_on_nothing_that_is_not_documented(bay: Bay, ne_matches_missing: bool) -> None:
    drawn = random.Random(2)
    samples = StoreSubject(None, None, records=150).samples  # type: ignore[arg-type]
    with PineconeEmulator(delay=0, ne_matches_missing=ne_matches_missing) as emulator:
        collection = open_store(bay, emulator).create_collection("words", 32)
        collection.upsert(samples)
        for _ in range(100):
            where = random_filter(drawn, OPERATORS - {STRING_ORDER})
            found = {one.id for one in collection.scan(where=where)}
            assert found == {one.id for one in samples if matches(where, one.metadata)}, where


def test_an_index_of_another_program_is_left_alone(bay: Bay, emulator: PineconeEmulator) -> None:
    client = pinecone.Pinecone(api_key=emulator.key, host=emulator.url)
    field = {"type": "dense_vector", "dimension": 2, "metric": "cosine"}
    client.indexes.create(
        name="words",
        schema={"fields": {"_values": field}},
        deployment={"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"},
    )
    client.close()
    store = open_store(bay, emulator)
    assert store.collections() == []
    for call in (lambda: store.create_collection("words", 2), lambda: store.drop_collection("words")):
        with pytest.raises(StoreError, match="another program"):
            call()
    assert "words" in emulator.indexes


def test_a_full_project_is_an_error_that_names_the_way_out(bay: Bay) -> None:
    with PineconeEmulator(most_indexes=1) as emulator:
        store = open_store(bay, emulator)
        store.create_collection("first", 2)
        with pytest.raises(StoreError, match=r"(?s)second.*namespaces"):
            store.create_collection("second", 2)


def test_a_collection_that_others_dropped_and_made_anew(bay: Bay, emulator: PineconeEmulator) -> None:
    collection = open_store(bay, emulator).create_collection("words", 2)
    with Bay() as other:
        store = open_store(other, emulator)
        store.drop_collection("words")
        with pytest.raises(CollectionNotFoundError, match="words"):
            collection.count()
        store.create_collection("words", 3)
        with pytest.raises(CollectionNotFoundError, match="made anew"):
            collection.upsert([record("a")])
        store.drop_collection("words")
        store.create_collection("words", 2)
        written(collection, record("a"))


def test_options_reach_the_index(bay: Bay, emulator: PineconeEmulator) -> None:
    store = open_store(bay, emulator, cloud="gcp", region="europe-west4", node_type="b1", shards=2)
    store.create_collection("tagged_words", 2, metric="dot", embedder_fingerprint="ü" * 300)
    facts = emulator.indexes["tagged--words"].facts
    assert facts["deployment"].items() >= {"cloud": "gcp", "region": "europe-west4"}.items()
    assert facts["read_capacity"]["dedicated"]["manual"] == {"shards": 2, "replicas": 1}
    (info,) = store.collections()
    assert (info.name, info.embedder_fingerprint) == ("tagged_words", "ü" * 300)
    with pytest.raises(InvalidParameterError, match="fingerprint"):
        store.create_collection("other", 2, embedder_fingerprint="ü" * 1000)
    with pytest.raises(OptionError, match="regoin"):
        open_store(bay, emulator, regoin="eu")


def test_a_store_by_configuration(emulator: PineconeEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "enginebay.toml"
    config.write_text(
        f'[stores.docs]\nbackend = "pinecone"\nurl = "{emulator.url}"\napi_key = "env:KEY_OF_A_TEST"\n'
        'options = { region = "us-west-2" }\n'
    )
    monkeypatch.setenv("KEY_OF_A_TEST", emulator.key)
    with Bay(config=config) as bay:
        bay.store("docs").create_collection("words", 3)
    assert emulator.indexes["words"].facts["deployment"]["region"] == "us-west-2"


def test_names_that_become_too_long(collection: Collection, bay: Bay, emulator: PineconeEmulator) -> None:
    with pytest.raises(InvalidParameterError, match="longer than 45"):
        open_store(bay, emulator).create_collection("_".join("abcdefghijklmnopqrstuvw"), 2)
    with pytest.raises(InvalidParameterError, match="longer than 512"):
        collection.count(namespace="é" * 100)


def test_filters_that_are_known_without_asking(emulator: PineconeEmulator, collection: Collection) -> None:
    written(collection, record("a"))
    before = len(emulator.requests)
    assert collection.query([1, 2], where=F.x.one_of([])) == []
    assert collection.count(where=F.x.one_of([])) == 0
    collection.delete(where=F.x.one_of([]))
    assert len(emulator.requests) == before
    assert collection.count(where=F.x.none_of([])) == 1


@given(st.text(max_size=80).filter(lambda text: "\0" not in text))
def test_namespaces_come_back(namespace: str) -> None:
    try:
        name = names.namespace_name(namespace)
    except InvalidParameterError:
        assert len(namespace.encode()) * 3 > names.MAX_NAMESPACE
        return
    assert name.isascii()
    assert 1 <= len(name) <= names.MAX_NAMESPACE
    assert names.namespace_of(name) == namespace


@pytest.mark.parametrize("namespace", ["", "__default__", "%5F_default__", "%", " ", "%20", "a/b"])
def test_namespaces_that_look_like_others(namespace: str) -> None:
    assert names.namespace_of(names.namespace_name(namespace)) == namespace


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_ids_are_apart(one: str, two: str) -> None:
    assert names.vector_id(one).isascii()
    assert (names.vector_id(one) == names.vector_id(two)) == (one == two)
    assert names.vector_id(names.vector_id("é")) != names.vector_id("é")


@given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_survive_a_json_reader_that_keeps_15_digits(value: float) -> None:
    fields = {
        name: float(f"{one:.15g}") if isinstance(one, float) else one
        for name, one in fields_of(record("a", x=value)).items()
    }
    found = record_from([1.0, 2.0], fields).metadata["x"]
    assert found == value
    assert type(found) is type(value)

"""The Weaviate store under faults, on old and slow servers, and beside other programs. All on an emulator."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emulators.weaviate_emulator import WeaviateEmulator
from enginebay import Bay, F, Record
from enginebay.errors import (
    CollectionNotFoundError,
    EnginebayError,
    InvalidParameterError,
    OptionError,
    RecordError,
    StoreError,
    UnsupportedFeatureError,
)
from enginebay.interfaces.filters import Filter, matches
from enginebay.stores import Collection, Store
from enginebay_plugins.weaviate import names, store
from enginebay_plugins.weaviate.objects import object_id


@pytest.fixture
def server() -> Iterator[WeaviateEmulator]:
    with WeaviateEmulator() as server:
        yield server


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


def opened(bay: Bay, server: WeaviateEmulator, *, api_key: str | None = None, **options: Any) -> Store:
    options = {"grpc_port": server.grpc_port, **options}
    return bay.store("weaviate", url=server.url, api_key=api_key, options=options)


@pytest.fixture
def words(bay: Bay, server: WeaviateEmulator) -> Collection:
    return opened(bay, server).create_collection("words", 2)


def record(identity: str, *numbers: float, text: str | None = None, **metadata: Any) -> Record:
    return Record(identity, np.array(numbers or (1.0, 0.0), dtype=np.float32), metadata, text)


def test_a_wrong_key_is_told_and_not_shown(bay: Bay) -> None:
    with WeaviateEmulator(api_key="right") as server:
        with pytest.raises(StoreError, match="refuses the API key") as caught:
            opened(bay, server, api_key="wrong-key-1234")
        assert "wrong-key-1234" not in str(caught.value) + repr(caught.value.__cause__)
        assert opened(bay, server, api_key="right").collections() == []


def test_no_server_at_the_address(bay: Bay) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StoreError, match=r"cannot be reached(.|\n)*grpc_port"):
            bay.store("weaviate", url=url, options={"retries": 0})


def test_a_wrong_grpc_port_is_told_when_the_store_is_opened(bay: Bay, server: WeaviateEmulator) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(StoreError, match=r"nothing speaks gRPC(.|\n)*grpc_port"):
            opened(bay, server, grpc_port=taken.getsockname()[1], open_timeout=0.5)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host", "http://", "http://host/path"])
def test_an_impossible_address(bay: Bay, url: str) -> None:
    with pytest.raises(OptionError, match="no address"):
        bay.store("weaviate", url=url)


def test_options_are_checked(bay: Bay, server: WeaviateEmulator) -> None:
    for bad in ({"grpc_prt": 1}, {"prefix": "lower"}, {"grpc_port": 0}, {"consistency_level": "some"}):
        with pytest.raises(OptionError, match=next(iter(bad))):
            opened(bay, server, **bad)


def test_a_slow_server_is_told(bay: Bay, server: WeaviateEmulator) -> None:
    collection = opened(bay, server, timeout=0.3).create_collection("words", 2)
    collection.upsert([record("a")])
    server.pause = 1.0
    for call in calls(collection):
        with pytest.raises(StoreError, match=r"too long(.|\n)*timeout"):
            call()


def test_a_server_that_has_gone_is_told(
    bay: Bay, server: WeaviateEmulator, words: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    words.upsert([record("a")])
    server.stop()
    # The client tries gRPC again for a minute, with pauses.
    monkeypatch.setattr("weaviate.retry.time", SimpleNamespace(sleep=lambda seconds: None))
    for call in (*calls(words), opened(bay, server).collections):
        with pytest.raises(StoreError, match="cannot be reached"):
            call()


def calls(collection: Collection) -> tuple[Callable[[], object], ...]:
    """One for each kind of call by gRPC."""
    return (
        lambda: collection.query([1, 0]),
        lambda: collection.get(["a"]),
        lambda: collection.count(),
        lambda: collection.delete(["a"]),
        lambda: collection.upsert([record("a")]),
        lambda: collection.namespaces(),
        lambda: list(collection.scan()),
    )


def test_an_overloaded_server_is_asked_again(bay: Bay, server: WeaviateEmulator) -> None:
    patient, hasty = opened(bay, server), opened(bay, server, retries=0)
    server.overloaded = 2
    assert patient.collections() == []
    server.overloaded = 2
    with pytest.raises(StoreError, match="503"):
        hasty.collections()


def test_what_a_server_refuses_of_a_batch_is_named(server: WeaviateEmulator, words: Collection) -> None:
    server.refused = {str(object_id("b")), str(object_id("c"))}
    with pytest.raises(StoreError, match="refused 2 of 4 records, the first of them 'b'") as caught:
        words.upsert(record(one) for one in "abcd")
    assert caught.value.value == ["b", "c"]
    assert [one.id for one in words.get(["a", "b", "c", "d"])] == ["a", "d"]
    with pytest.raises(StoreError, match="told to refuse"):
        words.upsert([record("b")])


def test_deletions_beyond_what_a_server_deletes_at_once(server: WeaviateEmulator, words: Collection) -> None:
    words.upsert(record(f"{n}", n=n) for n in range(35))
    server.deletes_at_once = 10
    words.delete(where=F.n >= 5)
    assert sorted(one.id for one in words.scan()) == list("01234")


@pytest.mark.parametrize("most", [10, 30, 10_000])
def test_a_scan_by_a_filter_of_few_and_many_matches(
    words: Collection, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(store, "_MOST", most)
    monkeypatch.setattr(store, "_PAGE", 7)
    words.upsert(record(f"{n}", n=n) for n in range(35))
    found = list(words.scan(where=F.n >= 5))
    assert sorted(int(one.id) for one in found) == list(range(5, 35))
    assert found[0].vector.tolist() == [1, 0]
    assert len(list(words.scan())) == 35


def test_many_records_go_in_messages_of_limited_size(words: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MESSAGE_BYTES", 3000)
    sent: list[int] = []
    insert = store._insert
    monkeypatch.setattr(store, "_insert", lambda tenant, objects: (sent.append(len(objects)), insert(tenant, objects)))
    words.upsert(record(f"{n}", text="x" * 200, n=n) for n in range(20))
    assert len(sent) > 5
    assert sum(sent) == words.count() == 20


def test_a_dropped_collection_is_told_by_every_call(bay: Bay, server: WeaviateEmulator, words: Collection) -> None:
    words.upsert([record("a", n=1)])
    opened(bay, server).drop_collection("words")
    more: tuple[Callable[[], object], ...] = (
        lambda: words.query([1, 0], where=F.n == 1),
        lambda: words.delete(where=F.m == 1),
        lambda: words.delete_all(),
        lambda: words.hybrid_query("a", [1, 0]),
    )
    for call in (*calls(words), *more):
        with pytest.raises(CollectionNotFoundError, match="words"):
            call()
    assert server.database.classes == {}, "the server made a class of its own"


def test_classes_of_others_are_left_alone(bay: Bay, server: WeaviateEmulator) -> None:
    for name in ("Other", "Enginebay_words"):
        server.database.add_class({"class": name, "description": "mine"})
    store = opened(bay, server)
    assert store.collections() == []
    for call in (lambda: store.create_collection("words", 2), lambda: store.drop_collection("words")):
        with pytest.raises(StoreError, match=r"not made by enginebay(.|\n)*prefix"):
            call()
    other = opened(bay, server, prefix="Mine")
    other.create_collection("words", 2)
    assert [info.name for info in other.collections()] == ["words"]
    assert set(server.database.classes) == {"Other", "Enginebay_words", "Mine_words"}


def test_collections_with_like_names_are_apart(bay: Bay, server: WeaviateEmulator) -> None:
    store = opened(bay, server)
    made = ["a-b", "a_b", "a2db", "ab-2d", "x" * 45]
    for name in made:
        store.create_collection(name, 2).upsert([record(name)])
    assert [info.name for info in store.collections()] == sorted(made)
    for name in made:
        assert [one.id for one in store.collection(name).scan()] == [name]


def test_fields_with_like_names_are_apart(words: Collection) -> None:
    fields = ["lang", "Lang", "LANG", "a b", "a_b", "a.b", "a_20b", "ä", "id", "vector", "text", "_id", "x" * 1000]
    fields += ["x" * 999 + "y", "日本語" * 100]
    vector = np.ones(2, dtype=np.float32)
    words.upsert(Record(f"{n}", vector, {field: "here"}) for n, field in enumerate(fields))
    for n, field in enumerate(fields):
        assert [one.id for one in words.scan(where=F[field] == "here")] == [f"{n}"]
        assert words.count(where=F[field] == "here") == 1
        assert words.count(where=F[field].exists(False)) == len(fields) - 1


def test_namespaces_of_any_name(words: Collection) -> None:
    spaces = ["", "a", "A", " ", "default", "a/b", "ns-a", "_", "Ü" * 50, "x" * 300, "x" * 301]
    for space in spaces:
        words.upsert([record(space or "none")], namespace=space)
    assert words.namespaces() == sorted(spaces)
    for space in spaces:
        assert [hit.id for hit in words.query([1, 0], namespace=space)] == [space or "none"]
    words.delete(["a"], namespace="a")
    words.delete_all(namespace="A")
    assert words.namespaces() == sorted(set(spaces) - {"a", "A"})


@pytest.mark.parametrize("text", ["", "a_b-C", "ä 日本語", "_5f", "x" * 40])
def test_names_can_be_read_back(text: str) -> None:
    assert names.unescaped(names.escaped(text)) == text
    assert names.collection_name("P", names.class_name("P", text)) == (text or None)


def test_texts_that_servers_trim_fold_or_drop(words: Collection) -> None:
    texts = ["the", "The", " the", "the ", "the\u3000", "", " ", "\n", "a", "the\x01", "thé", "\x01"]
    words.upsert(record(f"{n}", s=text, tags=[text]) for n, text in enumerate(texts))
    wheres: list[Filter] = [F.s == one for one in texts]
    wheres += [F.tags.contains(one) for one in texts] + [F.s < one for one in texts] + [F.s >= one for one in texts]
    compare_with_oracle(words, wheres)


def test_negative_zero_and_small_numbers(words: Collection) -> None:
    numbers = [0.0, -0.0, 0, 5e-324, -5e-324, 1e308, -1e308, -1]
    words.upsert(record(f"{n}", x=number) for n, number in enumerate(numbers))
    compare_with_oracle(words, [F.x == one for one in numbers] + [F.x <= one for one in numbers])
    (kept,) = words.get(["1"])
    assert str(kept.metadata["x"]) == "-0.0"


def compare_with_oracle(collection: Collection, wheres: list[Filter]) -> None:
    records = list(collection.scan())
    for where in wheres:
        assert collection.count(where=where) == sum(matches(where, one.metadata) for one in records), where


def test_a_server_before_not(bay: Bay) -> None:
    with WeaviateEmulator(version="1.32.4") as server:
        words = opened(bay, server).create_collection("words", 2)
        words.upsert([record("a", x=1, tags=["t"]), record("b", x="1"), record("c", x=2.5), record("d")])
        compare_with_oracle(
            words, [F.x != 1, F.x.none_of([1, "1"]), F.x.exists(False), F.x.exists(), F.x < 2, F.nowhere != 1]
        )
        with pytest.raises(UnsupportedFeatureError, match="not"):
            words.count(where=~F.tags.contains("t"))


def test_a_property_that_came_later_is_missing_before(bay: Bay, server: WeaviateEmulator, words: Collection) -> None:
    words.upsert([record("old")])
    watching = opened(bay, server).collection("words")
    assert watching.count(where=F.new.exists()) == 0
    words.upsert([record("young", new=1)])
    assert watching.count(where=F.new.exists()) == 1
    assert [one.id for one in watching.scan(where=F.new != 1)] == ["old"]
    assert watching.count(where=F.new != 1) == watching.count(where=~(F.new >= 0)) == 1


def test_openings_that_add_the_same_properties_at_once(server: WeaviateEmulator, words: Collection) -> None:
    problems: list[BaseException] = []
    with Bay() as one, Bay() as two:
        collections = [opened(bay, server).collection("words") for bay in (one, two)]

        def write(number: int) -> None:
            try:
                for turn in range(10):
                    collections[number].upsert([record(f"{number} {turn}", **{f"field {turn}": number})])
            except BaseException as error:  # noqa: BLE001 - told to the thread that checks
                problems.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not problems
    assert words.count() == 20


def test_waiting_for_a_server_that_shows_writes_later(bay: Bay) -> None:
    with WeaviateEmulator(lag=0.5) as server:
        words = opened(bay, server, eventual=True, replicas=3, consistency_level="quorum").create_collection("words", 2)
        assert not words.immediate
        words.upsert(record(one) for one in "abc")
        assert words.count() == 0
        words.wait_until_visible(["a", "b", "c"])
        assert words.count() == len(words.query([1, 0])) == 3
        with pytest.raises(StoreError, match="not all of 1"):
            words.wait_until_visible(["never"], timeout=0.1)
        assert server.database.owner("Enginebay_words")["replicationConfig"]["factor"] == 3


class TestHybrid:
    @pytest.fixture
    def notes(self, words: Collection) -> Collection:
        words.upsert(
            [
                record("cat", 1, 0, text="A cat", n=1),
                record("dog", 0, 1, text="The dog, and the other dog", n=2),
                record("both", 1, 1, text="Cat meets dog", n=3),
                record("silent", 1, 0.1, n=4),
            ]
        )
        return words

    def test_words_and_vectors_are_weighed(self, notes: Collection) -> None:
        assert notes.hybrid
        assert {hit.id for hit in notes.hybrid_query("DOG", [1, 0], alpha=0)} == {"dog", "both"}
        assert notes.hybrid_query("dog", [1, 0], alpha=1)[0].id == "cat"
        mixed = notes.hybrid_query("cat", [1, 0])
        assert mixed[0].id == "cat"
        assert mixed[0].text == "A cat"
        assert len(mixed) == 4
        scores = [hit.score for hit in mixed]
        assert scores == sorted(scores, reverse=True)

    def test_limits_filters_and_namespaces_hold(self, notes: Collection) -> None:
        assert len(notes.hybrid_query("cat dog", [1, 0], limit=2)) == 2
        assert {hit.id for hit in notes.hybrid_query("cat", [1, 0], where=F.n >= 3)} == {"both", "silent"}
        assert notes.hybrid_query("cat", [1, 0], namespace="unknown") == []

    def test_the_async_twin(self, notes: Collection) -> None:
        assert asyncio.run(notes.ahybrid_query("cat", [1, 0])) == notes.hybrid_query("cat", [1, 0])

    def test_what_is_impossible_is_refused(self, notes: Collection) -> None:
        bad: tuple[tuple[type[EnginebayError], dict[str, Any]], ...] = (
            (InvalidParameterError, {"alpha": 1.5}),
            (InvalidParameterError, {"alpha": True}),
            (InvalidParameterError, {"limit": 0}),
            (InvalidParameterError, {"text": 5}),
            (RecordError, {"vector": [1, 2, 3]}),
        )
        for error, given in bad:
            with pytest.raises(error, match=r"alpha|limit|text|dimension"):
                notes.hybrid_query(**{"text": "cat", "vector": [1, 0], **given})

    def test_a_store_without_it_says_so(self, bay: Bay, tmp_path: Any) -> None:
        collection = bay.store("sqlite", path=tmp_path).create_collection("words", 2)
        assert not collection.hybrid
        with pytest.raises(UnsupportedFeatureError, match="'sqlite' has no hybrid search"):
            collection.hybrid_query("cat", [1, 0])

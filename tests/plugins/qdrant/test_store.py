"""The qdrant store, embedded: kills, two processes, hostile names, other programs' collections, vectors kept whole."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from emulators.qdrant_emulator import QdrantEmulator
from enginebay import Bay, F, Record
from enginebay.errors import (
    CollectionNotFoundError,
    ConfigError,
    OptionError,
    StoreError,
    UnsupportedFeatureError,
)
from enginebay.interfaces.filters import MetadataValue
from enginebay.stores import Collection

WRITER = """
import sys
import numpy as np
from enginebay import Bay, Record

collection = Bay().store("qdrant", path=sys.argv[1]).create_collection("words", 16)
print("ready", flush=True)
for batch in range(100_000):
    collection.upsert([Record(f"{batch} {n}", np.full(16, n + 1.0), {"batch": batch}) for n in range(5)])
    print(batch, flush=True)
"""

OPENER = """
import sys
from enginebay import Bay
from enginebay.errors import StoreError

try:
    Bay().store("qdrant", path=sys.argv[1])
except StoreError as error:
    print(error)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: Qdrant flushes each record by itself."""
    memory = "/dev/shm"
    with TemporaryDirectory(dir=memory if Path(memory).is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


def open_collection(bay: Bay, folder: Path, width: int = 2) -> Collection:
    return bay.store("qdrant", path=folder).create_collection("words", width)


def record(identity: str, *numbers: float, **metadata: MetadataValue) -> Record:
    return Record(identity, np.array(numbers, dtype=np.float32), metadata)


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path, bay: Bay) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    time.sleep(2)
    writer.send_signal(signal.SIGKILL)
    acknowledged = int(writer.communicate()[0].splitlines()[-1]) + 1
    assert acknowledged > 1
    collection = bay.store("qdrant", path=tmp_path).collection("words")
    found = {one.id for one in collection.scan()}
    assert {f"{batch} {n}" for batch in range(acknowledged) for n in range(5)} <= found
    collection.upsert([Record("after", np.ones(16))])


def test_a_second_process_is_refused_until_the_first_closes(folder: Path) -> None:
    def opened_elsewhere() -> str:
        return subprocess.run([sys.executable, "-c", OPENER, folder], capture_output=True, text=True).stdout

    with Bay() as bay, Bay() as other:
        bay.store("qdrant", path=folder)
        other.store("qdrant", path=folder)
        told = opened_elsewhere()
        assert f"another process has the qdrant store in {folder} open" in told
        assert "Qdrant server" in told
        bay.close()
        assert "another process" in opened_elsewhere(), "one opening of this process is left"
    assert opened_elsewhere() == ""


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.just(-0.0)
HOSTILE = {'c"d': True, "A": -0.0, "a": 2**53 + 1, "x.y": ["'", ""], "[0]": 5e-324, "x[]": "", "a-b": "a_b"}


def test_any_metadata_comes_back_and_is_found(folder: Path, bay: Bay) -> None:
    collection = open_collection(bay, folder)

    def check(metadata: dict[str, MetadataValue]) -> None:
        collection.upsert([Record("it's", np.ones(2), metadata), Record("other", np.ones(2))])
        (found,) = collection.get(["it's"])
        assert found.metadata == metadata
        for name, value in metadata.items():
            assert type(found.metadata[name]) is type(value)
            assert collection.count(where=F[name].exists()) == 1
            if isinstance(value, list):
                assert all(collection.count(where=F[name].contains(one)) == 1 for one in value)
            else:
                assert collection.count(where=(F[name] == value) & F[name].one_of([value, "x"])) == 1
                assert collection.count(where=(F[name] != value) | F[name].none_of([value])) == 1
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert collection.count(where=(F[name] >= value) & (F[name] <= value)) == 1
                assert collection.count(where=(F[name] > value) | (F[name] < value)) == 0

    check(HOSTILE)
    settings(max_examples=40)(
        given(st.dictionaries(NAMES, TEXTS | st.booleans() | NUMBERS | st.lists(TEXTS, max_size=3), max_size=3))(check)
    )()


def test_the_order_of_strings_is_refused(folder: Path, bay: Bay) -> None:
    with pytest.raises(UnsupportedFeatureError, match="string_order"):
        open_collection(bay, folder).count(where=F.name > "a")


def test_vectors_keep_their_length_and_direction(folder: Path, bay: Bay) -> None:
    collection = open_collection(bay, folder, 3)
    given_vectors = {"tiny": [1e-30, 0.0, 0.0], "huge": [0.0, 3e30, 4e30], "usual": [1.5, -2.5, 3.25]}
    collection.upsert(record(name, *numbers) for name, numbers in given_vectors.items())
    for one in collection.get(list(given_vectors)):
        assert np.allclose(one.vector, np.array(given_vectors[one.id], np.float32), rtol=1e-6, atol=0)
    assert collection.query([1e-30, 0, 0])[0].id == "tiny"
    assert collection.query([0, 3e30, 4e30])[0].score == pytest.approx(1)


def test_a_scan_takes_more_than_one_page(folder: Path, bay: Bay) -> None:
    collection = open_collection(bay, folder)
    collection.upsert(record(f"{number}", 1.0, number, even=number % 2 == 0) for number in range(1100))
    collection.upsert([record("other", 1.0, 0.0)], namespace="other")
    assert sorted(int(one.id) for one in collection.scan()) == list(range(1100))
    assert sorted(int(one.id) for one in collection.scan(where=F.even == True)) == list(range(0, 1100, 2))  # noqa: E712
    assert len(collection.get([f"{number}" for number in range(1100)])) == 1100


def test_collections_of_another_program_are_left_alone(folder: Path, bay: Bay) -> None:
    client = QdrantClient(path=str(folder))
    client.create_collection("words", models.VectorParams(size=2, distance=models.Distance.DOT))
    client.close()
    store = bay.store("qdrant", path=folder)
    assert store.collections() == []
    with pytest.raises(StoreError, match="another program"):
        store.create_collection("words", 2)
    store.drop_collection("words")
    bay.close()
    client = QdrantClient(path=str(folder))
    assert client.collection_exists("words")
    client.close()


def test_embedded_namespaces_come_with_their_first_record_and_go_with_the_collection(folder: Path, bay: Bay) -> None:
    collection = open_collection(bay, folder)
    assert collection.query([1, 0], namespace="a") == []
    assert list(collection.scan(namespace="a")) == []
    collection.delete(["x"], namespace="a")
    collection.delete_all(namespace="a")
    collection.upsert([record("x", 1.0, 0.0, n=1)], namespace="a")
    collection.upsert([record("x", 1.0, 0.0, n=2)], namespace="Ä/../b")
    assert collection.namespaces() == ["a", "Ä/../b"]
    assert [hit.metadata for hit in collection.query([1, 0], namespace="a")] == [{"n": 1}]
    collection.delete_all(namespace="a")
    assert collection.namespaces() == ["Ä/../b"]
    store = bay.store("qdrant", path=folder)
    assert [info.name for info in store.collections()] == ["words"]
    store.drop_collection("words")
    assert open_collection(bay, folder).namespaces() == []
    assert collection.count(namespace="Ä/../b") == 0
    bay.close()
    client = QdrantClient(path=str(folder))
    assert [one.name for one in client.get_collections().collections] == ["words"]
    client.close()


def test_a_folder_of_the_layout_before_is_refused(folder: Path, bay: Bay) -> None:
    client = QdrantClient(path=str(folder))
    facts = {"layout": 1, "dimension": 2, "metric": "cosine", "embedder_fingerprint": None}
    width = models.VectorParams(size=2, distance=models.Distance.COSINE)
    client.create_collection("words", width, metadata={"enginebay": facts})
    client.close()
    with pytest.raises(StoreError, match="another version of enginebay"):
        open_collection(bay, folder)


def test_a_collection_made_anew_is_another_one(folder: Path, bay: Bay) -> None:
    old = open_collection(bay, folder)
    with Bay() as elsewhere:
        store = elsewhere.store("qdrant", path=folder)
        store.drop_collection("words")
        store.create_collection("words", 3, metric="dot")
        for call in (lambda: old.upsert([record("a", 1.0, 0.0)]), lambda: old.query([1, 0])):
            with pytest.raises(CollectionNotFoundError, match="made anew"):
                call()


def test_servers_and_options_are_checked(folder: Path, bay: Bay) -> None:
    with pytest.raises(ConfigError, match="no address of a Qdrant server"):
        bay.store("qdrant", url="localhost:6333")
    with pytest.raises(StoreError, match=r"qdrant at http://127\.0\.0\.1:9"):
        bay.store("qdrant", url="http://127.0.0.1:9")
    with pytest.raises(OptionError, match="exact"):
        bay.store("qdrant", path=folder, options={"exakt": True})


def test_what_a_server_is_told() -> None:
    with QdrantEmulator("right") as emulator, Bay() as bay:
        options = {"indexed_fields": ["year", "a b"], "hnsw_ef": 99}
        with pytest.warns(UserWarning, match="insecure"):
            store = bay.store("qdrant", url=emulator.url, api_key="right", options=options)
        collection = store.create_collection("words", 2)
        assert collection.approximate
        fields = {
            f"{kind}_{name}" for kind in ("kind", "string", "list", "number", "boolean") for name in ("year", "a-20-b")
        }
        assert set(emulator.indexes["words"]) == {"namespace", *fields}
        assert emulator.indexes["words"]["namespace"].is_tenant
        collection.upsert([record(f"{number}", 1.0, number, year=number) for number in range(12)])
        assert len(collection.query([1, 0], limit=10)) == 10
        assert [params.hnsw_ef for params in emulator.searches] == [99]
        assert len(collection.query([1, 0], limit=20)) == 12
        assert [params.exact for params in emulator.searches] == [False, False, True]
        with Bay() as other, pytest.warns(UserWarning, match="insecure"), pytest.raises(StoreError) as refused:
            other.store("qdrant", url=emulator.url, api_key="wrong")
        assert "status 401" in str(refused.value)
        assert "wrong" not in str(refused.value)


def test_large_batches_are_cut_to_what_a_server_takes() -> None:
    with QdrantEmulator() as emulator, Bay() as bay:
        collection = bay.store("qdrant", url=emulator.url).create_collection("words", 4000)
        vectors = np.random.default_rng(1).normal(size=(500, 4000))
        collection.upsert([Record(f"{number}", vector, text="x" * 20_000) for number, vector in enumerate(vectors)])
        assert collection.count() == 500
        assert emulator.requests.count("PUT collections/*/points") > 1

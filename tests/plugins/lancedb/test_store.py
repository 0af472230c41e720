"""The lancedb store under kills, many processes, hostile names, other programs' tables, and its index."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginebay import Bay, F, Record
from enginebay.errors import CollectionNotFoundError, ConfigError, EngineClosedError, OptionError, StoreError
from enginebay.interfaces.filters import MetadataValue
from enginebay.stores import Collection
from enginebay.testing.store_subject import clustered

WRITER = """
import sys
import numpy as np
from enginebay import Bay, Record

folder, writer, batches = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Bay().store("lancedb", path=folder, options={"tidy_every": 10})
collection = store.create_collection("words", 16)
print("ready", flush=True)
for batch in range(batches):
    shared = [Record(f"shared {n}", np.full(16, n + 1.0), {f"{writer} {batch % 7}": batch}) for n in range(20)]
    own = [Record(f"{writer} {batch} {n}", np.full(16, n + 1.0), {f"of {writer}": batch}) for n in range(20)]
    collection.upsert(shared + own)
    print(batch, flush=True)
"""


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


def open_collection(bay: Bay, folder: Path, width: int = 2, **options: object) -> Collection:
    return bay.store("lancedb", path=folder, options=options).create_collection("words", width)


def record(identity: str, *numbers: float, **metadata: MetadataValue) -> Record:
    return Record(identity, np.array(numbers, dtype=np.float32), metadata)


def writers(folder: Path, batches: int) -> list[subprocess.Popen[str]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, folder, name, str(batches)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for name in ("first", "second")
    ]  # fmt: skip
    for writer in started:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    return started


def test_killed_writers_lose_nothing_that_was_acknowledged(tmp_path: Path, bay: Bay) -> None:
    started = writers(tmp_path, 100_000)
    time.sleep(3)
    for writer in started:
        writer.send_signal(signal.SIGKILL)
    acknowledged = [int(writer.communicate()[0].splitlines()[-1]) + 1 for writer in started]
    assert all(number > 1 for number in acknowledged)
    collection = open_collection(bay, tmp_path, 16)
    ids = [one.id for one in collection.scan()]
    for name, batches in zip(("first", "second"), acknowledged, strict=True):
        found = {one for one in ids if one.startswith(name)}
        assert {f"{name} {batch} {n}" for batch in range(batches) for n in range(20)} <= found
        assert len(found) % 20 == 0, "a batch is there whole or not at all"
    collection.upsert([Record("after", np.ones(16))])


def test_two_processes_that_write_the_same_records_and_new_fields(tmp_path: Path, bay: Bay) -> None:
    for writer in writers(tmp_path, 15):
        writer.communicate()
        assert writer.returncode == 0
    found = list(open_collection(bay, tmp_path, 16).scan())
    assert len(found) == len({one.id for one in found}) == 20 + 2 * 15 * 20
    collection = open_collection(bay, tmp_path, 16)
    for name in {name for one in found for name in one.metadata}:
        there = {one.id for one in found if name in one.metadata}
        assert {one.id for one in collection.scan(where=F[name].exists())} == there, "filters see what records hold"


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["'", "\\", "\\'", "'' OR true --", "`", '"', "\n", "%", "{}", "é", "e\u0301"]
)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.just(-0.0)
HOSTILE = {"a' OR true --": "'", "`b`": "\\", 'c"d': True, "A": -0.0, "a": 2**53 + 1, "x.y": ["'", ""], "[0]": 5e-324}


def test_any_metadata_comes_back_and_is_found(tmp_path: Path, bay: Bay) -> None:
    collection = open_collection(bay, tmp_path)

    def check(metadata: dict[str, MetadataValue]) -> None:
        collection.upsert([Record("it's", np.ones(2), metadata), Record("other", np.ones(2))])
        (found,) = collection.get(["it's"])
        assert found.metadata == metadata
        for name, value in metadata.items():
            assert type(found.metadata[name]) is type(value)
            assert collection.count(where=F[name].exists()) == 1
            if isinstance(value, list):
                assert all(collection.count(where=F[name].contains(one)) == 1 for one in value)
                assert all(collection.count(where=~F[name].contains(one)) == 1 for one in value)
            else:
                assert collection.count(where=(F[name] == value) & F[name].one_of([value, "x"])) == 1
                assert collection.count(where=(F[name] != value) | F[name].none_of([value])) == 1
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                assert collection.count(where=(F[name] >= value) & (F[name] <= value)) == 1
                assert collection.count(where=(F[name] > value) | (F[name] < value)) == 0

    check(HOSTILE)
    settings(max_examples=12)(
        given(st.dictionaries(NAMES, TEXTS | st.booleans() | NUMBERS | st.lists(TEXTS, max_size=3), max_size=3))(check)
    )()


def test_zeros_of_both_signs_are_equal(tmp_path: Path, bay: Bay) -> None:
    collection = open_collection(bay, tmp_path)
    collection.upsert([record("minus", 1.0, 0.0, x=-0.0), record("plus", 1.0, 0.0, x=0), record("one", 1.0, 0.0, x=1)])
    assert collection.count(where=F.x == 0) == collection.count(where=F.x == -0.0) == 2
    assert collection.count(where=F.x < 0) == collection.count(where=F.x > 0.0) - 1 == 0


def test_namespaces_and_ids_are_not_mixed_up(tmp_path: Path, bay: Bay) -> None:
    collection = open_collection(bay, tmp_path)
    for namespace, identity in (("", "0::a"), ("0:", "a"), ("a:b", "c"), ("a", "b:c")):
        collection.upsert([record(identity, 1.0, 0.0)], namespace=namespace)
    assert collection.namespaces() == ["", "0:", "a", "a:b"]
    assert [collection.count(namespace=name) for name in collection.namespaces()] == [1, 1, 1, 1]


def test_an_index_finds_the_near_and_loses_no_hits_to_filters(tmp_path: Path, bay: Bay) -> None:
    collection = open_collection(bay, tmp_path, 32, index="hnsw", index_from=256, tidy_every=2)
    vectors = clustered(3000, seed=1)
    for start in range(0, 3000, 500):
        part = range(start, start + 500)
        collection.upsert([Record(f"{n}", vectors[n], {"rare": n % 300 == 0}) for n in part])
    table = lancedb.connect(tmp_path).open_table("words")
    assert {name for index in table.list_indices() for name in index.columns} == {"key", "vector"}
    assert collection.approximate
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = 0
    for asked in clustered(30, seed=2):
        truth = {str(n) for n in np.argsort(-(unit @ asked))[:10]}
        hits = collection.query(asked)
        found += len(truth & {hit.id for hit in hits})
        assert hits[0].score == pytest.approx(float(unit[int(hits[0].id)] @ asked / np.linalg.norm(asked)), abs=1e-5)
    assert found / 300 >= 0.95
    assert len(collection.query(-vectors[7], limit=50, where=F.rare == True)) == 10  # noqa: E712
    assert len(collection.query(vectors[7], limit=3000)) == 3000


def test_a_tidied_table_has_few_files_and_every_record(tmp_path: Path, bay: Bay) -> None:
    collection = open_collection(bay, tmp_path, tidy_every=10, keep_versions=1)
    for number in range(40):
        if number == 30:
            time.sleep(1.5)  # the versions up to here are old then
        collection.upsert([record(f"{number}", 1.0, number, n=number)])
    collection.delete(["0"])
    table = lancedb.connect(tmp_path).open_table("words")
    assert table.stats()["fragment_stats"]["num_fragments"] < 15
    assert min(version["version"] for version in table.list_versions()) > 30
    assert {one.id for one in collection.scan()} == {f"{number}" for number in range(1, 40)}
    assert collection.count(where=F.n >= 20) == 20


def test_tables_of_another_program_are_left_alone(tmp_path: Path, bay: Bay) -> None:
    database = lancedb.connect(tmp_path)
    database.create_table("words", pa.table({"mine": [1]}))
    store = bay.store("lancedb", path=tmp_path)
    assert store.collections() == []
    with pytest.raises(StoreError, match="another program"):
        store.create_collection("words", 2)
    store.drop_collection("words")
    assert database.open_table("words").count_rows() == 1


def test_a_collection_made_anew_is_another_one(tmp_path: Path, bay: Bay) -> None:
    old = open_collection(bay, tmp_path)
    old.upsert([record("a", 1.0, 0.0)])
    with Bay() as elsewhere:
        store = elsewhere.store("lancedb", path=tmp_path)
        store.drop_collection("words")
        store.create_collection("words", 2)
        assert old.count() == 0
        store.drop_collection("words")
        store.create_collection("words", 2, metric="dot")
    for call in (old.count, lambda: old.upsert([record("a", 1.0, 0.0)]), lambda: list(old.scan())):
        with pytest.raises(CollectionNotFoundError, match="made anew"):
            call()


def test_tables_held_open_show_what_others_write_and_make_anew(tmp_path: Path, bay: Bay) -> None:
    here = open_collection(bay, tmp_path)
    here.upsert([record("old", 1.0, 0.0, year=1)])
    with Bay() as elsewhere:
        store = elsewhere.store("lancedb", path=tmp_path)
        store.collection("words").upsert([record("beside", 1.0, 0.1, lang="de")])
        assert [hit.id for hit in here.query([1.0, 0.0])] == ["old", "beside"]
        assert [hit.id for hit in here.query([1.0, 0.0], where=F.lang == "de")] == ["beside"]
        version = lancedb.connect(tmp_path).open_table("words").version
        store.drop_collection("words")
        anew = store.create_collection("words", 2)
        for number in range(version):
            anew.upsert([record(f"new {number}", 1.0, 0.0, size=number)])
            assert {hit.id for hit in here.query([1.0, 0.0])} == {f"new {n}" for n in range(number + 1)}
        assert [hit.id for hit in here.query([1.0, 0.0], where=F.size == 1)] == ["new 1"]
        here.upsert([record("mine", 1.0, 0.0, year=2)])
        assert anew.count(where=F.year == 2) == 1


def test_a_first_namespace_leaves_the_records_without_one_where_they_are(tmp_path: Path, bay: Bay) -> None:
    collection = open_collection(bay, tmp_path)
    assert collection.namespaces() == []
    collection.upsert([record("a", 1.0, 0.0, x=1)])
    assert collection.namespaces() == [""]
    assert collection.count(namespace="later") == 0
    assert collection.query([1.0, 0.0], namespace="later") == []
    collection.upsert([record("a", 0.0, 1.0, x=2)], namespace="later")
    for namespace, value in (("", 1), ("later", 2)):
        assert [(hit.id, hit.metadata) for hit in collection.query([1.0, 1.0], namespace=namespace)] == [
            ("a", {"x": value})
        ]
        assert [one.metadata for one in collection.scan(namespace=namespace)] == [{"x": value}]
    collection.delete_all()
    assert collection.namespaces() == ["later"]


def test_a_closed_store_says_so(tmp_path: Path, bay: Bay) -> None:
    store = bay.store("lancedb", path=tmp_path)
    collection = store.create_collection("words", 2)
    store.close()
    store.close()
    with pytest.raises(EngineClosedError):
        collection.query([1.0, 0.0])


def test_places_and_options_are_checked(tmp_path: Path, bay: Bay) -> None:
    with pytest.raises(ConfigError, match="LanceDB Cloud"):
        bay.store("lancedb", url="db://mine", api_key="secret")
    with pytest.raises(OptionError, match="tidy_every"):
        bay.store("lancedb", path=tmp_path, options={"tidy": 1})
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="LanceDB in"):
        bay.store("lancedb", path=tmp_path / "file" / "store").create_collection("words", 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_fork_is_refused(tmp_path: Path, bay: Bay) -> None:
    collection = open_collection(bay, tmp_path)
    collection.upsert([record("parent", 1.0, 0.0)])
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        refused = 0
        try:
            for call in (
                collection.count,
                lambda: collection.upsert([record("a", 1.0, 0.0)]),
                lambda: open_collection(Bay(), tmp_path),
            ):
                try:
                    call()
                except StoreError as error:
                    refused += "spawn" in str(error)
        finally:
            os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert collection.count() == 1

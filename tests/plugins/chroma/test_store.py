"""The Chroma store under kills, two processes, two writers of one record, other programs' collections, slow servers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from hypothesis import given
from hypothesis import strategies as st

from enginebay import Bay, F, Record
from enginebay.errors import CollectionNotFoundError, ConfigError, OptionError, StoreError
from enginebay.opening import StoreRequest
from enginebay.stores import Collection
from enginebay_plugins.chroma.connection import Connection
from enginebay_plugins.chroma.fields import float_of_rank, rank_of_float
from enginebay_plugins.chroma.options import ChromaOptions
from real_servers import ChromaServer

WRITER = """
import sys
import numpy as np
from enginebay import Bay, Record

collection = Bay().store("chroma", path=sys.argv[1]).create_collection("words", 16)
print("ready", flush=True)
for batch in range(100_000):
    vectors = np.random.default_rng(batch).normal(size=(20, 16))
    collection.upsert([Record(f"{batch} {n}", vectors[n], {"batch": batch}, f"text {n}") for n in range(20)])
    print(batch, flush=True)
"""

OPENER = """
import sys
from enginebay import Bay
from enginebay.errors import StoreError

try:
    Bay().store("chroma", path=sys.argv[1])
except StoreError as error:
    print(error)
"""


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


def open_collection(bay: Bay, folder: Path) -> Collection:
    return bay.store("chroma", path=folder).create_collection("words", 2)


def record(identity: str, *numbers: float, **metadata: str | float) -> Record:
    return Record(identity, np.array(numbers, dtype=np.float32), metadata)


def raw_client(folder: Path) -> chromadb.ClientAPI:
    return chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path, bay: Bay) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    time.sleep(2)
    writer.send_signal(signal.SIGKILL)
    acknowledged = int(writer.communicate()[0].splitlines()[-1]) + 1
    assert acknowledged > 1
    collection = bay.store("chroma", path=tmp_path).collection("words")
    found = {one.id for one in collection.scan()}
    assert {f"{batch} {n}" for batch in range(acknowledged) for n in range(20)} <= found
    assert len(found) % 20 == 0, "a batch is there whole or not at all"
    last = np.random.default_rng(acknowledged - 1).normal(size=(20, 16))[0]
    assert collection.query(last, limit=1)[0].id == f"{acknowledged - 1} 0"
    collection.upsert([Record("after", np.ones(16))])


def test_a_second_process_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    def opened_elsewhere() -> str:
        return subprocess.run([sys.executable, "-c", OPENER, tmp_path], capture_output=True, text=True).stdout

    with Bay() as bay, Bay() as other:
        bay.store("chroma", path=tmp_path)
        other.store("chroma", path=tmp_path)
        told = opened_elsewhere()
        assert str(tmp_path) in told
        assert "another process" in told
        assert "chroma run --path" in told
        bay.close()
        assert "another process" in opened_elsewhere(), "one opening of this process is left"
    assert opened_elsewhere() == ""


def test_openings_of_a_folder_share_the_lock_of_its_writers(tmp_path: Path) -> None:
    options = ChromaOptions()
    requests = [
        StoreRequest(path=tmp_path / name, url=None, api_key=None, options=options, backend="chroma")
        for name in ("one", "one", "two")
    ]
    one, again, two = connections = [Connection(request, options) for request in requests]
    assert one.writing is again.writing
    assert one.writing is not two.writing
    for connection in connections:
        connection.close()


def test_two_openings_that_write_one_record_leave_one_of_the_two(tmp_path: Path) -> None:
    with Bay() as bay, Bay() as other:
        collections = open_collection(bay, tmp_path), open_collection(other, tmp_path)

        def write(collection: Collection, name: str) -> None:
            for turn in range(30):
                collection.upsert([record("a", 1.0, 2.0, **{name: turn})])

        threads = [
            threading.Thread(target=write, args=given) for given in zip(collections, ("one", "two"), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (found,) = collections[0].get(["a"])
        assert len(found.metadata) == 1
        (name,) = {"one", "two"} - set(found.metadata)
        assert collections[0].count(where=F[name].exists()) == 0


def test_lists_keep_their_order_and_floats_their_last_digit(tmp_path: Path, bay: Bay) -> None:
    drawn = np.random.default_rng(3)
    given = [
        Record(f"{n}", drawn.normal(size=2), {"x": float(x), "tags": list("zyx"), **{f"f{i}": i for i in range(6)}})
        for n, x in enumerate(drawn.normal(size=500) * 1e18)
    ]
    collection = open_collection(bay, tmp_path)
    collection.upsert(given)
    for found, made in zip(collection.get([one.id for one in given]), given, strict=True):
        assert found.metadata == made.metadata
        assert collection.count(where=F.x == made.metadata["x"]) == 1


def test_texts_and_metadata_that_are_missing_stay_missing(tmp_path: Path, bay: Bay) -> None:
    collection = open_collection(bay, tmp_path)
    variants = [(text, metadata) for text in (None, "", "words") for metadata in ({}, {"year": 2024})]
    vector = np.ones(2, dtype=np.float32)
    for turn in range(len(variants)):
        given = {f"{n}": variants[(n + turn) % len(variants)] for n in range(len(variants))}
        collection.upsert([Record(key, vector, metadata, text) for key, (text, metadata) in given.items()])
        found = collection.query(vector, limit=10)
        assert {one.id: (one.text, one.metadata) for one in found} == given
    collection.delete_all()
    assert collection.count() == 0


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_ranks_are_ordered_as_floats_are(one: float, two: float) -> None:
    assert (rank_of_float(one) < rank_of_float(two)) == (one < two)
    assert (rank_of_float(one) == rank_of_float(two)) == (one == two)
    assert float_of_rank(rank_of_float(one)) == one
    assert -(2**63) <= rank_of_float(one) < 2**63


def test_a_collection_of_another_program_is_left_alone(tmp_path: Path, bay: Bay) -> None:
    client = raw_client(tmp_path)
    client.create_collection("words", embedding_function=None).add(ids=["x"], embeddings=[[1.0, 2.0]])
    store = bay.store("chroma", path=tmp_path)
    assert store.collections() == []
    for call in (lambda: store.create_collection("words", 2), lambda: store.drop_collection("words")):
        with pytest.raises(StoreError, match="another program"):
            call()
    assert client.get_collection("words", embedding_function=None).count() == 1
    client.close()


def test_a_collection_of_another_version_is_refused(tmp_path: Path) -> None:
    with Bay() as bay:
        open_collection(bay, tmp_path).upsert([record("a", 1.0, 2.0, year=2024)])
        client = raw_client(tmp_path)
        made = client.get_collection("words", embedding_function=None)
        made.modify(metadata={**made.metadata, "enginebay": made.metadata["enginebay"] - 1})
        client.close()
    with Bay() as bay:
        store = bay.store("chroma", path=tmp_path)
        assert store.collections() == []
        with pytest.raises(StoreError, match="another version of enginebay") as caught:
            store.collection("words")
        assert "another folder" in str(caught.value)
        with pytest.raises(StoreError, match="another version of enginebay"):
            store.create_collection("words", 2)


def test_a_dropped_collection_leaves_nothing_in_chroma(tmp_path: Path, bay: Bay) -> None:
    collection = open_collection(bay, tmp_path)
    for namespace in ("", "customer 7", "Ω"):
        collection.upsert([record("a", 1.0, 2.0)], namespace=namespace)
    client = raw_client(tmp_path)
    assert len(client.list_collections()) == 3
    bay.store("chroma", path=tmp_path).drop_collection("words")
    assert client.list_collections() == []
    with pytest.raises(CollectionNotFoundError, match="words"):
        collection.upsert([record("a", 1.0, 2.0)], namespace="customer 7")
    client.close()


def test_options_reach_the_index(tmp_path: Path, bay: Bay) -> None:
    store = bay.store("chroma", path=tmp_path, options={"max_neighbors": 8, "ef_construction": 50, "ef_search": 60})
    store.create_collection("words", 2, metric="dot")
    client = raw_client(tmp_path)
    index = client.get_collection("words", embedding_function=None).configuration_json["hnsw"]
    assert index.items() >= {"space": "ip", "max_neighbors": 8, "ef_construction": 50, "ef_search": 60}.items()
    client.close()
    with pytest.raises(OptionError, match="ef_serch"):
        bay.store("chroma", path=tmp_path, options={"ef_serch": 1})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_is_told_to_open_a_server(tmp_path: Path, bay: Bay) -> None:
    collection = open_collection(bay, tmp_path)
    child = os.fork()
    if child == 0:
        try:
            collection.count()
        except StoreError as error:
            os._exit(0 if "fork" in str(error) else 3)
        finally:
            os._exit(4)
    assert os.waitpid(child, 0)[1] == 0
    assert collection.count() == 0


def test_a_server_that_has_gone_is_an_error_and_one_that_is_back_is_used(tmp_path: Path, bay: Bay) -> None:
    server = ChromaServer(tmp_path)
    with server:
        collection = bay.store("chroma", url=server.url).create_collection("words", 2)
        collection.upsert([record("a", 1.0, 2.0)])
    with pytest.raises(StoreError, match=server.url):
        collection.count()
    with server:
        assert collection.count() == 1


def test_a_folder_that_is_none_or_damaged(tmp_path: Path, bay: Bay) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        bay.store("chroma", path=tmp_path / "file" / "store")
    (tmp_path / "chroma.sqlite3").write_bytes(b"no database at all" * 100)
    for _ in range(2):  # the second time, the folder's lock is free again
        with pytest.raises(StoreError, match="not a database"):
            bay.store("chroma", path=tmp_path)


def test_the_key_and_headers_are_sent(bay: Bay) -> None:
    sent: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.update(self.headers)
            self.send_error(500)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(StoreError, match=url) as caught:
            bay.store("chroma", url=url, api_key="ck-secret", options={"headers": {"x-team": "blue"}})
        server.shutdown()
    assert sent.items() >= {"x-chroma-token": "ck-secret", "x-team": "blue"}.items()
    assert "ck-secret" not in str(caught.value)


def test_addresses_are_checked(bay: Bay) -> None:
    with pytest.raises(ConfigError, match="no address of a Chroma server"):
        bay.store("chroma", url="localhost")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StoreError, match=url):
        bay.store("chroma", url=url)


def test_a_server_that_never_answers_is_not_waited_for(bay: Bay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreError, match="ReadTimeout"):
            bay.store("chroma", url=url, options={"timeout": 0.2})

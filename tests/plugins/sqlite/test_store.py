"""The sqlite store under kills, full disks, other programs' files, and many processes."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from enginebay import Bay, F, Record
from enginebay.errors import ConfigError, OptionError, StoreError
from enginebay.stores import Collection

WRITER = """
import sys
import numpy as np
from enginebay import Bay, Record

folder, writer = sys.argv[1:]
collection = Bay().store("sqlite", path=folder).create_collection("words", 16)
print("ready", flush=True)
for batch in range(100_000):
    records = [Record(f"{writer} {batch} {n}", np.full(16, n + 1.0), {"batch": batch}) for n in range(20)]
    collection.upsert(records, namespace=writer)
    print(batch, flush=True)
"""

FULL_DISK = """
import sys, resource, signal
import numpy as np
from enginebay import Bay, Record
from enginebay.errors import StoreError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
collection = Bay().store("sqlite", path=sys.argv[1]).create_collection("words", 256)
written = 0
try:
    for batch in range(100):
        collection.upsert([Record(f"{batch} {n}", np.ones(256), text="x" * 1000) for n in range(50)])
        written += 50
except StoreError as error:
    print(written, collection.count(), str(error).replace(chr(10), " "))
"""


def open_collection(bay: Bay, folder: Path, width: int = 16) -> Collection:
    return bay.store("sqlite", path=folder).create_collection("words", width)


def record(identity: str, *numbers: float, **metadata: str | int) -> Record:
    return Record(identity, np.array(numbers, dtype=np.float32), metadata)


def test_killed_writers_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, name], stdout=subprocess.PIPE, text=True)
        for name in ("first", "second")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    time.sleep(1)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    acknowledged = [int(writer.communicate()[0].splitlines()[-1]) + 1 for writer in writers]
    assert all(number > 1 for number in acknowledged)
    with Bay() as bay:
        collection = open_collection(bay, tmp_path)
        for name, batches in zip(("first", "second"), acknowledged, strict=True):
            found = {one.id for one in collection.scan(namespace=name)}
            assert {f"{name} {batch} {n}" for batch in range(batches) for n in range(20)} <= found
            assert len(found) % 20 == 0, "a batch is there whole or not at all"
        collection.upsert([record("after", *[1.0] * 16)])


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True, timeout=60
    )
    written, counted, told = done.stdout.split(" ", 2)
    assert int(counted) == int(written) > 0
    assert "enginebay.sqlite" in told
    with Bay() as bay:
        assert open_collection(bay, tmp_path, 256).count() == int(written)


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "enginebay.sqlite") as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with Bay() as bay, pytest.raises(StoreError, match="another program"):
        bay.store("sqlite", path=tmp_path)
    (tmp_path / "enginebay.sqlite").write_bytes(b"no database at all" * 100)
    with Bay() as bay, pytest.raises(StoreError, match="not a database"):
        bay.store("sqlite", path=tmp_path)
    assert (tmp_path / "enginebay.sqlite").read_bytes().startswith(b"no database")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Bay() as bay, pytest.raises(StoreError, match="cannot make the folder"):
        bay.store("sqlite", path=tmp_path / "file" / "store")


def test_names_options_and_fields_are_checked(tmp_path: Path) -> None:
    with Bay() as bay:
        with pytest.raises(ConfigError, match=r"neither a configured store nor a backend(.|\n)*sqlite"):
            bay.store("sqlit")
        with pytest.raises(ConfigError, match="did you mean 'path'"):
            bay.store("sqlite", pth=tmp_path)
        with pytest.raises(OptionError, match="cache_bytes"):
            bay.store("sqlite", path=tmp_path, options={"cache_byte": 1})
        assert bay.store("sqlite", path=tmp_path) is bay.store("sqlite", path=tmp_path)


def test_a_store_by_configuration(own_folders: Path, tmp_path: Path) -> None:
    config = tmp_path / "enginebay.toml"
    config.write_text('[stores.docs]\nbackend = "sqlite"\n')
    with Bay(config=config) as bay:
        bay.store("docs").create_collection("words", 3)
    assert (own_folders / "data" / "stores" / "docs" / "enginebay.sqlite").exists()


def test_a_collection_outlives_the_bay_that_nobody_holds(tmp_path: Path) -> None:
    collection = open_collection(Bay(), tmp_path, 2)
    gc.collect()
    collection.upsert([record("a", 1.0, 0.0)])
    assert collection.count() == 1


def test_many_deletions_leave_no_marks(tmp_path: Path) -> None:
    with Bay() as bay, Bay() as other:
        collection, watching = open_collection(bay, tmp_path, 2), open_collection(other, tmp_path, 2)
        collection.upsert(record(f"{n}", 1.0, n, n=n) for n in range(3000))
        assert len(watching.query([1, 0], limit=3000)) == 3000
        collection.delete(where=F.n >= 100)
        collection.upsert([record("new", 1.0, 0.0, n=5000)])
        assert len(watching.query([1, 0], limit=3000)) == 101
        assert watching.count(where=F.n > 50) == 50
    with sqlite3.connect(tmp_path / "enginebay.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (101,)
    connection.close()


def test_a_small_cache_gives_the_same_answers(tmp_path: Path) -> None:
    with Bay() as bay:
        store = bay.store("sqlite", path=tmp_path, options={"cache_bytes": 0})
        collection = store.create_collection("words", 2)
        for space in "ab":
            collection.upsert([record(space, 1.0, 2.0)], namespace=space)
        for space in "abab":
            assert [hit.id for hit in collection.query([1, 2], namespace=space)] == [space]


def test_tiny_and_huge_vectors_have_a_direction(tmp_path: Path) -> None:
    with Bay() as bay:
        collection = open_collection(bay, tmp_path, 2)
        collection.upsert([record("tiny", 1e-30, 0.0), record("huge", 0.0, 1e30)])
        assert [hit.id for hit in collection.query([1e-30, 1e-32])] == ["tiny", "huge"]
        assert collection.query([0.0, 1e30])[0].score == pytest.approx(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_uses_connections_of_its_own(tmp_path: Path) -> None:
    with Bay() as bay:
        collection = open_collection(bay, tmp_path, 2)
        collection.upsert([record("parent", 1.0, 0.0)])
        child = os.fork()
        if child == 0:
            try:
                collection.upsert([record("child", 0.0, 1.0)])
                os._exit(0 if collection.count() == 2 else 3)
            finally:
                os._exit(4)
        assert os.waitpid(child, 0)[1] == 0
        assert {one.id for one in collection.scan()} == {"parent", "child"}

"""Whatever was done to the files, and wherever a run was killed: the index is as one that was just made."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginebay import Bay
from enginebay.retrieval import Document, Index
from enginebay.retrieval.ledger import NAMESPACE, Ledger
from enginebay.retrieval.passages import record_id
from fake_index import WORD, WordEmbedder, fake_index

NAMES = ("a.txt", "b.md", "sub/c.txt", "sub/d.html", "given 1", "given 2")
TEXTS = st.integers(0, 60).map(lambda count: " ".join(f"word{number}" for number in range(count)))
EDITS = st.lists(st.tuples(st.sampled_from(NAMES), st.one_of(st.none(), TEXTS)), max_size=6)

Contents = dict[str, tuple[str | None, dict[str, object], list[float]]]


def contents(index: Index) -> Contents:
    """All passages with their vectors."""
    return {
        record.id: (record.text, dict(record.metadata), [float(number) for number in record.vector])
        for record in index.collection.scan()
    }


def edit(index: Index, folder: Path, given_now: dict[str, str], name: str, text: str | None) -> None:
    """Put a file or a document where it is to be, or take it away."""
    if name.startswith("given"):
        if text is None:
            given_now.pop(name, None)
            index.remove(name)
        else:
            given_now[name] = text
            index.upsert(Document(name, text))
        return
    file = folder / name
    if text is None:
        file.unlink(missing_ok=True)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def assert_as_fresh(bay: Bay, index: Index, folder: Path, given_now: dict[str, str], fresh_at: Path) -> None:
    fresh = fake_index(bay, fresh_at, root=folder, search="vector")
    fresh.sync(folder)
    fresh.upsert(Document(name, text) for name, text in given_now.items())
    assert contents(index) == contents(fresh)
    assert [entry for entry in index.documents() if not entry.settled] == []
    assert {entry.source: entry.passages for entry in index.documents()} == {
        entry.source: entry.passages for entry in fresh.documents()
    }
    words = {identity: set(WORD.findall(text or "")) for identity, (text, _, _) in contents(index).items()}
    for word in sorted(set().union(*words.values()))[:3]:
        found = index.search(word, 10_000, mode="lexical")
        assert {one.id for one in found} == {identity for identity, own in words.items() if word in own}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EDITS, min_size=1, max_size=4))
def test_any_edits(tmp_path: Path, rounds: list[list[tuple[str, str | None]]]) -> None:
    root = tmp_path / str(random.random())
    folder = root / "files"
    folder.mkdir(parents=True)
    given_now: dict[str, str] = {}
    with Bay() as bay:
        index = fake_index(bay, root / "store", root=folder)
        index._folder = root / "words"
        for edits in rounds:
            for name, text in edits:
                edit(index, folder, given_now, name, text)
            index.sync(folder)
        assert_as_fresh(bay, index, folder, given_now, root / "fresh")
    shutil.rmtree(root)


class Stop(BaseException):
    """A kill, as the code sees it: nothing after it happens."""


@pytest.mark.parametrize("reverted", [False, True])
@pytest.mark.parametrize("at", range(1, 9))
def test_stopped_at_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, reverted: bool) -> None:
    """The store's writes are counted; the run is stopped at each in turn, before it or after it is done."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "kept.txt").write_text("kept as it is")
    (folder / "long.txt").write_text(" ".join(f"old{number}" for number in range(90)))
    (folder / "gone.txt").write_text("soon gone")
    with Bay() as bay:
        index = fake_index(bay, tmp_path / "store", root=folder)
        index.sync(folder)
        before = (folder / "long.txt").read_text()
        (folder / "long.txt").write_text(" ".join(f"new{number}" for number in range(30)))
        (folder / "gone.txt").unlink()
        (folder / "more.txt").write_text("new here")
        engine = index.collection._engine
        writes = 0

        def counted(name: str) -> None:
            real = getattr(engine, name)

            def write(*arguments: object) -> None:
                nonlocal writes
                writes += 1
                if writes >= at:
                    raise Stop
                real(*arguments)

            monkeypatch.setattr(engine, name, write)

        for name in ("upsert", "delete", "delete_where"):
            counted(name)
        with pytest.raises(Stop):
            index.sync(folder)
        monkeypatch.undo()
        if reverted:
            (folder / "long.txt").write_text(before)
            (folder / "gone.txt").write_text("soon gone")
            (folder / "more.txt").unlink()
        index.sync(folder)
        assert_as_fresh(bay, index, folder, {}, tmp_path / "fresh")
        assert index.sync(folder).nothing_changed


KILLED = """
import sys
from pathlib import Path
from enginebay import Bay
from fake_index import fake_index

store, files = map(Path, sys.argv[1:])
with Bay() as bay:
    index = fake_index(bay, store, root=files)
    print("ready", flush=True)
    index.sync(files, progress=lambda now: print(now.passages, flush=True))
"""


def test_killed_again_and_again(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(40):
        text = "\n\n".join(f"Text {number} paragraph {part} has some words of its own." for part in range(40))
        (folder / f"{number}.txt").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "store"), str(folder)]
    for lines in (3, 40, 60):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (folder / f"{lines}.txt").write_text("changed since")
        (folder / f"{lines % 7}.txt").unlink(missing_ok=True)
    with Bay() as bay:
        embedder = WordEmbedder()
        index = fake_index(bay, tmp_path / "store", embedder, root=folder)
        held = index.collection.count()
        report = index.sync(folder)
        assert report.unchanged > 0, "what was written before a kill is not embedded again"
        assert len(embedder.embedded) < index.collection.count() + held
        assert_as_fresh(bay, index, folder, {}, tmp_path / "fresh")


def test_two_processes_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.txt").write_text("\n\n".join(f"Text {number} has paragraph {part}." for part in range(60)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "store"), str(folder)]
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    for process in both:
        assert process.communicate(timeout=120)[1] == ""
        assert process.returncode == 0
    with Bay() as bay:
        index = fake_index(bay, tmp_path / "store", root=folder)
        assert index.sync(folder).nothing_changed
        assert_as_fresh(bay, index, folder, {}, tmp_path / "fresh")


def test_what_the_ledger_says_of_a_document_half_written(tmp_path: Path) -> None:
    with Bay() as bay:
        index = fake_index(bay, tmp_path / "store")
        index.upsert(Document("a", " ".join(map(str, range(60)))))
        (entry,) = index.documents()
        assert index.collection.get([record_id("a", entry.passages - 1)])
        assert index.collection.get([record_id("a", entry.passages)]) == []
        assert Ledger(index.collection).version() != Ledger(index.collection).write(())
        assert index.collection.count(namespace=NAMESPACE) == 2

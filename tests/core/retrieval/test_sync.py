"""Indexes follow files: what is embedded, what is kept, what goes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginebay import Bay, F
from enginebay.errors import DocumentError, InvalidParameterError
from enginebay.retrieval import Document, Index
from enginebay.retrieval.ledger import NAMESPACE
from fake_index import WordEmbedder, fake_index

FOX = "The quick brown fox jumps over the lazy dog."
CITY = "Paris is the capital of France, and Berlin that of Germany."


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as opened:
        yield opened


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def index(bay: Bay, embedder: WordEmbedder, tmp_path: Path) -> Index:
    return fake_index(bay, tmp_path / "store", embedder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    (made / "sub").mkdir(parents=True)
    (made / "fox.txt").write_text(FOX)
    (made / "sub" / "city.md").write_text(f"# Cities\n\n{CITY}\n")
    return made


def held(index: Index) -> dict[str, tuple[str, int, int]]:
    """Every passage: its text, place and document."""
    return {
        record.id: (record.text or "", int(record.metadata["eb_start"]), str(record.metadata["eb_source"]))
        for record in index.collection.scan()
    }


def test_added_changed_removed(index: Index, embedder: WordEmbedder, folder: Path) -> None:
    first = index.sync(folder)
    fox, city = str(folder / "fox.txt"), str(folder / "sub" / "city.md")
    assert (first.added, first.changed, first.removed, first.unchanged) == ((fox, city), (), (), 0)
    assert first.passages == len(embedder.embedded) == index.collection.count()
    embedder.embedded.clear()
    second = index.sync(folder)
    assert (second.unchanged, second.nothing_changed, embedder.embedded) == (2, True, [])
    (folder / "fox.txt").write_text("A hen.")
    (folder / "sub" / "city.md").unlink()
    third = index.sync(folder)
    assert (third.added, third.changed, third.removed, third.unchanged) == ((), (fox,), (city,), 0)
    assert embedder.embedded == ["A hen."]
    assert [text for text, _, _ in held(index).values()] == ["A hen."]
    assert [entry.source for entry in index.documents()] == [fox]


def test_a_longer_document_made_short_leaves_nothing(index: Index, folder: Path) -> None:
    (folder / "fox.txt").write_text("\n\n".join(f"Paragraph {number} on foxes." for number in range(1200)))
    assert index.sync(folder).passages > 256, "more than a batch"
    (folder / "fox.txt").write_text(FOX)
    index.sync(folder / "fox.txt")
    assert sorted(text for text, _, source in held(index).values() if source.endswith("fox.txt")) == [FOX]


def test_scopes_are_apart(index: Index, folder: Path) -> None:
    index.sync(folder)
    index.upsert(Document("note", "A note of the caller's."))
    assert index.sync(folder / "sub").removed == ()
    (folder / "fox.txt").unlink()
    assert index.sync(folder / "sub").removed == ()
    assert index.sync(folder).removed == (str(folder / "fox.txt"),)
    (folder / "sub" / "city.md").unlink()
    (folder / "sub").rmdir()
    assert index.sync(folder / "sub").removed == (str(folder / "sub" / "city.md"),)
    with pytest.raises(DocumentError, match="no file or folder"):
        index.sync(folder / "sub")
    assert [entry.source for entry in index.documents()] == ["note"]


def test_paths_below_the_root(bay: Bay, tmp_path: Path, folder: Path) -> None:
    index = fake_index(bay, tmp_path / "store", root=folder)
    index.upsert(Document("note", FOX))
    assert index.sync(folder).added == ("fox.txt", "sub/city.md")
    assert index.search("capital of France")[0].where == "sub/city.md:1-3"
    (folder / "fox.txt").unlink()
    assert index.sync(folder).removed == ("fox.txt",)
    assert index.file_of("sub/city.md").read_text().startswith("# Cities")


def test_given_documents(index: Index, embedder: WordEmbedder) -> None:
    index.upsert([Document("a", FOX, {"year": 2020}), Document("b", CITY, {"year": 2024})])
    embedder.embedded.clear()
    report = index.upsert([Document("a", FOX, {"year": 2021}), Document("b", CITY, {"year": 2024})])
    assert (report.changed, report.unchanged) == (("a",), 1)
    assert [found.metadata for found in index.search("fox", where=F.year == 2021)] == [{"year": 2021}]
    assert index.search("fox", where=F.year > 2024) == []
    assert index.search("fox", where={"eb_source": "b"})[0].source == "b"
    index.remove("a")
    index.remove(["a", "never there"])
    assert {found.source for found in index.search("fox")} == {"b"}
    with pytest.raises(DocumentError, match="twice"):
        index.upsert([Document("a", FOX), Document("a", CITY)])
    with pytest.raises(DocumentError, match="eb_source"):
        index.upsert(Document("a", FOX, {"eb_source": "mine"}))


def test_what_is_left_out_is_told(index: Index, folder: Path) -> None:
    (folder / "image.bin").write_bytes(b"\0\1\2")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    (folder / "empty.txt").write_text("  \n")
    (folder / ".hidden").write_text(FOX)
    (folder / "skipped.log").write_text(FOX)
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "link").symlink_to(folder / "sub")
    (folder / "gone").symlink_to(folder / "nowhere")
    report = index.sync(folder)
    told = {Path(one.source).name: one.reason for one in report.left_out}
    assert told.pop("broken.pdf").startswith("it is a broken PDF")
    assert told == {
        "image.bin": "it is binary: there are zero bytes in it",
        "empty.txt": "no text in it",
        ".hidden": "hidden",
        ".gitignore": "hidden",
        "skipped.log": "ignored by .gitignore",
        "link": "a link to a folder",
        "gone": "cannot be read: No such file or directory",
    }
    assert len(report.added) == 2


def test_an_unreadable_file_stays_as_it_was(index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.sync(folder)

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    report = index.sync(folder)
    assert (report.removed, {one.reason for one in report.left_out}) == ((), {"cannot be read: Permission denied"})
    assert len(index.documents()) == 2


def test_a_file_that_became_binary_goes(index: Index, folder: Path) -> None:
    index.sync(folder)
    (folder / "fox.txt").write_bytes(b"\0")
    assert index.sync(folder).removed == (str(folder / "fox.txt"),)


def test_another_way_of_splitting_cuts_anew(bay: Bay, tmp_path: Path, folder: Path, index: Index) -> None:
    index.sync(folder)
    other = fake_index(bay, tmp_path / "store", passage_tokens=10)
    assert len(other.sync(folder).changed) == 2
    assert other.sync(folder).unchanged == 2
    with pytest.raises(InvalidParameterError, match="longer than the embedder reads"):
        fake_index(bay, tmp_path / "store", passage_tokens=65).sync(folder)


def test_metadata_of_files(index: Index, folder: Path) -> None:
    index.sync(folder, metadata={"team": "a"})
    assert index.sync(folder, metadata={"team": "b"}).changed
    assert len(index.search("fox", where=F.team == "b")) == index.collection.count()


def test_progress_is_told(index: Index, folder: Path) -> None:
    told = []
    index.sync(folder, progress=told.append)
    assert (told[-1].documents, told[-1].total, told[-1].passages) == (2, 2, index.collection.count())


def test_the_index_of_two_processes(bay: Bay, index: Index, tmp_path: Path, folder: Path) -> None:
    """What one writes, the other finds: by words, too, though its lexical index did not see the write."""
    with Bay() as second:
        other = fake_index(second, tmp_path / "store")
        other._folder = tmp_path / "another machine"
        index.sync(folder)
        assert other.search("lazy dog", mode="lexical")[0].text == FOX
        other.upsert(Document("note", "A zebra."))
        assert index.search("zebra", mode="lexical")[0].source == "note"
        (folder / "fox.txt").unlink()
        index.sync(folder)
        assert other.search("lazy dog", mode="lexical") == []


def test_watching(index: Index, folder: Path) -> None:
    stop = threading.Event()
    reports = index.watch(folder, stop=stop)
    assert len(next(reports).added) == 2
    (folder / "new.txt").write_text("A zebra.")
    assert next(reports).added == (str(folder / "new.txt"),)
    stop.set()
    assert list(reports) == []
    with pytest.raises(DocumentError, match="no file or folder"):
        next(index.watch(folder / "nowhere"))


def test_names_that_are_not_unicode(index: Index, folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text(FOX)
    report = index.sync(folder)
    assert [one.reason for one in report.left_out] == ["its name is not Unicode"]
    assert report.left_out[0].source.encode().endswith("caf\N{REPLACEMENT CHARACTER}.txt".encode())


def test_a_file_named_twice_is_read_once(index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    report = index.sync(folder, Path("fox.txt"), "sub")
    assert len(report.added) == 2


def test_the_ledger_is_not_found(index: Index, folder: Path) -> None:
    index.sync(folder)
    assert {hit.id for hit in index.collection.query([1.0] * 256, limit=100)} == set(held(index))
    assert index.collection.count(namespace=NAMESPACE) == 3

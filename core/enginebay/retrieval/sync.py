"""Making an index hold what files, or a caller, have now."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from enginebay.errors import DocumentError
from enginebay.retrieval.documents import Document
from enginebay.retrieval.files import Selection, Skipped, readable_name
from enginebay.retrieval.ledger import Entry, Ledger, Origin
from enginebay.retrieval.loading import read_document
from enginebay.retrieval.passages import check_metadata
from enginebay.retrieval.pipeline import Cut, batches, read_ahead
from enginebay.retrieval.reports import LeftOut, Progress, SyncReport, Tell

if TYPE_CHECKING:
    from enginebay.interfaces.filters import MetadataValue
    from enginebay.retrieval.index import Index
    from enginebay.retrieval.writer import Writer

BATCH = 256
"""Passages embedded and written together."""

_AHEAD = 8
"""Documents read while others are embedded."""

_SETTLING = 2.0
"""Seconds after a change in which another one may leave a file's times as they are."""

_NO_TEXT = "no text in it"

Seen = dict[Path, tuple[tuple[int, ...], str]]
"""Files read by this process: size and times, and the hash of the content."""


def source_of(path: Path, root: Path | None) -> str:
    """A file's id: its path below the root, or the whole of it."""
    whole = path.absolute()
    if root is not None and whole.is_relative_to(root.absolute()):
        return whole.relative_to(root.absolute()).as_posix()
    return whole.as_posix()


@dataclass(frozen=True, slots=True)
class _Same:
    source: str


_Read = Cut | _Same | Skipped


@dataclass
class _Tally:
    """What a run did so far."""

    had: Mapping[str, Entry]
    tell: Tell | None
    total: int = 0
    read: int = 0
    source: str = ""
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    passages: int = 0

    def cuts(self, items: Iterable[_Read]) -> Iterator[Cut]:
        """Count what was read; give on what is to be written."""
        for item in items:
            self.read += 1
            if isinstance(item, Skipped):
                source = readable_name(item.path)
                self.left_out.append(LeftOut(source, item.reason))
                self.unread += [item.path] if item.unread else []
            else:
                source = item.source if isinstance(item, _Same) else item.document.id
                self.named.add(source)
            if isinstance(item, _Same):
                self.unchanged += 1
            self.source = source
            self._say()
            if isinstance(item, Cut):
                (self.changed if source in self.had else self.added).append(source)
                yield item

    def embedding(self, done: int, total: int) -> None:
        """Tell how far the batch is that is being embedded."""
        self._say(done)

    def report(self, removed: Sequence[str]) -> SyncReport:
        return SyncReport(
            tuple(self.added),
            tuple(self.changed),
            tuple(removed),
            self.unchanged,
            tuple(self.left_out),
            self.passages,
        )

    def _say(self, embedded: int = 0) -> None:
        if self.tell is not None:
            self.tell(Progress(self.read, self.total, self.passages + embedded, self.source))


class Syncing:
    """One run."""

    def __init__(self, index: Index, ledger: Ledger, writer: Writer, seen: Seen, tell: Tell | None) -> None:
        self._index = index
        self._ledger = ledger
        self._writer = writer
        self._seen = seen
        self._tell = tell

    def files(self, paths: Sequence[Path], metadata: Mapping[str, MetadataValue]) -> SyncReport:
        """Make the index hold what is below the paths now."""
        settings = self._index.settings
        selection = Selection(
            settings.include, settings.exclude, settings.gitignore, settings.hidden, settings.max_file_bytes
        )
        check_metadata(Document("files", "", metadata))
        had = self._ledger.entries()
        scopes = [self._index.source_of(path) for path in paths]
        there = [path for path, scope in zip(paths, scopes, strict=True) if _is_there(path, scope, had)]
        found = dict.fromkeys(one for path in there for one in selection.walk(path))
        tally = _Tally(had, self._tell, len(found))
        with closing(read_ahead((self._read(one, had, metadata) for one in found), _AHEAD)) as reading:
            self._write(tally.cuts(reading), tally)
        kept = [self._index.source_of(path) for path in tally.unread]
        removed = sorted(
            source
            for source, entry in had.items()
            if entry.origin is Origin.FILE
            and source not in tally.named
            and any(_within(source, scope) for scope in scopes)
            and not any(_within(source, scope) for scope in kept)
        )
        self._writer.remove(removed)
        return tally.report(removed)

    def documents(self, given: Sequence[Document]) -> SyncReport:
        """Put documents in, each in place of the one of its id."""
        ids: dict[str, None] = {}
        for document in given:
            if not document.id or document.id in ids:
                raise DocumentError(
                    f"the id {document.id!r} occurs twice in one call" if document.id else "a document has no id",
                    value=document.id,
                )
            ids[document.id] = None
            check_metadata(document)
        had = self._ledger.find(list(ids))
        tally = _Tally(had, self._tell, len(given))
        self._write(tally.cuts(self._given(document, had) for document in given), tally)
        return tally.report(())

    def _write(self, cuts: Iterator[Cut], tally: _Tally) -> None:
        """Embed here, while a thread reads ahead and another one writes the batch before."""
        recipe = self._index.splitter.recipe
        with ThreadPoolExecutor(1, thread_name_prefix="enginebay-write") as executor:
            writing: Future[None] | None = None
            for batch in batches(cuts, BATCH):
                texts = [text for part in batch for text in part.texts()]
                vectors = self._index.embedder.embed_documents(texts, progress=tally.embedding)
                if writing is not None:
                    writing.result()
                writing = executor.submit(self._writer.write, batch, vectors, recipe)
                tally.passages += len(texts)
            if writing is not None:
                writing.result()

    def _read(self, found: Path | Skipped, had: Mapping[str, Entry], metadata: Mapping[str, MetadataValue]) -> _Read:
        if isinstance(found, Skipped):
            return found
        source = self._index.source_of(found)
        try:
            content, data = self._content(found)
            digest = _digest(content, metadata)
            if self._is_same(had.get(source), digest, Origin.FILE):
                return _Same(source)
            document = read_document(source, found.read_bytes() if data is None else data, metadata)
        except OSError as error:
            return Skipped(found, f"cannot be read: {error.strerror}", unread=True)
        except DocumentError as error:
            return Skipped(found, error.message)
        return self._cut(document, digest, Origin.FILE) if document.text.strip() else Skipped(found, _NO_TEXT)

    def _given(self, document: Document, had: Mapping[str, Entry]) -> _Read:
        digest = _digest(_told(document), document.metadata)
        if self._is_same(had.get(document.id), digest, Origin.GIVEN):
            return _Same(document.id)
        return self._cut(document, digest, Origin.GIVEN)

    def _cut(self, document: Document, digest: str, origin: Origin) -> Cut:
        return Cut(document, digest, tuple(self._index.splitter.split(document)), origin)

    def _is_same(self, entry: Entry | None, digest: str, origin: Origin) -> bool:
        wanted = (digest, self._index.splitter.recipe, origin, True)
        return entry is not None and (entry.hash, entry.recipe, entry.origin, entry.settled) == wanted

    def _content(self, file: Path) -> tuple[str, bytes | None]:
        """The hash of a file's content, and the content if it was read now.

        A file whose size and times are as when this process read it is not read again, unless it was just changed then.
        """
        status = file.stat()
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        known = self._seen.get(file)
        if known is not None and known[0] == state:
            return known[1], None
        data = file.read_bytes()
        content = hashlib.sha256(data).hexdigest()
        if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLING:
            self._seen[file] = (state, content)
        return content, data


def _is_there(path: Path, scope: str, had: Mapping[str, Entry]) -> bool:
    """Whether there is something to read; what was there once may have gone.

    Raises:
        DocumentError: nothing is there, and nothing was.
    """
    if not path.exists() and not any(_within(source, scope) for source in had):
        raise DocumentError(f"there is no file or folder {path}", value=str(path))
    return path.exists()


def _within(source: str, scope: str) -> bool:
    return scope in ("", ".", source) or source.startswith(scope.rstrip("/") + "/")


def _digest(content: str, metadata: Mapping[str, MetadataValue]) -> str:
    given = json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(f"{content} {given}".encode(errors="surrogatepass")).hexdigest()[:32]


def _told(document: Document) -> str:
    facts = (document.text, document.kind.value, document.language, document.pages, document.lines)
    return hashlib.sha256(repr(facts).encode(errors="surrogatepass")).hexdigest()

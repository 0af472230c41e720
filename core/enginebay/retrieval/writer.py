"""Writing documents into a collection, so that a run that is killed leaves nothing that the next one would not see."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import BaseFileLock, FileLock

from enginebay.errors import StoreError
from enginebay.interfaces.filters import Compare
from enginebay.retrieval.ledger import Entry, Ledger, chunks
from enginebay.retrieval.passages import SOURCE, passage_record, record_id

if TYPE_CHECKING:
    from enginebay.interfaces.embedder import Vectors
    from enginebay.interfaces.vector_store import Record
    from enginebay.retrieval.pipeline import Part
    from enginebay.retrieval.words import Words
    from enginebay.stores import Collection

_PATIENCE, _PAUSE = 60.0, 0.1
"""Seconds to wait for a store of eventual consistency, and between two looks."""


def write_lock(folder: Path) -> BaseFileLock:
    """Held by the one process of this machine that writes to a collection.

    Args:
        folder: where this machine keeps what belongs to the collection.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "write.lock")


@dataclass(frozen=True)
class Writer:
    """Writes to one collection. Processes of one machine take turns, by `lock`.

    Attributes:
        words: the lexical index to keep in step; None when searches do not use one.
    """

    collection: Collection
    ledger: Ledger
    words: Words | None
    lock: BaseFileLock

    def write(self, parts: Sequence[Part], vectors: Vectors, recipe: str) -> None:
        """Write passages with their vectors, rows in the order of the parts.

        The order makes it safe: entries are unsettled, passages are written, those beyond a document's last are
        deleted, entries are settled.
        """
        entries = [_entry(part, recipe) for part in parts]
        records = _records(parts, vectors)
        with self.lock:
            before = self.ledger.version()
            known = self.ledger.find([entry.source for entry in entries])
            unsettled = [_unsettled(entry, known.get(entry.source)) for entry in entries]
            self.ledger.write(unsettled)
            self.collection.upsert(records)
            settled = []
            for part, entry, had in zip(parts, entries, unsettled, strict=True):
                if part.ends:
                    self._delete(entry.source, entry.passages, had.passages)
                    settled.append(entry)
            version = self.ledger.write(settled)
            if not self.collection.immediate:
                self.collection.wait_until_visible([record.id for record in records])
                self.ledger.wait([entry.source for entry in entries])
            if self.words is not None:
                self.words.follow(before, version, settled, records)

    def remove(self, sources: Sequence[str]) -> None:
        """Remove documents. Those not there are no error."""
        with self.lock:
            before = self.ledger.version()
            known = self.ledger.find(sources)
            if not known:
                return
            self.ledger.write(replace(entry, settled=False) for entry in known.values())
            for entry in known.values():
                self._delete(entry.source, 0, entry.passages)
            version = self.ledger.remove(list(known))
            if not self.collection.immediate:
                self._wait_until_gone(list(known))
            if self.words is not None:
                self.words.follow(before, version, removed=list(known))

    def _wait_until_gone(self, sources: Sequence[str]) -> None:
        """Return when searches do not find the documents any more."""
        until, anywhere = time.monotonic() + _PATIENCE, [1.0] * self.collection.info.dimension
        for part in chunks(sources):
            while self.collection.query(anywhere, limit=1, where=Compare(SOURCE, "in", part)):
                if time.monotonic() >= until:
                    raise StoreError(
                        f"after {_PATIENCE:.0f} s, searches still find some of {len(sources)} removed documents",
                        value=part[0],
                    )
                time.sleep(_PAUSE)

    def _delete(self, source: str, first: int, end: int) -> None:
        for part in chunks([record_id(source, number) for number in range(first, end)]):
            self.collection.delete(part)


def _entry(part: Part, recipe: str) -> Entry:
    cut = part.cut
    return Entry(cut.document.id, cut.digest, recipe, len(cut.spans), cut.origin)


def _unsettled(entry: Entry, known: Entry | None) -> Entry:
    """The entry while its passages are being written: there may be as many as before."""
    most = max(entry.passages, known.passages if known else 0)
    return replace(entry, passages=most, settled=False)


def _records(parts: Sequence[Part], vectors: Vectors) -> list[Record]:
    numbered = [(part.cut, number) for part in parts for number in range(part.first, part.end)]
    return [
        passage_record(cut.document, cut.digest, number, cut.spans[number], vector)
        for (cut, number), vector in zip(numbered, vectors, strict=True)
    ]

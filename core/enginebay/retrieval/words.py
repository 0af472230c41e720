"""The lexical index of a collection, kept in step with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from enginebay.interfaces.vector_store import Record
from enginebay.retrieval.ledger import Entry, Ledger, chunks
from enginebay.retrieval.lexical import LexicalIndex
from enginebay.retrieval.passages import record_id

if TYPE_CHECKING:
    from enginebay.interfaces.filters import Filter
    from enginebay.stores import Collection

_DOCUMENTS_AT_ONCE = 100


class Words:
    """Search by words over a collection. Safe to use from many threads."""

    def __init__(self, collection: Collection, ledger: Ledger, file: Path) -> None:
        self._collection = collection
        self._ledger = ledger
        self._lexical = LexicalIndex(file)
        self._lock = RLock()

    def search(self, text: str, limit: int, where: Filter | None) -> list[str]:
        """Ids of passages with any of the words, the best first, as of the collection's version now."""
        with self._lock:
            self.catch_up()
            return self._lexical.search(text, limit, where)

    def catch_up(self) -> None:
        """Read from the collection what was written to it since; nothing if nothing was."""
        with self._lock:
            version = self._ledger.version()
            if version is None or version == self._lexical.version:
                return
            entries = self._ledger.entries()
            held = self._lexical.states()
            with self._lexical.changing():
                for source in held.keys() - entries.keys():
                    self._lexical.remove(source)
                stale = [entry for source, entry in entries.items() if held.get(source) != entry.state]
                for part in chunks(stale, _DOCUMENTS_AT_ONCE):
                    self._read(part, {})
                self._lexical.set_version(version)

    def follow(
        self,
        before: str | None,
        version: str,
        entries: Sequence[Entry] = (),
        records: Sequence[Record] = (),
        removed: Sequence[str] = (),
    ) -> None:
        """Take over one write, if all that came before it is held; otherwise leave it to `catch_up`.

        Args:
            before, version: the collection's versions before the write and after it.
            entries: of the documents that were written.
            records: passages that were written; of those that are not among them the collection is asked.
            removed: documents that were removed.
        """
        with self._lock:
            if self._lexical.version != before:
                return
            with self._lexical.changing():
                for source in removed:
                    self._lexical.remove(source)
                self._read(entries, {record.id: record for record in records})
                self._lexical.set_version(version)

    def close(self) -> None:
        """Close the file. Closing twice is no error."""
        self._lexical.close()

    def _read(self, entries: Sequence[Entry], known: dict[str, Record]) -> None:
        ids = [record_id(entry.source, number) for entry in entries for number in range(entry.passages)]
        for part in chunks([one for one in ids if one not in known]):
            known |= {record.id: record for record in self._collection.get(part)}
        for entry in entries:
            own = (known.get(record_id(entry.source, number)) for number in range(entry.passages))
            self._lexical.replace(entry.source, entry.state, [record for record in own if record is not None])

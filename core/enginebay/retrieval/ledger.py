"""The documents of an index, kept in its collection beside their passages, in a namespace of their own.

A document whose entry is not settled may have any of its old and new passages, numbered below the entry's count.
Whoever writes passages first unsettles the entry, and settles it last: killed anywhere between, the next run sees it
and does the document again.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from enginebay.interfaces.vector_store import Record
from enginebay.retrieval.passages import HASH, SOURCE

if TYPE_CHECKING:
    from enginebay.interfaces.filters import Metadata, MetadataValue
    from enginebay.interfaces.vector_store import Vector
    from enginebay.stores import Collection

NAMESPACE = "ledger"
CHUNK = 200
"""Ids of one call: short enough for stores that put them into an address."""

_STATE = "state"
_RECIPE, _PASSAGES, _ORIGIN, _SETTLED, _VERSION = "eb_recipe", "eb_passages", "eb_origin", "eb_settled", "eb_version"

T = TypeVar("T")


class Origin(StrEnum):
    """Where a document comes from."""

    FILE = "file"
    """A file: it goes when the file has gone."""
    GIVEN = "given"
    """The caller: it goes when the caller removes it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document that is in the index.

    Attributes:
        source: its id.
        hash: of its content and metadata.
        recipe: how it was cut into passages.
        passages: how many it has; at most so many while it is not settled.
        origin: where it comes from.
        settled: its passages are all there, and no others.
    """

    source: str
    hash: str
    recipe: str
    passages: int
    origin: Origin
    settled: bool = True

    @property
    def state(self) -> str:
        """Another one whenever the passages may be others."""
        return f"{self.hash} {self.recipe} {self.passages} {self.settled}"


class Ledger:
    """The entries of one collection, and its version: a new one with each write."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def entries(self) -> dict[str, Entry]:
        """All entries, by source."""
        records = self._collection.scan(namespace=NAMESPACE)
        entries = (_read(record.metadata) for record in records if record.id != _STATE)
        return {entry.source: entry for entry in entries}

    def find(self, sources: Sequence[str]) -> dict[str, Entry]:
        """The entries of some documents, by source; those not there are left out."""
        ids = [_identity(source) for source in dict.fromkeys(sources)]
        records = [one for part in chunks(ids) for one in self._collection.get(part, namespace=NAMESPACE)]
        return {entry.source: entry for entry in (_read(record.metadata) for record in records)}

    def write(self, entries: Iterable[Entry]) -> str:
        """Write entries in place of what there is of their documents; gives the collection's new version."""
        version = uuid.uuid4().hex
        records = [self._record(entry) for entry in entries]
        state = Record(_STATE, self._vector(_STATE), {_VERSION: version})
        self._collection.upsert([*records, state], namespace=NAMESPACE)
        return version

    def remove(self, sources: Sequence[str]) -> str:
        """Remove entries; gives the collection's new version."""
        for part in chunks([_identity(source) for source in sources]):
            self._collection.delete(part, namespace=NAMESPACE)
        return self.write(())

    def version(self) -> str | None:
        """The collection's version; None when nothing was ever written to it."""
        found = self._collection.get([_STATE], namespace=NAMESPACE)
        return str(found[0].metadata[_VERSION]) if found else None

    def wait(self, sources: Sequence[str]) -> None:
        """Return when everybody sees the entries of some documents."""
        self._collection.wait_until_visible([_identity(source) for source in sources], namespace=NAMESPACE)

    def _record(self, entry: Entry) -> Record:
        metadata: dict[str, MetadataValue] = {
            SOURCE: entry.source,
            HASH: entry.hash,
            _RECIPE: entry.recipe,
            _PASSAGES: entry.passages,
            _ORIGIN: entry.origin.value,
            _SETTLED: entry.settled,
        }
        return Record(_identity(entry.source), self._vector(entry.source), metadata)

    def _vector(self, name: str) -> Vector:
        """A direction that nobody searches for; each entry has another one, for indexes made of neighbours."""
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
        return np.random.default_rng(seed).standard_normal(self._collection.info.dimension).astype(np.float32)


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Parts of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _identity(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def _read(metadata: Metadata) -> Entry:
    count = metadata[_PASSAGES]
    assert isinstance(count, int)
    return Entry(
        str(metadata[SOURCE]),
        str(metadata[HASH]),
        str(metadata[_RECIPE]),
        count,
        Origin(str(metadata[_ORIGIN])),
        bool(metadata[_SETTLED]),
    )

"""Passages of documents as records of a collection."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enginebay.errors import DocumentError
from enginebay.interfaces.filters import MetadataValue
from enginebay.interfaces.vector_store import Record
from enginebay.retrieval.documents import Document, Place
from enginebay.retrieval.splitting import Span

if TYPE_CHECKING:
    from enginebay.interfaces.filters import Metadata
    from enginebay.interfaces.vector_store import Vector

SOURCE = "eb_source"
HASH = "eb_hash"
_START, _PAGE, _LINE, _LAST_LINE = "eb_start", "eb_page", "eb_line", "eb_last_line"
_RESERVED = "eb_"


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document that was found.

    Attributes:
        id: of its record.
        text: the document's characters from `start` up to `end`.
        source: the document's id: a file's path, or what the caller named it.
        start, end: characters of the document's text.
        place: page or lines.
        metadata: of the document, as the caller gave it.
        hash: of the document that it was cut out of.
        score: what the search ordered by; higher is better, and comparable within one search only.
        similarity: cosine with the question, -1 to 1; None when the search compared words alone.
    """

    id: str
    text: str
    source: str
    start: int
    end: int
    place: Place
    metadata: Mapping[str, MetadataValue]
    hash: str
    score: float = 0.0
    similarity: float | None = None

    @property
    def page(self) -> int | None:
        """From 1; None in a document without pages."""
        return self.place.page

    @property
    def lines(self) -> tuple[int, int] | None:
        """The first line and the last, from 1; None in a document with pages."""
        if self.place.first_line is None or self.place.last_line is None:
            return None
        return self.place.first_line, self.place.last_line

    @property
    def where(self) -> str:
        """Source and place in short: "docs/stores.md:12-20", "paper.pdf, page 3"."""
        return where(self.source, self.place)


def check_metadata(document: Document) -> None:
    """Refuse metadata under a name that the index keeps for itself.

    Raises:
        DocumentError: there is one.
    """
    for name in document.metadata:
        if str(name).startswith(_RESERVED):
            raise DocumentError(
                f"metadata of {document.id!r}: {name!r} begins with {_RESERVED!r}, as the index's own names do",
                value=name,
            )


def record_id(source: str, number: int) -> str:
    """The id of a document's passage, by its number from 0."""
    return f"{hashlib.sha256(source.encode()).hexdigest()[:32]}-{number}"


def passage_record(document: Document, digest: str, number: int, span: Span, vector: Vector) -> Record:
    """A passage as its collection keeps it."""
    place = document.place(span.start, span.end)
    own: dict[str, MetadataValue | None] = {
        SOURCE: document.id,
        HASH: digest,
        _START: span.start,
        _PAGE: place.page,
        _LINE: place.first_line,
        _LAST_LINE: place.last_line,
    }
    metadata = {**document.metadata, **{name: value for name, value in own.items() if value is not None}}
    return Record(record_id(document.id, number), vector, metadata, document.text[span.start : span.end])


def read_passage(
    identity: str, text: str | None, metadata: Metadata, score: float = 0.0, similarity: float | None = None
) -> Passage:
    """A passage out of what its collection keeps.

    Raises:
        DocumentError: it was not written by an index.
    """
    text = text or ""
    try:
        start = _whole(metadata[_START])
        source, digest = str(metadata[SOURCE]), str(metadata[HASH])
    except KeyError as error:
        raise DocumentError(
            f"the record {identity!r} has no {error.args[0]!r}: it was not written by an index",
            value=identity,
            hint="keep records of your own in another collection",
        ) from error
    place = _place(metadata)
    given = {name: value for name, value in metadata.items() if not name.startswith(_RESERVED)}
    return Passage(identity, text, source, start, start + len(text), place, given, digest, score, similarity)


def shifted(record: Record, span: Span) -> Record:
    """A part of a passage as a passage of its own.

    Args:
        span: characters of the passage's text.
    """
    text = record.text or ""
    place = place_within(_place(record.metadata), text, span)
    metadata = dict(record.metadata) | {_START: _whole(record.metadata[_START]) + span.start}
    if place.first_line is not None and place.last_line is not None:
        metadata |= {_LINE: place.first_line, _LAST_LINE: place.last_line}
    return Record(record.id, record.vector, metadata, text[span.start : span.end])


def place_within(place: Place, text: str, span: Span) -> Place:
    """Where a part of a passage stands; exact where each line of the text is one of the file.

    Args:
        text: of the passage.
        span: characters of it.
    """
    if place.first_line is None or place.last_line is None:
        return place
    first = min(place.first_line + text.count("\n", 0, span.start), place.last_line)
    return Place(None, first, min(first + text.count("\n", span.start, span.end), place.last_line))


def where(source: str, place: Place) -> str:
    """Source and place in short: "docs/stores.md:12-20", "paper.pdf, page 3"."""
    return f"{source}, {place}" if place.page is not None else f"{source}:{place}"


def _place(metadata: Metadata) -> Place:
    return Place(*(_whole(metadata[name]) if name in metadata else None for name in (_PAGE, _LINE, _LAST_LINE)))


def _whole(value: MetadataValue) -> int:
    assert isinstance(value, int)
    return value

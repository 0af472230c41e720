"""Embedding an index anew, by another model, beside the old one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from enginebay.errors import CollectionNotFoundError
from enginebay.interfaces.vector_store import Metric, Record
from enginebay.retrieval.documents import Document, Kind
from enginebay.retrieval.index import Index
from enginebay.retrieval.ledger import Entry, Ledger, chunks
from enginebay.retrieval.opening import (
    current_collection,
    generations,
    index_folder,
    index_settings,
    open_embedder,
)
from enginebay.retrieval.passages import record_id, shifted
from enginebay.retrieval.reports import Progress, Tell
from enginebay.retrieval.splitting import Splitter
from enginebay.retrieval.sync import BATCH
from enginebay.retrieval.writer import write_lock

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.stores import Collection


def reindex(bay: Bay, name: str | None, changes: Mapping[str, Any], progress: Tell | None) -> Index:
    """See `Index.reindex`."""
    name, settings = index_settings(bay, name, changes)
    store = bay.store(settings.store)
    embedder = open_embedder(bay, settings)
    current = current_collection(store, name)
    known = generations(store, name)
    if current not in (collection for _, collection in known):
        raise CollectionNotFoundError(
            f"there is no index {name!r} to embed anew", value=name, hint="enginebay index FOLDER makes one"
        )
    with write_lock(index_folder(bay, settings, current)):
        for _, broken_off in (one for one in known if one[0] > _number(known, current)):
            store.drop_collection(broken_off)
        made = store.create_collection(
            f"{name}-g{_number(known, current) + 1}",
            embedder.dimension,
            metric=Metric.COSINE,
            embedder_fingerprint=embedder.fingerprint,
        )
        index = Index(name, made, embedder, settings, index_folder(bay, settings, made.info.name))
        _copy(store.collection(current), index, progress)
        for _, old in (one for one in known if one[0] <= _number(known, current)):
            store.drop_collection(old)
    return index


def _number(known: Sequence[tuple[int, str]], collection: str) -> int:
    return next(number for number, name in known if name == collection)


def _copy(old: Collection, index: Index, progress: Tell | None) -> None:
    """Embed every passage, and last of all write the ledger, whose version says that all are there."""
    entries = list(Ledger(old).entries().values())
    counted: list[Entry] = []
    waiting: list[Record] = []
    written = 0
    for place, entry in enumerate(entries, start=1):
        number = 0
        for record in _passages(old, entry, index.splitter):
            waiting.append(replace(record, id=record_id(entry.source, number)))
            number += 1
            if len(waiting) == BATCH:
                written += _embed(index, waiting)
                waiting = []
        counted.append(replace(entry, passages=number))
        if progress is not None:
            progress(Progress(place, len(entries), written, entry.source))
    written += _embed(index, waiting)
    Ledger(index.collection).write(counted)
    if progress is not None and entries:
        progress(Progress(len(entries), len(entries), written, entries[-1].source))


def _passages(old: Collection, entry: Entry, splitter: Splitter) -> Iterator[Record]:
    """A document's passages, those cut that are longer than the new model reads."""
    for ids in chunks([record_id(entry.source, number) for number in range(entry.passages)]):
        for record in old.get(ids):
            spans = splitter.split(Document(record.id, record.text or "", kind=Kind.TEXT))
            if len(spans) < 2:
                yield record
            else:
                yield from (shifted(record, span) for span in spans)


def _embed(index: Index, records: Sequence[Record]) -> int:
    if records:
        vectors = index.embedder.embed_documents(record.text or "" for record in records)
        index.collection.upsert(replace(record, vector=vector) for record, vector in zip(records, vectors, strict=True))
    return len(records)

"""Records and filters in Pinecone's form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from enginebay.errors import RecordError
from enginebay.interfaces.filters import Compare, Filter, MetadataValue
from enginebay.interfaces.vector_store import Record
from enginebay.stores.typed_fields import as_mongo, lowered, metadata_of, typed_fields
from enginebay_plugins.pinecone.names import vector_id

MAX_METADATA_BYTES = 40 * 1024
MAX_UPSERT_BYTES = 2_000_000
_NUMBER_BYTES = 25
"""A float32 in JSON has 24 characters at most, and a comma."""

ID = "id"
EVERYTHING = {ID: {"$exists": True}}

Fields = dict[str, Any]


def fields_of(record: Record) -> Fields:
    """A record's metadata for Pinecone: its id and text are in it."""
    fields: Fields = {**typed_fields(record.metadata), **_digits(record.metadata), ID: record.id}
    if record.text is not None:
        fields["text"] = record.text
    return fields


def record_from(vector: Sequence[float], fields: Fields) -> Record:
    """The record that Pinecone kept so."""
    return Record(fields[ID], np.asarray(vector, dtype=np.float32), metadata_from(fields), fields.get("text"))


def metadata_from(fields: Fields) -> dict[str, MetadataValue]:
    """The metadata that `fields_of` was given."""
    metadata = metadata_of(fields)
    for name, value in metadata.items():
        if digits := fields.get(f"digits:{name}"):
            metadata[name] = type(value)(digits)
    return metadata


def check_size(record: Record) -> None:
    """Refuse a record whose metadata and text are more than Pinecone keeps.

    Raises:
        RecordError: names the record and its size.
    """
    size = _size(fields_of(record))
    if size > MAX_METADATA_BYTES:
        raise RecordError(
            f"record {record.id!r} has {size} bytes of metadata and text; Pinecone keeps {MAX_METADATA_BYTES} at most",
            value=record.id,
            hint="split the text into smaller pieces, or keep it elsewhere",
        )


def batches(records: Sequence[Record]) -> Iterator[list[dict[str, Any]]]:
    """The records as Pinecone's vectors, in parts that one request takes."""
    part: list[dict[str, Any]] = []
    total = 0
    for record in records:
        fields = fields_of(record)
        size = _size(fields) + _NUMBER_BYTES * len(record.vector) + 1024
        if part and total + size > MAX_UPSERT_BYTES:
            yield part
            part, total = [], 0
        part.append({"id": vector_id(record.id), "values": record.vector.tolist(), "metadata": fields})
        total += size
    if part:
        yield part


def condition(where: Filter | None) -> dict[str, Any] | bool | None:
    """A filter in Pinecone's form; None when everything matches, False when nothing does."""
    found = True if where is None else lowered(where)
    if isinstance(found, bool):
        return None if found else False
    return as_mongo(found, _comparison)


def _comparison(where: Compare, negated: bool) -> dict[str, Any]:
    if where.operator == "contains":
        # A list "takes on" each of its values. The field is missing where the list is, or is empty.
        if not negated:
            return {where.field: {"$in": [where.value]}}
        return _or_missing(where.field, {"$nin": [where.value]})
    value = list(where.value) if where.operator in ("in", "nin") else where.value
    comparison = {f"${where.operator}": value}
    return _or_missing(where.field, comparison) if where.operator in ("ne", "nin") else {where.field: comparison}


def _or_missing(field: str, comparison: dict[str, Any]) -> dict[str, Any]:
    """Pinecone does not say whether `$ne` and `$nin` match a record without the field."""
    return {"$or": [{field: {"$exists": False}}, {field: comparison}]}


def _digits(metadata: Mapping[str, MetadataValue]) -> dict[str, str]:
    """All digits of the numbers that have more than a JSON reader must keep (RFC 8259, section 6)."""
    return {
        f"digits:{name}": repr(value)
        for name, value in metadata.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and float(f"{value:.15g}") != value
    }


def _size(fields: Fields) -> int:
    return len(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode())

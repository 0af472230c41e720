"""What Chroma keeps of a record, and filters in Chroma's form."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from enginebay.interfaces.filters import Compare, Filter, MetadataValue
from enginebay.interfaces.vector_store import Record
from enginebay.stores.typed_fields import as_mongo, lowered, typed_fields

HAS_TEXT = "text"
"""False for a record without text, since Chroma's document is never missing; True where there is no other field."""

EVERYTHING = {HAS_TEXT: {"$ne": ""}}
"""Chroma deletes by a condition: this one holds for every record."""

_FLOAT, _INTEGER = struct.Struct("<d"), struct.Struct("<q")


def fields_of(record: Record) -> dict[str, Any]:
    """A record's fields, in types that Chroma gives back as they were.

    Its JSON loses the last digit of some floats, so that numbers are integers here. Kinds are told by booleans, which
    Chroma does not index: `is string:NAME`, `is list:NAME`, and `is number:NAME`, which is true for an integer.
    """
    # Each field takes time in every query that finds the record.
    known = record.text is not None
    fields: dict[str, Any] = {} if known and record.metadata else {HAS_TEXT: known}
    for field, value in typed_fields(record.metadata).items():
        prefix, _, name = field.partition(":")
        if prefix != "kind":
            fields[field] = _kept(field, value)
        elif value != "boolean":
            fields[_flag(str(value), name)] = value != "float"
    return fields


def metadata_from(fields: Mapping[str, Any]) -> dict[str, MetadataValue]:
    """The metadata that `fields_of` was given."""
    metadata: dict[str, MetadataValue] = {}
    for field, value in fields.items():
        prefix, _, name = field.partition(":")
        if prefix in ("string", "boolean"):
            metadata[name] = value
        elif prefix == "is list":
            metadata[name] = list(fields.get(f"list:{name}", ()))
        elif prefix == "is number":
            number = float_of_rank(fields[f"number:{name}"])
            metadata[name] = int(number) + int(fields.get(f"low:{name}", 0)) if value else number
    return metadata


def text_from(fields: Mapping[str, Any], document: str) -> str | None:
    """The text that the record was given."""
    return document if fields.get(HAS_TEXT, True) else None


def condition(where: Filter | None) -> dict[str, Any] | bool | None:
    """A filter in Chroma's form; None when everything matches, False when nothing does."""
    found = True if where is None else lowered(where)
    if isinstance(found, bool):
        return None if found else False
    return as_mongo(found, _comparison)


def rank_of_float(value: float) -> int:
    """The float's place among all floats, from zero: an integer of 64 bits that is ordered as floats are."""
    (bits,) = _INTEGER.unpack(_FLOAT.pack(value))
    return int(bits) if bits >= 0 else -(2**63) - int(bits)


def float_of_rank(rank: int) -> float:
    """The float that has this place."""
    (value,) = _FLOAT.unpack(_INTEGER.pack(rank if rank >= 0 else -(2**63) - rank))
    return float(value)


def _comparison(where: Compare, negated: bool) -> dict[str, Any]:
    prefix, _, name = where.field.partition(":")
    if prefix == "kind":
        return _of_kind(name, where.value, where.operator in ("nin", "ne"))
    several = where.operator in ("in", "nin")
    value = [_kept(where.field, one) for one in where.value] if several else _kept(where.field, where.value)
    return {where.field: {f"${'not_' if negated else ''}{where.operator}": value}}


def _of_kind(name: str, kinds: Sequence[str], negated: bool) -> dict[str, Any]:
    flags = dict.fromkeys(_flag(kind, name) for kind in kinds)
    parts = [{flag: {"$nin" if negated else "$in": [True, False]}} for flag in flags]
    return parts[0] if len(parts) == 1 else {"$and" if negated else "$or": parts}


def _flag(kind: str, name: str) -> str:
    """The boolean field that tells the kind; a boolean value tells its own."""
    if kind == "boolean":
        return f"boolean:{name}"
    return f"is {'number' if kind in ('integer', 'float') else kind}:{name}"


def _kept(field: str, value: Any) -> Any:
    prefix = field.partition(":")[0]
    return rank_of_float(value) if prefix == "number" else int(value) if prefix == "low" else value

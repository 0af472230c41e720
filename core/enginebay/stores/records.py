"""Checks of what users give to a collection, once for every store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from enginebay.errors import RecordError
from enginebay.interfaces.filters import INT64, MetadataValue
from enginebay.interfaces.vector_store import Metric, Record

if TYPE_CHECKING:
    from enginebay.interfaces.vector_store import CollectionInfo, Vector

MAX_ID_BYTES = 512
"""The least that any of the stores takes."""

_TOGETHER = 1000
"""Records whose vectors are looked at together."""

_FLOAT32 = np.dtype(np.float32)
_BOOLEANS = (bool, np.bool_)
_INTEGERS = (int, np.integer)
_FLOATS = (float, np.floating)


def checked_records(collection: CollectionInfo, records: Iterable[Record]) -> list[Record]:
    """The records as stores take them: vectors as float32, metadata without None.

    Raises:
        RecordError: a duplicate or impossible id, a vector of another width or with NaN, nested metadata.
    """
    given = list(records)
    for record in given:
        if not isinstance(record, Record):
            raise RecordError(f"{record!r} is no Record", value=record)
    checked_ids([record.id for record in given])
    sound = [
        one
        for start in range(0, len(given), _TOGETHER)
        for one in _are_sound(collection, given[start : start + _TOGETHER])
    ]
    return [_checked(collection, *pair) for pair in zip(given, sound, strict=True)]


def checked_ids(ids: Sequence[str]) -> list[str]:
    """The ids, each of which occurs once.

    Raises:
        RecordError: no string, empty, too long, not Unicode, or given twice.
    """
    if isinstance(ids, str):
        raise RecordError(f"ids is a list of strings, not the string {ids!r}", value=ids, hint=f"[{ids!r}]")
    seen: set[str] = set()
    for one in ids:
        _check_id(one)
        if one in seen:
            raise RecordError(f"the id {one!r} occurs twice in one call", value=one, hint="give each record once")
        seen.add(one)
    return list(ids)


def checked_vector(collection: CollectionInfo, vector: object, what: str) -> Vector:
    """The vector as a float32 array of the collection's width.

    Raises:
        RecordError: another shape, not numbers, or NaN or infinity in it.
    """
    try:
        # Beyond float32 is told below, as infinity.
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(vector, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise RecordError(f"{what} is no vector of numbers: {error}", value=what) from error
    if array.shape != (collection.dimension,):
        raise RecordError(
            f"{what} has the shape {array.shape}; collection {collection.name!r} holds vectors of dimension "
            f"{collection.dimension}",
            value=array.shape,
            hint="embed with the model that filled the collection",
        )
    if not np.isfinite(array).all():
        raise RecordError(f"{what} has NaN, infinity or a number beyond float32 in it", value=what)
    return array


def checked_metadata(metadata: Mapping[str, Any], owner: str) -> dict[str, MetadataValue]:
    """The metadata without None.

    Raises:
        RecordError: not flat, a number that no store keeps, or text that is not Unicode; names the field.
    """
    if not isinstance(metadata, Mapping):
        raise RecordError(f"metadata of {owner!r} is a mapping, not {metadata!r}", value=metadata)
    kept: dict[str, MetadataValue] = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or not name:
            raise RecordError(f"metadata of {owner!r}: a field's name is a string, not {name!r}", value=name)
        if fault := text_fault(name):
            raise RecordError(f"metadata of {owner!r}: the field {name!r} {fault}", value=name)
        if value is not None:
            kept[name] = _metadata_value(value, owner, name)
    return kept


def _checked(collection: CollectionInfo, record: Record, sound: bool) -> Record:
    """The record itself, where it is as stores take it: making another one takes a while."""
    if record.text is not None and (fault := text_fault(record.text)):
        raise RecordError(f"the text of {record.id!r} {fault}", value=record.text)
    vector = record.vector
    if not sound:
        vector = checked_vector(collection, vector, f"the vector of {record.id!r}")
        if collection.metric is Metric.COSINE and not vector.any():
            raise RecordError(
                f"the vector of {record.id!r} is zero, which has no direction to compare by cosine", value=record.id
            )
    elif type(record) is Record and _is_plain(record.metadata):
        return record
    return Record(record.id, vector, checked_metadata(record.metadata, record.id), record.text)


def _are_sound(collection: CollectionInfo, records: Sequence[Record]) -> list[bool]:
    """Which vectors need no closer look: if a length is finite, so is each number, which takes longer to ask."""
    shape = (collection.dimension,)
    formed = [
        type(vector) is np.ndarray and vector.dtype == _FLOAT32 and vector.shape == shape and vector.flags.c_contiguous
        for vector in (record.vector for record in records)
    ]
    if not any(formed):
        return formed
    together = np.concatenate([record.vector for record, fits in zip(records, formed, strict=True) if fits])
    rows = together.reshape(-1, collection.dimension)
    with np.errstate(over="ignore", invalid="ignore"):  # lengths beyond float32 are looked at more closely
        lengths = np.einsum("ij,ij->i", rows, rows)
    finite = iter(((lengths > 0) & (lengths < np.inf)).tolist())
    return [fits and next(finite) for fits in formed]


def _is_plain(metadata: Mapping[str, Any]) -> bool:
    """Whether metadata needs no closer look: it is a dict of Python's own strings, numbers and booleans."""
    if type(metadata) is not dict:
        return False
    for name, value in metadata.items():
        if type(name) is not str or not name or text_fault(name) or not _is_plain_value(value):
            return False
    return True


def _is_plain_value(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return text_fault(value) is None
    if kind is int:
        return value in INT64
    if kind is float:
        return math.isfinite(value)
    return kind is bool


def _metadata_value(value: object, owner: str, name: str) -> MetadataValue:
    # Subclasses, such as enums of strings and numpy's float64, are kept as what they are a kind of.
    if isinstance(value, str):
        _check_metadata_text(value, owner, name)
        return str.__str__(value)
    if isinstance(value, _BOOLEANS):
        return bool(value)
    if isinstance(value, _INTEGERS):
        if int(value) not in INT64:
            raise RecordError(
                f"metadata of {owner!r}: {name!r} = {value} is beyond 64 bits", value=value, hint="keep it as a string"
            )
        return int(value)
    if isinstance(value, _FLOATS):
        if not math.isfinite(value):
            raise RecordError(
                f"metadata of {owner!r}: {name!r} = {value} is no number that stores keep",
                value=value,
                hint="leave it out",
            )
        return float(value)
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        for one in value:
            _check_metadata_text(one, owner, name)
        return [str.__str__(one) for one in value]
    raise RecordError(
        f"metadata of {owner!r}: {name!r} = {value!r} is neither a string, an integer, a float, a boolean nor a list "
        "of strings",
        value=value,
        hint="metadata is flat: name nested values apart, keep dates as ISO strings or seconds",
    )


def _check_metadata_text(text: str, owner: str, name: str) -> None:
    if fault := text_fault(text):
        raise RecordError(f"metadata of {owner!r}: {name!r} {fault}", value=text)


def _check_id(one: object) -> None:
    if not isinstance(one, str) or not one:
        raise RecordError(f"an id is a string that is not empty, not {one!r}", value=one)
    if fault := text_fault(one):
        raise RecordError(f"the id {one!r} {fault}", value=one)
    if len(one.encode()) > MAX_ID_BYTES:
        raise RecordError(f"the id {one[:40]!r}… is longer than {MAX_ID_BYTES} bytes", value=one)


def text_fault(text: str) -> str | None:
    """What keeps a text from being kept by every store; None when nothing does."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"is not Unicode text: {error.reason}"
    return "has a NUL character in it, which not every store keeps" if "\0" in text else None

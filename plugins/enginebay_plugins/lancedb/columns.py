"""What a table holds: the record, and its metadata a second time in columns of their own, for filters.

A field is kept in a column for each kind of value, `string_lang`, `number_year`, as `enginebay.stores.typed_fields`
says, but for the kind itself: the column that is not null tells it. A column is added when a record first has the
field; so is the one of namespaces: records without are in the namespace "".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic_core import to_json

from enginebay.interfaces.vector_store import CollectionInfo, Metric, Record
from enginebay.stores.exact_numbers import EXACT, split_number
from enginebay.stores.typed_fields import plain_name

_FACTS = b"enginebay"
_LAYOUT = 2
_PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
"""By it LanceDB sees that two writers insert the same record, and lets one of them try again."""

_UNCOMPRESSED = {"lance-encoding:compression": "none"}
"""Compressing texts takes about a seventh of the time of a merge; vectors are never compressed, and mostly larger."""

_KINDS = {str: "string", bool: "boolean", int: "number", float: "number", list: "list"}
_TYPES = {"string": pa.string(), "boolean": pa.bool_(), "list": pa.list_(pa.string())}


def key_of(identity: str, namespace: str) -> str:
    """One text for a namespace and an id, different for each pair; it ends with the id."""
    return f"{len(namespace)}:{namespace}:{identity}"


def schema_of(info: CollectionInfo) -> pa.Schema:
    """The schema of a collection without records; its facts are in the schema's metadata."""
    facts = {
        "layout": _LAYOUT,
        "dimension": info.dimension,
        "metric": info.metric.value,
        "embedder_fingerprint": info.embedder_fingerprint,
    }
    fields = [
        pa.field("key", pa.string(), nullable=False, metadata=_PRIMARY_KEY),
        pa.field("metadata", pa.string(), nullable=False, metadata=_UNCOMPRESSED),
        pa.field("text", pa.string(), metadata=_UNCOMPRESSED),
        pa.field("vector", pa.list_(pa.float32(), info.dimension), nullable=False),
    ]
    return pa.schema(fields, metadata={_FACTS: json.dumps(facts).encode()})


def info_of(name: str, schema: pa.Schema) -> CollectionInfo | None:
    """The facts of a table; None for one that enginebay did not make, or another version of it."""
    facts = json.loads((schema.metadata or {}).get(_FACTS, b"{}"))
    if facts.get("layout") != _LAYOUT:
        return None
    return CollectionInfo(name, facts["dimension"], Metric(facts["metric"]), facts["embedder_fingerprint"])


def columns_of(records: Sequence[Record], namespace: str) -> dict[str, pa.Array]:
    """The columns of a table that these records have a value in."""
    start = key_of("", namespace)
    vectors = pa.array(np.concatenate([one.vector for one in records]))
    columns = {
        "key": pa.array([start + one.id for one in records]),
        "metadata": pa.array([to_json(one.metadata) for one in records], pa.string()),
        "text": pa.array([one.text for one in records], pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(vectors, len(records[0].vector)),
    }
    if namespace:
        columns["namespace"] = pa.array([namespace] * len(records))
    for (kind, name), values in _values(records).items():
        if kind == "number":
            columns |= _numbers(name, values)
        else:
            columns[plain_name(f"{kind}:{name}")] = pa.array(values, _TYPES[kind])
    return columns


def lacking(schema: pa.Schema, columns: Mapping[str, pa.Array]) -> list[pa.Field]:
    """Columns that the records have and the table has not."""
    there = set(schema.names)
    return [pa.field(name, values.type) for name, values in columns.items() if name not in there]


def table_of(schema: pa.Schema, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Rows with every column of the table: what a record lacks is null, and replaces what was there."""
    rows = len(columns["key"])
    arrays = [columns[one.name] if one.name in columns else pa.nulls(rows, one.type) for one in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _values(records: Sequence[Record]) -> dict[tuple[str, str], list[Any]]:
    """By kind and name of a field, its value in each record; None where there is none of the kind."""
    found: dict[tuple[str, str], list[Any]] = {}
    for row, record in enumerate(records):
        for name, value in record.metadata.items():
            field = _KINDS[type(value)], name
            if field not in found:
                found[field] = [None] * len(records)
            found[field][row] = value
    return found


def _numbers(name: str, values: Sequence[float | None]) -> dict[str, pa.Array]:
    """The columns of numbers, which are exact; LanceDB's zeros of both signs are not equal: there is one here."""
    high = np.array(values, np.float64)  # None becomes NaN, which no record has
    columns = {plain_name(f"number:{name}"): pa.array(high + 0.0, from_pandas=True)}
    if (np.abs(high) >= EXACT).any():
        low = [None if value is None else split_number(value)[1] for value in values]
        columns[plain_name(f"low:{name}")] = pa.array(low, pa.float64())
    return columns

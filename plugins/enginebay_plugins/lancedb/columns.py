"""What a table holds: the record, and its metadata a second time in columns of their own, for filters.

`enginebay.stores.typed_fields` says which fields there are; each is a column, added when a record first has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from enginebay.interfaces.vector_store import CollectionInfo, Metric, Record
from enginebay.stores.typed_fields import plain_name, typed_fields

_FACTS = b"enginebay"
_LAYOUT = 1
_PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
"""By it LanceDB sees that two writers insert the same record, and lets one of them try again."""

_TYPES = {
    "kind": pa.string(),
    "string": pa.string(),
    "number": pa.float64(),
    "low": pa.float64(),
    "boolean": pa.bool_(),
    "list": pa.list_(pa.string()),
}


def key_of(identity: str, namespace: str) -> str:
    """One text for a namespace and an id, different for each pair."""
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
        pa.field("namespace", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("vector", pa.list_(pa.float32(), info.dimension), nullable=False),
    ]
    return pa.schema(fields, metadata={_FACTS: json.dumps(facts).encode()})


def info_of(name: str, schema: pa.Schema) -> CollectionInfo | None:
    """The facts of a table; None for one that enginebay did not make, or another version of it."""
    facts = json.loads((schema.metadata or {}).get(_FACTS, b"{}"))
    if facts.get("layout") != _LAYOUT:
        return None
    return CollectionInfo(name, facts["dimension"], Metric(facts["metric"]), facts["embedder_fingerprint"])


def fields_of(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The filterable columns of each record."""
    return [{plain_name(name): _kept(value) for name, value in typed_fields(one.metadata).items()} for one in records]


def lacking(schema: pa.Schema, fields: Sequence[Mapping[str, Any]]) -> list[pa.Field]:
    """Columns that the records have and the table has not."""
    names = dict.fromkeys(name for one in fields for name in one)
    return [pa.field(name, _TYPES[name.partition("_")[0]]) for name in names if name not in schema.names]


def table_of(
    schema: pa.Schema, records: Sequence[Record], fields: Sequence[Mapping[str, Any]], namespace: str
) -> pa.Table:
    """Records as rows with every column of the table: what a record lacks is null, and replaces what was there."""
    vectors = pa.array(np.concatenate([one.vector for one in records]))
    fixed = {
        "key": [key_of(one.id, namespace) for one in records],
        "namespace": [namespace] * len(records),
        "id": [one.id for one in records],
        "metadata": [json.dumps(one.metadata, ensure_ascii=False) for one in records],
        "text": [one.text for one in records],
    }
    columns = [
        pa.FixedSizeListArray.from_arrays(vectors, schema.field("vector").type.list_size)
        if name == "vector"
        else pa.array(fixed[name] if name in fixed else [one.get(name) for one in fields], type=schema.field(name).type)
        for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _kept(value: Any) -> Any:
    """LanceDB's zeros of both signs are not equal: there is one here, in filters too."""
    return value + 0.0 if isinstance(value, float) else value

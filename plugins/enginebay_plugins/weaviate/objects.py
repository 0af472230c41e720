"""Records as Weaviate's objects.

A property in Weaviate has one type, and a field of metadata any: `enginebay.stores.typed_fields` makes several of one,
to be filtered. What comes back is read from the metadata's JSON beside them, each value as it was written.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
from weaviate.classes.config import DataType, Property, Tokenization
from weaviate.classes.data import DataObject

from enginebay.interfaces.vector_store import Hit, Record
from enginebay.stores.typed_fields import typed_fields
from enginebay_plugins.weaviate.names import property_name

RECORD_ID = "record_id"
NAMESPACE = "namespace"
METADATA = "metadata"
TEXT = "text"
RETURNED = [RECORD_ID, METADATA, TEXT]
VECTOR = "default"

_IDS = uuid.UUID("4f2f9b0c-7f7d-5d0e-9a59-3c1f0f3d8a61")
_TYPES = {
    "kind": DataType.TEXT,
    "string": DataType.TEXT,
    "list": DataType.TEXT_ARRAY,
    "boolean": DataType.BOOL,
    "number": DataType.NUMBER,
    "low": DataType.NUMBER,
}
"""By the prefix of a typed field."""


def object_id(identity: str) -> uuid.UUID:
    """The UUID of a record; Weaviate takes no other ids."""
    return uuid.uuid5(_IDS, identity)


def typed_property(field: str) -> str:
    """The property of a typed field, such as "number:year"."""
    prefix, _, name = field.partition(":")
    return property_name(prefix, name)


def as_property(value: Any) -> Any:
    """A typed field's value as it is kept and compared.

    Of a string Weaviate cuts white space off both ends, and it drops stop words, such as "a". A sign before it and the
    lowest of all behind keep both away, and the order. -0.0 has another place in the index than 0.0.
    """
    if isinstance(value, str):
        return f"={value}\x01"
    if isinstance(value, list):
        return [as_property(one) for one in value]
    return value if isinstance(value, bool) else value + 0.0


def own_properties(tokenization: str) -> list[Property]:
    """Properties that every collection has."""
    return [
        *(_text(name, DataType.TEXT, filterable=False) for name in (RECORD_ID, NAMESPACE, METADATA)),
        Property(name=TEXT, data_type=DataType.TEXT, tokenization=Tokenization(tokenization), index_filterable=False),
    ]


def field_property(name: str) -> Property:
    """The property of this name, as `typed_property` gave it."""
    data_type = _TYPES[name.partition("_")[0]]
    if data_type in (DataType.TEXT, DataType.TEXT_ARRAY):
        return _text(name, data_type, filterable=True)
    # An index of ranges would let "not equal" leave out records without the property.
    return Property(name=name, data_type=data_type, index_filterable=True, index_range_filters=False)


def as_object(record: Record, namespace: str) -> DataObject[Any, Any]:
    """The record as the client takes it."""
    properties = {
        RECORD_ID: record.id,
        NAMESPACE: namespace,
        METADATA: json.dumps(record.metadata, ensure_ascii=False),
        **{typed_property(name): as_property(value) for name, value in typed_fields(record.metadata).items()},
    }
    if record.text is not None:
        properties[TEXT] = record.text
    return DataObject(properties=properties, uuid=object_id(record.id), vector={VECTOR: record.vector.tolist()})


def field_properties(objects: Iterable[DataObject[Any, Any]]) -> set[str]:
    """Names of the properties that the fields of these objects need."""
    return {name for one in objects for name in one.properties if name.partition("_")[0] in _TYPES}


def as_record(found: Any) -> Record:
    """The record of an object that the client gave, with its vector."""
    return Record(
        found.properties[RECORD_ID], _vector(found), json.loads(found.properties[METADATA]), found.properties.get(TEXT)
    )


def as_hit(found: Any, score: float, distance: float, with_vector: bool) -> Hit:
    """The hit of an object that the client gave."""
    return Hit(
        found.properties[RECORD_ID],
        score,
        distance,
        json.loads(found.properties[METADATA]),
        found.properties.get(TEXT),
        _vector(found) if with_vector else None,
    )


def _vector(found: Any) -> Any:
    return np.asarray(found.vector[VECTOR], dtype=np.float32)


def _text(name: str, data_type: DataType, *, filterable: bool) -> Property:
    """Text that is compared as a whole, and not searched by words."""
    return Property(
        name=name,
        data_type=data_type,
        tokenization=Tokenization.FIELD,
        index_filterable=filterable,
        index_searchable=False,
    )

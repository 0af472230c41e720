"""What Qdrant keeps of a record, and filters in Qdrant's form."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic_core import from_json, to_json
from qdrant_client import models

from enginebay.interfaces.filters import Compare, Filter
from enginebay.interfaces.vector_store import Metric, Record
from enginebay.stores.typed_fields import lowered, plain_name, typed_fields

NAMESPACE = "namespace"
RECORD = ["id", "text", "metadata", "length"]
"""What of the payload makes a record; the rest is for filters."""

_IDS = uuid.UUID("5b3b6b0c-6a5e-5d0c-9d0e-6a1f4e7c2b10")


def point_id(identity: str, namespace: str) -> str:
    """Qdrant's id of a record, a UUID: Qdrant takes no other texts."""
    return str(uuid.uuid5(_IDS, f"{len(namespace)}:{namespace}:{identity}"))


def point_of(record: Record, namespace: str, metric: Metric) -> models.PointStruct:
    """A record as Qdrant keeps it.

    For the metric cosine Qdrant gives vectors of length 1 back: they are sent so, and the length is kept.
    """
    payload = {
        "id": record.id,
        NAMESPACE: namespace,
        "text": record.text,
        "metadata": to_json(record.metadata).decode(),
        **{plain_name(name): value for name, value in typed_fields(record.metadata).items()},
    }
    vector = record.vector
    if metric is Metric.COSINE:
        vector, payload["length"] = unit(vector)
    return models.PointStruct(id=point_id(record.id, namespace), vector=vector.tolist(), payload=payload)


def unit(vector: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], float]:
    """The vector with length 1, and its length, which is that of a float32 vector; zero stays zero."""
    exact = vector.astype(np.float64)
    length = math.sqrt(exact.dot(exact))
    return (vector / length if length > 0 else vector), length


def record_of(payload: Mapping[str, Any], vector: Any) -> Record:
    """The record that Qdrant gave back; without a vector, with an empty one."""
    numbers = np.asarray([] if vector is None else vector, dtype=np.float64) * payload.get("length", 1.0)
    return Record(payload["id"], numbers.astype(np.float32), from_json(payload["metadata"]), payload.get("text"))


def condition(where: Filter | None, namespace: str | None) -> models.Filter | None:
    """The records that match, of one namespace if it is given; None for all."""
    must: list[models.Condition] = [] if namespace is None else [_match(NAMESPACE, namespace)]
    found = True if where is None else lowered(where)
    if found is False:
        must.append(models.HasIdCondition(has_id=[]))
    elif found is not True:
        must.append(_written(found))
    return models.Filter(must=must) if must else None


def _written(where: Filter) -> models.Condition:
    if isinstance(where, Compare):
        return _comparison(where)
    inner = [_written(operand) for operand in where.operands]
    return models.Filter(**{{"and": "must", "or": "should", "not": "must_not"}[where.operator]: inner})


def _comparison(where: Compare) -> models.Condition:
    name, operator, value = plain_name(where.field), where.operator, where.value
    match operator:
        case "eq" | "contains":
            return _equal(name, value)
        case "in":
            return models.Filter(should=[_equal(name, one) for one in value])
        case "ne":
            return models.Filter(must_not=[_equal(name, value)])
        case "nin":
            return models.Filter(must_not=[_equal(name, one) for one in value])
    return models.FieldCondition(key=name, range=models.Range(**{operator: value}))


def _equal(name: str, value: str | float) -> models.FieldCondition:
    if isinstance(value, str | bool):
        return _match(name, value)
    return models.FieldCondition(key=name, range=models.Range(gte=value, lte=value))


def _match(name: str, value: str | bool) -> models.FieldCondition:
    return models.FieldCondition(key=name, match=models.MatchValue(value=value))

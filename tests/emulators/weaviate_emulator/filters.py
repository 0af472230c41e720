"""Filters of the emulator, over the inverted index of a shard."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from weaviate.proto.v1 import base_pb2

from emulators.weaviate_emulator.errors import RefusedError
from emulators.weaviate_emulator.shard import Found, Key, Shard, key_of
from emulators.weaviate_emulator.tokens import STOP_WORDS, tokens

_Operator = base_pb2.Filters.Operator
_VALUES = {
    "text": "value_text",
    "text[]": "value_text",
    "number": "value_number",
    "int": "value_int",
    "boolean": "value_boolean",
}
_RANGES: dict[int, Callable[[Any, Any], bool]] = {
    _Operator.Value("OPERATOR_GREATER_THAN"): lambda key, bound: key > bound,
    _Operator.Value("OPERATOR_GREATER_THAN_EQUAL"): lambda key, bound: key >= bound,
    _Operator.Value("OPERATOR_LESS_THAN"): lambda key, bound: key < bound,
    _Operator.Value("OPERATOR_LESS_THAN_EQUAL"): lambda key, bound: key <= bound,
}
_SINCE_1_33 = ("OPERATOR_NOT", "OPERATOR_CONTAINS_NONE")


def matching(where: base_pb2.Filters, shard: Shard, owner: dict[str, Any], version: tuple[int, int]) -> Found:
    """UUIDs of the objects that match."""
    name = _Operator.Name(where.operator)
    if name in _SINCE_1_33 and version < (1, 33):
        raise RefusedError(f"unknown filter operator {name}")
    if name in ("OPERATOR_AND", "OPERATOR_OR", "OPERATOR_NOT"):
        found = [matching(one, shard, owner, version) for one in where.filters]
        if not found:
            raise RefusedError(f"{name} without operands")
        if name == "OPERATOR_NOT":
            return set(shard.objects) - found[0]
        return set.intersection(*found) if name == "OPERATOR_AND" else set.union(*found)
    if where.target.property in ("_id", "id"):
        return _with_ids(where, name, shard)
    prop = next((one for one in owner["properties"] if one["name"] == where.target.property), None)
    if prop is None:
        raise RefusedError(f"no such prop with name '{where.target.property}' found in class '{owner['class']}'")
    if not prop["indexFilterable"]:
        raise RefusedError(f"Filtering by property '{prop['name']}' requires inverted index")
    return _with_value(where, name, shard, prop)


def _with_value(where: base_pb2.Filters, name: str, shard: Shard, prop: dict[str, Any]) -> Found:
    rows = shard.rows(prop["name"])
    wanted = _VALUES[prop["dataType"][0]]
    given = where.WhichOneof("test_value")
    if name == "OPERATOR_CONTAINS_ANY":
        if given != f"{wanted}_array":
            raise RefusedError(f"data type filter cannot use {given} on type {prop['dataType'][0]}")
        return set().union(*(_equal(rows, prop, value) for value in getattr(where, given).values))
    if given != wanted:
        raise RefusedError(f"data type filter cannot use {given} on type {prop['dataType'][0]}")
    value = getattr(where, given)
    if name == "OPERATOR_EQUAL":
        return _equal(rows, prop, value)
    if name == "OPERATOR_NOT_EQUAL":  # with those that lack the property
        return set(shard.objects) - _equal(rows, prop, value)
    if where.operator in _RANGES:
        holds = _RANGES[where.operator]
        bounds = _search_terms(prop, value)
        return set.intersection(
            *(set().union(*(row for key, row in rows.items() if holds(key, bound))) for bound in bounds)
        )
    raise RefusedError(f"the emulator has no filter operator {name}", 501)


def _equal(rows: dict[Key, Found], prop: dict[str, Any], value: Any) -> Found:
    return set.intersection(*(set(rows.get(term, ())) for term in _search_terms(prop, value)))


def _search_terms(prop: dict[str, Any], value: Any) -> list[Key]:
    if "tokenization" not in prop:
        return [key_of(prop, value)]
    terms: list[Key] = [term for term in tokens(prop["tokenization"], value) if term not in STOP_WORDS]
    if not terms:
        raise RefusedError("invalid search term, only stopwords provided")
    return terms


def _with_ids(where: base_pb2.Filters, name: str, shard: Shard) -> Found:
    if where.WhichOneof("test_value") == "value_text_array":
        asked = {str(uuid.UUID(one)) for one in where.value_text_array.values}
    else:
        asked = {str(uuid.UUID(where.value_text))}
    found = asked & shard.objects.keys()
    if name in ("OPERATOR_CONTAINS_ANY", "OPERATOR_EQUAL"):
        return found
    if name == "OPERATOR_NOT_EQUAL":
        return set(shard.objects) - found
    raise RefusedError(f"the emulator has no filter operator {name} for ids", 501)

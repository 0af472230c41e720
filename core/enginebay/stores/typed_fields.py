"""Metadata and filters for stores whose filters have no "not", and mix kinds of values up.

A field is kept as two or three, of which each holds one kind of value:

    {"year": 2024}          {"kind:year": "integer", "number:year": 2024.0}
    {"size": 2**60 + 1}     {"kind:size": "integer", "number:size": 2.0**60, "low:size": 1.0}
    {"tags": ["a"]}         {"kind:tags": "list", "list:tags": ["a"]}

So nothing depends on how a store compares 1 with True or a list with a string, no number loses a digit, and whether a
field is missing is told by its kind, which is compared by `ne` and `nin`. A filter is lowered to comparisons of these
fields; a negation goes inward until it meets a comparison, and turns that around.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, cast

from enginebay.interfaces.filters import Combine, Compare, Comparison, Filter, Metadata, MetadataValue, kind
from enginebay.stores.exact_numbers import compare_exactly, split_number

_NUMBERS = ("integer", "float")
_KINDS_IN = {"boolean": ("boolean",), "number": _NUMBERS, "string": ("string",), "list": ("list",)}
_ALL_KINDS = tuple(name for names in _KINDS_IN.values() for name in names)
_OPPOSITE: dict[str, Comparison] = {
    "eq": "ne", "ne": "eq", "in": "nin", "nin": "in", "gt": "lte", "lte": "gt", "lt": "gte", "gte": "lt",
}  # fmt: skip

Lowered = Filter | bool
"""A filter, or what is known without looking: it matches everything, or nothing."""


def typed_fields(metadata: Metadata) -> dict[str, MetadataValue]:
    """Metadata as a store keeps it: strings, floats, booleans and lists of strings that are not empty."""
    fields: dict[str, MetadataValue] = {}
    for name, value in metadata.items():
        holds = kind(value)
        fields[f"kind:{name}"] = holds if holds != "number" else _NUMBERS[isinstance(value, float)]
        if isinstance(value, int | float) and not isinstance(value, bool):
            high, low = split_number(value)
            fields[f"number:{name}"] = high
            if low is not None:
                fields[f"low:{name}"] = float(low)
        elif value != []:
            fields[f"{holds}:{name}"] = value
    return fields


def metadata_of(fields: Mapping[str, Any]) -> dict[str, MetadataValue]:
    """The metadata that `typed_fields` made these of; other fields are left out."""
    return {
        name: _value(name, str(holds), fields)
        for field, holds in fields.items()
        for prefix, _, name in [field.partition(":")]
        if prefix == "kind" and name
    }


def plain_name(field: str) -> str:
    """A typed field's name in ASCII letters, digits, _ and - alone, for stores where others would need quotes."""
    prefix, _, name = field.partition(":")
    return f"{prefix}_" + re.sub(r"[^A-Za-z0-9_]", lambda found: f"-{ord(found[0]):x}-", name)


def lowered(where: Filter) -> Lowered:
    """A filter on metadata as one on its typed fields.

    It is made of `and`, `or`, `eq`, `ne`, `in`, `nin`, `gt`, `gte`, `lt`, `lte` and `contains`; `not` stands before
    `contains` alone. `ne` and `nin` match a record without the field. `in` and `nin` take strings or numbers, at
    least one; `and` and `or` take two or more filters.
    """
    return _lowered(where, False)


def as_mongo(where: Filter, write: Callable[[Compare, bool], dict[str, Any]]) -> dict[str, Any]:
    """A lowered filter in the form that MongoDB has made common: `{"$and": [...]}`, `{"field": {"$gt": 1}}`.

    Args:
        write: gives the form of one comparison, negated or not; only `contains` is ever negated.
    """
    if isinstance(where, Compare):
        return write(where, False)
    if where.operator == "not":
        return write(cast("Compare", where.operands[0]), True)
    return {f"${where.operator}": [as_mongo(operand, write) for operand in where.operands]}


def _value(name: str, holds: str, fields: Mapping[str, Any]) -> MetadataValue:
    match holds:
        case "integer":
            return int(fields[f"number:{name}"]) + int(fields.get(f"low:{name}", 0))
        case "float":
            return float(fields[f"number:{name}"])
        case "list":
            return list(fields.get(f"list:{name}", ()))
    return cast("MetadataValue", fields[f"{holds}:{name}"])


def _lowered(where: Filter, negated: bool) -> Lowered:
    if isinstance(where, Combine):
        if where.operator == "not":
            return _lowered(where.operands[0], not negated)
        return _joined(_turned(where.operator, negated), [_lowered(operand, negated) for operand in where.operands])
    if where.operator in ("ne", "nin"):
        return _lowered(Compare(where.field, _OPPOSITE[where.operator], where.value), not negated)
    found = _typed(where)
    return _negated(found) if negated else found


def _typed(where: Compare) -> Lowered:
    name, operator, value = where.field, where.operator, where.value
    match operator:
        case "exists":
            return Compare(f"kind:{name}", "in" if value else "nin", _ALL_KINDS)
        case "contains":
            return Compare(f"list:{name}", "contains", value)
        case "eq" | "in":
            return _joined("or", _any_of(name, value if operator == "in" else (value,)))
    if isinstance(value, str):
        return Compare(f"string:{name}", operator, value)
    return _number(name, cast("Literal['gt', 'gte', 'lt', 'lte']", operator), value)


def _any_of(name: str, values: Iterable[Any]) -> list[Lowered]:
    values = list(dict.fromkeys((kind(value), value) for value in values))
    strings = [value for holds, value in values if holds == "string"]
    numbers = [value for holds, value in values if holds == "number"]
    exact = [float(value) for value in numbers if split_number(value)[1] is None]
    return [
        *(Compare(f"boolean:{name}", "eq", value) for holds, value in values if holds == "boolean"),
        *_one_of(f"string:{name}", strings),
        *_one_of(f"number:{name}", exact),
        *(_number(name, "eq", value) for value in numbers if split_number(value)[1] is not None),
    ]


def _one_of(field: str, values: list[Any]) -> list[Compare]:
    if len(values) > 1:
        return [Compare(field, "in", values)]
    return [Compare(field, "eq", value) for value in values]


def _number(name: str, operator: Literal["eq", "gt", "gte", "lt", "lte"], value: float) -> Filter:
    return compare_exactly(operator, value, f"number:{name}", f"low:{name}")


def _negated(where: Lowered) -> Lowered:
    if isinstance(where, bool):
        return not where
    if isinstance(where, Combine):
        return _joined(_turned(where.operator, True), [_negated(operand) for operand in where.operands])
    if where.operator == "contains":
        return Combine("not", (where,))
    opposite = Compare(where.field, _OPPOSITE[where.operator], where.value)
    prefix, _, name = where.field.partition(":")
    # "low" is asked for together with a "number" so large that it has one: it is never missing there.
    if opposite.operator in ("eq", "ne", "in", "nin") or prefix == "low":
        return opposite
    return _joined("or", [Compare(f"kind:{name}", "nin", _KINDS_IN[prefix]), opposite])


def _turned(operator: str, negated: bool) -> Literal["and", "or"]:
    """By De Morgan's laws."""
    return "and" if (operator == "and") is not negated else "or"


def _joined(operator: Literal["and", "or"], parts: Iterable[Lowered]) -> Lowered:
    decides = operator == "or"
    open_parts: list[Filter] = []
    for part in parts:
        if part is decides:
            return decides
        if isinstance(part, Combine) and part.operator == operator:
            open_parts += part.operands
        elif not isinstance(part, bool):
            open_parts.append(part)
    if not open_parts:
        return not decides
    return open_parts[0] if len(open_parts) == 1 else Combine(operator, tuple(open_parts))

"""Filters as LanceDB's SQL. Columns have names without quotes in them, and strings are quoted here alone."""

from __future__ import annotations

from collections.abc import Collection

from enginebay.interfaces.filters import Combine, Compare, Filter
from enginebay.stores.typed_fields import lowered, plain_name

_SIGNS = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_COLUMN_OF = {"integer": "number", "float": "number"}


def condition(where: Filter | None, namespace: str, columns: Collection[str]) -> str | None:
    """The records of a namespace that match; None for all of the table.

    Args:
        columns: that the table has; a field without one is missing in every record.
    """
    parts = [*_inside(namespace, columns), *([] if where is None else [f"({_written(lowered(where), columns)})"])]
    return " AND ".join(parts) or None


def quoted(text: str) -> str:
    """A string as SQL has it; a backslash stands for itself."""
    return "'" + text.replace("'", "''") + "'"


def one_of(name: str, values: Collection[str | float]) -> str:
    """The column has one of the values."""
    return f"`{name}` IN ({', '.join(map(_value, values))})"


def _inside(namespace: str, columns: Collection[str]) -> list[str]:
    """Without a column of namespaces, all records are in the namespace ""."""
    if "namespace" not in columns:
        return ["false"] if namespace else []
    return [f"namespace = {quoted(namespace)}" if namespace else "namespace IS NULL"]


def _written(where: Filter | bool, columns: Collection[str]) -> str:
    if isinstance(where, bool):
        return str(where).lower()
    if isinstance(where, Compare):
        return _comparison(where, columns)
    if where.operator == "not":
        return _negated(where, columns)
    return f" {where.operator.upper()} ".join(f"({_written(operand, columns)})" for operand in where.operands)


def _negated(where: Combine, columns: Collection[str]) -> str:
    """A lowered filter negates `contains` alone."""
    (inner,) = where.operands
    assert isinstance(inner, Compare)
    name = plain_name(inner.field)
    return f"(`{name}` IS NULL OR NOT {_comparison(inner, columns)})" if name in columns else "true"


def _comparison(where: Compare, columns: Collection[str]) -> str:
    if where.field.startswith("kind:"):
        return _holds(where, columns)
    name, operator, value = plain_name(where.field), where.operator, where.value
    if name not in columns:
        return str(operator in ("ne", "nin")).lower()
    match operator:
        case "contains":
            return f"array_has(`{name}`, {_value(value)})"
        case "in":
            return one_of(name, value)
        case "nin":
            return f"(`{name}` IS NULL OR NOT {one_of(name, value)})"
        case "ne":
            return f"(`{name}` IS NULL OR `{name}` <> {_value(value)})"
    return f"`{name}` {_SIGNS[operator]} {_value(value)}"


def _holds(where: Compare, columns: Collection[str]) -> str:
    """The kind of a field, which is asked for by `in` and `nin` alone."""
    field = where.field.removeprefix("kind:")
    names = {plain_name(f"{_COLUMN_OF.get(kind, kind)}:{field}") for kind in where.value}
    there = sorted(name for name in names if name in columns)
    if where.operator == "in":
        return f"({' OR '.join(f'`{name}` IS NOT NULL' for name in there) or 'false'})"
    return f"({' AND '.join(f'`{name}` IS NULL' for name in there) or 'true'})"


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return quoted(value)
    return str(value).lower() if isinstance(value, bool) else repr(float(value) + 0.0)

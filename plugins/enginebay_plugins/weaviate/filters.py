"""Filters as Weaviate's: each comparison looks at one property, which holds one kind of values."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from weaviate.classes.query import Filter as ServerFilter

from enginebay.interfaces.filters import OPERATORS, Compare, Filter
from enginebay.stores.typed_fields import lowered
from enginebay_plugins.weaviate.objects import as_property, typed_property

WITHOUT_NOT = OPERATORS - {"not"}
"""What a server has that is too old for `Not`. The others need it before `contains` alone."""

_METHODS = {
    "eq": "equal",
    "ne": "not_equal",
    "gt": "greater_than",
    "gte": "greater_or_equal",
    "lt": "less_than",
    "lte": "less_or_equal",
}
_NOBODY = uuid.UUID(int=0)

Known = Callable[[str], bool]


def as_server_filter(where: Filter, known: Known) -> Any:
    """The filter as the client takes it.

    Args:
        known: whether the collection has a property of this name; Weaviate refuses filters on others.
    """
    found = lowered(where)
    return _constant(found) if isinstance(found, bool) else _written(found, known)


def _written(where: Filter, known: Known) -> Any:
    if isinstance(where, Compare):
        return _compared(where, known)
    operands = [_written(operand, known) for operand in where.operands]
    if where.operator == "not":
        return ServerFilter.not_(operands[0])
    return ServerFilter.all_of(operands) if where.operator == "and" else ServerFilter.any_of(operands)


def _compared(where: Compare, known: Known) -> Any:
    """`ne` and `nin` match what lacks the property, the others do not, as in Weaviate."""
    name, operator = typed_property(where.field), where.operator
    if not known(name):
        return _constant(operator in ("ne", "nin"))
    on = ServerFilter.by_property(name)
    if operator == "contains":
        return on.contains_any([as_property(where.value)])
    if operator == "in":
        return on.contains_any([as_property(one) for one in where.value])
    if operator == "nin":  # ContainsNone came with `Not`
        return ServerFilter.all_of([on.not_equal(as_property(one)) for one in where.value])
    return getattr(on, _METHODS[operator])(as_property(where.value))


def _constant(matches: bool) -> Any:
    """A filter that matches each record, or none."""
    return ServerFilter.by_id().not_equal(_NOBODY) if matches else ServerFilter.by_id().equal(_NOBODY)

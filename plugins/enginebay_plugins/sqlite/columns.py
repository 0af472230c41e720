"""Metadata by column, for filters over many records at once.

A column keeps its distinct values sorted, kind by kind, and for each record the number ("code") of its value. Every
comparison is then a range of codes, found by bisection, or one code, found by hashing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from enginebay.interfaces.filters import Combine, Compare, Filter, Metadata, MetadataValue, kind

Mask = NDArray[np.bool_]

_SCALARS = ("boolean", "number", "string")
_MISSING = -1


class Column:
    """One field over all records of a segment.

    Args:
        rows: which records have the field.
        values: their values.
        size: number of records.
    """

    def __init__(self, rows: Sequence[int], values: Sequence[MetadataValue], size: int) -> None:
        by_kind: dict[str, set[object]] = {name: set() for name in (*_SCALARS, "list")}
        keys = [_key(value) for value in values]
        for name, value in keys:
            by_kind[name].add(value)
        self._sorted: dict[str, list[object]] = {}
        self._first: dict[str, int] = {}
        self._codes: dict[tuple[str, object], int] = {}
        start = 0
        for name, distinct in by_kind.items():
            ordered = sorted(distinct)  # type: ignore[type-var]
            self._sorted[name], self._first[name] = ordered, start
            self._codes.update(((name, value), start + index) for index, value in enumerate(ordered))
            start += len(ordered)
        self._code_of = np.full(size, _MISSING, dtype=np.int32)
        self._code_of[np.asarray(rows, dtype=np.intp)] = [self._codes[key] for key in keys]

    def mask(self, where: Compare) -> Mask:
        """Which records match."""
        operator, value = where.operator, where.value
        if operator == "exists":
            there: Mask = self._code_of != _MISSING
            return there if value else ~there
        if operator == "contains":
            return np.isin(self._code_of, [code for one, code in self._lists() if value in one])
        if operator in ("eq", "in"):
            return self._any_of(value if operator == "in" else (value,))
        if operator in ("ne", "nin"):
            return ~self._any_of(value if operator == "nin" else (value,))
        return self._range(operator, value)

    def _any_of(self, values: Iterable[object]) -> Mask:
        found = [self._codes[key] for value in values if (key := (kind(value), value)) in self._codes]
        return np.isin(self._code_of, found)

    def _range(self, operator: str, bound: str | float) -> Mask:
        name = kind(bound)
        ordered, first = self._sorted[name], self._first[name]
        place = bisect_right if operator in ("gt", "lte") else bisect_left
        cut = first + place(ordered, bound)  # type: ignore[type-var]
        low, high = (cut, first + len(ordered)) if operator in ("gt", "gte") else (first, cut)
        return (self._code_of >= low) & (self._code_of < high)

    def _lists(self) -> Iterable[tuple[tuple[str, ...], int]]:
        first = self._first["list"]
        for index, value in enumerate(self._sorted["list"]):
            yield value, first + index  # type: ignore[misc]


class Columns:
    """All fields of a segment's records."""

    def __init__(self, metadata: Sequence[Metadata]) -> None:
        fields: dict[str, tuple[list[int], list[MetadataValue]]] = {}
        for row, entries in enumerate(metadata):
            for name, value in entries.items():
                rows, values = fields.setdefault(name, ([], []))
                rows.append(row)
                values.append(value)
        self._size = len(metadata)
        self._columns = {name: Column(*given, self._size) for name, given in fields.items()}
        self._empty = Column((), (), self._size)

    def mask(self, where: Filter) -> Mask:
        """Which records match a filter."""
        if isinstance(where, Combine):
            masks = [self.mask(operand) for operand in where.operands]
            if where.operator == "not":
                return ~masks[0]
            join = np.logical_and if where.operator == "and" else np.logical_or
            return np.asarray(join.reduce(masks), dtype=np.bool_)
        return self._columns.get(where.field, self._empty).mask(where)


def _key(value: MetadataValue) -> tuple[str, object]:
    return kind(value), tuple(value) if isinstance(value, list) else value

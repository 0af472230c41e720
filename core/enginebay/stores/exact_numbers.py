"""Exact comparison of numbers in stores that keep every number as a 64-bit float.

A number beyond 2**53 is kept as two: `high`, the float nearest to it, and `low`, what is left. Rounding keeps the order
of numbers, so that they compare by `high` first and, where it is equal, by `low`. Within 2**53 a float is exact, and
there is no `low`.
"""

from __future__ import annotations

from typing import Literal, cast

from enginebay.interfaces.filters import Combine, Compare, Comparison, Filter

EXACT = 2.0**53
"""Up to here a float stands for one integer alone."""


def split_number(value: float) -> tuple[float, int | None]:
    """A number as `high` and `low`; `low` is None within `EXACT`."""
    high = float(value)
    if abs(high) < EXACT:
        return high, None
    return high, value - int(high) if isinstance(value, int) else 0


def compare_exactly(
    operator: Literal["eq", "gt", "gte", "lt", "lte"], value: float, high_field: str, low_field: str
) -> Filter:
    """The comparison of a number as a filter on the two fields that it is kept as."""
    high, low = split_number(value)
    if low is None:
        return Compare(high_field, operator, high)
    level = Combine("and", (Compare(high_field, "eq", high), Compare(low_field, operator, low)))
    if operator == "eq":
        return level
    strictly = cast("Comparison", operator[:2])
    return Combine("or", (Compare(high_field, strictly, high), level))

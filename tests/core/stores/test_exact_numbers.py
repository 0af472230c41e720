"""Numbers compared through floats mean what they mean exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enginebay.interfaces.filters import Compare, matches
from enginebay.stores.exact_numbers import compare_exactly, split_number

EDGES = [sign * (2**power + step) for sign in (1, -1) for power in (52, 53, 54, 62) for step in (-1, 0, 1)]
NUMBERS = st.one_of(
    st.sampled_from([*EDGES, 2**63 - 1, -(2**63), 0, 2.0**53, 2.0**63, -(2.0**63), 1e300, 5e-324]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(NUMBERS, NUMBERS, st.sampled_from(["eq", "gt", "gte", "lt", "lte"]))
def test_comparisons_are_exact(found: float, asked: float, operator: str) -> None:
    high, low = split_number(found)
    kept = {"high": high} if low is None else {"high": high, "low": low}
    wanted = matches(Compare("x", operator, asked), {"x": found})  # type: ignore[arg-type]
    assert matches(compare_exactly(operator, asked, "high", "low"), kept) is wanted  # type: ignore[arg-type]


@given(st.integers(-(2**63), 2**63 - 1))
def test_both_parts_make_the_number(value: int) -> None:
    high, low = split_number(value)
    assert int(high) + (low or 0) == value
    assert low is None or float(low) == low

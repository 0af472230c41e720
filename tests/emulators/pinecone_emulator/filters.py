"""Pinecone's filters, as its documentation describes them.

A list of strings "takes on" each of its values. Whether `$ne` and `$nin` match a record without the field is not
documented: the emulator is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulators.pinecone_emulator.errors import RefusedError, require

_ORDER = {
    "$gt": lambda found, bound: found > bound,
    "$gte": lambda found, bound: found >= bound,
    "$lt": lambda found, bound: found < bound,
    "$lte": lambda found, bound: found <= bound,
}
MAX_VALUES = 10_000


def check_filter(where: object) -> None:
    """Refuse what is no filter."""
    require(isinstance(where, dict) and bool(where), "the filter is empty")
    assert isinstance(where, dict)
    for key, value in where.items():
        if key in ("$and", "$or"):
            require(isinstance(value, list) and bool(value), f"{key} takes a list that is not empty")
            for one in value:
                check_filter(one)
        elif key.startswith("$"):
            raise RefusedError(400, f"unknown operator {key}")
        elif isinstance(value, dict):
            require(bool(value), f"{key!r} has no operator")
            for operator, operand in value.items():
                _check_operand(operator, operand)
        else:
            _check_operand("$eq", value)


def matches(where: Mapping[str, Any], metadata: Mapping[str, Any], *, ne_matches_missing: bool) -> bool:
    """Whether a record with this metadata matches."""
    for key, value in where.items():
        if key in ("$and", "$or"):
            found = (matches(one, metadata, ne_matches_missing=ne_matches_missing) for one in value)
            holds = all(found) if key == "$and" else any(found)
        else:
            comparisons = value if isinstance(value, dict) else {"$eq": value}
            holds = all(
                _holds(operator, operand, metadata.get(key), ne_matches_missing)
                for operator, operand in comparisons.items()
            )
        if not holds:
            return False
    return True


def _check_operand(operator: str, operand: object) -> None:
    if operator in _ORDER:
        require(_is_number(operand), f"{operator} takes a number, not {operand!r}")
    elif operator in ("$eq", "$ne"):
        require(isinstance(operand, str | bool) or _is_number(operand), f"{operator} does not take {operand!r}")
    elif operator in ("$in", "$nin"):
        require(isinstance(operand, list) and 0 < len(operand) <= MAX_VALUES, f"{operator} takes 1 to 10,000 values")
        assert isinstance(operand, list)
        require(all(isinstance(one, str) or _is_number(one) for one in operand), f"{operator}: strings or numbers")
    elif operator == "$exists":
        require(isinstance(operand, bool), "$exists takes true or false")
    else:
        raise RefusedError(400, f"unknown operator {operator}")


def _holds(operator: str, operand: Any, found: Any, ne_matches_missing: bool) -> bool:
    if operator == "$exists":
        return (found is not None) is operand
    if found is None:
        return ne_matches_missing and operator in ("$ne", "$nin")
    values = found if isinstance(found, list) else [found]
    if operator in _ORDER:
        return any(_is_number(one) and _ORDER[operator](one, operand) for one in values)
    wanted = operand if operator in ("$in", "$nin") else [operand]
    equal = any(_same_kind(one, other) and one == other for one in values for other in wanted)
    return equal is (operator in ("$eq", "$in"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same_kind(one: object, other: object) -> bool:
    return isinstance(one, str) is isinstance(other, str) and isinstance(one, bool) is isinstance(other, bool)

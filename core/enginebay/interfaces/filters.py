"""Metadata filters: one typed expression, with one meaning on every store.

    (F.year >= 2020) & ~F.tags.contains("draft")      as Python
    {"year": {"$gte": 2020}, "$not": {"tags": {"$contains": "draft"}}}      as JSON

What a comparison means:

- A record without the field matches `ne`, `nin` and `exists(False)`, and no other comparison.
- Values compare within their kind: numbers (integers and floats, exactly) with numbers, strings with strings by code
  point, booleans with booleans. Values of different kinds are unequal, and neither is greater.
- `contains` asks for an element of a list; no other comparison but `exists`, `ne` and `nin` matches a list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, cast, get_args

from enginebay.errors import InvalidFilterError
from enginebay.suggest import did_you_mean

MetadataValue = str | int | float | bool | list[str]
Metadata = Mapping[str, MetadataValue]
Scalar = str | int | float | bool
Comparison = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists", "contains"]
Combination = Literal["and", "or", "not"]

COMPARISONS: tuple[str, ...] = get_args(Comparison)
COMBINATIONS: tuple[str, ...] = get_args(Combination)
STRING_ORDER = "string_order"
"""Stands among the operators for `gt`, `gte`, `lt` and `lte` of strings: many stores order numbers alone."""

OPERATORS = frozenset((*COMPARISONS, *COMBINATIONS, STRING_ORDER))
"""All operators, by name: what a store with every one of them declares."""

INT64 = range(-(2**63), 2**63)
MAX_DEPTH = 64
"""Filters nest no deeper."""


class _Expression:
    """What comparisons and combinations share: `&`, `|` and `~`."""

    __slots__ = ()

    def __and__(self, other: Filter) -> Combine:
        return _joined("and", cast("Filter", self), other)

    def __or__(self, other: Filter) -> Combine:
        return _joined("or", cast("Filter", self), other)

    def __invert__(self) -> Combine:
        return Combine("not", (cast("Filter", self),))

    def __bool__(self) -> NoReturn:
        raise InvalidFilterError(
            "a filter has no truth value",
            value=self,
            hint="join filters by &, | and ~ with brackets: (F.year >= 2000) & (F.year < 2010)",
        )


@dataclass(frozen=True, slots=True)
class Compare(_Expression):
    """A comparison of one metadata field.

    `in` and `nin` take a sequence of scalars, kept as a tuple; `exists` a bool; `contains` a string; `gt`, `gte`,
    `lt` and `lte` a number or a string; `eq` and `ne` any scalar.

    Raises:
        InvalidFilterError: an unknown operator, an empty field name, or a value that the operator does not take.
    """

    field: str
    operator: Comparison
    value: Any

    def __post_init__(self) -> None:
        if not isinstance(self.field, str) or not self.field:
            raise InvalidFilterError(f"a filter's field is a name, not {self.field!r}", value=self.field)
        if self.operator not in COMPARISONS:
            raise InvalidFilterError(
                f"unknown comparison {self.operator!r}",
                value=self.operator,
                hint=did_you_mean(str(self.operator), COMPARISONS),
            )
        object.__setattr__(self, "value", self._checked())

    def _checked(self) -> Any:
        value, operator = self.value, self.operator
        if operator == "exists":
            self._require(isinstance(value, bool), "True or False")
        elif operator == "contains":
            self._require(isinstance(value, str), "a string")
        elif operator in ("in", "nin"):
            several = isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)
            self._require(several and all(_is_scalar(one) for one in value), "a list of strings, numbers and booleans")
            return tuple(value)
        elif operator in ("eq", "ne"):
            self._require(_is_scalar(value), "a string, a number or a boolean; for a list's elements take contains")
        else:
            self._require(_is_scalar(value) and not isinstance(value, bool), "a number or a string")
        return value

    def _require(self, holds: bool, wanted: str) -> None:
        if not holds:
            raise InvalidFilterError(
                f"{self.operator} of {self.field!r} takes {wanted}, not {self.value!r}", value=self.value
            )


@dataclass(frozen=True, slots=True)
class Combine(_Expression):
    """`and` or `or` of one or more filters, or `not` of one.

    Raises:
        InvalidFilterError: no operands, something else than a filter, or deeper than `MAX_DEPTH`.
    """

    operator: Combination
    operands: tuple[Filter, ...]

    def __post_init__(self) -> None:
        if self.operator not in COMBINATIONS:
            raise InvalidFilterError(f"unknown combination {self.operator!r}", value=self.operator)
        if not self.operands or (self.operator == "not" and len(self.operands) > 1):
            raise InvalidFilterError(f"{self.operator!r} does not take {len(self.operands)} filters")
        for operand in self.operands:
            if not isinstance(operand, Compare | Combine):
                raise InvalidFilterError(
                    f"{operand!r} is no filter", value=operand, hint='compare a field: F.year >= 2020, F["my key"] == 1'
                )
        if depth(self) > MAX_DEPTH:
            raise InvalidFilterError(f"the filter nests deeper than {MAX_DEPTH}")


Filter = Compare | Combine


class Field:
    """A metadata field, to be compared: `F.year`, `F["any name"]`."""

    __slots__ = ("_name",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, value: object) -> Compare:  # type: ignore[override]
        return Compare(self._name, "eq", value)

    def __ne__(self, value: object) -> Compare:  # type: ignore[override]
        return Compare(self._name, "ne", value)

    def __gt__(self, value: str | float) -> Compare:
        return Compare(self._name, "gt", value)

    def __ge__(self, value: str | float) -> Compare:
        return Compare(self._name, "gte", value)

    def __lt__(self, value: str | float) -> Compare:
        return Compare(self._name, "lt", value)

    def __le__(self, value: str | float) -> Compare:
        return Compare(self._name, "lte", value)

    def one_of(self, values: Sequence[Scalar]) -> Compare:
        """The field has one of the values; none of them matches nothing."""
        return Compare(self._name, "in", values)

    def none_of(self, values: Sequence[Scalar]) -> Compare:
        """The field has none of the values, or is missing."""
        return Compare(self._name, "nin", values)

    def contains(self, element: str) -> Compare:
        """The field is a list with this element."""
        return Compare(self._name, "contains", element)

    def exists(self, there: bool = True) -> Compare:
        """The record has the field, or has it not."""
        return Compare(self._name, "exists", there)

    def __repr__(self) -> str:
        return f"F[{self._name!r}]"


class _Fields:
    """`F`: any attribute or key of it is a field of that name."""

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        return Field(name)

    def __getitem__(self, name: str) -> Field:
        return Field(name)


F = _Fields()


def parse_filter(data: object) -> Filter:
    """A filter from its JSON form.

    An object's entries are joined by "and": `{"lang": "en", "year": {"$gte": 2020, "$lt": 2030}}`. `$and` and `$or`
    take a list, `$not` an object. A field whose name starts with "$" is written `{"$field": [name, {...}]}`.

    Raises:
        InvalidFilterError: not of this form; the text names the part.
    """
    if not isinstance(data, Mapping) or not data:
        raise InvalidFilterError(f"a filter is an object with at least one entry, not {data!r}", value=data)
    parts = [part for key, value in data.items() for part in _parsed_entry(key, value)]
    return parts[0] if len(parts) == 1 else Combine("and", tuple(parts))


def _parsed_entry(key: object, value: object) -> list[Filter]:
    if not isinstance(key, str):
        raise InvalidFilterError(f"a filter's keys are strings, not {key!r}", value=key)
    if not key.startswith("$"):
        return _parsed_field(key, value)
    match key:
        case "$and" | "$or" if isinstance(value, list) and value:
            return [Combine(cast("Combination", key[1:]), tuple(parse_filter(one) for one in value))]
        case "$not":
            return [Combine("not", (parse_filter(value),))]
        case "$field" if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
            return _parsed_field(value[0], value[1])
    raise InvalidFilterError(
        f"{key!r} does not take {value!r}" if key in ("$and", "$or", "$field") else f"unknown combination {key!r}",
        value=value,
        hint='{"$and": [...]}, {"$or": [...]}, {"$not": {...}}, or {"field": {"$gte": 1}}',
    )


def _parsed_field(name: str, value: object) -> list[Filter]:
    if not isinstance(value, Mapping):
        return [Compare(name, "eq", value)]
    if not value:
        raise InvalidFilterError(f"field {name!r} has no comparison", value=name)
    return [Compare(name, _comparison(key), operand) for key, operand in value.items()]


def _comparison(key: object) -> Comparison:
    name = str(key).removeprefix("$")
    if not str(key).startswith("$") or name not in COMPARISONS:
        raise InvalidFilterError(
            f"unknown comparison {key!r}", value=key, hint=did_you_mean(str(key), [f"${name}" for name in COMPARISONS])
        )
    return cast("Comparison", name)


def filter_as_json(where: Filter) -> dict[str, Any]:
    """The JSON form; `parse_filter` of it gives an equal filter."""
    if isinstance(where, Compare):
        value = list(where.value) if isinstance(where.value, tuple) else where.value
        comparison = {f"${where.operator}": value}
        return {"$field": [where.field, comparison]} if where.field.startswith("$") else {where.field: comparison}
    inner = [filter_as_json(operand) for operand in where.operands]
    return {f"${where.operator}": inner[0] if where.operator == "not" else inner}


def operators_of(where: Filter) -> frozenset[str]:
    """Names of all operators in a filter."""
    if isinstance(where, Compare):
        ordered = where.operator in _ORDER and isinstance(where.value, str)
        return frozenset((where.operator, STRING_ORDER) if ordered else (where.operator,))
    return frozenset((where.operator,)).union(*map(operators_of, where.operands))


def texts_of(where: Filter) -> list[str]:
    """All strings in a filter: names of fields, and what they are compared with."""
    if isinstance(where, Combine):
        return [text for operand in where.operands for text in texts_of(operand)]
    values = where.value if isinstance(where.value, tuple) else (where.value,)
    return [where.field, *(value for value in values if isinstance(value, str))]


def depth(where: Filter) -> int:
    """1 for a comparison, one more for each combination around it."""
    if isinstance(where, Compare):
        return 1
    return 1 + max(map(depth, where.operands))


def matches(where: Filter, metadata: Metadata) -> bool:
    """Whether a record with this metadata matches: the meaning that every store keeps to."""
    if isinstance(where, Compare):
        return _holds(where, metadata.get(where.field))
    inner = (matches(operand, metadata) for operand in where.operands)
    if where.operator == "not":
        return not next(inner)
    return all(inner) if where.operator == "and" else any(inner)


def _holds(where: Compare, found: MetadataValue | None) -> bool:
    match where.operator:
        case "exists":
            return (found is not None) is where.value
        case "contains":
            return isinstance(found, list) and where.value in found
        case "in":
            return any(_equal(found, one) for one in where.value)
        case "nin":
            return not any(_equal(found, one) for one in where.value)
        case "eq":
            return _equal(found, where.value)
        case "ne":
            return not _equal(found, where.value)
    return kind(found) == kind(where.value) and _ORDER[where.operator](found, where.value)


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda found, bound: found > bound,
    "gte": lambda found, bound: found >= bound,
    "lt": lambda found, bound: found < bound,
    "lte": lambda found, bound: found <= bound,
}


def kind(value: object) -> str:
    """Values compare within their kind: "boolean", "number", "string"; "list" and "missing" with nothing."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "missing"


def _equal(found: object, value: object) -> bool:
    return kind(found) == kind(value) and found == value


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | bool) or (isinstance(value, int) and value in INT64)


def _joined(operator: Literal["and", "or"], left: Filter, right: Filter) -> Combine:
    """Chains of one operator are kept flat: `a & b & c` is one `and` of three."""
    if not isinstance(right, Compare | Combine):
        return Combine(operator, (left, right))
    operands: tuple[Filter, ...] = ()
    for side in (left, right):
        same = isinstance(side, Combine) and side.operator == operator
        operands += side.operands if same else (side,)  # type: ignore[union-attr]
    return Combine(operator, operands)

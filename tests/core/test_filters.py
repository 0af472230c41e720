"""Filter expressions: how they are written, what they mean, what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay import F
from enginebay.errors import InvalidFilterError
from enginebay.interfaces.filters import (
    MAX_DEPTH,
    Combine,
    Compare,
    Filter,
    filter_as_json,
    matches,
    operators_of,
    parse_filter,
)

names = st.text(min_size=1)
scalars = (
    st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
ordered = st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
comparisons = st.one_of(
    st.builds(Compare, names, st.sampled_from(["eq", "ne"]), scalars),
    st.builds(Compare, names, st.sampled_from(["gt", "gte", "lt", "lte"]), ordered),
    st.builds(Compare, names, st.sampled_from(["in", "nin"]), st.lists(scalars, max_size=4)),
    st.builds(Compare, names, st.just("exists"), st.booleans()),
    st.builds(Compare, names, st.just("contains"), st.text()),
)
filters: st.SearchStrategy[Filter] = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(
            lambda name, parts: Combine(name, tuple(parts)),
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda part: Combine("not", (part,)), inner),
    ),
    max_leaves=8,
)
metadata = st.dictionaries(names, scalars | st.lists(st.text(), max_size=3), max_size=4)


def test_expressions_read_as_python() -> None:
    where = (F.year >= 2020) & (F["any name"] == "x") | ~F.tags.contains("draft")
    assert filter_as_json(where) == {
        "$or": [
            {"$and": [{"year": {"$gte": 2020}}, {"any name": {"$eq": "x"}}]},
            {"$not": {"tags": {"$contains": "draft"}}},
        ]
    }
    assert F.x.one_of([1, 2]) == Compare("x", "in", (1, 2))
    assert F.x.none_of({1}) == Compare("x", "nin", (1,))
    assert F.x.exists() == Compare("x", "exists", True)
    assert ((F.a < 1) & (F.b <= 2) & (F.c > 3)).operands == (F.a < 1, F.b <= 2, F.c > 3)
    assert {F.a == 1, F.a == 1} == {F.a == 1}, "filters can be kept in sets"


@given(filters)
def test_json_gives_the_same_filter_again(where: Filter) -> None:
    assert parse_filter(json.loads(json.dumps(filter_as_json(where)))) == where


@given(filters, filters, metadata)
def test_combinations_mean_what_their_names_say(first: Filter, second: Filter, entries: dict[str, object]) -> None:
    one, two = matches(first, entries), matches(second, entries)
    assert matches(first & second, entries) == (one and two)
    assert matches(first | second, entries) == (one or two)
    assert matches(~first, entries) == (not one)


@given(names, ordered, metadata)
def test_orders_agree_with_equality(name: str, bound: str | float, entries: dict[str, object]) -> None:
    field = F[name]
    assert matches(field >= bound, entries) == (matches(field > bound, entries) or matches(field == bound, entries))
    assert matches(field <= bound, entries) == (matches(field < bound, entries) or matches(field == bound, entries))
    assert matches(field != bound, entries) != matches(field == bound, entries)


def test_values_compare_within_their_kind() -> None:
    assert not matches(F.x == 1, {"x": True})
    assert not matches(F.x == "1", {"x": 1})
    assert matches(F.x == 1, {"x": 1.0})
    assert not matches(F.x == 2**53, {"x": 2**53 + 1}), "integers are compared exactly"
    assert not matches(F.x > 2.0**53, {"x": 2**53})
    assert not matches(F.x < "2", {"x": 1})
    assert not matches(F.x == "a", {"x": ["a"]})
    assert matches(F.x.contains("a"), {"x": ["a"]})
    assert not matches(F.x.contains("a"), {"x": "abc"})


def test_short_forms_of_json() -> None:
    assert parse_filter({"lang": "en"}) == (F.lang == "en")
    assert parse_filter({"year": {"$gte": 2020, "$lt": 2030}, "lang": "en"}) == Combine(
        "and", (F.year >= 2020, F.year < 2030, F.lang == "en")
    )
    assert parse_filter({"$field": ["$odd", {"$eq": 1}]}) == (F["$odd"] == 1)
    assert operators_of(parse_filter({"$not": {"a": {"$in": [1]}}})) == {"not", "in"}


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({}, "at least one entry"),
        ({"x": {}}, "'x' has no comparison"),
        ({"x": {"$gtt": 1}}, "did you mean '$gt"),
        ({"x": {"gt": 1}}, "$gt"),
        ({"$xor": []}, "unknown combination '$xor'"),
        ({"$and": []}, "'$and' does not take []"),
        ({"$not": [1]}, "a filter is an object"),
        ({"x": None}, "eq of 'x' takes"),
        ({"x": [1]}, "contains"),
        ({"x": {"$gt": True}}, "a number or a string"),
        ({"x": {"$in": "text"}}, "a list"),
        ({"x": {"$exists": 1}}, "True or False"),
        ({"x": 2**63}, "9223372036854775808"),
        ({"x": float("nan")}, "nan"),
        ({"": 1}, "a name"),
        ("x = 1", "'x = 1'"),
    ],
)
def test_bad_filters_are_named(data: object, named: str) -> None:
    with pytest.raises(InvalidFilterError) as caught:
        parse_filter(data)
    assert named in str(caught.value)


def test_what_python_would_get_wrong_is_an_error() -> None:
    with pytest.raises(InvalidFilterError, match="no truth value"):
        assert 2000 <= F.year < 2010
    with pytest.raises(InvalidFilterError, match="no truth value"):
        assert F.a == 1 and F.b == 2
    with pytest.raises(InvalidFilterError, match="is no filter"):
        (F.a == 1) & F.b  # type: ignore[operator]


def test_depth_has_a_limit() -> None:
    where: Filter = F.x == 1
    for _ in range(MAX_DEPTH - 1):
        where = ~where
    with pytest.raises(InvalidFilterError, match="deeper"):
        where = ~where

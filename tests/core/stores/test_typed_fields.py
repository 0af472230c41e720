"""Lowered filters on typed fields match what the filters on the metadata match."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from enginebay import F
from enginebay.interfaces.filters import Combine, Compare, Filter, MetadataValue, matches
from enginebay.stores.typed_fields import as_mongo, lowered, metadata_of, plain_name, typed_fields

NAMES = st.sampled_from(["x", "y", "a:b", "$eq", "kind"])
TEXTS = st.sampled_from(["", "a", "b", "1", "True", "é"])
EDGES = st.sampled_from([0, 1, 1.0, -0.0, 2**53, 2.0**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2.0**63, 1e300])
NUMBERS = EDGES | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = TEXTS | st.booleans() | NUMBERS
METADATA = st.dictionaries(NAMES, SCALARS | st.lists(TEXTS, max_size=3), max_size=4)
COMPARISONS: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Compare, NAMES, st.sampled_from(["eq", "ne"]), SCALARS),
    st.builds(Compare, NAMES, st.sampled_from(["gt", "gte", "lt", "lte"]), TEXTS | NUMBERS),
    st.builds(Compare, NAMES, st.sampled_from(["in", "nin"]), st.lists(SCALARS, max_size=4)),
    st.builds(Compare, NAMES, st.just("exists"), st.booleans()),
    st.builds(Compare, NAMES, st.just("contains"), TEXTS),
)
FILTERS: st.SearchStrategy[Filter] = st.recursive(
    COMPARISONS,
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


@given(METADATA)
def test_metadata_comes_back_whole(metadata: dict[str, MetadataValue]) -> None:
    found = metadata_of(typed_fields(metadata) | {"text": "x", "id": "y"})
    assert found == metadata
    assert {name: type(value) for name, value in found.items()} == {name: type(one) for name, one in metadata.items()}


@given(METADATA)
def test_a_field_holds_one_kind_and_no_integers(metadata: dict[str, MetadataValue]) -> None:
    kinds = {"kind": str, "string": str, "number": float, "low": float, "boolean": bool, "list": list}
    for name, value in typed_fields(metadata).items():
        assert type(value) is kinds[name.partition(":")[0]]
        assert value != []


@given(FILTERS, METADATA)
@example(~(F.x > 2**53 + 1), {"x": 2**53})
@example(~(F.x > 2**53 + 1), {"x": 2.0**54})
@example(~(F.x > 2**53 + 1), {"x": "text"})
@example(~(F.x <= 2**53 + 1), {})
@example(~F.x.contains("a"), {"x": "a"})
@example(F.x.none_of([]), {})
def test_a_lowered_filter_means_the_same(where: Filter, metadata: dict[str, MetadataValue]) -> None:
    found = lowered(where)
    told = found if isinstance(found, bool) else matches(found, typed_fields(metadata))
    assert told is matches(where, metadata)


@given(FILTERS)
def test_a_lowered_filter_has_only_what_stores_have(where: Filter) -> None:
    def check(part: Filter) -> None:
        if isinstance(part, Compare):
            prefix = part.field.partition(":")[0]
            assert part.operator != "exists"
            assert prefix != "boolean" or part.operator in ("eq", "ne")
            assert part.operator not in ("in", "nin") or len(part.value) > 0
            assert part.operator != "contains" or prefix == "list"
        elif part.operator == "not":
            assert isinstance(part.operands[0], Compare)
            assert part.operands[0].operator == "contains"
        else:
            assert len(part.operands) > 1
            for operand in part.operands:
                check(operand)

    found = lowered(where)
    if not isinstance(found, bool):
        check(found)


def test_the_form_that_mongodb_made_common() -> None:
    def write(compare: Compare, negated: bool) -> dict[str, Any]:
        return {compare.field: {f"${'not_' * negated}{compare.operator}": compare.value}}

    found = lowered(~((F.lang == "de") | F.tags.contains("draft")))
    assert not isinstance(found, bool)
    assert as_mongo(found, write) == {
        "$and": [{"string:lang": {"$ne": "de"}}, {"list:tags": {"$not_contains": "draft"}}]
    }


@given(st.text(min_size=1), st.text(min_size=1))
def test_plain_names_are_plain_and_different(first: str, second: str) -> None:
    names = {plain_name(f"{prefix}:{name}") for prefix in ("string", "number") for name in (first, second)}
    assert len(names) == 2 * len({first, second})
    assert all(re.fullmatch(r"(string|number)_[A-Za-z0-9_-]+", name) for name in names)


def test_plain_names_of_plain_fields_read_well() -> None:
    assert plain_name("string:first_name") == "string_first_name"

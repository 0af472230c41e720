"""Checks of records: none that stores cannot keep comes through, whatever the shortcut for sound vectors."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pytest

from enginebay import Record
from enginebay.errors import RecordError
from enginebay.interfaces.vector_store import CollectionInfo, Metric
from enginebay.stores.records import checked_metadata, checked_records

KEPT = [
    np.ones(3, np.float32),
    np.ones(3),
    [1, 2, 3],
    np.ones(6, np.float32)[::2],
    np.ones(3, ">f4"),
    np.full(3, 1e38, np.float32),  # the square is beyond float32
    np.full(3, 1e-38, np.float32),  # the square is below float32
]
REFUSED = [
    (np.array([1, np.nan, 2], np.float32), "NaN"),
    (np.array([1, -np.inf, 2], np.float32), "infinity"),
    (np.full(3, 1e39), "beyond float32"),
    (np.ones(4, np.float32), "dimension 3"),
    (np.ones((1, 3), np.float32), "shape"),
    ("vector", "no vector of numbers"),
]


@pytest.mark.parametrize("vector", KEPT, ids=str)
def test_vectors_are_kept_as_float32(vector: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = checked_records(CollectionInfo("words", 3), [Record("a", vector)])  # type: ignore[arg-type]
    assert found.vector.dtype == np.dtype(np.float32)
    assert found.vector.flags.c_contiguous
    assert np.array_equal(found.vector, np.asarray(vector, np.float32))


@pytest.mark.parametrize(("vector", "fault"), REFUSED, ids=str)
def test_vectors_that_no_store_keeps_are_refused(vector: object, fault: str) -> None:
    with pytest.raises(RecordError, match=fault):
        checked_records(CollectionInfo("words", 3), [Record("a", np.ones(3)), Record("b", vector)])  # type: ignore[arg-type]


def test_a_zero_vector_is_refused_by_cosine_alone() -> None:
    zero = [Record("a", np.zeros(3, np.float32))]
    with pytest.raises(RecordError, match="'a' is zero"):
        checked_records(CollectionInfo("words", 3), zero)
    assert len(checked_records(CollectionInfo("words", 3, Metric.DOT), zero)) == 1


def test_each_of_many_vectors_is_looked_at() -> None:
    kept: list[object] = [*KEPT, *(np.full(3, n, np.float32) for n in range(1, 2500))]
    records = [Record(f"{n}", vector) for n, vector in enumerate(kept)]  # type: ignore[arg-type]
    found = checked_records(CollectionInfo("words", 3), records)
    assert [record.id for record in found] == [record.id for record in records]
    for vector, record in zip(kept, found, strict=True):
        assert np.array_equal(record.vector, np.asarray(vector, np.float32))
    for row in (0, 3, 999, 1000, 2400):
        wrong = [*records]
        wrong[row] = Record(f"{row}", np.array([1, np.nan, 2], np.float32))
        with pytest.raises(RecordError, match=f"the vector of '{row}' has NaN"):
            checked_records(CollectionInfo("words", 3), wrong)


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": None}, {"a": "\0"}, {"a": "\ud800"}, {"a\0": 1}, {"": 1}, {1: 1}, {"a": 2**63}, {"a": math.nan},
        {"a": {}}, {"a": [1]}, {"a": ("b",)}, {"a": np.float64(1.5)}, {"a": np.int64(1)}, {"a": np.True_},
    ],
    ids=str,
)  # fmt: skip
def test_metadata_beside_a_sound_vector_is_checked(metadata: dict[str, object]) -> None:
    """The same as `checked_metadata` says, whatever the shortcut for plain metadata."""
    record = Record("a", np.ones(3, np.float32), metadata)  # type: ignore[arg-type]
    try:
        wanted = checked_metadata(metadata, "a")
    except RecordError as error:
        with pytest.raises(RecordError, match=re.escape(str(error))):
            checked_records(CollectionInfo("words", 3), [record])
    else:
        (found,) = checked_records(CollectionInfo("words", 3), [record])
        assert found.metadata == wanted
        assert [type(value) for value in found.metadata.values()] == [type(value) for value in wanted.values()]

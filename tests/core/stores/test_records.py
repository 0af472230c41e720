"""Checks of records: none that stores cannot keep comes through, whatever the shortcut for sound vectors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from enginebay import Record
from enginebay.errors import RecordError
from enginebay.interfaces.vector_store import CollectionInfo, Metric
from enginebay.stores.records import checked_records

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

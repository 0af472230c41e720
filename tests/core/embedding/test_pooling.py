"""Pooling by hand, with padding that must count for nothing."""

from __future__ import annotations

import numpy as np
import pytest

from enginebay import Pooling
from enginebay.embedding.pooling import pool

HIDDEN = np.array([[[1, 2], [3, 4], [9e9, -9e9]], [[5, 6], [7, 8], [0, 1]]], dtype=np.float32)
MASK = np.array([[1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [(Pooling.MEAN, [[2, 3], [4, 5]]), (Pooling.CLS, [[1, 2], [5, 6]]), (Pooling.LAST, [[3, 4], [0, 1]])],
)
def test_pooling(pooling: Pooling, expected: list[list[float]]) -> None:
    pooled = pool(HIDDEN, MASK, pooling)
    assert pooled.dtype == np.float32
    assert pooled == pytest.approx(np.array(expected))

"""Cosine similarity, and the nearest of many vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def cosine(left: Vectors, right: Vectors) -> Vectors:
    """Cosine similarities of rows, shape (left rows, right rows); those of a zero row are 0."""
    return np.asarray(_directions(left) @ _directions(right).T, dtype=np.float32)


def nearest(scores: Vectors, limit: int) -> list[tuple[int, float]]:
    """The `limit` highest of scores of shape (n,) as (index, score), best first; equal ones in their order."""
    order = np.argsort(-scores, kind="stable")[:limit]
    return [(int(index), float(scores[index])) for index in order]


def _directions(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0))

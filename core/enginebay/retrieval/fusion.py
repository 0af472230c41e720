"""Joining rankings, and choosing what is not alike."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

KeyT = TypeVar("KeyT", bound=Hashable)

RRF_K = 60
"""The constant that Cormack, Clarke and Buettcher found good (SIGIR 2009)."""


def reciprocal_rank_fusion(*rankings: Sequence[KeyT], k: int = RRF_K) -> dict[KeyT, float]:
    """Scores of what several rankings hold: for each the sum of 1 / (k + rank), ranks from 1; the best first.

    What has one score is in the order of the first ranking that holds it.
    Source: Cormack, Clarke, Buettcher, Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning
    Methods, SIGIR 2009.
    """
    scores: dict[KeyT, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(ranking, start=1):
            scores[key] = scores.get(key, 0.0) + 1 / (k + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def maximal_marginal_relevance(
    similarities: Sequence[float], vectors: npt.NDArray[np.float32], limit: int, relevance: float
) -> list[int]:
    """Choose what is near to the question and not alike, one after another.

    Args:
        similarities: cosine of each candidate with the question.
        vectors: the candidates', shape (candidates, dimension).
        limit: how many to choose at most.
        relevance: 1 minds the question alone, 0 the difference alone: the paper's lambda.

    Returns:
        Indices of the chosen, in the order of choice.
        Source: Carbonell, Goldstein, The Use of MMR, Diversity-Based Reranking, SIGIR 1998.
    """
    if not len(similarities):
        return []
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    near = np.asarray(similarities, dtype=np.float64)
    alike = np.full(len(near), -np.inf)
    left = np.ones(len(near), dtype=bool)
    chosen: list[int] = []
    while left.any() and len(chosen) < limit:
        worth = near if not chosen else relevance * near - (1 - relevance) * alike
        best = int(np.argmax(np.where(left, worth, -np.inf)))
        chosen.append(best)
        left[best] = False
        alike = np.maximum(alike, unit @ unit[best])
    return chosen

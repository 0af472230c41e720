"""Finding passages for a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from enginebay.config.settings import SearchMode
from enginebay.embedding.similarity import cosine
from enginebay.errors import InvalidParameterError, UnsupportedFeatureError
from enginebay.retrieval.fusion import maximal_marginal_relevance, reciprocal_rank_fusion
from enginebay.retrieval.ledger import chunks
from enginebay.retrieval.passages import Passage, read_passage

if TYPE_CHECKING:
    from enginebay.embedding.handle import EmbedderHandle
    from enginebay.interfaces.filters import Filter
    from enginebay.interfaces.vector_store import Record, Vector
    from enginebay.retrieval.words import Words
    from enginebay.stores import Collection

Rerank = Callable[[str, Sequence[str]], Sequence[float]]
"""Scores texts against a question, higher is better: a cross-encoder, or any function."""

_CANDIDATES = 50
"""Passages that each ranking brings, at least."""

_MOST = 10_000
"""That a collection gives."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How to search; see `Index.search`.

    Raises:
        InvalidParameterError: a diversity beyond 0 to 1, or together with reranking.
    """

    limit: int
    where: Filter | None
    mode: SearchMode
    diversity: float | None
    rerank: Rerank | None

    def __post_init__(self) -> None:
        if self.diversity is not None and not 0 <= self.diversity <= 1:
            raise InvalidParameterError(f"diversity = {self.diversity} is not from 0 to 1", value=self.diversity)
        if self.diversity and self.rerank is not None:
            raise InvalidParameterError(
                "diversity and rerank both order the passages", value=self.diversity, hint="take one of them"
            )

    @property
    def depth(self) -> int:
        """Passages that each ranking brings: more than are wanted, where they are ranked once more."""
        if self.mode is SearchMode.VECTOR and not self.diversity and self.rerank is None:
            return min(_MOST, self.limit)
        return min(_MOST, max(_CANDIDATES, 4 * self.limit))


@dataclass(frozen=True, slots=True)
class Search:
    """One way to search one collection."""

    collection: Collection
    embedder: EmbedderHandle
    words: Callable[[], Words]
    choice: Choice

    def passages(self, question: str) -> list[Passage]:
        """The best passages, best first."""
        choice = self.choice
        found = self._found(question)
        if choice.rerank is not None:
            return _reranked(question, [passage for passage, _ in found], choice.rerank)[: choice.limit]
        if choice.diversity and choice.mode is not SearchMode.LEXICAL:
            return _diverse(found, choice.limit, choice.diversity)
        return [passage for passage, _ in found[: choice.limit]]

    def _found(self, question: str) -> list[tuple[Passage, Vector | None]]:
        match self.choice.mode:
            case SearchMode.LEXICAL:
                return self._lexical(question)
            case SearchMode.STORE_HYBRID:
                return self._by_store(question)
            case _:
                return self._near(question)

    def _near(self, question: str) -> list[tuple[Passage, Vector | None]]:
        """By vectors, and in hybrid mode by words as well."""
        choice = self.choice
        vector = self.embedder.embed_query(question)
        hits = self.collection.query(
            vector, limit=choice.depth, where=choice.where, with_vectors=bool(choice.diversity)
        )
        found = {
            hit.id: (read_passage(hit.id, hit.text, hit.metadata, hit.score, hit.score), hit.vector) for hit in hits
        }
        if choice.mode is SearchMode.VECTOR:
            return list(found.values())
        ranked = self.words().search(question, choice.depth, choice.where)
        found |= self._compared(vector, [one for one in ranked if one not in found])
        scores = reciprocal_rank_fusion([hit.id for hit in hits], [one for one in ranked if one in found])
        return [(replace(found[one][0], score=score), found[one][1]) for one, score in scores.items()]

    def _by_store(self, question: str) -> list[tuple[Passage, Vector | None]]:
        """By the store's own mixture of vectors and words; its score says nothing of how near they are."""
        if not self.collection.hybrid:
            raise UnsupportedFeatureError(
                f"store {self.collection.backend!r} has no hybrid search of its own",
                value=str(self.choice.mode),
                hint='the mode "hybrid" joins vectors and words on every store',
            )
        vector = self.embedder.embed_query(question)
        hits = self.collection.hybrid_query(question, vector, limit=self.choice.depth, where=self.choice.where)
        found = self._compared(vector, [hit.id for hit in hits])
        return [(replace(found[hit.id][0], score=hit.score), found[hit.id][1]) for hit in hits if hit.id in found]

    def _compared(self, vector: Vector, ids: Sequence[str]) -> dict[str, tuple[Passage, Vector | None]]:
        """Passages by their ids, with their cosine to a vector."""
        found: dict[str, tuple[Passage, Vector | None]] = {}
        for record in self._get(ids):
            near = float(cosine(vector[None], np.asarray(record.vector)[None])[0, 0])
            found[record.id] = (read_passage(record.id, record.text, record.metadata, near, near), record.vector)
        return found

    def _lexical(self, question: str) -> list[tuple[Passage, Vector | None]]:
        records = self._get(self.words().search(question, self.choice.depth, self.choice.where))
        return [
            (read_passage(record.id, record.text, record.metadata, 1 / rank), None)
            for rank, record in enumerate(records, start=1)
        ]

    def _get(self, ids: Sequence[str]) -> list[Record]:
        """What the collection holds of them now: a lexical index may be behind."""
        return [record for part in chunks(ids) for record in self.collection.get(part)]


def _reranked(question: str, passages: Sequence[Passage], rerank: Rerank) -> list[Passage]:
    scores = [float(score) for score in rerank(question, [passage.text for passage in passages])] if passages else []
    if len(scores) != len(passages):
        raise InvalidParameterError(f"rerank gave {len(scores)} scores for {len(passages)} texts", value=len(scores))
    scored = [replace(passage, score=score) for passage, score in zip(passages, scores, strict=True)]
    return sorted(scored, key=lambda passage: -passage.score)


def _diverse(found: Sequence[tuple[Passage, Vector | None]], limit: int, diversity: float) -> list[Passage]:
    near = [passage.similarity or 0.0 for passage, _ in found]
    vectors = np.stack([vector for _, vector in found if vector is not None]) if found else np.empty((0, 1), np.float32)
    return [found[place][0] for place in maximal_marginal_relevance(near, vectors, limit, 1 - diversity)]

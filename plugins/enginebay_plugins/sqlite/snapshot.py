"""The records of one namespace in memory, as of one version of the collection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from enginebay.interfaces.filters import Filter
from enginebay.interfaces.vector_store import Metric
from enginebay_plugins.sqlite.columns import Columns

Floats = NDArray[np.float32]
RowIds = NDArray[np.int64]

GATHERED = 0.1
"""Below this share of matching records it is faster to gather their vectors than to compare all."""

SPARE = 32
"""Candidates beyond the limit, whose Euclidean distance is then taken exactly."""


@dataclass(eq=False)
class Segment:
    """Records that were read together. Never changed, but for the columns, which are made when a filter wants them.

    Attributes:
        rows: row ids, ascending.
        vectors: shape (records, dimension); of length 1 for the metric cosine.
        metadata: as JSON texts.
    """

    rows: RowIds
    vectors: Floats
    metadata: Sequence[str]
    _columns: Columns | None = field(default=None, init=False)
    _squares: Floats | None = field(default=None, init=False)

    @property
    def columns(self) -> Columns:
        """The metadata by column."""
        if self._columns is None:
            self._columns = Columns([json.loads(text) for text in self.metadata])
        return self._columns

    @property
    def squares(self) -> Floats:
        """The square of each vector's length."""
        if self._squares is None:
            self._squares = np.einsum("ij,ij->i", self.vectors, self.vectors)
        return self._squares


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Segments, and which of their records are still the newest of their id.

    Attributes:
        version: of the collection; a higher one has other records.
        alive: one mask for each segment.
    """

    version: int
    metric: Metric
    segments: tuple[Segment, ...] = ()
    alive: tuple[NDArray[np.bool_], ...] = ()

    @property
    def nbytes(self) -> int:
        """Memory of the vectors."""
        return sum(segment.vectors.nbytes for segment in self.segments)

    def changed(self, version: int, gone: RowIds, added: Segment) -> Snapshot:
        """The snapshot after a change: rows that were deleted or written again, and what was written."""
        alive = [
            mask if not (dead := np.isin(segment.rows, gone)).any() else mask & ~dead
            for segment, mask in zip(self.segments, self.alive, strict=True)
        ]
        kept = [(segment, mask) for segment, mask in zip(self.segments, alive, strict=True) if mask.any()]
        if len(added.rows):
            kept.append((added, np.ones(len(added.rows), dtype=np.bool_)))
        # Sizes fall by half at least, so that there are few segments and each record is seldom copied.
        while len(kept) > 1 and kept[-2][1].sum() < 2 * kept[-1][1].sum():
            kept[-2:] = [_merged(*kept[-2], *kept[-1])]
        segments, masks = zip(*kept, strict=True) if kept else ((), ())
        return Snapshot(version, self.metric, tuple(segments), tuple(masks))

    def matching(self, where: Filter | None) -> RowIds:
        """Row ids of the records that match."""
        found = [
            segment.rows[mask if where is None else mask & segment.columns.mask(where)]
            for segment, mask in zip(self.segments, self.alive, strict=True)
        ]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def nearest(self, vector: Floats, limit: int, where: Filter | None) -> list[tuple[int, float]]:
        """Row ids and scores of the nearest records, best first."""
        if self.metric is Metric.COSINE:
            length = np.linalg.norm(vector.astype(np.float64))
            vector = (vector / length).astype(np.float32) if length > 0 else vector
        found = [
            pair
            for segment, mask in zip(self.segments, self.alive, strict=True)
            for pair in self._nearest_in(segment, mask, vector, limit, where)
        ]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:limit]

    def _nearest_in(
        self, segment: Segment, alive: NDArray[np.bool_], vector: Floats, limit: int, where: Filter | None
    ) -> list[tuple[int, float]]:
        mask = alive if where is None else alive & segment.columns.mask(where)
        places = np.flatnonzero(mask)
        if not len(places):
            return []
        if len(places) < GATHERED * len(mask):
            scores = self._rough_scores(segment.vectors[places], vector, segment, places)
        else:
            scores = self._rough_scores(segment.vectors, vector, segment, None)[places]
        wanted = limit + SPARE if self.metric is Metric.EUCLIDEAN else limit
        if wanted < len(places):
            best = np.argpartition(scores, len(scores) - wanted)[-wanted:]
            places, scores = places[best], scores[best]
        if self.metric is Metric.EUCLIDEAN:
            scores = -np.linalg.norm(segment.vectors[places].astype(np.float64) - vector, axis=1)
        return list(zip(segment.rows[places].tolist(), scores.tolist(), strict=True))

    def _rough_scores(
        self, vectors: Floats, vector: Floats, segment: Segment, places: NDArray[np.intp] | None
    ) -> Floats:
        """Scores; for the Euclidean metric, what orders as they do."""
        products: Floats = vectors @ vector
        if self.metric is not Metric.EUCLIDEAN:
            return products
        squares = segment.squares if places is None else segment.squares[places]
        return 2 * products - squares


def make_segment(rows: RowIds, blobs: Sequence[bytes], metadata: Sequence[str], info: tuple[int, Metric]) -> Segment:
    """A segment of rows as the database keeps them."""
    dimension, metric = info
    vectors = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), dimension)
    if metric is Metric.COSINE:
        # In float64, where the square of no float32 vanishes.
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        vectors = vectors / lengths[:, None]
    return Segment(rows, vectors.astype(np.float32, copy=False), metadata)


def _merged(
    first: Segment, alive: NDArray[np.bool_], second: Segment, also_alive: NDArray[np.bool_]
) -> tuple[Segment, NDArray[np.bool_]]:
    """Both segments' living records as one."""
    rows = np.concatenate((first.rows[alive], second.rows[also_alive]))
    vectors = np.concatenate((first.vectors[alive], second.vectors[also_alive]))
    metadata = [
        text
        for segment, mask in ((first, alive), (second, also_alive))
        for text, lives in zip(segment.metadata, mask.tolist(), strict=True)
        if lives
    ]
    return Segment(rows, vectors, metadata), np.ones(len(rows), dtype=np.bool_)

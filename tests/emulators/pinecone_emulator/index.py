"""One index: its namespaces, and when a write is seen."""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emulators.pinecone_emulator.errors import RefusedError, require
from emulators.pinecone_emulator.filters import check_filter, matches

DEFAULT = "__default__"
MAX_VECTORS = 1000
MAX_METADATA_BYTES = 40 * 1024
MAX_TOP_K = 10_000
MAX_FETCHED = 1000

Change = Callable[[dict[str, "Vector"]], None]


@dataclass(frozen=True)
class Vector:
    """A record as it is kept: integers have become floats."""

    id: str
    values: tuple[float, ...]
    metadata: Mapping[str, Any]

    def as_json(self, *, values: bool = True, metadata: bool = True) -> dict[str, Any]:
        """The record as an answer has it."""
        return {
            "id": self.id,
            "values": list(self.values) if values else [],
            **({"metadata": dict(self.metadata)} if metadata and self.metadata else {}),
        }


@dataclass
class Namespace:
    """Records that are seen, and changes that are not yet."""

    vectors: dict[str, Vector] = field(default_factory=dict)
    waiting: deque[tuple[float, int, Change]] = field(default_factory=deque)
    indexed: int = 0
    counts: list[tuple[float, int]] = field(default_factory=list)
    _matrix: tuple[list[Vector], Any] | None = None

    def advance(self, now: float) -> None:
        """Apply the changes whose time has come."""
        while self.waiting and self.waiting[0][0] <= now:
            due, number, change = self.waiting.popleft()
            change(self.vectors)
            self.indexed = number
            self.counts.append((due, len(self.vectors)))
            self._matrix = None

    def count(self, then: float) -> int:
        """Records that were seen at a time."""
        place = bisect_right(self.counts, then, key=lambda one: one[0])
        return self.counts[place - 1][1] if place else 0

    def matrix(self) -> tuple[list[Vector], Any]:
        """All records, and their vectors as one array."""
        if self._matrix is None:
            vectors = list(self.vectors.values())
            self._matrix = vectors, np.array([one.values for one in vectors], dtype=np.float32)
        return self._matrix


class Index:
    """An index of Pinecone.

    Args:
        delay: seconds until a write is seen by queries; statistics need as long again.
    """

    def __init__(self, facts: dict[str, Any], dimension: int, metric: str, delay: float, ne_matches_missing: bool):
        self.facts = facts
        self._dimension = dimension
        self._metric = metric
        self._delay = delay
        self._ne_matches_missing = ne_matches_missing
        self._namespaces: dict[str, Namespace] = {}
        self._last = 0

    def upsert(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """POST /vectors/upsert."""
        given = body.get("vectors", [])
        require(0 < len(given) <= MAX_VECTORS, f"{len(given)} vectors; an upsert takes 1 to {MAX_VECTORS}")
        vectors = [self._checked(one) for one in given]
        require(len({one.id for one in vectors}) == len(vectors), "an id occurs twice")
        number = self._write(_name(body), lambda kept: kept.update({one.id: one for one in vectors}))
        return {"upsertedCount": len(vectors)}, {"x-pinecone-request-lsn": str(number)}

    def delete(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """POST /vectors/delete."""
        name = _name(body)
        require(name in self._namespaces, f"namespace {name!r} not found", 404)
        ids, where = body.get("ids"), body.get("filter")
        require(sum((ids is not None, where is not None, bool(body.get("deleteAll")))) == 1, "one of three selectors")
        if where is not None:
            check_filter(where)
        if ids is not None:
            require(0 < len(ids) <= MAX_VECTORS, f"a delete takes 1 to {MAX_VECTORS} ids")

        def change(kept: dict[str, Vector]) -> None:
            gone = [one.id for one in kept.values() if where is None or self._matches(where, one)]
            for one in gone if ids is None else kept.keys() & ids:
                del kept[one]

        return {}, {"x-pinecone-request-lsn": str(self._write(name, change))}

    def query(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """POST /query."""
        top_k, vector = body.get("topK"), body.get("vector")
        require(isinstance(top_k, int) and 1 <= top_k <= MAX_TOP_K, f"topK = {top_k}; it is 1 to {MAX_TOP_K}")
        require(isinstance(vector, list) and len(vector) == self._dimension, "the vector's dimension differs")
        space = self._seen(_name(body))
        vectors, matrix = space.matrix()
        if (where := body.get("filter")) is not None:
            check_filter(where)
            places = [place for place, one in enumerate(vectors) if self._matches(where, one)]
            vectors, matrix = [vectors[place] for place in places], matrix[places] if places else matrix[:0]
        scores = self._scores(matrix, np.array(vector, dtype=np.float32)) if vectors else np.empty(0)
        order = np.argsort(scores if self._metric == "euclidean" else -scores, kind="stable")[:top_k]
        found = [
            vectors[place].as_json(values=bool(body.get("includeValues")), metadata=bool(body.get("includeMetadata")))
            | {"score": float(scores[place])}
            for place in order
        ]
        answer = {"matches": found, "namespace": _name(body), "usage": {"readUnits": 1}}
        return answer, {"x-pinecone-max-indexed-lsn": str(space.indexed)}

    def fetch(self, name: str, ids: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """GET /vectors/fetch."""
        require(0 < len(ids) <= MAX_FETCHED, f"a fetch takes 1 to {MAX_FETCHED} ids")
        kept = self._seen(name).vectors
        found = {one: kept[one].as_json() for one in ids if one in kept}
        return {"vectors": found, "namespace": name, "usage": {"readUnits": 1}}, {}

    def fetch_by_metadata(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """POST /vectors/fetch_by_metadata."""
        check_filter(body.get("filter"))
        limit, after = body.get("limit", 100), body.get("paginationToken", "")
        require(1 <= limit <= 10_000, f"limit = {limit}")
        kept = self._seen(_name(body)).vectors
        found = sorted(one.id for one in kept.values() if one.id > after and self._matches(body["filter"], one))
        page = found[:limit]
        answer: dict[str, Any] = {"vectors": {one: kept[one].as_json() for one in page}, "namespace": _name(body)}
        if len(found) > limit:
            answer["pagination"] = {"next": page[-1]}
        return answer | {"usage": {"readUnits": 1}}, {}

    def stats(self) -> tuple[dict[str, Any], dict[str, str]]:
        """POST /describe_index_stats."""
        counts = {name: self._count(name) for name in self._namespaces}
        return {
            "namespaces": {name: {"vectorCount": number} for name, number in counts.items() if number},
            "dimension": self._dimension,
            "indexFullness": 0,
            "totalVectorCount": sum(counts.values()),
        }, {}

    def namespaces(self, limit: int, after: str) -> tuple[dict[str, Any], dict[str, str]]:
        """GET /namespaces. An emptied namespace stays."""
        require(1 <= limit <= 100, f"limit = {limit}")
        names = sorted(name for name in self._namespaces if name > after)
        page = [{"name": name, "record_count": str(self._count(name))} for name in names[:limit]]
        answer: dict[str, Any] = {"namespaces": page, "total_count": len(self._namespaces)}
        if len(names) > limit:
            answer["pagination"] = {"next": names[limit - 1]}
        return answer, {}

    def _checked(self, given: Mapping[str, Any]) -> Vector:
        identity, values, metadata = given.get("id"), given.get("values"), given.get("metadata") or {}
        require(isinstance(identity, str) and _is_plain(identity) and len(identity) <= 512, "an id is 1 to 512 ASCII")
        assert isinstance(identity, str)
        require(
            isinstance(values, list) and len(values) == self._dimension,
            f"vector dimension {len(values or ())} does not match the dimension of the index {self._dimension}",
        )
        assert isinstance(values, list)
        require(any(values), "dense vectors must contain at least one non-zero value")
        return Vector(identity, tuple(np.asarray(values, dtype=np.float32).tolist()), _kept(identity, metadata))

    def _write(self, name: str, change: Change) -> int:
        space = self._namespaces.setdefault(name, Namespace())
        self._last += 1
        space.waiting.append((time.monotonic() + self._delay, self._last, change))
        return self._last

    def _seen(self, name: str) -> Namespace:
        space = self._namespaces.get(name, Namespace())
        space.advance(time.monotonic())
        return space

    def _count(self, name: str) -> int:
        return self._seen(name).count(time.monotonic() - self._delay)

    def _matches(self, where: Mapping[str, Any], one: Vector) -> bool:
        return matches(where, one.metadata, ne_matches_missing=self._ne_matches_missing)

    def _scores(self, matrix: Any, vector: Any) -> Any:
        if self._metric == "euclidean":
            return np.square(matrix - vector).sum(axis=1)
        scores = matrix @ vector
        if self._metric == "cosine":
            scores = scores / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(vector))
        return scores


def _name(body: Mapping[str, Any]) -> str:
    name = body.get("namespace") or DEFAULT
    require(isinstance(name, str) and _is_plain(name) and len(name) <= 512, "a namespace is 1 to 512 ASCII")
    return str(name)


def _is_plain(text: str) -> bool:
    return bool(text) and text.isascii() and "\0" not in text


def _kept(identity: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
    require(
        size <= MAX_METADATA_BYTES,
        f"metadata size is {size} bytes, which exceeds the limit of {MAX_METADATA_BYTES} bytes per vector ({identity})",
    )
    kept: dict[str, Any] = {}
    for name, value in metadata.items():
        require(not name.startswith("$"), f"metadata key {name!r} starts with $")
        if isinstance(value, str | bool):
            kept[name] = value
        elif isinstance(value, int | float):
            kept[name] = float(value)
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            kept[name] = value
        else:
            raise RefusedError(
                400, f"metadata value of {name!r} must be a string, number, boolean or list of strings, got {value!r}"
            )
    return kept

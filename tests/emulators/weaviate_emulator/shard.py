"""The objects of one tenant, with an inverted index."""

from __future__ import annotations

import heapq
import math
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulators.weaviate_emulator.errors import RefusedError
from emulators.weaviate_emulator.tokens import tokens

_K1, _B = 1.2, 0.75
Key = str | bytes | bool
Found = set[str]


@dataclass(frozen=True)
class StoredObject:
    """An object: its UUID, properties and vector, and when it was written."""

    uuid: str
    properties: dict[str, Any]
    vector: NDArray[np.float32]
    written: float


@dataclass
class Shard:
    """Objects by UUID, and for each filterable property the objects by value."""

    distance: str
    lag: float
    objects: dict[str, StoredObject] = field(default_factory=dict)
    _index: dict[str, dict[Key, Found]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    _rows_of: dict[str, list[Found]] = field(default_factory=lambda: defaultdict(list))
    _width: int | None = None
    _matrix: tuple[list[str], NDArray[np.float32]] | None = None

    def put(self, owner: dict[str, Any], made: StoredObject) -> None:
        """Write an object, replacing the whole one of its UUID."""
        if self._width not in (None, len(made.vector)):
            raise RefusedError(
                f"new node has a vector with length {len(made.vector)}. "
                f"Existing nodes have vectors with length {self._width}"
            )
        self.remove(made.uuid)
        self._width = len(made.vector)
        self.objects[made.uuid] = made
        for prop in owner["properties"]:
            if prop["indexFilterable"] and made.properties.get(prop["name"]) is not None:
                for key in _keys(prop, made.properties[prop["name"]]):
                    row = self._index[prop["name"]][key]
                    row.add(made.uuid)
                    self._rows_of[made.uuid].append(row)

    def remove(self, uuid: str) -> None:
        """Delete an object, if it is there."""
        self._matrix = None
        self.objects.pop(uuid, None)
        for row in self._rows_of.pop(uuid, ()):
            row.discard(uuid)

    def visible(self) -> Found:
        """UUIDs that searches see."""
        if not self.lag:
            return set(self.objects)
        now = time.monotonic()
        return {uuid for uuid, one in self.objects.items() if one.written + self.lag <= now}

    def rows(self, name: str) -> dict[Key, Found]:
        """Objects by the value of a property."""
        return self._index[name]

    def nearest(self, vector: NDArray[np.float32], allowed: Found, limit: int) -> list[tuple[str, float]]:
        """UUIDs and distances, nearest first."""
        if self._matrix is None:
            stacked = [one.vector for one in self.objects.values()]
            self._matrix = list(self.objects), np.stack(stacked) if stacked else np.empty((0, len(vector)), np.float32)
        uuids, matrix = self._matrix
        if len(matrix) and matrix.shape[1] != len(vector):
            raise RefusedError(f"vector lengths don't match: {matrix.shape[1]} vs {len(vector)}")
        distances = _distances(self.distance, matrix, vector).tolist()
        found = [(uuid, distance) for uuid, distance in zip(uuids, distances, strict=True) if uuid in allowed]
        return heapq.nsmallest(limit, found, key=lambda pair: (pair[1], pair[0]))

    def bm25(self, query: str, prop: dict[str, Any], allowed: Found) -> list[tuple[str, float]]:
        """UUIDs and scores of the objects with a word of the query, best first."""
        counted = {
            uuid: Counter(tokens(prop["tokenization"], one.properties[prop["name"]]))
            for uuid, one in self.objects.items()
            if one.properties.get(prop["name"]) is not None
        }
        mean = sum(sum(words.values()) for words in counted.values()) / max(len(counted), 1)
        scores: dict[str, float] = defaultdict(float)
        for word in set(tokens(prop["tokenization"], query)):
            holders = [uuid for uuid, words in counted.items() if word in words]
            rarity = math.log(1 + (len(counted) - len(holders) + 0.5) / (len(holders) + 0.5))
            for uuid in holders:
                often, length = counted[uuid][word], sum(counted[uuid].values())
                scores[uuid] += rarity * often * (_K1 + 1) / (often + _K1 * (1 - _B + _B * length / mean))
        return sorted(((uuid, score) for uuid, score in scores.items() if uuid in allowed), key=lambda pair: -pair[1])


def key_of(prop: dict[str, Any], value: Any) -> Key:
    """The place of one value in the index. Numbers are in the order of their bytes, where -0.0 is not 0.0."""
    if isinstance(value, bool | str):
        return value
    (bits,) = struct.unpack(">Q", struct.pack(">d", float(value)))
    return struct.pack(">Q", bits ^ (2**64 - 1) if bits >> 63 else bits | 1 << 63)


def _keys(prop: dict[str, Any], value: Any) -> Iterable[Key]:
    if "tokenization" not in prop:
        return [key_of(prop, value)]
    texts = value if isinstance(value, list) else [value]
    return {token for text in texts for token in tokens(prop["tokenization"], text)}


def _distances(name: str, matrix: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    if name == "l2-squared":
        return np.asarray(((matrix - vector) ** 2).sum(axis=1), dtype=np.float32)
    if name == "dot":
        return np.asarray(-(matrix @ vector), dtype=np.float32)
    lengths = np.linalg.norm(matrix.astype(np.float64), axis=1) * (np.linalg.norm(vector.astype(np.float64)) or 1.0)
    return np.asarray(1 - (matrix @ vector) / np.maximum(lengths, 1e-300), dtype=np.float32)

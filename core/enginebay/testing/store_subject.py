"""What the checks of a vector store work on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enginebay.errors import EnginebayError
from enginebay.interfaces.filters import COMPARISONS, STRING_ORDER, Combine, Compare, Filter, MetadataValue
from enginebay.interfaces.vector_store import Metric, Record
from enginebay.stores import Collection, Store

DIMENSION = 32
LANGUAGES = ("de", "en", "日本語", "العربية", "", "E", "e", "é", "e\u0301", "🦉", "z' OR 1=1 --", 'a"b\\c')
NUMBERS = (0, 1, -1, 7, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0.5, 1.0, -1.5, 1e300, 5e-324)
TAGS = ("draft", "old", "Ω", "a,b", "")
FIELDS = ("lang", "size", "mixed", "done", "tags", "a.b", "ä b", "nowhere")

_NAMES = count(1)


@dataclass
class StoreSubject:
    """An open store, and how to open it again.

    Attributes:
        reopen: gives the same store anew, as another program would find it.
        records: number of records that filters are compared on.
        filters: random filters to compare with the oracle.
        least_recall: share of the true ten nearest that a query finds, on clustered vectors.
    """

    store: Store
    reopen: Callable[[], Store]
    records: int = 5000
    filters: int = 200
    least_recall: float = 0.95

    def collection(self, metric: Metric = Metric.COSINE, dimension: int = DIMENSION) -> Collection:
        """A new collection."""
        return self.store.create_collection(f"check-{next(_NAMES)}", dimension, metric=metric)

    @cached_property
    def filled(self) -> Collection:
        """A collection with `samples` in it."""
        collection = self.collection()
        collection.upsert(self.samples)
        collection.wait_until_visible([record.id for record in self.samples])
        return collection

    @cached_property
    def samples(self) -> list[Record]:
        """Records whose vectors lie in clusters, with metadata of every kind, each field missing in some."""
        drawn = random.Random(5)
        vectors = clustered(self.records, seed=5)
        return [
            Record(f"record {number}", vector, _metadata(drawn), f"text {number}")
            for number, vector in enumerate(vectors)
        ]

    def tidy(self) -> None:
        """Drop the collections that a check has made, but for `filled`: some services allow few at a time."""
        filled = self.__dict__.get("filled")
        dropped(self.store, keep="" if filled is None else filled.info.name)


def clustered(number: int, *, seed: int, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Vectors in 50 clusters, as embeddings lie; float32 array of shape (number, dimension)."""
    drawn = np.random.default_rng(seed)
    centres = drawn.normal(size=(50, dimension))
    spread = drawn.normal(scale=0.3, size=(number, dimension))
    return np.asarray(centres[drawn.integers(50, size=number)] + spread, dtype=np.float32)


def record(identity: str, *, metadata: dict[str, Any] | None = None, text: str | None = None, seed: int = 0) -> Record:
    """A record with a random vector."""
    vector = np.random.default_rng([seed, *identity.encode()]).normal(size=DIMENSION).astype(np.float32)
    return Record(identity, vector, metadata or {}, text)


def random_filter(drawn: random.Random, operators: frozenset[str], depth: int = 3) -> Filter:
    """A filter over the samples' fields, of operators that the store has."""
    combinations = sorted(operators & {"and", "or", "not"})
    if depth and combinations and drawn.random() < 0.5:
        name: Any = drawn.choice(combinations)
        number = 1 if name == "not" else drawn.randint(1, 3)
        return Combine(name, tuple(random_filter(drawn, operators, depth - 1) for _ in range(number)))
    name = drawn.choice(sorted(operators & set(COMPARISONS)))
    return _comparison(drawn, name, operators)


def comparisons(operators: frozenset[str]) -> Sequence[Filter]:
    """Every comparison of the store on every kind of value, on fields that have it, have others, or are missing."""
    drawn = random.Random(7)
    made: list[Filter] = []
    for name in sorted(operators & set(COMPARISONS)):
        for field in FIELDS:
            made += [_comparison(drawn, name, operators, field) for _ in range(4)]
    return made


def _comparison(drawn: random.Random, name: Any, operators: frozenset[str], field: str | None = None) -> Compare:
    field = field or drawn.choice(FIELDS)
    if name == "exists":
        return Compare(field, name, drawn.random() < 0.5)
    if name == "contains":
        return Compare(field, name, drawn.choice(TAGS))
    if name in ("in", "nin"):
        return Compare(field, name, [_scalar(drawn, field) for _ in range(drawn.randint(0, 4))])
    value = _scalar(drawn, field)
    if name not in ("eq", "ne"):
        if isinstance(value, str) and STRING_ORDER not in operators:
            value = drawn.choice(NUMBERS)
        if isinstance(value, bool):
            value = int(value)
    return Compare(field, name, value)


def _scalar(drawn: random.Random, field: str) -> str | int | float | bool:
    """Mostly of the field's own kind."""
    if drawn.random() < 0.2:
        field = "mixed"
    if field in ("lang", "tags"):
        return drawn.choice(LANGUAGES)
    if field == "size":
        return drawn.choice(NUMBERS)
    if field == "done":
        return drawn.random() < 0.5
    return drawn.choice((True, False, 0, 1, 1.0, "1", "True", "", drawn.choice(LANGUAGES), drawn.choice(NUMBERS)))


def _metadata(drawn: random.Random) -> dict[str, MetadataValue]:
    every: dict[str, MetadataValue] = {
        "lang": drawn.choice(LANGUAGES),
        "size": drawn.choice(NUMBERS) if drawn.random() < 0.8 else drawn.randint(-(2**63), 2**63 - 1),
        "mixed": drawn.choice((True, False, 0, 1, 1.0, 1.5, "1", "True", "", ["1"])),
        "done": drawn.random() < 0.5,
        "tags": drawn.sample(TAGS, drawn.randint(0, 3)),
        "a.b": drawn.randint(0, 3),
        "ä b": drawn.choice(LANGUAGES),
    }
    return {name: value for name, value in every.items() if drawn.random() < 0.85}


def dropped(store: Store, *, keep: str = "") -> None:
    """Remove the collections that checks have made, but for one."""
    with suppress(EnginebayError):
        for info in store.collections():
            if info.name.startswith("check-") and info.name != keep:
                store.drop_collection(info.name)

"""The vector store interface: records with vectors, found by nearness and filters."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]

MetadataValue = str | int | float | bool | list[str]
Metadata = Mapping[str, MetadataValue]


class Metric(StrEnum):
    """How nearness is measured. `score` is higher for nearer, on each of them."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"


class Consistency(StrEnum):
    """When a write is seen by a query."""

    IMMEDIATE = "immediate"
    EVENTUAL = "eventual"


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of one metadata field.

    `ne` and `nin` match records without the field; every other operator does not. `exists` takes a
    bool, `in` and `nin` a list, `contains` an element of a list[str] field.
    """

    field: str
    operator: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "exists", "contains"]
    value: Any


@dataclass(frozen=True, slots=True)
class Combine:
    """`and` or `or` of filters, or `not` of one."""

    operator: Literal["and", "or", "not"]
    operands: tuple[Filter, ...]


Filter = Compare | Combine


@dataclass(frozen=True, slots=True)
class Record:
    """What a store holds: `id` is any string; `text` is what the vector stands for."""

    id: str
    vector: Vector
    metadata: Metadata = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A record found.

    Attributes:
        score: higher is nearer; cosine similarity, dot product, or minus the Euclidean distance.
        distance: the store's own raw number.
        record: the record; its vector is present when asked for.
    """

    id: str
    score: float
    distance: float
    metadata: Metadata
    text: str | None = None
    vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What is fixed when a collection is made: dimension, metric and the embedder's fingerprint."""

    name: str
    dimension: int
    metric: Metric = Metric.COSINE
    embedder_fingerprint: str | None = None


class VectorStore(ABC):
    """An engine that stores and searches vectors.

    Rules: ids are strings; a duplicate id in one call is refused; `upsert` replaces the whole record;
    metadata is flat (str, int, float, bool, list[str]; None is dropped, the rest refused by name) and
    integers come back as integers; deleting what is not there is no error; a wrong dimension is.

    Attributes:
        max_batch: records that one `upsert` takes.
        consistency: when a write is seen by a query.
        operators: filter operators the store has, by name.
    """

    max_batch: int = 1000
    consistency: Consistency = Consistency.IMMEDIATE
    operators: frozenset[str] = frozenset()

    @abstractmethod
    def create_collection(self, info: CollectionInfo) -> None:
        """Make a collection; one that is there with the same facts is no error, with others is."""

    @abstractmethod
    def collections(self) -> list[CollectionInfo]:
        """All collections."""

    @abstractmethod
    def drop_collection(self, name: str) -> None:
        """Delete a collection and all in it."""

    @abstractmethod
    def upsert(self, collection: str, records: Sequence[Record], *, namespace: str = "") -> None:
        """Write at most `max_batch` records; when it returns, they are durable."""

    @abstractmethod
    def query(
        self,
        collection: str,
        vector: Vector,
        *,
        limit: int = 10,
        where: Filter | None = None,
        namespace: str = "",
        with_vectors: bool = False,
    ) -> list[Hit]:
        """The nearest records, best first.

        Args:
            vector: float32 array of shape (dimension,).
            where: metadata filter.
        """

    @abstractmethod
    def get(self, collection: str, ids: Sequence[str], *, namespace: str = "") -> list[Record]:
        """Records by id, in the order asked; those not there are left out."""

    @abstractmethod
    def delete(
        self,
        collection: str,
        ids: Sequence[str] | None = None,
        *,
        where: Filter | None = None,
        namespace: str = "",
    ) -> None:
        """Delete by ids or by filter, exactly one of them."""

    @abstractmethod
    def count(self, collection: str, *, where: Filter | None = None, namespace: str = "") -> int:
        """Number of records."""

    @abstractmethod
    def scan(self, collection: str, *, where: Filter | None = None, namespace: str = "") -> Iterator[Record]:
        """All records, in an order of the store's own."""

    def close(self) -> None:
        """Close connections and files. Closing twice is no error."""

    def wait_until_visible(self, collection: str, ids: Sequence[str], *, timeout: float = 60.0) -> None:
        """Return when the written ids can be queried; `timeout` in seconds. Immediate stores return at once."""

    def upsert_all(self, collection: str, records: Sequence[Record], *, namespace: str = "") -> None:
        """Write any number of records in batches of `max_batch`."""
        for start in range(0, len(records), self.max_batch):
            self.upsert(collection, records[start : start + self.max_batch], namespace=namespace)

    async def aupsert_all(self, collection: str, records: Sequence[Record], *, namespace: str = "") -> None:
        """Async twin of `upsert_all`, in a worker thread."""
        await asyncio.to_thread(self.upsert_all, collection, records, namespace=namespace)

    async def aquery(
        self,
        collection: str,
        vector: Vector,
        *,
        limit: int = 10,
        where: Filter | None = None,
        namespace: str = "",
        with_vectors: bool = False,
    ) -> list[Hit]:
        """Async twin of `query`, in a worker thread."""
        return await asyncio.to_thread(
            self.query,
            collection,
            vector,
            limit=limit,
            where=where,
            namespace=namespace,
            with_vectors=with_vectors,
        )

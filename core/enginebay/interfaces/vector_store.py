"""The vector store interface: records with vectors, found by nearness and filters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from enginebay.errors import UnsupportedFeatureError
from enginebay.interfaces.filters import OPERATORS, Filter, Metadata

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]


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
class Record:
    """What a store holds: `id` is any string but ""; `text` is what the vector stands for.

    Attributes:
        vector: float32 array of shape (dimension,).
        metadata: flat: strings, integers of 64 bits, finite floats, booleans and lists of strings.
    """

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
        vector: of the record, when asked for.
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
    """An engine that stores and searches vectors, as a backend implements it.

    Users hold a `Collection`, which checks what they give before it comes here: ids are strings and occur once in a
    call, vectors are float32 of the collection's width, metadata is flat and without None, a filter has only
    operators that the store declares, `limit` is at least 1, and batches hold at most `max_batch` records.

    What remains for a backend: `upsert` replaces the whole record; integers come back as integers; deleting what is
    not there is no error; every method may be called by many threads; exceptions of its library are translated to
    `StoreError`; a collection that has gone is a `CollectionNotFoundError`.

    Attributes:
        max_batch: records that one `upsert` takes.
        consistency: when a write is seen by a query.
        operators: filter operators the store has, by name.
        approximate: nearest records may be missed, as by an HNSW index.
        hybrid: it has `hybrid_query`.
    """

    max_batch: int = 1000
    consistency: Consistency = Consistency.IMMEDIATE
    operators: frozenset[str] = OPERATORS
    approximate: bool = False
    hybrid: bool = False

    @abstractmethod
    def create(self, info: CollectionInfo) -> None:
        """Make a collection, unless one of that name is there, whatever its facts."""

    @abstractmethod
    def find(self, name: str) -> CollectionInfo | None:
        """The facts of one collection; None when it is not there."""

    @abstractmethod
    def collections(self) -> list[CollectionInfo]:
        """All collections, by name."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Delete a collection and all in it. One that is not there is no error."""

    @abstractmethod
    def namespaces(self, collection: CollectionInfo) -> list[str]:
        """Namespaces that hold a record, sorted; the one of those who name none is ""."""

    def check(self, records: Sequence[Record]) -> None:
        """Refuse records beyond a limit of this store, before anything of the call is written.

        Raises:
            RecordError: names the record and the limit.
        """

    @abstractmethod
    def upsert(self, collection: CollectionInfo, records: Sequence[Record], namespace: str) -> None:
        """Write at most `max_batch` records; when it returns, they are durable.

        Records may be the caller's own, who may change their vectors and metadata afterwards: copy what is kept.
        """

    @abstractmethod
    def query(
        self,
        collection: CollectionInfo,
        vector: Vector,
        limit: int,
        where: Filter | None,
        namespace: str,
        with_vectors: bool,
    ) -> list[Hit]:
        """The nearest records, best first; at most `limit`."""

    @abstractmethod
    def get(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> list[Record]:
        """Records by id, in any order; those not there are left out."""

    @abstractmethod
    def delete(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> None:
        """Delete records by id; those not there are no error."""

    @abstractmethod
    def delete_where(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> None:
        """Delete the records that match; all of the namespace for None."""

    @abstractmethod
    def count(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> int:
        """Number of records that match; of all for None."""

    @abstractmethod
    def scan(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> Iterator[Record]:
        """The records that match, in an order of the store's own.

        Records written or deleted meanwhile may be given or not; all others are given once.
        """

    def hybrid_query(
        self,
        collection: CollectionInfo,
        text: str,
        vector: Vector,
        limit: int,
        alpha: float,
        where: Filter | None,
        namespace: str,
    ) -> list[Hit]:
        """Records near the vector or with words of the text, best first; stores that say `hybrid` have it.

        Raises:
            UnsupportedFeatureError: the store has none.
        """
        raise UnsupportedFeatureError(
            f"{type(self).__name__} has no hybrid search",
            value="hybrid",
            hint="search by vector, or take a store that has it",
        )

    def wait_until_visible(
        self, collection: CollectionInfo, ids: Sequence[str], namespace: str, timeout: float
    ) -> None:
        """Return when the written ids can be queried; `timeout` in seconds. Immediate stores return at once.

        Raises:
            StoreError: the time is over.
        """
        if self.consistency is not Consistency.IMMEDIATE:
            raise NotImplementedError("a store of eventual consistency says when a write is seen")

    def close(self) -> None:
        """Close connections and files. Closing twice is no error."""

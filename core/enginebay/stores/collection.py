"""A collection of records in a store, as users hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from enginebay.errors import InvalidFilterError, InvalidParameterError, UnsupportedFeatureError
from enginebay.interfaces.filters import Combine, Compare, Filter, operators_of, parse_filter, texts_of
from enginebay.interfaces.vector_store import Consistency
from enginebay.stores.records import checked_ids, checked_records, checked_vector, text_fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enginebay.interfaces.vector_store import CollectionInfo, Hit, Record, VectorStore
    from enginebay.stores.store import Store

MAX_LIMIT = 10_000
"""Hits of one query at most: the least that any of the stores takes."""


class Collection:
    """Records with vectors of one dimension, in one store.

    A filter is an expression (`F.year >= 2020`) or its JSON form. Without a namespace, calls go to the namespace "".
    All methods may be called by many threads.

    Attributes:
        info: name, dimension, metric and the embedder's fingerprint.
        backend: name of the store's backend.
    """

    def __init__(self, store: Store, engine: VectorStore, info: CollectionInfo) -> None:
        self.info = info
        self.backend = store.backend
        self._store = store  # whoever holds a collection keeps its store open
        self._engine = engine

    @property
    def operators(self) -> frozenset[str]:
        """Filter operators that the store has, by name."""
        return self._engine.operators

    @property
    def approximate(self) -> bool:
        """Whether the nearest records may be missed, as by an HNSW index."""
        return self._engine.approximate

    @property
    def hybrid(self) -> bool:
        """Whether the store has `hybrid_query`."""
        return self._engine.hybrid

    @property
    def immediate(self) -> bool:
        """Whether each write is seen by the next query; otherwise after `wait_until_visible`."""
        return self._engine.consistency is Consistency.IMMEDIATE

    def upsert(self, records: Iterable[Record], *, namespace: str = "") -> None:
        """Write records, each replacing the whole record of its id; when it returns, they are durable.

        Everything is checked first; then batches are written one after another.

        Raises:
            RecordError: a duplicate id, a vector of another dimension, nested metadata; nothing was written.
            StoreError: the store failed; earlier batches may have been written.
        """
        checked = checked_records(self.info, records)
        self._engine.check(checked)
        for start in range(0, len(checked), self._engine.max_batch):
            self._engine.upsert(self.info, checked[start : start + self._engine.max_batch], _namespace(namespace))

    def query(
        self,
        vector: object,
        *,
        limit: int = 10,
        where: Filter | Mapping[str, Any] | None = None,
        namespace: str = "",
        with_vectors: bool = False,
    ) -> list[Hit]:
        """The nearest records, best first.

        Args:
            vector: float32 array of shape (dimension,), or a list of numbers.
            limit: hits at most, 1 to 10,000.
            where: only records that match.
            with_vectors: give the records' vectors, too.

        Raises:
            RecordError: a vector of another dimension.
            InvalidParameterError: an impossible limit.
            InvalidFilterError: a wrong filter.
            UnsupportedFeatureError: the store lacks an operator of the filter.
        """
        _check_limit(limit)
        checked = checked_vector(self.info, vector, "the query's vector")
        return self._engine.query(self.info, checked, limit, self._where(where), _namespace(namespace), with_vectors)

    def hybrid_query(
        self,
        text: str,
        vector: object,
        *,
        limit: int = 10,
        alpha: float = 0.5,
        where: Filter | Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> list[Hit]:
        """Records near the vector, or with words of the text in theirs, by the store's own search, best first.

        `score` is the store's own mixture: higher is better, and comparable within one answer only.

        Args:
            text: what is asked, in words.
            vector: the same, embedded; float32 array of shape (dimension,), or a list of numbers.
            limit: hits at most, 1 to 10,000.
            alpha: weight of the vector, 0 to 1; the words have the rest.
            where: only records that match.

        Raises:
            UnsupportedFeatureError: the store has no hybrid search, or lacks an operator of the filter.
            RecordError: a vector of another dimension.
            InvalidParameterError: an impossible text, limit or alpha.
            InvalidFilterError: a wrong filter.
        """
        if not self._engine.hybrid:
            raise UnsupportedFeatureError(
                f"store {self.backend!r} has no hybrid search",
                value="hybrid",
                hint="search by vector, or take a store that has it",
            )
        _check_limit(limit)
        if not isinstance(text, str):
            raise InvalidParameterError(f"text = {text!r} is no string", value=text)
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 <= alpha <= 1:
            raise InvalidParameterError(f"alpha = {alpha!r} is not a number from 0 to 1", value=alpha)
        checked = checked_vector(self.info, vector, "the query's vector")
        return self._engine.hybrid_query(
            self.info, text, checked, limit, float(alpha), self._where(where), _namespace(namespace)
        )

    def get(self, ids: Sequence[str], *, namespace: str = "") -> list[Record]:
        """Records by id, in the order asked; those not there are left out."""
        if not checked_ids(ids):
            return []
        found = {record.id: record for record in self._engine.get(self.info, ids, _namespace(namespace))}
        return [found[one] for one in ids if one in found]

    def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        where: Filter | Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> None:
        """Delete records by their ids, or those that match a filter. What is not there is no error.

        Raises:
            InvalidParameterError: not exactly one of `ids` and `where`.
        """
        if (ids is None) == (where is None):
            raise InvalidParameterError(
                "delete takes ids or a filter, exactly one of them", hint="delete_all() empties a namespace"
            )
        if ids is None:
            self._engine.delete_where(self.info, self._where(where), _namespace(namespace))
        elif checked := checked_ids(ids):
            self._engine.delete(self.info, checked, _namespace(namespace))

    def delete_all(self, *, namespace: str = "") -> None:
        """Delete all records of a namespace."""
        self._engine.delete_where(self.info, None, _namespace(namespace))

    def count(self, *, where: Filter | Mapping[str, Any] | None = None, namespace: str = "") -> int:
        """Number of records; with a filter, of those that match."""
        return self._engine.count(self.info, self._where(where), _namespace(namespace))

    def scan(self, *, where: Filter | Mapping[str, Any] | None = None, namespace: str = "") -> Iterator[Record]:
        """All records, or those that match, in an order of the store's own.

        Records written or deleted meanwhile may be given or not; all others are given once.
        """
        return self._engine.scan(self.info, self._where(where), _namespace(namespace))

    def namespaces(self) -> list[str]:
        """Namespaces that hold a record, sorted."""
        return sorted(self._engine.namespaces(self.info))

    def wait_until_visible(self, ids: Sequence[str], *, namespace: str = "", timeout: float = 60.0) -> None:
        """Return when queries see the written ids; at once on stores of immediate consistency.

        Args:
            timeout: seconds to wait at most.

        Raises:
            StoreError: the time is over.
        """
        self._engine.wait_until_visible(self.info, checked_ids(ids), _namespace(namespace), timeout)

    async def aupsert(self, records: Iterable[Record], *, namespace: str = "") -> None:
        """Async twin of `upsert`, in a worker thread."""
        await asyncio.to_thread(self.upsert, records, namespace=namespace)

    async def aquery(
        self,
        vector: object,
        *,
        limit: int = 10,
        where: Filter | Mapping[str, Any] | None = None,
        namespace: str = "",
        with_vectors: bool = False,
    ) -> list[Hit]:
        """Async twin of `query`, in a worker thread."""
        return await asyncio.to_thread(
            self.query, vector, limit=limit, where=where, namespace=namespace, with_vectors=with_vectors
        )

    async def ahybrid_query(
        self,
        text: str,
        vector: object,
        *,
        limit: int = 10,
        alpha: float = 0.5,
        where: Filter | Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> list[Hit]:
        """Async twin of `hybrid_query`, in a worker thread."""
        return await asyncio.to_thread(
            self.hybrid_query, text, vector, limit=limit, alpha=alpha, where=where, namespace=namespace
        )

    async def aget(self, ids: Sequence[str], *, namespace: str = "") -> list[Record]:
        """Async twin of `get`, in a worker thread."""
        return await asyncio.to_thread(self.get, ids, namespace=namespace)

    async def adelete(
        self,
        ids: Sequence[str] | None = None,
        *,
        where: Filter | Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> None:
        """Async twin of `delete`, in a worker thread."""
        await asyncio.to_thread(self.delete, ids, where=where, namespace=namespace)

    async def acount(self, *, where: Filter | Mapping[str, Any] | None = None, namespace: str = "") -> int:
        """Async twin of `count`, in a worker thread."""
        return await asyncio.to_thread(self.count, where=where, namespace=namespace)

    def _where(self, where: object) -> Filter | None:
        if where is None:
            return None
        parsed = where if isinstance(where, Compare | Combine) else parse_filter(where)
        for text in texts_of(parsed):
            if fault := text_fault(text):
                raise InvalidFilterError(f"a filter's text {text!r} {fault}", value=text)
        lacking = operators_of(parsed) - self._engine.operators
        if lacking:
            raise UnsupportedFeatureError(
                f"store {self.backend!r} has no filter operator {', '.join(sorted(lacking))}",
                value=sorted(lacking),
                hint=f"it has: {', '.join(sorted(self._engine.operators))}",
            )
        return parsed

    def __repr__(self) -> str:
        return f"Collection({self.info.name!r}, {self.info.dimension} x {self.info.metric}, {self.backend})"


def _check_limit(limit: int) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidParameterError(f"limit = {limit!r} is not a number from 1 to {MAX_LIMIT}", value=limit)


def _namespace(name: str) -> str:
    if not isinstance(name, str):
        raise InvalidParameterError(f"a namespace is a string, not {name!r}", value=name)
    if fault := text_fault(name):
        raise InvalidParameterError(f"the namespace {name!r} {fault}", value=name)
    return name

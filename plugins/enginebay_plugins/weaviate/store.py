"""The Weaviate store: collections are multi-tenant classes, namespaces their tenants."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.query import Filter as ServerFilter
from weaviate.classes.query import MetadataQuery

from enginebay.errors import StoreError
from enginebay.interfaces.filters import OPERATORS, Filter, matches
from enginebay.interfaces.vector_store import CollectionInfo, Consistency, Hit, Metric, Record, VectorStore
from enginebay.opening import StoreRequest
from enginebay_plugins.weaviate.connection import Connection, answered
from enginebay_plugins.weaviate.filters import WITHOUT_NOT, as_server_filter
from enginebay_plugins.weaviate.names import tenant_name
from enginebay_plugins.weaviate.objects import (
    NAMESPACE,
    RETURNED,
    TEXT,
    VECTOR,
    as_hit,
    as_object,
    as_record,
    field_properties,
    object_id,
)
from enginebay_plugins.weaviate.options import WeaviateOptions
from enginebay_plugins.weaviate.schema import Schema, gone

if TYPE_CHECKING:
    from enginebay.interfaces.vector_store import Vector

_SCORES: dict[Metric, Callable[[float], float]] = {
    Metric.COSINE: lambda distance: 1 - distance,
    Metric.DOT: lambda distance: -distance,
    Metric.EUCLIDEAN: lambda distance: -math.sqrt(max(distance, 0.0)),
}
_FIRST_WITH_NOT = (1, 33)
_MESSAGE_BYTES = 8 << 20
"""Size of a message of records, about; servers take 10 MB at least."""

_PAGE = 250
"""Records of one answer: with texts of 400 KB each they still fit into a message, of 100 MB at most."""

_IDS = 1000
"""Ids of one deletion."""

_MOST = 10_000
"""Results of one query at most, unless the server is configured otherwise."""

_THREADS = 8

T = TypeVar("T")


def open_store(request: StoreRequest) -> WeaviateStore:
    """Open the store on a server."""
    options = request.options
    assert isinstance(options, WeaviateOptions)
    return WeaviateStore(Connection(request.url, request.api_key, options), options)


class WeaviateStore(VectorStore):
    """Records as objects of a Weaviate server."""

    max_batch = 1000
    approximate = True
    hybrid = True

    def __init__(self, connection: Connection, options: WeaviateOptions) -> None:
        self._connection = connection
        self._options = options
        self._schema = Schema(connection, options)
        self.operators = OPERATORS if connection.version >= _FIRST_WITH_NOT else WITHOUT_NOT
        self.consistency = Consistency.EVENTUAL if options.eventual else Consistency.IMMEDIATE

    def create(self, info: CollectionInfo) -> None:
        self._schema.create(info)

    def find(self, name: str) -> CollectionInfo | None:
        return self._schema.find(name)

    def collections(self) -> list[CollectionInfo]:
        return self._schema.collections()

    def drop(self, name: str) -> None:
        self._schema.drop(name)

    def namespaces(self, collection: CollectionInfo) -> list[str]:
        tenants = self._told(collection, lambda: self._use(collection.name).tenants.get())
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(lambda tenant: self._namespace_of(collection, tenant), tenants)
            return sorted(name for name in found if name is not None)

    def upsert(self, collection: CollectionInfo, records: Sequence[Record], namespace: str) -> None:
        objects = [as_object(record, namespace) for record in records]
        self._schema.add_properties(collection, field_properties(objects))
        tenant = self._tenant(collection, namespace)
        for part in _parts(records, objects):
            self._told(collection, lambda part=part: _insert(tenant, part))  # type: ignore[misc]

    def query(
        self,
        collection: CollectionInfo,
        vector: Vector,
        limit: int,
        where: Filter | None,
        namespace: str,
        with_vectors: bool,
    ) -> list[Hit]:
        filters = self._filters(collection, where)
        found: list[Any] = self._of_tenant(
            collection,
            namespace,
            lambda tenant: (
                tenant.query.near_vector(
                    near_vector=vector.tolist(),
                    target_vector=VECTOR,
                    limit=limit,
                    filters=filters,
                    include_vector=with_vectors,
                    return_metadata=MetadataQuery(distance=True),
                    return_properties=RETURNED,
                ).objects
            ),
            [],
        )
        score = _SCORES[collection.metric]
        return [as_hit(one, score(one.metadata.distance), one.metadata.distance, with_vectors) for one in found]

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
        filters = self._filters(collection, where)
        found: list[Any] = self._of_tenant(
            collection,
            namespace,
            lambda tenant: (
                tenant.query.hybrid(
                    query=text,
                    vector=vector.tolist(),
                    target_vector=VECTOR,
                    alpha=alpha,
                    query_properties=[TEXT],
                    limit=limit,
                    filters=filters,
                    return_metadata=MetadataQuery(score=True),
                    return_properties=RETURNED,
                ).objects
            ),
            [],
        )
        return [as_hit(one, one.metadata.score, one.metadata.score, False) for one in found]

    def get(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> list[Record]:
        found = self._objects(collection, [object_id(one) for one in ids], namespace)
        return [as_record(one) for one in found]

    def delete(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> None:
        for start in range(0, len(ids), _IDS):
            part = [object_id(one) for one in ids[start : start + _IDS]]
            self._delete_some(collection, namespace, _with_ids(part))

    def delete_where(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> None:
        if where is None:
            self._of_tenant(
                collection,
                namespace,
                lambda _: self._use(collection.name).tenants.remove([tenant_name(namespace)]),
                None,
            )
            return
        filters = self._filters(collection, where)
        # A server deletes a limited number in one call, 10,000 by default.
        while self._delete_some(collection, namespace, filters):
            pass

    def count(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> int:
        filters = self._filters(collection, where)
        return self._of_tenant(
            collection,
            namespace,
            lambda tenant: int(tenant.aggregate.over_all(total_count=True, filters=filters).total_count),
            0,
        )

    def scan(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> Iterator[Record]:
        found = self._all(collection, namespace) if where is None else self._some(collection, where, namespace)
        return (record for record in map(as_record, found) if where is None or matches(where, record.metadata))

    def wait_until_visible(
        self, collection: CollectionInfo, ids: Sequence[str], namespace: str, timeout: float
    ) -> None:
        if self.consistency is Consistency.IMMEDIATE:
            return
        until = time.monotonic() + timeout
        for start in range(0, len(ids), _IDS):
            part = ids[start : start + _IDS]
            while not self._visible(collection, part, namespace):
                if time.monotonic() >= until:
                    raise StoreError(
                        f"after {timeout} s not all of {len(ids)} records are seen by queries", value=collection.name
                    )
                time.sleep(0.1)

    def close(self) -> None:
        self._connection.close()

    def _use(self, collection: str) -> Any:
        name = self._schema.class_of(collection)
        used = self._connection.client.collections.use(name, skip_argument_validation=True)
        level = self._options.consistency_level
        return used if level is None else used.with_consistency_level(ConsistencyLevel[level.upper()])

    def _tenant(self, collection: CollectionInfo, namespace: str) -> Any:
        return self._use(collection.name).with_tenant(tenant_name(namespace))

    def _told(self, collection: CollectionInfo, call: Callable[[], T]) -> T:
        """What a call gives; an error that comes of a missing collection is told as such."""
        try:
            return self._connection.ask(call)
        except StoreError as error:
            if answered(error) and self.find(collection.name) is None:
                raise gone(collection) from error
            raise

    def _of_tenant(self, collection: CollectionInfo, namespace: str, call: Callable[[Any], T], nothing: T) -> T:
        """What a call to a tenant gives; `nothing` where that is not there: it holds no record, then."""
        tenants = self._use(collection.name).tenants
        try:
            return self._told(collection, lambda: call(self._tenant(collection, namespace)))
        except StoreError as error:
            if answered(error) and not self._connection.ask(lambda: tenants.exists(tenant_name(namespace))):
                return nothing
            raise

    def _filters(self, collection: CollectionInfo, where: Filter | None) -> Any:
        return None if where is None else as_server_filter(where, self._schema.has_property(collection))

    def _objects(self, collection: CollectionInfo, ids: Sequence[uuid.UUID], namespace: str) -> Iterator[Any]:
        """The objects of these ids, as far as they are there."""
        page = _page(collection)
        for start in range(0, len(ids), page):
            part = ids[start : start + page]
            yield from self._fetched(collection, namespace, filters=_with_ids(part), limit=len(part))

    def _all(self, collection: CollectionInfo, namespace: str) -> Iterator[Any]:
        """All objects of a tenant."""
        last = None
        while found := self._fetched(collection, namespace, limit=_page(collection), after=last):
            yield from found
            last = found[-1].uuid

    def _some(self, collection: CollectionInfo, where: Filter, namespace: str) -> Iterator[Any]:
        """At least the objects that match. The server takes no filter together with a place to go on from."""
        filters = self._filters(collection, where)
        found: list[uuid.UUID] = self._of_tenant(
            collection,
            namespace,
            lambda tenant: [
                one.uuid
                for one in tenant.query.fetch_objects(filters=filters, limit=_MOST, return_properties=[]).objects
            ],
            [],
        )
        if len(found) < _MOST:
            return self._objects(collection, found, namespace)
        return self._all(collection, namespace)

    def _fetched(self, collection: CollectionInfo, namespace: str, **asked: Any) -> list[Any]:
        """Whole objects of a tenant."""
        return self._of_tenant(
            collection,
            namespace,
            lambda tenant: tenant.query.fetch_objects(include_vector=True, return_properties=RETURNED, **asked).objects,
            [],
        )

    def _delete_some(self, collection: CollectionInfo, namespace: str, filters: Any) -> int:
        """Delete what matches, or as much of it as the server deletes at once: how many."""
        deleted = self._of_tenant(collection, namespace, lambda tenant: tenant.data.delete_many(where=filters), None)
        if deleted is None:
            return 0
        if deleted.failed:
            raise StoreError(
                f"Weaviate deleted {deleted.successful} records, and failed to delete {deleted.failed}",
                value=collection.name,
            )
        return int(deleted.successful)

    def _namespace_of(self, collection: CollectionInfo, tenant: str) -> str | None:
        """The namespace of a tenant, as its records tell; None without any."""
        try:
            used = self._use(collection.name).with_tenant(tenant)
            found = self._connection.ask(lambda: used.query.fetch_objects(limit=1, return_properties=[NAMESPACE]))
        except StoreError:
            if self._connection.ask(lambda: self._use(collection.name).tenants.exists(tenant)):
                raise
            return None
        return found.objects[0].properties[NAMESPACE] if found.objects else None

    def _visible(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> bool:
        """Whether a search by vector finds all of these."""
        records = self.get(collection, ids[:1], namespace)
        if not records:
            return False
        asked = [object_id(one) for one in ids]
        found: list[Any] = self._of_tenant(
            collection,
            namespace,
            lambda tenant: (
                tenant.query.near_vector(
                    near_vector=records[0].vector.tolist(),
                    target_vector=VECTOR,
                    limit=len(ids),
                    filters=_with_ids(asked),
                    return_properties=[],
                ).objects
            ),
            [],
        )
        return len(found) == len(ids)


def _with_ids(ids: Sequence[uuid.UUID]) -> Any:
    return ServerFilter.by_id().contains_any(list(ids))


def _page(collection: CollectionInfo) -> int:
    """Records of one answer, fewer of wide ones."""
    return max(1, min(_PAGE, _MESSAGE_BYTES // (4 * collection.dimension)))


def _parts(records: Sequence[Record], objects: Sequence[Any]) -> Iterator[list[Any]]:
    """The objects in messages of about `_MESSAGE_BYTES`."""
    part: list[Any] = []
    size = 0
    for record, one in zip(records, objects, strict=True):
        # Metadata is sent twice, as JSON and as properties.
        needed = record.vector.nbytes + 4 * len(record.text or "") + 4 * len(one.properties["metadata"]) + 500
        if part and size + needed > _MESSAGE_BYTES:
            yield part
            part, size = [], 0
        part.append(one)
        size += needed
    if part:
        yield part


def _insert(tenant: Any, objects: list[Any]) -> None:
    done = tenant.data.insert_many(objects)
    if done.has_errors:
        place, first = next(iter(done.errors.items()))
        raise StoreError(
            f"Weaviate refused {len(done.errors)} of {len(objects)} records, the first of them "
            f"{objects[place].properties['record_id']!r}: {first.message}",
            value=[objects[index].properties["record_id"] for index in done.errors],
        )

"""The Qdrant store: a Qdrant collection for each, whose metadata holds what is fixed when it is made.

On a server it holds all namespaces, by a payload field that has an index. Embedded, there are no indexes, and a filter
looks at each record in Python: each namespace but "" has a Qdrant collection of its own there, made by the first write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from qdrant_client import models

from enginebay.errors import CollectionNotFoundError, StoreError
from enginebay.interfaces.filters import OPERATORS, STRING_ORDER, Filter
from enginebay.interfaces.vector_store import CollectionInfo, Hit, Metric, Record, VectorStore
from enginebay.opening import StoreRequest
from enginebay.stores.typed_fields import plain_name
from enginebay_plugins.qdrant.connection import Connection
from enginebay_plugins.qdrant.options import QdrantOptions
from enginebay_plugins.qdrant.payload import NAMESPACE, RECORD, condition, point_id, point_of, record_of, unit

if TYPE_CHECKING:
    from enginebay.interfaces.vector_store import Vector

T = TypeVar("T")

_DISTANCES = {
    Metric.COSINE: models.Distance.COSINE,
    Metric.DOT: models.Distance.DOT,
    Metric.EUCLIDEAN: models.Distance.EUCLID,
}
_LAYOUT = 1
_EMBEDDED_LAYOUT = 2
_PAGE = 500
_REQUEST_BYTES = 16 << 20
"""A server takes 32 MB in one request, unless it is told otherwise."""

_NUMBER_BYTES = 20
_MOST_NAMESPACES = 1_000_000
_INDEXES = {
    "kind": models.PayloadSchemaType.KEYWORD,
    "string": models.PayloadSchemaType.KEYWORD,
    "list": models.PayloadSchemaType.KEYWORD,
    "number": models.PayloadSchemaType.FLOAT,
    "boolean": models.PayloadSchemaType.BOOL,
}


def open_store(request: StoreRequest) -> QdrantStore:
    """Open the store in a folder, or behind a server when there is a url."""
    options = request.options
    assert isinstance(options, QdrantOptions)
    return QdrantStore(Connection(request, options), options)


class QdrantStore(VectorStore):
    """Search by Qdrant."""

    operators = OPERATORS - {STRING_ORDER}

    def __init__(self, connection: Connection, options: QdrantOptions) -> None:
        self.approximate = not connection.embedded and not options.exact
        self._connection = connection
        self._options = options
        self._layout = _EMBEDDED_LAYOUT if connection.embedded else _LAYOUT

    def create(self, info: CollectionInfo) -> None:
        facts = {
            "layout": self._layout,
            "dimension": info.dimension,
            "metric": info.metric.value,
            "embedder_fingerprint": info.embedder_fingerprint,
        }
        with self._connection.client() as client:
            if client.collection_exists(info.name):
                self._refuse_others(info.name)
                return
            try:
                _make(client, info.name, info, facts)
            except Exception:
                if not client.collection_exists(info.name):  # another process was faster
                    raise
            if not self._connection.embedded:
                self._make_payload_indexes(client, info.name)

    def find(self, name: str) -> CollectionInfo | None:
        with self._connection.client() as client:
            if not client.collection_exists(name):
                return None
            facts = _facts(client, name)
        if facts.get("layout") != self._layout:
            return None
        return CollectionInfo(name, facts["dimension"], Metric(facts["metric"]), facts["embedder_fingerprint"])

    def collections(self) -> list[CollectionInfo]:
        with self._connection.client() as client:
            names = sorted(_names(client))
        found = (self.find(name) for name in names)
        return [info for info in found if info is not None]

    def drop(self, name: str) -> None:
        if self.find(name) is not None:
            with self._connection.client() as client:
                for one in self._beside(client, name).values():
                    client.delete_collection(one)
                client.delete_collection(name)

    def namespaces(self, collection: CollectionInfo) -> list[str]:
        if not self._connection.embedded:
            hits = self._on(
                collection,
                "",
                lambda client, name: client.facet(name, NAMESPACE, limit=_MOST_NAMESPACES, exact=True).hits,
                list[Any](),
            )
            return sorted(str(hit.value) for hit in hits if hit.count)
        self._check(collection)
        with self._connection.client() as client:
            known = {"": collection.name} | self._beside(client, collection.name)
            return sorted(namespace for namespace, name in known.items() if client.count(name, exact=True).count)

    def upsert(self, collection: CollectionInfo, records: Sequence[Record], namespace: str) -> None:
        for part in _parts(records, collection.dimension):
            points = [point_of(one, namespace, collection.metric) for one in part]

            def write(client: Any, name: str, points: list[Any] = points) -> None:
                self._check(collection)
                if name != collection.name and not client.collection_exists(name):
                    _make(client, name, collection, {"of": collection.name, "namespace": namespace})
                client.upsert(name, points, wait=True)

            self._on(collection, namespace, write, None)

    def query(
        self,
        collection: CollectionInfo,
        vector: Vector,
        limit: int,
        where: Filter | None,
        namespace: str,
        with_vectors: bool,
    ) -> list[Hit]:
        matching = self._matching(where, namespace)
        if collection.metric is Metric.COSINE:
            vector, _ = unit(vector)

        def search(client: Any, name: str, search_params: models.SearchParams | None) -> list[Any]:
            found = client.query_points(
                name,
                vector,
                query_filter=matching,
                search_params=search_params,
                limit=limit,
                with_payload=RECORD,
                with_vectors=with_vectors,
            )
            return list(found.points)

        params = self._search_params()
        points = self._on(collection, namespace, lambda client, name: search(client, name, params), list[Any]())
        if self.approximate and len(points) < limit:  # the index gave up, or there are no more
            exact = models.SearchParams(exact=True)
            points = self._on(collection, namespace, lambda client, name: search(client, name, exact), [])
        return [_hit(collection.metric, point, with_vectors) for point in points]

    def get(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> list[Record]:
        wanted = [point_id(one, namespace) for one in ids]
        return [
            record_of(point.payload, point.vector)
            for start in range(0, len(wanted), _PAGE)
            for point in self._on(
                collection,
                namespace,
                lambda client, name, part=wanted[start : start + _PAGE]: client.retrieve(  # type: ignore[misc]
                    name, part, with_payload=RECORD, with_vectors=True
                ),
                list[Any](),
            )
        ]

    def delete(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> None:
        wanted: list[Any] = [point_id(one, namespace) for one in ids]
        self._delete(collection, namespace, models.PointIdsList(points=wanted))

    def delete_where(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> None:
        matching = self._matching(where, namespace) or models.Filter()
        self._delete(collection, namespace, models.FilterSelector(filter=matching))

    def count(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> int:
        matching = self._matching(where, namespace)
        return self._on(
            collection, namespace, lambda client, name: int(client.count(name, matching, exact=True).count), 0
        )

    def scan(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> Iterator[Record]:
        matching = self._matching(where, namespace)
        offset = None
        while True:
            points, offset = self._on(
                collection,
                namespace,
                lambda client, name, offset=offset: client.scroll(  # type: ignore[misc]
                    name, matching, limit=_PAGE, offset=offset, with_payload=RECORD, with_vectors=True
                ),
                (list[Any](), None),
            )
            yield from (record_of(point.payload, point.vector) for point in points)
            if offset is None:
                return

    def close(self) -> None:
        self._connection.close()

    def _search_params(self) -> models.SearchParams | None:
        if self._connection.embedded:
            return None
        return models.SearchParams(exact=self._options.exact, hnsw_ef=self._options.hnsw_ef)

    def _make_payload_indexes(self, client: Any, name: str) -> None:
        """The namespace is in every filter; the fields are those that the options name."""
        namespaces = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
        client.create_payload_index(name, NAMESPACE, namespaces, wait=True)
        for field in self._options.indexed_fields:
            for kind, schema in _INDEXES.items():
                client.create_payload_index(name, plain_name(f"{kind}:{field}"), schema, wait=True)

    def _delete(self, collection: CollectionInfo, namespace: str, selector: Any) -> None:
        self._on(collection, namespace, lambda client, name: client.delete(name, selector, wait=True), None)

    def _place(self, collection: CollectionInfo, namespace: str) -> str:
        """The Qdrant collection that holds a namespace's records."""
        if not namespace or not self._connection.embedded:
            return collection.name
        return f"{collection.name}.{hashlib.sha256(namespace.encode()).hexdigest()[:40]}"

    def _matching(self, where: Filter | None, namespace: str) -> models.Filter | None:
        """The records that match, of those in the namespace's Qdrant collection."""
        return condition(where, None if self._connection.embedded else namespace)

    def _beside(self, client: Any, collection: str) -> dict[str, str]:
        """The Qdrant collections of the other namespaces, by namespace."""
        if not self._connection.embedded:
            return {}
        facts = {name: _facts(client, name) for name in _names(client) if name.startswith(f"{collection}.")}
        return {one["namespace"]: name for name, one in facts.items() if one.get("of") == collection}

    def _on(self, collection: CollectionInfo, namespace: str, work: Callable[[Any, str], T], absent: T) -> T:
        """What work on the namespace's Qdrant collection gives; `absent` where there is none."""
        name = self._place(collection, namespace)
        try:
            with self._connection.client() as client:
                return work(client, name)
        except StoreError:
            self._check(collection)
            with self._connection.client() as client:
                if client.collection_exists(name):
                    raise
            return absent

    def _check(self, collection: CollectionInfo) -> None:
        found = self.find(collection.name)
        if found is None or (found.dimension, found.metric) != (collection.dimension, collection.metric):
            raise CollectionNotFoundError(
                f"collection {collection.name!r} is not there any more, or was made anew",
                value=collection.name,
                hint="open it again",
            )

    def _refuse_others(self, name: str) -> None:
        if self.find(name) is None:
            raise StoreError(
                f"Qdrant's collection {name!r} is of another program, or of another version of enginebay",
                value=name,
                hint="take another name",
            )


def _make(client: Any, name: str, info: CollectionInfo, facts: dict[str, Any]) -> None:
    vectors = models.VectorParams(size=info.dimension, distance=_DISTANCES[info.metric])
    client.create_collection(name, vectors, metadata={"enginebay": facts})


def _facts(client: Any, name: str) -> dict[str, Any]:
    """What enginebay wrote of a Qdrant collection; nothing for another program's."""
    return dict((client.get_collection(name).config.metadata or {}).get("enginebay", {}))


def _names(client: Any) -> list[str]:
    return [one.name for one in client.get_collections().collections]


def _parts(records: Sequence[Record], dimension: int) -> Iterator[list[Record]]:
    """Records in parts that fit into one request."""
    part: list[Record] = []
    size = 0
    for record in records:
        needed = _NUMBER_BYTES * dimension + 4 * len(record.text or "") + 8 * len(str(record.metadata))
        if part and size + needed > _REQUEST_BYTES:
            yield part
            part, size = [], 0
        part.append(record)
        size += needed
    yield part


def _hit(metric: Metric, point: Any, with_vectors: bool) -> Hit:
    record = record_of(point.payload, point.vector)
    return Hit(
        id=record.id,
        score=-point.score if metric is Metric.EUCLIDEAN else point.score,
        distance=point.score,
        metadata=record.metadata,
        text=record.text,
        vector=record.vector if with_vectors else None,
    )

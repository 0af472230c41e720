"""The Chroma store.

Each namespace is a Chroma collection of its own: so a query searches no index but its own, unfiltered, and ids need
no prefix. The first, of the namespace "", has the collection's name and keeps its facts; the others name its id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from chromadb.errors import NotFoundError

from enginebay.errors import CollectionNotFoundError, StoreError
from enginebay.interfaces.filters import OPERATORS, STRING_ORDER, Filter
from enginebay.interfaces.vector_store import CollectionInfo, Hit, Metric, Record, VectorStore
from enginebay.opening import StoreRequest
from enginebay_plugins.chroma.connection import Connection
from enginebay_plugins.chroma.fields import EVERYTHING, condition, fields_of, metadata_from, text_from
from enginebay_plugins.chroma.options import ChromaOptions

if TYPE_CHECKING:
    from enginebay.interfaces.vector_store import Vector

_SPACES = {Metric.COSINE: "cosine", Metric.DOT: "ip", Metric.EUCLIDEAN: "l2"}
_PAGE = 1000
_LAYOUT = 3
"""The version of what is kept of collections and records."""

T = TypeVar("T")


def open_store(request: StoreRequest) -> ChromaStore:
    """Open the store in a folder, or behind a server when there is a url."""
    options = request.options
    assert isinstance(options, ChromaOptions)
    return ChromaStore(Connection(request, options), options)


class ChromaStore(VectorStore):
    """HNSW search by Chroma."""

    operators = OPERATORS - {STRING_ORDER}
    approximate = True

    def __init__(self, connection: Connection, options: ChromaOptions) -> None:
        self._connection = connection
        self._options = options
        self._handles: dict[tuple[CollectionInfo, str], Any] = {}
        with connection.client() as client:
            # A server refuses requests of more than 40 MB, too.
            self.max_batch = min(client.get_max_batch_size(), self.max_batch)

    def create(self, info: CollectionInfo) -> None:
        facts = {"enginebay": _LAYOUT, "dimension": info.dimension, "metric": info.metric.value}
        if info.embedder_fingerprint is not None:
            facts["embedder"] = info.embedder_fingerprint
        self._made(info.name, info.metric, facts)

    def find(self, name: str) -> CollectionInfo | None:
        try:
            with self._connection.client() as client:
                found = client.get_collection(name, embedding_function=None)
        except NotFoundError:
            return None
        info = _facts(found)
        if info is None:
            raise StoreError(
                f"Chroma's collection {name!r} is of another program, or of another version of enginebay",
                value=name,
                hint="take another name, or another folder",
            )
        return info

    def collections(self) -> list[CollectionInfo]:
        return [info for one in self._all() if (info := _facts(one)) is not None]

    def drop(self, name: str) -> None:
        info = self.find(name)
        if info is None:
            return
        with suppress(NotFoundError), self._connection.client() as client:
            for one in self._beside(self._first(info)):
                with suppress(NotFoundError):
                    client.delete_collection(one.name)
            client.delete_collection(name)
        for known, namespace in list(self._handles):
            if known.name == name:
                self._handles.pop((known, namespace), None)

    def namespaces(self, collection: CollectionInfo) -> list[str]:
        first = self._first(collection)
        found = {one.metadata["namespace"]: one for one in self._beside(first)} | {"": first}
        return [name for name in found if self.count(collection, None, name)]

    def upsert(self, collection: CollectionInfo, records: Sequence[Record], namespace: str) -> None:
        ids = [one.id for one in records]
        fields = [fields_of(one) for one in records]
        written = {
            "ids": ids,
            "embeddings": np.stack([one.vector for one in records]),
            "documents": [one.text or "" for one in records],
        }

        def write(handle: Any) -> bool:
            # Chroma keeps the fields that a new version of a record lacks, unless told that they are None.
            known = handle.get(ids=ids, include=["metadatas"])
            old = dict(zip(known["ids"], known["metadatas"], strict=True))
            metadatas = [dict.fromkeys(old.get(one, ())) | new for one, new in zip(ids, fields, strict=True)]
            handle.upsert(**written, metadatas=metadatas)
            return True

        with self._connection.writing:
            self._using(collection, namespace, write, make=True)

    def query(
        self,
        collection: CollectionInfo,
        vector: Vector,
        limit: int,
        where: Filter | None,
        namespace: str,
        with_vectors: bool,
    ) -> list[Hit]:
        wanted = condition(where)
        if wanted is False:
            return []
        include = ["metadatas", "documents", "distances", *(["embeddings"] if with_vectors else [])]
        found = self._using(
            collection,
            namespace,
            lambda handle: handle.query(query_embeddings=vector[None], n_results=limit, where=wanted, include=include),
        )
        if found is None:
            return []
        vectors = found["embeddings"][0] if with_vectors else [None] * len(found["ids"][0])
        rows = zip(
            found["ids"][0], found["distances"][0], found["metadatas"][0], found["documents"][0], vectors, strict=True
        )
        return [_hit(collection.metric, *row) for row in rows]

    def get(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> list[Record]:
        return [
            one
            for start in range(0, len(ids), _PAGE)
            for one in self._read(collection, ids[start : start + _PAGE], namespace)
        ]

    def delete(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> None:
        for start in range(0, len(ids), _PAGE):
            part = list(ids[start : start + _PAGE])
            self._using(collection, namespace, lambda handle, part=part: handle.delete(ids=part))  # type: ignore[misc]

    def delete_where(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> None:
        wanted = condition(where)
        if wanted is not False:
            self._using(collection, namespace, lambda handle: handle.delete(where=wanted or EVERYTHING))

    def count(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> int:
        if where is None:
            return self._using(collection, namespace, lambda handle: int(handle.count())) or 0
        return len(self._ids(collection, where, namespace))

    def scan(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> Iterator[Record]:
        ids = self._ids(collection, where, namespace)
        for start in range(0, len(ids), _PAGE):
            yield from self._read(collection, ids[start : start + _PAGE], namespace)

    def close(self) -> None:
        self._connection.close()
        self._handles.clear()

    def _ids(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> list[str]:
        wanted = condition(where)
        if wanted is False:
            return []
        found = self._using(collection, namespace, lambda handle: handle.get(where=wanted, include=[]))
        return found["ids"] if found else []

    def _read(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> list[Record]:
        include = ["metadatas", "documents", "embeddings"]
        found = self._using(collection, namespace, lambda handle: handle.get(ids=list(ids), include=include))
        if found is None:
            return []
        rows = zip(found["ids"], found["embeddings"], found["metadatas"], found["documents"], strict=True)
        return [_record(*row) for row in rows]

    def _using(
        self, collection: CollectionInfo, namespace: str, call: Callable[[Any], T], *, make: bool = False
    ) -> T | None:
        """What a call on the namespace's Chroma collection gives; None where there is none."""
        for _ in range(2):  # what was known of it may be of one that has gone
            handle = self._handle(collection, namespace, make)
            if handle is None:
                return None
            try:
                with self._connection.client():
                    return call(handle)
            except NotFoundError:
                self._handles.pop((collection, namespace), None)
        raise _gone(collection)

    def _handle(self, collection: CollectionInfo, namespace: str, make: bool) -> Any:
        key = (collection, namespace)
        handle = self._handles.get(key)
        if handle is None:
            handle = self._first(collection)
            if namespace:
                handle = self._other(collection, handle, namespace, make)
            if handle is not None:
                self._handles[key] = handle
        return handle

    def _first(self, collection: CollectionInfo) -> Any:
        try:
            with self._connection.client() as client:
                first = client.get_collection(collection.name, embedding_function=None)
        except NotFoundError:
            raise _gone(collection) from None
        if _facts(first) != collection:
            raise _gone(collection)
        return first

    def _other(self, collection: CollectionInfo, first: Any, namespace: str, make: bool) -> Any:
        # The first one's id is in the name: what a dropped collection leaves behind is not found by its successor.
        digest = hashlib.sha256(f"{first.id} {namespace}".encode()).hexdigest()[:40]
        name = f"{collection.name}.{digest}"
        if make:
            facts = {"enginebay": _LAYOUT, "of": str(first.id), "namespace": namespace}
            return self._made(name, collection.metric, facts)
        try:
            with self._connection.client() as client:
                return client.get_collection(name, embedding_function=None)
        except NotFoundError:
            return None

    def _made(self, name: str, metric: Metric, facts: dict[str, Any]) -> Any:
        index = {
            "space": _SPACES[metric],
            "max_neighbors": self._options.max_neighbors,
            "ef_construction": self._options.ef_construction,
            "ef_search": self._options.ef_search,
        }
        with self._connection.client() as client:
            return client.get_or_create_collection(
                name, embedding_function=None, metadata=facts, configuration={"hnsw": index}
            )

    def _beside(self, first: Any) -> list[Any]:
        """The Chroma collections of the other namespaces."""
        return [one for one in self._all() if (one.metadata or {}).get("of") == str(first.id)]

    def _all(self) -> list[Any]:
        found: list[Any] = []
        while True:
            with self._connection.client() as client:
                page = client.list_collections(limit=_PAGE, offset=len(found))
            found += page
            if len(page) < _PAGE:
                return found


def _facts(found: Any) -> CollectionInfo | None:
    """What enginebay wrote of a collection; None for one of another program, version of enginebay, or namespace."""
    known = found.metadata or {}
    if known.get("enginebay") != _LAYOUT or "of" in known:
        return None
    return CollectionInfo(found.name, known["dimension"], Metric(known["metric"]), known.get("embedder"))


def _gone(collection: CollectionInfo) -> CollectionNotFoundError:
    return CollectionNotFoundError(
        f"collection {collection.name!r} is not there any more, or was made anew",
        value=collection.name,
        hint="open it again",
    )


def _record(identity: str, vector: Any, fields: dict[str, Any], document: str) -> Record:
    return Record(identity, np.asarray(vector, dtype=np.float32), metadata_from(fields), text_from(fields, document))


def _hit(metric: Metric, identity: str, distance: float, fields: dict[str, Any], document: str, vector: Any) -> Hit:
    return Hit(
        id=identity,
        score=-(max(distance, 0.0) ** 0.5) if metric is Metric.EUCLIDEAN else 1 - distance,
        distance=distance,
        metadata=metadata_from(fields),
        text=text_from(fields, document),
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
    )

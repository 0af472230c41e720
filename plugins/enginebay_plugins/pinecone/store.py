"""The Pinecone store.

A collection is an index, since an index has one dimension and one metric; its namespaces are the index's. An index's
tags say that enginebay made it, and for which embedder.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import numpy as np
from pinecone import NotFoundError, Pinecone
from pinecone.errors import (
    ConflictError,
    ForbiddenError,
    PineconeConnectionError,
    PineconeError,
    PineconeTimeoutError,
    RateLimitError,
    ServiceError,
    UnauthorizedError,
)
from pydantic import SecretStr

from enginebay.config.settings import reveal
from enginebay.errors import CollectionNotFoundError, EngineClosedError, StoreError
from enginebay.interfaces.filters import OPERATORS, STRING_ORDER, Filter
from enginebay.interfaces.vector_store import CollectionInfo, Consistency, Hit, Metric, Record, VectorStore
from enginebay.opening import StoreRequest
from enginebay_plugins.pinecone.names import (
    collection_name,
    embedder_of,
    index_name,
    is_ours,
    namespace_name,
    namespace_of,
    tags_of,
    vector_id,
)
from enginebay_plugins.pinecone.options import PineconeOptions
from enginebay_plugins.pinecone.records import (
    EVERYTHING,
    ID,
    batches,
    check_size,
    condition,
    metadata_from,
    record_from,
)

if TYPE_CHECKING:
    from enginebay.interfaces.vector_store import Vector

_METRICS = {Metric.COSINE: "cosine", Metric.DOT: "dotproduct", Metric.EUCLIDEAN: "euclidean"}
_OURS = {name: metric for metric, name in _METRICS.items()}
_VECTOR_FIELD = "_values"
"""The name by which Pinecone's vector API knows the vectors of an index."""

_WHOLE = 200
"""Hits that one answer holds with metadata and vectors: it has 4 MB at most."""

_IDS = 100
_URL_CHARACTERS = 6000
_PAGE = 1000
_SOON, _LATER = 0.05, 1.0
"""Seconds between two looks whether a write is seen: the first, and the longest."""

T = TypeVar("T")


def open_store(request: StoreRequest) -> PineconeStore:
    """Open the store with the request's key, or the one in PINECONE_API_KEY."""
    options = request.options
    assert isinstance(options, PineconeOptions)
    key = reveal(request.api_key or SecretStr("env:PINECONE_API_KEY"))
    with _translated("it does not open"):
        client = Pinecone(api_key=key, host=request.url, timeout=options.timeout)
    return PineconeStore(client, options)


class PineconeStore(VectorStore):
    """Search in Pinecone's indexes."""

    max_batch = 1000
    consistency = Consistency.EVENTUAL
    operators = OPERATORS - {STRING_ORDER}
    approximate = True

    def __init__(self, client: Pinecone, options: PineconeOptions) -> None:
        self._client: Any = client
        self._options = options
        self._indexes: dict[CollectionInfo, Any] = {}
        self._opened: list[Any] = []  # some thread may still use one that has gone: all are closed at the end
        self._written: dict[tuple[CollectionInfo, str], int] = {}
        self._lock = threading.Lock()
        self._closed = False

    def create(self, info: CollectionInfo) -> None:
        name, tags = index_name(info.name), tags_of(info.embedder_fingerprint)
        field = {"type": "dense_vector", "dimension": info.dimension, "metric": _METRICS[info.metric]}
        with suppress(ConflictError), self._control(f"collection {info.name!r} cannot be made"):
            self._client.indexes.create(
                name=name,
                schema={"fields": {_VECTOR_FIELD: field}},
                deployment=self._options.deployment,
                read_capacity=self._options.read_capacity,
                tags=tags,
                timeout=self._options.make_timeout,
            )

    def find(self, name: str) -> CollectionInfo | None:
        model = self._described(name)
        if model is None:
            return None
        info = _facts(model)
        if info is None:
            raise StoreError(
                f"Pinecone's index {model.name!r} was made by another program", value=name, hint="take another name"
            )
        return info

    def collections(self) -> list[CollectionInfo]:
        with self._control("the indexes cannot be listed"):
            models = list(self._client.indexes.list())
        return [info for model in models if (info := _facts(model)) is not None]

    def drop(self, name: str) -> None:
        if self.find(name) is None:
            return
        with suppress(NotFoundError), self._control(f"collection {name!r} cannot be deleted"):
            self._client.indexes.delete(index_name(name), timeout=self._options.make_timeout)
        for info in [info for info in list(self._indexes) if info.name == name]:
            self._indexes.pop(info, None)

    def namespaces(self, collection: CollectionInfo) -> list[str]:
        def listed(index: Any) -> list[str]:
            found = [one for page in index.list_namespaces() for one in page.namespaces]
            return [namespace_of(one.name) for one in found if one.record_count]

        return self._using(collection, listed) or []

    def check(self, records: Sequence[Record]) -> None:
        for one in records:
            check_size(one)

    def upsert(self, collection: CollectionInfo, records: Sequence[Record], namespace: str) -> None:
        name = namespace_name(namespace)
        for vectors in batches(records):
            answer = self._using(
                collection,
                lambda index, vectors=vectors: index.upsert(vectors=vectors, namespace=name),  # type: ignore[misc]
            )
            number = answer.response_info.lsn_committed if answer else None
            if number is not None:
                with self._lock:
                    place = (collection, namespace)
                    self._written[place] = max(number, self._written.get(place, 0))

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
        whole = limit <= _WHOLE
        answer = self._using(
            collection,
            lambda index: index.query(
                top_k=limit,
                vector=vector.tolist(),
                namespace=namespace_name(namespace),
                filter=wanted,
                include_metadata=whole,
                include_values=whole and with_vectors,
            ),
        )
        found = answer.matches if answer else []
        kept = {one.id: one for one in found}
        if not whole:
            kept = {one.id: one for one in self._fetched(collection, list(kept), namespace)}
        return [_hit(collection.metric, one.score, kept[one.id], with_vectors) for one in found if one.id in kept]

    def get(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> list[Record]:
        found = self._fetched(collection, [vector_id(one) for one in ids], namespace)
        return [record_from(one.values, one.metadata) for one in found]

    def delete(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> None:
        name = namespace_name(namespace)
        for start in range(0, len(ids), self.max_batch):
            part = [vector_id(one) for one in ids[start : start + self.max_batch]]
            self._using(collection, lambda index, part=part: index.delete(ids=part, namespace=name))  # type: ignore[misc]

    def delete_where(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> None:
        wanted, name = condition(where), namespace_name(namespace)
        if wanted is None:
            self._using(collection, lambda index: index.delete(delete_all=True, namespace=name))
        elif wanted is not False:
            self._using(collection, lambda index: index.delete(filter=wanted, namespace=name))

    def count(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> int:
        if where is not None:
            return sum(1 for _ in self._matching(collection, where, namespace))
        stats = self._using(collection, lambda index: index.describe_index_stats())
        summary = stats.namespaces.get(namespace_name(namespace)) if stats else None
        return int(summary.vector_count) if summary else 0

    def scan(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> Iterator[Record]:
        for one in self._matching(collection, where, namespace):
            yield record_from(one.values, one.metadata)

    def wait_until_visible(
        self, collection: CollectionInfo, ids: Sequence[str], namespace: str, timeout: float
    ) -> None:
        """Wait until queries find the ids, and have come as far as this opening has written.

        A new version of a record that another opening wrote may be seen later.
        """
        until, pause = time.monotonic() + timeout, _SOON
        with self._lock:
            target = self._written.get((collection, namespace), 0)
        missing = list(ids)
        while missing:
            part = missing[: self.max_batch]
            if self._visible(collection, part, namespace, target):
                missing = missing[len(part) :]
                continue
            if time.monotonic() >= until:
                raise StoreError(
                    f"after {timeout} s, Pinecone's queries do not see all of {len(ids)} records", value=part[0]
                )
            time.sleep(pause)
            pause = min(2 * pause, _LATER)

    def close(self) -> None:
        self._closed = True
        with self._lock:
            opened, self._opened = self._opened, []
        for one in (*opened, self._client):
            one.close()

    def _visible(self, collection: CollectionInfo, ids: list[str], namespace: str, target: int) -> bool:
        answer = self._using(
            collection,
            lambda index: index.query(
                top_k=len(ids),
                vector=[1.0] * collection.dimension,
                namespace=namespace_name(namespace),
                filter={ID: {"$in": ids}},
            ),
        )
        if answer is None:
            return False
        reached = answer.response_info.lsn_reconciled
        return len(answer.matches) == len(ids) and (reached is None or reached >= target)

    def _matching(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> Iterator[Any]:
        wanted, token = condition(where), None
        while wanted is not False:
            page = self._using(
                collection,
                lambda index, token=token: index.fetch_by_metadata(  # type: ignore[misc]
                    filter=wanted or EVERYTHING,
                    namespace=namespace_name(namespace),
                    limit=_PAGE,
                    pagination_token=token,
                ),
            )
            yield from page.vectors.values() if page else ()
            token = page.pagination.next if page and page.pagination else None
            if token is None:
                return

    def _fetched(self, collection: CollectionInfo, ids: Iterable[str], namespace: str) -> Iterator[Any]:
        name = namespace_name(namespace)
        for part in _for_one_url(ids):
            answer = self._using(collection, lambda index, part=part: index.fetch(ids=part, namespace=name))  # type: ignore[misc]
            yield from answer.vectors.values() if answer else ()

    def _using(self, collection: CollectionInfo, call: Callable[[Any], T]) -> T | None:
        """What a call on the collection's index gives; None where the namespace is not there."""
        try:
            return call(self._index(collection))
        except PineconeError as error:
            if isinstance(error, NotFoundError | PineconeConnectionError):
                self._indexes.pop(collection, None)  # it may be elsewhere now
            passing = isinstance(error, RateLimitError | ServiceError | PineconeTimeoutError)
            if not passing and self._has_gone(collection):
                raise _gone(collection) from error
            if isinstance(error, NotFoundError):
                return None
            raise _store_error(error, f"collection {collection.name!r}") from error

    def _has_gone(self, collection: CollectionInfo) -> bool:
        with suppress(StoreError):
            return self.find(collection.name) != collection
        return False

    def _index(self, collection: CollectionInfo) -> Any:
        self._check_open()
        index = self._indexes.get(collection)
        if index is None:
            model = self._described(collection.name)
            if model is None or _facts(model) != collection:
                raise _gone(collection)
            with self._lock:
                index = self._indexes.get(collection)
                if index is None:
                    index = self._indexes[collection] = self._client.index(host=model.host)
                    self._opened.append(index)
        return index

    def _described(self, name: str) -> Any:
        try:
            with self._control(f"collection {name!r} cannot be found"):
                return self._client.indexes.describe(index_name(name))
        except NotFoundError:
            return None

    @contextmanager
    def _control(self, what: str) -> Iterator[None]:
        self._check_open()
        with _translated(what):
            yield

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosedError("the pinecone store is closed", hint="open it again")


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Errors of the SDK become enginebay's, but for those that the caller understands."""
    try:
        yield
    except (NotFoundError, ConflictError):
        raise
    except PineconeError as error:
        raise _store_error(error, what) from error


_HINTS: dict[type[PineconeError], str] = {
    UnauthorizedError: "look at api_key, or PINECONE_API_KEY",
    ForbiddenError: "the project may have as many indexes as its plan allows: drop one, or use namespaces",
    RateLimitError: "Pinecone limits the rate of requests: write and ask more slowly",
    PineconeTimeoutError: "raise the option timeout",
    PineconeConnectionError: "is the network there, and url right?",
}


def _store_error(error: PineconeError, what: str) -> StoreError:
    hint = next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), None)
    return StoreError(f"pinecone: {what}: {error}", value=what, hint=hint)


def _gone(collection: CollectionInfo) -> CollectionNotFoundError:
    return CollectionNotFoundError(
        f"collection {collection.name!r} is not there any more, or was made anew",
        value=collection.name,
        hint="open it again",
    )


def _facts(model: Any) -> CollectionInfo | None:
    """What an index says of the collection it is; None for another program's."""
    tags = model.tags or {}
    field = model.schema.fields.get(_VECTOR_FIELD)
    if not is_ours(tags) or field is None:
        return None
    return CollectionInfo(collection_name(model.name), field.dimension, _OURS[str(field.metric)], embedder_of(tags))


def _for_one_url(ids: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    room = _URL_CHARACTERS
    for one in ids:
        size = len(quote(one, safe="")) + len("&ids=")
        if part and (len(part) == _IDS or size > room):
            yield part
            part, room = [], _URL_CHARACTERS
        part.append(one)
        room -= size
    if part:
        yield part


def _hit(metric: Metric, distance: float, kept: Any, with_vectors: bool) -> Hit:
    fields = kept.metadata
    return Hit(
        id=fields[ID],
        score=-(max(distance, 0.0) ** 0.5) if metric is Metric.EUCLIDEAN else distance,
        distance=distance,
        metadata=metadata_from(fields),
        text=fields.get("text"),
        vector=np.asarray(kept.values, dtype=np.float32) if with_vectors else None,
    )

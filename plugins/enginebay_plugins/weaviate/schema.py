"""Collections on the server: multi-tenant classes, whose description holds a collection's facts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from weaviate.classes.config import Configure, VectorDistances

from enginebay.errors import CollectionNotFoundError, StoreError
from enginebay.interfaces.vector_store import CollectionInfo, Metric
from enginebay_plugins.weaviate.connection import Connection, NotFoundError
from enginebay_plugins.weaviate.names import class_name, collection_name
from enginebay_plugins.weaviate.objects import VECTOR, field_property, own_properties
from enginebay_plugins.weaviate.options import WeaviateOptions

_DISTANCES = {
    Metric.COSINE: VectorDistances.COSINE,
    Metric.DOT: VectorDistances.DOT,
    Metric.EUCLIDEAN: VectorDistances.L2_SQUARED,
}


class Schema:
    """The classes of one server that are enginebay's, and what is known of their properties."""

    def __init__(self, connection: Connection, options: WeaviateOptions) -> None:
        self._connection = connection
        self._options = options
        self._known: dict[str, frozenset[str]] = {}
        self._lock = threading.Lock()

    def create(self, info: CollectionInfo) -> None:
        """Make a collection, unless one of that name is there."""
        if self.find(info.name) is not None:
            return
        try:
            self._connection.ask(lambda: self._create(info))
        except StoreError:
            if self.find(info.name) is None:  # unless another has made it meanwhile
                raise

    def find(self, name: str) -> CollectionInfo | None:
        """The facts of a collection; None when it is not there."""
        try:
            found = self._config(name)
        except NotFoundError:
            return None
        info = _facts(name, found.description)
        if info is None:
            raise StoreError(
                f"the class {found.name!r} at {self._connection.url} was not made by enginebay",
                value=found.name,
                hint="set the option prefix",
            )
        return info

    def collections(self) -> list[CollectionInfo]:
        """All collections, by name."""
        classes = self._connection.ask(lambda: self._classes.list_all(simple=True))
        named = [(collection_name(self._options.prefix, name), one.description) for name, one in classes.items()]
        found = [_facts(name, description) for name, description in named if name is not None]
        return sorted((info for info in found if info is not None), key=lambda info: info.name)

    def drop(self, name: str) -> None:
        """Delete a collection and all in it. One that is not there is no error."""
        if self.find(name) is None:
            return
        try:
            self._connection.ask(lambda: self._classes.delete(self.class_of(name)))
        except StoreError:
            if self.find(name) is not None:
                raise

    def class_of(self, name: str) -> str:
        """What the collection is called on the server."""
        return class_name(self._options.prefix, name)

    def add_properties(self, collection: CollectionInfo, names: set[str]) -> None:
        """Make sure that a collection has these properties.

        The server is asked each time: into a class that was dropped it would write by a schema of its own guess.

        Raises:
            CollectionNotFoundError: it has gone.
        """
        with self._lock:
            for name in sorted(names - self._properties(collection)):
                try:
                    self._connection.ask(lambda name=name: self._add_property(collection, name))  # type: ignore[misc]
                except StoreError:
                    if name not in self._properties(collection):  # unless another has added it meanwhile
                        raise

    def has_property(self, collection: CollectionInfo) -> Callable[[str], bool]:
        """Whether the collection has a property of a name, for the filter of one call.

        Properties are never removed. Of one that is not known, the server is asked, once.
        """
        fresh: list[frozenset[str]] = []

        def has(name: str) -> bool:
            if name in self._known.get(collection.name, ()):
                return True
            if not fresh:
                fresh.append(self._properties(collection))
            return name in fresh[0]

        return has

    @property
    def _classes(self) -> Any:
        return self._connection.client.collections

    def _config(self, name: str) -> Any:
        return self._connection.ask(lambda: self._classes.use(self.class_of(name)).config.get(simple=True))

    def _create(self, info: CollectionInfo) -> None:
        facts = {
            "dimension": info.dimension,
            "metric": info.metric.value,
            "embedder_fingerprint": info.embedder_fingerprint,
        }
        replicas = self._options.replicas
        self._classes.create(
            self.class_of(info.name),
            description=json.dumps({"enginebay": facts}),
            properties=own_properties(self._options.text_tokenization),
            vector_config=Configure.Vectors.self_provided(
                name=VECTOR, vector_index_config=Configure.VectorIndex.hnsw(distance_metric=_DISTANCES[info.metric])
            ),
            multi_tenancy_config=Configure.multi_tenancy(
                enabled=True, auto_tenant_creation=True, auto_tenant_activation=True
            ),
            replication_config=Configure.replication(factor=replicas) if replicas > 1 else None,
        )

    def _add_property(self, collection: CollectionInfo, name: str) -> None:
        self._classes.use(self.class_of(collection.name)).config.add_property(field_property(name))

    def _properties(self, collection: CollectionInfo) -> frozenset[str]:
        """As the server has them now."""
        try:
            names = frozenset(one.name for one in self._config(collection.name).properties)
        except NotFoundError as error:
            raise gone(collection) from error
        self._known[collection.name] = names
        return names


def gone(collection: CollectionInfo) -> CollectionNotFoundError:
    """The error of a collection that was dropped."""
    return CollectionNotFoundError(f"the weaviate store has no collection {collection.name!r}", value=collection.name)


def _facts(name: str, description: str | None) -> CollectionInfo | None:
    """What a class's description tells of its collection; None when enginebay did not write it."""
    try:
        facts = json.loads(description or "")["enginebay"]
        return CollectionInfo(name, facts["dimension"], Metric(facts["metric"]), facts["embedder_fingerprint"])
    except (ValueError, KeyError, TypeError):
        return None

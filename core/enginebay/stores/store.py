"""A vector store, as users hold it."""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING

from enginebay.errors import CollectionMismatchError, CollectionNotFoundError, InvalidParameterError
from enginebay.interfaces.vector_store import CollectionInfo, Metric
from enginebay.stores.collection import Collection
from enginebay.suggest import did_you_mean

if TYPE_CHECKING:
    from enginebay.interfaces.vector_store import VectorStore

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
MAX_DIMENSION = 20_000


class Store:
    """An open vector store and its collections.

    Attributes:
        backend: name of the backend.
    """

    def __init__(self, engine: VectorStore, backend: str) -> None:
        self.backend = backend
        self._engine = engine
        # A store that nobody closed is closed when nobody holds it, or a collection of it, any more.
        weakref.finalize(self, engine.close)

    def create_collection(
        self,
        name: str,
        dimension: int,
        *,
        metric: Metric | str = Metric.COSINE,
        embedder_fingerprint: str | None = None,
    ) -> Collection:
        """Make a collection; one that is there with the same facts is opened.

        Args:
            name: lower-case letters and digits, in parts joined by - or _; 3 to 45 characters.
            dimension: width of the vectors.
            embedder_fingerprint: of the model that fills it; a collection is never filled by two.

        Raises:
            InvalidParameterError: an impossible name, dimension or metric.
            CollectionMismatchError: it is there with other facts.
        """
        info = CollectionInfo(_checked_name(name), _dimension(dimension), _metric(metric), embedder_fingerprint)
        self._engine.create(info)
        found = self._find(name)
        if found != info:
            raise _mismatch(found, info)
        return Collection(self, self._engine, found)

    def collection(self, name: str, *, embedder_fingerprint: str | None = None) -> Collection:
        """Open a collection.

        Args:
            embedder_fingerprint: what is expected; None takes any.

        Raises:
            CollectionNotFoundError: the store has none of that name.
            CollectionMismatchError: it was filled by another embedder.
        """
        found = self._find(name)
        expected = CollectionInfo(name, found.dimension, found.metric, embedder_fingerprint)
        if embedder_fingerprint is not None and found != expected:
            raise _mismatch(found, expected)
        return Collection(self, self._engine, found)

    def collections(self) -> list[CollectionInfo]:
        """All collections, by name."""
        return sorted(self._engine.collections(), key=lambda info: info.name)

    def drop_collection(self, name: str) -> None:
        """Delete a collection and all in it. One that is not there is no error."""
        self._engine.drop(_checked_name(name))

    def close(self) -> None:
        """Close connections and files. Closing twice is no error."""
        self._engine.close()

    def _find(self, name: str) -> CollectionInfo:
        found = self._engine.find(_checked_name(name))
        if found is None:
            known = [info.name for info in self._engine.collections()]
            raise CollectionNotFoundError(
                f"store {self.backend!r} has no collection {name!r}", value=name, hint=did_you_mean(name, known)
            )
        return found


def _checked_name(name: str) -> str:
    """Names that every store takes."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not 3 <= len(name) <= 45:
        raise InvalidParameterError(
            f"{name!r} is no collection name",
            value=name,
            hint="3 to 45 lower-case letters and digits, in parts joined by - or _, a letter first",
        )
    return name


def _dimension(value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_DIMENSION:
        raise InvalidParameterError(f"dimension = {value!r} is not a number from 1 to {MAX_DIMENSION}", value=value)
    return value


def _metric(value: str) -> Metric:
    try:
        return Metric(value)
    except ValueError as error:
        raise InvalidParameterError(
            f"unknown metric {value!r}", value=value, hint=did_you_mean(str(value), list(Metric))
        ) from error


def _mismatch(found: CollectionInfo, wanted: CollectionInfo) -> CollectionMismatchError:
    differing = [
        f"{field} {getattr(found, name)}, not {getattr(wanted, name)}"
        for name, field in (("dimension", "dimension"), ("metric", "metric"), ("embedder_fingerprint", "embedder"))
        if getattr(found, name) != getattr(wanted, name)
    ]
    return CollectionMismatchError(
        f"collection {found.name!r} has {'; '.join(differing)}",
        value=found.name,
        hint="open it with the model that filled it, index again, or take another name",
    )

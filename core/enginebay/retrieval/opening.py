"""Opening an index by its configuration."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from enginebay.config.settings import CollectionConfig
from enginebay.errors import CollectionMismatchError, ConfigError
from enginebay.interfaces.vector_store import Metric
from enginebay.paths import cache_dir
from enginebay.retrieval.index import Index
from enginebay.retrieval.ledger import Ledger
from enginebay.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enginebay.bay import Bay
    from enginebay.embedding.handle import EmbedderHandle
    from enginebay.stores import Collection, Store

DEFAULT_NAME = "documents"
DEFAULT_EMBEDDER = "all-minilm-l6-v2"
"""A model reference: the matcher chooses the backend."""


def open_index(bay: Bay, name: str | None, create: bool, changes: Mapping[str, Any]) -> Index:
    """See `Index.open`."""
    name, settings = index_settings(bay, name, changes)
    store = bay.store(settings.store)
    embedder = open_embedder(bay, settings)
    current = current_collection(store, name)
    try:
        if create:
            collection = store.create_collection(
                current, embedder.dimension, metric=Metric.COSINE, embedder_fingerprint=embedder.fingerprint
            )
        else:
            collection = store.collection(current, embedder_fingerprint=embedder.fingerprint)
    except CollectionMismatchError as error:
        error.hint = (
            f"open it with the model that filled it, or embed it anew: enginebay index --reindex --name {name}, "
            f"in Python Index.reindex(bay, {name!r})"
        )
        raise
    return Index(name, collection, embedder, settings, index_folder(bay, settings, current))


def index_settings(bay: Bay, name: str | None, changes: Mapping[str, Any]) -> tuple[str, CollectionConfig]:
    """The name and configuration of an index.

    Raises:
        ConfigError: several are configured and none is named, or a wrong change.
    """
    configured = bay.settings.collections
    if name is None and len(configured) > 1:
        raise ConfigError(
            "no index is named and several are configured", hint=f"name one of: {', '.join(sorted(configured))}"
        )
    name = name or next(iter(configured), DEFAULT_NAME)
    base = configured[name].model_dump(exclude_unset=True) if name in configured else {}
    try:
        return name, CollectionConfig.model_validate({**base, **changes})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        raise ConfigError(
            f"index {name!r}: {field}: {first['msg']}",
            value=first["input"],
            hint=did_you_mean(field, CollectionConfig.model_fields) if unknown else None,
        ) from error


def open_embedder(bay: Bay, settings: CollectionConfig) -> EmbedderHandle:
    """The embedder of an index. Raises as `Bay.embedder` does."""
    return bay.embedder(embedder_name(bay, settings))


def embedder_name(bay: Bay, settings: CollectionConfig) -> str | None:
    """What `Bay.embedder` is asked for; None is the configured default."""
    chosen = bay.settings
    if settings.embedder is not None or chosen.default_embedder is not None or chosen.embedders:
        return settings.embedder
    return DEFAULT_EMBEDDER


def generations(store: Store, name: str) -> list[tuple[int, str]]:
    """The collections of an index, oldest first, each with its number from 1; whole ones and broken off."""
    form = re.compile(re.escape(name) + r"(?:-g(\d+))?")
    matched = (form.fullmatch(info.name) for info in store.collections())
    return sorted((int(one[1] or 1), one[0]) for one in matched if one is not None)


def current_collection(store: Store, name: str) -> str:
    """The newest whole collection of an index: one that `reindex` makes is whole when its ledger has a version."""
    for number, collection in reversed(generations(store, name)):
        if number == 1 or _is_whole(store.collection(collection)):
            return collection
    return name


def _is_whole(collection: Collection) -> bool:
    return Ledger(collection).version() is not None


def index_folder(bay: Bay, settings: CollectionConfig, collection: str) -> Path:
    """Where this machine keeps what can be made again from a collection."""
    name, store = bay.store_config(settings.store)
    place = f"{name} {store.model_dump_json()} {cache_dir() if store.path is None else ''} {collection}"
    return cache_dir() / "indexes" / f"{collection}-{hashlib.sha256(place.encode()).hexdigest()[:16]}"

"""Names as Pinecone takes them: indexes, namespaces, ids, and the facts of a collection in an index's tags."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping
from urllib.parse import quote, unquote

from enginebay.errors import InvalidParameterError

MAX_INDEX_NAME = 45
MAX_NAMESPACE = 512
_MAX_TAG_VALUE = 120
_MAX_EMBEDDER_TAGS = 18
_MARK = "enginebay"
_DEFAULT_NAMESPACE = "__default__"
_HASHED = "sha256:"
_UNCHANGED = "".join(sorted(set(string.punctuation) - {"%"}))


def index_name(collection: str) -> str:
    """The index of a collection: Pinecone's names have no underscore, enginebay's no double hyphen.

    Raises:
        InvalidParameterError: it becomes too long.
    """
    name = collection.replace("_", "--")
    if len(name) > MAX_INDEX_NAME:
        raise InvalidParameterError(
            f"collection {collection!r} would be Pinecone's index {name!r}, which is longer than {MAX_INDEX_NAME}",
            value=collection,
            hint="take a shorter name, or one with - in place of _",
        )
    return name


def collection_name(index: str) -> str:
    """The collection that has this index."""
    return index.replace("--", "_")


def namespace_name(namespace: str) -> str:
    """A namespace in ASCII, percent-encoded where need be.

    Raises:
        InvalidParameterError: it becomes longer than Pinecone takes.
    """
    if not namespace:
        return _DEFAULT_NAMESPACE
    name = quote(namespace, safe=_UNCHANGED)
    if name == _DEFAULT_NAMESPACE:
        return "%5F" + name[1:]
    if len(name) > MAX_NAMESPACE:
        raise InvalidParameterError(
            f"the namespace {namespace[:40]!r}… is longer than {MAX_NAMESPACE} characters in Pinecone's ASCII",
            value=namespace,
        )
    return name


def namespace_of(name: str) -> str:
    """The namespace that has this name."""
    return "" if name == _DEFAULT_NAMESPACE else unquote(name)


def vector_id(identity: str) -> str:
    """An id as it is where Pinecone takes it, which is ASCII alone; else its hash."""
    if identity.isascii() and not identity.startswith(_HASHED):
        return identity
    return _HASHED + hashlib.sha256(identity.encode()).hexdigest()


def tags_of(embedder_fingerprint: str | None) -> dict[str, str]:
    """The tags of an index that enginebay makes; a long fingerprint takes several.

    Raises:
        InvalidParameterError: the fingerprint does not fit.
    """
    tags = {_MARK: "1"}
    if embedder_fingerprint is None:
        return tags
    text = json.dumps(embedder_fingerprint)
    parts = [text[start : start + _MAX_TAG_VALUE] for start in range(0, len(text), _MAX_TAG_VALUE)]
    if len(parts) > _MAX_EMBEDDER_TAGS:
        raise InvalidParameterError(
            f"the embedder's fingerprint has {len(text)} characters; Pinecone's tags hold "
            f"{_MAX_EMBEDDER_TAGS * _MAX_TAG_VALUE}",
            value=embedder_fingerprint,
        )
    return tags | {f"{_MARK}-embedder-{number:02}": part for number, part in enumerate(parts)}


def is_ours(tags: Mapping[str, str]) -> bool:
    """Whether enginebay made the index."""
    return _MARK in tags


def embedder_of(tags: Mapping[str, str]) -> str | None:
    """The embedder's fingerprint that `tags_of` was given."""
    text = "".join(tags[name] for name in sorted(tags) if name.startswith(f"{_MARK}-embedder-"))
    return str(json.loads(text)) if text else None

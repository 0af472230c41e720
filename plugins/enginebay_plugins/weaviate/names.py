"""Names on the server: Weaviate takes few characters, and tells properties apart without regard to case."""

from __future__ import annotations

import hashlib
import re

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")
_TENANT_LENGTH = 64
_PROPERTY_LENGTH = 230
_ESCAPE = re.compile(rb"_([0-9a-f]{2})")


def escaped(text: str) -> str:
    """The text in lower-case letters, digits and _: each other byte of its UTF-8 becomes _ and two hex digits."""
    return "".join(chr(byte) if byte in _PLAIN else f"_{byte:02x}" for byte in text.encode())


def unescaped(name: str) -> str:
    """The text that `escaped` was given."""
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), name.encode()).decode()


def class_name(prefix: str, collection: str) -> str:
    """What a collection is called on the server."""
    return f"{prefix}_{escaped(collection)}"


def collection_name(prefix: str, name: str) -> str | None:
    """The collection of that name on the server; None when it is none of enginebay's."""
    own, _, rest = name.partition("_")
    return unescaped(rest) if own == prefix and rest else None


def tenant_name(namespace: str) -> str:
    """The tenant of a namespace."""
    return "ns-" + _shortened(escaped(namespace), _TENANT_LENGTH - len("ns-"))


def property_name(kind: str, field: str) -> str:
    """The property that holds a field's values of one kind."""
    return f"{kind}_" + _shortened(escaped(field), _PROPERTY_LENGTH - len(kind) - 1)


def _shortened(name: str, limit: int) -> str:
    """A digest instead of a name that is too long; "__" is in no escaped name, so that no two meet."""
    return name if len(name) <= limit else "__" + hashlib.blake2b(name.encode(), digest_size=24).hexdigest()

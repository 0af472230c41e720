"""Metadata as jsonb, from which each value comes back as it was.

jsonb keeps numbers as decimals, with the zeros after the point: 1 and 1.0 stay apart if a float always has a point. A
float beyond 2**53 is written as the whole number that it stands for, so that it compares exactly with integers.
"""

from __future__ import annotations

import json

from enginebay.interfaces.filters import Metadata, MetadataValue

_WHOLE = 2.0**53
"""From here on every float is a whole number, and its shortest form may stand for another one."""


def metadata_text(metadata: Metadata) -> str:
    """The JSON text of a record's metadata."""
    if not any(isinstance(value, float) and abs(value) >= _WHOLE for value in metadata.values()):
        return json.dumps(metadata)
    return "{" + ", ".join(f"{json.dumps(name)}: {value_text(value)}" for name, value in metadata.items()) + "}"


def value_text(value: MetadataValue) -> str:
    """The JSON text of one value."""
    if isinstance(value, float) and abs(value) >= _WHOLE:
        return f"{int(value)}.0"
    return json.dumps(value)

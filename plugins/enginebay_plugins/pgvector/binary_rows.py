"""Rows in the binary form that PostgreSQL's COPY takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from enginebay.interfaces.vector_store import Record
from enginebay_plugins.pgvector.metadata import metadata_text

_JSONB_VERSION = b"\x01"

Row = tuple[str, str, bytes, str | None, bytes]
"""Namespace, id, metadata, text and vector."""


def copied_rows(records: Sequence[Record], namespace: str) -> Iterator[Row]:
    """The records' rows; those of one call have vectors of one width."""
    vectors = _vectors(records)
    for record, vector in zip(records, vectors, strict=True):
        yield namespace, record.id, _JSONB_VERSION + metadata_text(record.metadata).encode(), record.text, vector


def _vectors(records: Sequence[Record]) -> list[bytes]:
    """The vectors as pgvector sends them: how many numbers, two bytes for later use, big-endian float32."""
    width = len(records[0].vector)
    sent = np.zeros(len(records), dtype=[("width", ">i2"), ("unused", ">i2"), ("numbers", ">f4", (width,))])
    sent["width"] = width
    sent["numbers"] = np.stack([record.vector for record in records])
    return [one.tobytes() for one in sent]

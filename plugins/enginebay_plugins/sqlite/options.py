"""Options of the sqlite store."""

from __future__ import annotations

from pydantic import Field

from enginebay.spec import FrozenModel


class SqliteOptions(FrozenModel):
    """Options of the sqlite store.

    Attributes:
        cache_bytes: memory for vectors that queries have read; the least recently used namespaces go first. A
            namespace larger than this is still held whole while it is the one in use.
        busy_timeout: seconds to wait for another process that writes.
        synchronous: flush each write to the disk, so that it outlives a power failure; without, it outlives the
            end of the process.
    """

    cache_bytes: int = Field(default=2 << 30, ge=0)
    busy_timeout: float = Field(default=60.0, gt=0)
    synchronous: bool = True

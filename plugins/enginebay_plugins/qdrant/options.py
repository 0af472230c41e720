"""Options of the Qdrant store."""

from __future__ import annotations

from pydantic import Field

from enginebay.spec import FrozenModel


class QdrantOptions(FrozenModel):
    """Options of the Qdrant store; all are for a server, an embedded store has none.

    Attributes:
        exact: compare with every record; without, the server's HNSW index is asked, which may miss near records.
        hnsw_ef: candidates looked at by a query; None takes the server's own default.
        indexed_fields: metadata fields that each collection which is created gets payload indexes for, so that filters
            on them are fast.
        timeout: seconds to wait for the server.
        prefer_grpc: talk gRPC, which is faster, on the port `grpc_port`.
    """

    exact: bool = False
    hnsw_ef: int | None = Field(default=None, ge=1)
    indexed_fields: tuple[str, ...] = ()
    timeout: int = Field(default=60, ge=1)
    prefer_grpc: bool = False
    grpc_port: int = Field(default=6334, ge=1, le=65535)

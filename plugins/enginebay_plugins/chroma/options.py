"""Options of the Chroma store."""

from __future__ import annotations

from pydantic import Field

from enginebay.spec import FrozenModel


class ChromaOptions(FrozenModel):
    """Options of the Chroma store.

    The first three are those of HNSW (Malkov and Yashunin, 2016), fixed for a collection when it is made. Chroma's own
    defaults (16, 100, 100) are made for speed; these are made for recall.

    Attributes:
        max_neighbors: links of each record ("M").
        ef_construction: candidates looked at when a record is added.
        ef_search: candidates looked at in a query.
        tenant: on the server.
        database: of the tenant.
        headers: sent to the server with every request.
        timeout: seconds to wait for the server.
    """

    max_neighbors: int = Field(default=32, ge=2, le=512)
    ef_construction: int = Field(default=200, ge=1)
    ef_search: int = Field(default=200, ge=1)
    tenant: str = "default_tenant"
    database: str = "default_database"
    headers: dict[str, str] = {}
    timeout: float = Field(default=60.0, gt=0)

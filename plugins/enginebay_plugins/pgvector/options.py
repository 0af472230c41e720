"""Options of the pgvector store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from enginebay.spec import FrozenModel


class PgvectorOptions(FrozenModel):
    """Options of the pgvector store.

    Attributes:
        schema_name: the PostgreSQL schema that holds the tables; made if need be.
        index: "exact" compares with every record. "hnsw" makes an HNSW index for each collection that is created, and
            may miss near records; vectors of at most 2,000 numbers.
        hnsw_m: links of a record in the index.
        hnsw_ef_construction: candidates looked at when a record is added to the index.
        hnsw_ef_search: candidates looked at by a query; one with a higher limit looks at as many.
        metadata_index: make a GIN index over the metadata of each collection that is created: selective filters are
            fast, writes slower.
        statement_timeout: seconds that one statement may take.
        connect_timeout: seconds to wait for a connection, while the server restarts too.
        pool_size: connections at most.
    """

    schema_name: str = Field(default="enginebay", min_length=1, max_length=63, pattern=r"^[^\x00%]+$")
    index: Literal["exact", "hnsw"] = "exact"
    hnsw_m: int = Field(default=16, ge=2, le=100)
    hnsw_ef_construction: int = Field(default=64, ge=4, le=1000)
    hnsw_ef_search: int = Field(default=100, ge=1, le=1000)
    metadata_index: bool = False
    statement_timeout: float = Field(default=60.0, gt=0)
    connect_timeout: float = Field(default=30.0, ge=2)
    pool_size: int = Field(default=10, ge=1)

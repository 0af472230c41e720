"""Options of the lancedb store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from enginebay.spec import FrozenModel


class LancedbOptions(FrozenModel):
    """Options of the lancedb store.

    Attributes:
        index: "exact" compares with every record. "hnsw" makes an HNSW index over vectors in 8 bits for collections of
            at least `index_from` records, which is brought up to date when the table is tidied, and may miss near
            records; what was written since is compared one by one.
        index_from: records from which an index is made; LanceDB needs 256 at least.
        hnsw_ef_search: candidates looked at by a query; at least four for each hit asked for.
        tidy_every: versions of a table after which small files are joined, indexes brought up to date and old versions
            removed; each write makes one. 0 leaves it to others.
        keep_versions: seconds that old versions are kept for those who still read them.
        storage_options: of object storage, for a url such as s3://bucket/folder; values are never shown.
    """

    index: Literal["exact", "hnsw"] = "exact"
    index_from: int = Field(default=10_000, ge=256)
    hnsw_ef_search: int = Field(default=150, ge=1)
    tidy_every: int = Field(default=100, ge=0)
    keep_versions: float = Field(default=3600.0, ge=1)
    storage_options: dict[str, SecretStr] = {}

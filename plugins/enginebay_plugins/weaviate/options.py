"""Options of the Weaviate store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from enginebay.spec import FrozenModel

Tokenization = Literal["word", "lowercase", "whitespace", "trigram", "gse", "gse_ch", "kagome_ja", "kagome_kr"]


class WeaviateOptions(FrozenModel):
    """Options of the Weaviate store.

    Attributes:
        grpc_port: of the server's gRPC interface, which does all but the schema.
        grpc_host: None means the host of `url`.
        grpc_secure: TLS for gRPC; None means as `url` says.
        timeout: seconds that one query or one message of records may take.
        open_timeout: seconds that the gRPC interface may take to answer when the store is opened.
        retries: how often a call is tried again when the server cannot be reached or is overloaded.
        prefix: of the names of enginebay's collections on the server; others are not touched.
        text_tokenization: how records' texts are cut into words for hybrid search; see Weaviate's documentation.
        replicas: copies of each record, in collections made from here; for clusters.
        consistency_level: how many replicas acknowledge a write and answer a get; None takes the server's default.
        eventual: writes are seen by queries after a while, as in a cluster with replicas, or on a server that indexes
            asynchronously; `wait_until_visible` then waits.
    """

    grpc_port: int = Field(default=50051, ge=1, le=65535)
    grpc_host: str | None = None
    grpc_secure: bool | None = None
    timeout: float = Field(default=60.0, gt=0)
    open_timeout: float = Field(default=10.0, gt=0)
    retries: int = Field(default=3, ge=0)
    prefix: str = Field(default="Enginebay", pattern=r"^[A-Z][A-Za-z0-9]{0,40}$")
    text_tokenization: Tokenization = "word"
    replicas: int = Field(default=1, ge=1)
    consistency_level: Literal["one", "quorum", "all"] | None = None
    eventual: bool = False

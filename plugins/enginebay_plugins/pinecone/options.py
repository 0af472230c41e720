"""Options of the Pinecone store."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from enginebay.spec import FrozenModel


class PineconeOptions(FrozenModel):
    """Options of the Pinecone store. The first five are for collections that are made.

    Attributes:
        cloud: where an index is made.
        region: of the cloud.
        node_type: of dedicated read nodes; None makes an index that is read on demand.
        shards: of dedicated read nodes.
        replicas: of dedicated read nodes.
        timeout: seconds to wait for one answer. Each request that fails for a passing reason (429, 5xx, no connection)
            is tried three times more by the SDK, with exponential back-off and jitter, or when Pinecone says.
        make_timeout: seconds to wait for an index to be made or deleted.
    """

    cloud: Literal["aws", "gcp", "azure"] = "aws"
    region: str = "us-east-1"
    node_type: str | None = None
    shards: int = Field(default=1, ge=1)
    replicas: int = Field(default=1, ge=1)
    timeout: float = Field(default=30.0, gt=0)
    make_timeout: int = Field(default=300, ge=1)

    @property
    def deployment(self) -> dict[str, Any]:
        """Where an index is made, as the API takes it."""
        return {"deployment_type": "managed", "cloud": self.cloud, "region": self.region}

    @property
    def read_capacity(self) -> dict[str, Any]:
        """How it is read, as the API takes it."""
        if self.node_type is None:
            return {"mode": "OnDemand"}
        manual = {"shards": self.shards, "replicas": self.replicas}
        return {"mode": "Dedicated", "dedicated": {"node_type": self.node_type, "scaling": "Manual", "manual": manual}}

"""What a caller needs of an engine."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from enginebay.models.info import ModelInfo
from enginebay.spec import Feature, FrozenModel, Interface

DEFAULT_CONTEXT_LENGTH = 8192
"""Context opened when nobody asks for one, unless the model was trained for less."""


class Workload(StrEnum):
    """What speed means: that of one stream, or that of all together."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


class Converting(StrEnum):
    """Whether a model may be converted for a backend that does not read its format."""

    NEVER = "never"
    IF_NEEDED = "if_needed"
    """Backends that read the model as it is come first, however slow."""
    AUTO = "auto"
    """The fastest comes first, converted or not."""


class Requirement(FrozenModel):
    """What the caller needs.

    Attributes:
        model: facts of the model; None for interfaces without one.
        features: what the engine must be able to do.
        sampling: fields of `SamplingParams` the engine must honour.
        context_length: tokens each sequence must hold; None takes the model's, at most 8192.
        workload: what to rank by.
        streams: sequences decoded together; None means 1 for latency, 32 for throughput.
        backend: only this backend; None means any.
        device: only this device id ("cuda:0") or kind ("cuda"); None means any.
        memory_limit: bytes the engine may take on its device; None means what is available.
        allow_software_devices: accept devices emulated on the CPU.
        conversion: whether the model may be converted.
    """

    interface: Interface = Interface.GENERATOR
    model: ModelInfo | None = None
    features: frozenset[Feature] = frozenset()
    sampling: frozenset[str] = frozenset()
    context_length: int | None = Field(default=None, ge=1)
    workload: Workload = Workload.LATENCY
    streams: int | None = Field(default=None, ge=1)
    backend: str | None = None
    device: str | None = None
    memory_limit: int | None = Field(default=None, ge=1)
    allow_software_devices: bool = False
    conversion: Converting = Converting.IF_NEEDED

    @property
    def wanted_context_length(self) -> int:
        """Tokens each sequence will hold."""
        if self.context_length is not None:
            return self.context_length
        trained = self.model.context_length if self.model else 0
        return min(trained or DEFAULT_CONTEXT_LENGTH, DEFAULT_CONTEXT_LENGTH)

    @property
    def wanted_streams(self) -> int:
        """Sequences decoded together."""
        if self.streams is not None:
            return self.streams
        return 32 if self.workload is Workload.THROUGHPUT else 1

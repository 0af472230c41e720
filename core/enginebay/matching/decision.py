"""The record of a choice: every backend on every device, accepted with an estimate or refused with reasons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from enginebay.matching.requirement import Requirement
from enginebay.models.conversion import Conversion
from enginebay.spec import FrozenModel


class RefusalCode(StrEnum):
    """Why a match was refused."""

    NOT_INSTALLED = "not_installed"
    TOO_OLD = "too_old"
    NO_ENGINE = "no_engine"
    NOT_LOADABLE = "not_loadable"
    BUILD_LACKS_DEVICE = "build_lacks_device"
    NO_DEVICE = "no_device"
    SOFTWARE_DEVICE = "software_device"
    COMPUTE_CAPABILITY = "compute_capability"
    DRIVER = "driver"
    API_VERSION = "api_version"
    SYSTEM = "system"
    FORMAT = "format"
    ARCHITECTURE = "architecture"
    CONTEXT_LENGTH = "context_length"
    FEATURE = "feature"
    PARAMETER = "parameter"
    MEMORY = "memory"
    OTHER_BACKEND_ASKED = "other_backend_asked"
    OTHER_DEVICE_ASKED = "other_device_asked"


INSTALLABLE = frozenset(
    {
        RefusalCode.NOT_INSTALLED,
        RefusalCode.TOO_OLD,
        RefusalCode.NO_ENGINE,
        RefusalCode.NOT_LOADABLE,
        RefusalCode.BUILD_LACKS_DEVICE,
    }
)
"""Refusals that another installation would lift; the hardware itself would do."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a refusal, and what a person can do about it."""

    code: RefusalCode
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Memory in bytes and speed in tokens per second of one backend on one device.

    Attributes:
        weight_bytes: weights, the part on this device.
        kv_cache_bytes: KV cache of all streams at full context, the part on this device.
        overhead_bytes: the backend's fixed cost and its workspace.
        host_bytes: what partial offload leaves in main memory.
        available_bytes: what the device has free, after any limit.
        device_layers, total_layers: layers on the device (fewer than all: partial offload), of all.
        context_length: tokens each stream may hold.
        streams: sequences decoded together.
        tokens_per_second: one stream alone.
        throughput: all streams together.
        bandwidth: bytes per second that decoding reads weights with, efficiency counted in.
        bandwidth_source: where the device's figure comes from.
        source: "estimated", or "measured" on this machine.
        compute: for embedders: FLOP per second, efficiency counted in; 0 for generators.
    """

    weight_bytes: int
    kv_cache_bytes: int
    overhead_bytes: int
    host_bytes: int
    available_bytes: int
    device_layers: int
    total_layers: int
    context_length: int
    streams: int
    tokens_per_second: float
    throughput: float
    bandwidth: float
    bandwidth_source: str
    source: str = "estimated"
    compute: float = 0.0

    @property
    def unit(self) -> str:
        """What `streams` counts."""
        return "text" if self.compute else "stream"

    @property
    def total_bytes(self) -> int:
        """What the engine takes on the device."""
        return self.weight_bytes + self.kv_cache_bytes + self.overhead_bytes


@dataclass(frozen=True, slots=True)
class Match:
    """One backend on one device, judged.

    Attributes:
        device: device id, or "" when the machine has no device of a kind that the backend can use.
        reasons: empty when accepted.
        estimate: None when nothing could be estimated.
        conversion: what must be done to the model first; None when the backend reads it as it is.
    """

    backend: str
    device: str
    device_name: str = ""
    reasons: tuple[Reason, ...] = ()
    estimate: Estimate | None = None
    conversion: Conversion | None = None

    @property
    def accepted(self) -> bool:
        """Nothing speaks against it."""
        return not self.reasons

    @property
    def installable(self) -> bool:
        """Only an installation is missing."""
        return bool(self.reasons) and all(reason.code in INSTALLABLE for reason in self.reasons)

    @property
    def asked_otherwise(self) -> bool:
        """Another backend or device was asked for."""
        asked = (RefusalCode.OTHER_BACKEND_ASKED, RefusalCode.OTHER_DEVICE_ASKED)
        return any(reason.code in asked for reason in self.reasons)


class Decision(FrozenModel):
    """The ranked matches, the chosen one and why. Can be saved, printed and attached to results.

    Attributes:
        machine: name of the hardware profile.
        matches: accepted ones first, fastest first; then installable ones, fastest first; then the refused.
        chosen: the best accepted match, or None.
        best_if_installed: a match that would beat `chosen` if it were installed, or None.
        why: one sentence.
        failures: "backend on device: error" for each match that was tried and did not open.
    """

    requirement: Requirement
    machine: str = ""
    created: datetime
    matches: tuple[Match, ...]
    chosen: Match | None = None
    best_if_installed: Match | None = None
    why: str
    failures: tuple[str, ...] = ()

    @property
    def runner_up(self) -> Match | None:
        """The second best accepted match, or None."""
        accepted = [match for match in self.matches if match.accepted]
        return accepted[1] if len(accepted) > 1 else None


class Availability(FrozenModel):
    """Whether a backend could be opened here, as far as its installation goes.

    Attributes:
        code: None when available, else one of `INSTALLABLE`.
        message, hint: the reason and the way out.
        version: installed version of the backend's main distribution.
    """

    code: RefusalCode | None = None
    message: str = ""
    hint: str | None = None
    version: str | None = None


class Measurement(FrozenModel):
    """Speed that `enginebay bench` measured on this machine; replaces the estimate.

    Attributes:
        model_digest: `ModelInfo.digest` of the model.
        version: version of the backend's main distribution when it was measured.
        streams: sequences decoded together.
        tokens_per_second: per stream at `streams` = 1, else all together.
        ttft: median seconds to the first token.
    """

    backend: str
    device: str
    version: str
    model_digest: str
    streams: int = Field(ge=1)
    tokens_per_second: float = Field(gt=0, allow_inf_nan=False)
    ttft: float = Field(ge=0, allow_inf_nan=False)
    measured: datetime

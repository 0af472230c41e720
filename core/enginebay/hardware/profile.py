"""The hardware profile: everything the matcher knows of a machine, as data that can be saved and sent."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, field_serializer, model_validator

from enginebay.errors import HardwareError
from enginebay.spec import DeviceKind, FrozenModel, RuntimeReport

SCHEMA_VERSION = 1

RUNTIME_PROBE = "runtime "
"""Prefix of the probe's name in a warning about a backend's library that did not load."""


class SystemInfo(FrozenModel):
    """Operating system and interpreter, as `platform` prints them."""

    system: str
    release: str
    machine: str
    python: str
    container: bool = False


class CpuInfo(FrozenModel):
    """The processor.

    Attributes:
        usable_cores: cores this process may keep busy, after affinity and cgroup quota; may be fractional.
        limited_by: what made `usable_cores` smaller than `logical_cores` ("affinity 2 of 8", "cgroup quota 1.5").
        features: instruction sets, lower case, as Linux writes them ("avx2", "avx512f", "asimd").
    """

    vendor: str
    model: str
    architecture: str
    physical_cores: int = Field(ge=1)
    logical_cores: int = Field(ge=1)
    usable_cores: float = Field(gt=0, allow_inf_nan=False)
    limited_by: tuple[str, ...] = ()
    features: frozenset[str] = frozenset()

    @field_serializer("features")
    def _sorted(self, features: frozenset[str]) -> list[str]:
        return sorted(features)


class MemoryInfo(FrozenModel):
    """Main memory, in bytes. `limit` is the cgroup's, None when there is none.

    `available` is what this process may still take: the least of the system's and the cgroup's.
    """

    total: int = Field(gt=0)
    available: int = Field(ge=0)
    limit: int | None = None


class Device(FrozenModel):
    """One thing that can compute.

    Attributes:
        id: "cpu", "cuda:0", "vulkan:1": the kind, and an index where there may be several.
        memory_total: bytes it can address; for the CPU and unified-memory devices, main memory.
        memory_available: bytes free now.
        unified: it shares main memory with the CPU.
        software: it is emulated on the CPU (llvmpipe, SwiftShader): real API, no speed.
        compute_capability: CUDA's, as (major, minor).
        architecture: vendor's code name ("gfx1103", "apple-m3").
        memory_bandwidth: bytes per second that reading memory can reach.
        compute: peak FLOP/s at 16 bits, dense.
        bandwidth_source, compute_source: where those figures come from ("measured", "nvml", "table",
            "assumed").
        physical_id: equal for entries that are one piece of hardware seen through several APIs, None if unknown.
    """

    id: str
    kind: DeviceKind
    name: str
    vendor: str = ""
    memory_total: int = Field(ge=0)
    memory_available: int = Field(ge=0)
    unified: bool = False
    software: bool = False
    compute_capability: tuple[int, int] | None = None
    driver: str | None = None
    api_version: str | None = None
    architecture: str | None = None
    memory_bandwidth: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    bandwidth_source: str = "assumed"
    compute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    compute_source: str = "assumed"
    physical_id: str | None = None


class ProbeWarning(FrozenModel):
    """A probe that could not answer, and why."""

    probe: str
    message: str


class HardwareProfile(FrozenModel):
    """One machine.

    Attributes:
        devices: all devices, the CPU among them.
        warnings: probes that hung, crashed or were refused.
        runtimes: what installed backend libraries report of themselves, by backend name.
        name: a label for people ("RTX 4090 workstation").
    """

    schema_version: int = SCHEMA_VERSION
    name: str = ""
    created: datetime
    system: SystemInfo
    cpu: CpuInfo
    memory: MemoryInfo
    devices: tuple[Device, ...] = Field(min_length=1)
    warnings: tuple[ProbeWarning, ...] = ()
    runtimes: dict[str, RuntimeReport] = {}

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        ids = [device.id for device in self.devices]
        if len(set(ids)) < len(ids):
            raise ValueError(f"two devices have one id: {', '.join(ids)}")
        return self

    def device(self, device_id: str) -> Device | None:
        """The device with that id, or None."""
        return next((device for device in self.devices if device.id == device_id), None)

    @classmethod
    def load(cls, path: Path) -> HardwareProfile:
        """Read a profile that `enginebay probe --json` wrote.

        Raises:
            HardwareError: the file cannot be read, is no profile, or is of another schema version.
        """
        try:
            # PowerShell's ">" writes UTF-16, which json recognises.
            facts = json.loads(path.read_bytes())
            version = facts.get("schema_version", SCHEMA_VERSION) if isinstance(facts, dict) else SCHEMA_VERSION
            if version == SCHEMA_VERSION:
                return cls.model_validate(facts)
        except OSError as error:
            raise HardwareError(f"cannot read {path}: {error.strerror}", value=str(path)) from error
        except (ValueError, RecursionError) as error:
            raise HardwareError(
                f"{path} is no hardware profile: {_first_error(error)}",
                value=str(path),
                hint="make one with: enginebay probe --json > profile.json",
            ) from error
        raise HardwareError(
            f"{path} has schema version {version}, this release reads {SCHEMA_VERSION}",
            value=version,
            hint="probe that machine again with this release",
        )


def _first_error(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"

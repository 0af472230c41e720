"""How long matching takes: 100 specs x 8 devices must stay within 5 ms."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from enginebay import (
    BackendSpec,
    Device,
    DeviceKind,
    DeviceSupport,
    HardwareProfile,
    Interface,
    ModelFormat,
    ModelInfo,
    Requirement,
)
from enginebay.hardware.profile import CpuInfo, MemoryInfo, SystemInfo
from enginebay.matching.decision import Availability, RefusalCode
from enginebay.matching.match import match

LIMIT_MS = 5.0
SPECS, GPUS, ROUNDS = 100, 7, 200


def machine() -> HardwareProfile:
    """A CPU and seven CUDA GPUs."""
    gpus = [
        Device(
            id=f"cuda:{index}", kind=DeviceKind.CUDA, name="some GPU", memory_total=24 << 30, memory_available=20 << 30,
            compute_capability=(8, 9), driver="560.1", memory_bandwidth=1e12, compute=1e14,
        )
        for index in range(GPUS)
    ]  # fmt: skip
    cpu = Device(
        id="cpu", kind=DeviceKind.CPU, name="CPU", memory_total=64 << 30, memory_available=60 << 30, unified=True,
        memory_bandwidth=5e10, compute=1e12,
    )  # fmt: skip
    return HardwareProfile(
        created=datetime.now(UTC),
        system=SystemInfo(system="Linux", release="6", machine="x86_64", python="3.12"),
        cpu=CpuInfo(vendor="", model="CPU", architecture="x86_64", physical_cores=8, logical_cores=8, usable_cores=8),
        memory=MemoryInfo(total=64 << 30, available=60 << 30),
        devices=(cpu, *gpus),
    )


def specs() -> list[BackendSpec]:
    """Backends that each can use every device: the most work there can be."""
    return [
        BackendSpec(
            name=f"backend_{index}",
            interface=Interface.GENERATOR,
            devices=(
                DeviceSupport(kind=DeviceKind.CPU),
                DeviceSupport(kind=DeviceKind.CUDA, min_driver="525.60", min_compute_capability=(7, 0)),
            ),
            formats=frozenset({ModelFormat.GGUF if index % 4 else ModelFormat.MLC}),
            sampling=frozenset({"temperature"}),
        )
        for index in range(SPECS)
    ]


def main() -> None:
    """Measure, print, and exit with 1 over the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    model = ModelInfo(
        reference="m", format=ModelFormat.GGUF, architecture="llama", parameters=8 * 10**9, weight_bytes=5 * 10**9,
        layers=32, kv_heads=8, head_dim=128, vocabulary=128256, context_length=8192,
    )  # fmt: skip
    missing = Availability(code=RefusalCode.NOT_INSTALLED, message="not installed", hint="pip install it")
    availability = {f"backend_{index}": missing for index in range(0, SPECS, 3)}
    requirement, hardware, declared = Requirement(model=model), machine(), specs()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        decision = match(requirement, hardware, declared, availability=availability)
        times.append((time.perf_counter() - started) * 1e3)
    assert len(decision.matches) == SPECS * (GPUS + 1)
    times.sort()
    figures = {"best_ms": times[0], "median_ms": times[len(times) // 2], "limit_ms": LIMIT_MS}
    print(f"{SPECS} specs x {GPUS + 1} devices: best {times[0]:.2f} ms, median {times[len(times) // 2]:.2f} ms")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    sys.exit(times[0] > LIMIT_MS)


if __name__ == "__main__":
    main()

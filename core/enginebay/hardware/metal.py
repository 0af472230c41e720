"""Apple's GPUs, by Metal."""

from __future__ import annotations

import platform
import re
from typing import Any

from enginebay.hardware.cpu import sysctl

BANDWIDTH = {
    "m1": 68e9, "m1 pro": 200e9, "m1 max": 400e9, "m1 ultra": 800e9,
    "m2": 100e9, "m2 pro": 200e9, "m2 max": 400e9, "m2 ultra": 800e9,
    "m3": 100e9, "m3 pro": 150e9, "m3 max": 300e9, "m3 ultra": 819e9,
    "m4": 120e9, "m4 pro": 273e9, "m4 max": 410e9,
    "m5": 153e9,
}  # fmt: skip
"""Bytes per second by chip, from Apple's specifications; of two versions of one chip the slower."""

COMPUTE = {"": 2.6e12, "pro": 5.2e12, "max": 1.04e13, "ultra": 2.1e13}
"""FLOP/s by tier, of the M1 generation (32-bit; Metal's 16-bit rate is the same)."""

WORKING_SET = 0.75
"""Share of main memory that Metal recommends as the most for the GPU (recommendedMaxWorkingSetSize)."""


def metal_devices(memory_total: int, memory_available: int) -> list[dict[str, Any]]:
    """The GPU of an Apple-silicon Mac; none elsewhere. Intel Macs' GPUs are left out: no engine here uses them well."""
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return []
    return [metal_device(sysctl("machdep.cpu.brand_string"), platform.mac_ver()[0], memory_total, memory_available)]


def metal_device(brand: str, macos: str, memory_total: int, memory_available: int) -> dict[str, Any]:
    """The GPU of a chip such as "Apple M3 Max"."""
    chip = brand.removeprefix("Apple ").strip().lower()
    tier = re.sub(r"^m\d+\s*", "", chip)
    room = int(memory_total * WORKING_SET)
    bandwidth = BANDWIDTH.get(chip)
    return {
        "id": "metal:0",
        "kind": "metal",
        "name": brand or "Apple GPU",
        "vendor": "Apple",
        "memory_total": room,
        "memory_available": min(room, memory_available),
        "unified": True,
        "driver": macos or None,
        "architecture": f"apple-{chip.split(' ')[0]}" if chip else None,
        "compute": COMPUTE.get(tier, COMPUTE[""]),
        "compute_source": "table",
        **({"memory_bandwidth": bandwidth, "bandwidth_source": "table"} if bandwidth else {}),
    }

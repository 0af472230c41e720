"""Apple's GPUs, as Metal sees them: known by the chip's name, since Metal itself can only be asked in Objective-C."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping

from enginebay.hardware.findings import Findings, numbered
from enginebay.hardware.sysctl import sysctl

CHIPS = {
    "m1": (68e9, 2.3e12), "m1 pro": (200e9, 4.5e12), "m1 max": (400e9, 7.8e12), "m1 ultra": (800e9, 15.6e12),
    "m2": (100e9, 2.9e12), "m2 pro": (200e9, 5.7e12), "m2 max": (400e9, 10.7e12), "m2 ultra": (800e9, 21.5e12),
    "m3": (100e9, 2.9e12), "m3 pro": (150e9, 5.0e12), "m3 max": (300e9, 10.7e12), "m3 ultra": (819e9, 21.5e12),
    "m4": (120e9, 3.0e12), "m4 pro": (273e9, 6.0e12), "m4 max": (410e9, 12.0e12),
    "m5": (153e9, 3.3e12),
}  # fmt: skip
"""Memory bandwidth in bytes/s and FLOP/s by chip; of the versions of one chip the slowest.

Bandwidth is Apple's figure. FLOP/s are cores x 128 lanes x 2 x clock (about 1.3 GHz for M1, 1.4 for M2 and M3, 1.5 and
more later): 32-bit, which Metal's 16-bit rate equals. The M5's matrix units are not counted.
"""


def metal_devices(memory_total: int) -> Findings:
    """The GPU of an Apple-silicon Mac; none elsewhere. Intel Macs' GPUs are left out: no engine here uses them well.

    Args:
        memory_total: bytes of main memory.
    """
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return {"devices": [], "warnings": []}
    values = sysctl("machdep.cpu.brand_string", "iogpu.wired_limit_mb")
    return metal_device(values, platform.mac_ver()[0], memory_total)


def metal_device(values: Mapping[str, str], macos: str, memory_total: int) -> Findings:
    """The GPU of a chip such as "Apple M3 Max"."""
    brand = values.get("machdep.cpu.brand_string", "")
    named = re.match(r"m\d+( pro| max| ultra)?", brand.removeprefix("Apple ").lower())
    chip = named[0] if named else ""
    room = working_set(memory_total, values.get("iogpu.wired_limit_mb", ""))
    facts = {
        "name": brand or "Apple GPU",
        "vendor": "Apple",
        "memory_total": room,
        "memory_available": room,
        "unified": True,
        "driver": macos or None,
        "architecture": f"apple-{chip.split()[0]}" if chip else None,
    }
    if chip in CHIPS:
        bandwidth, compute = CHIPS[chip]
        facts |= {"memory_bandwidth": bandwidth, "bandwidth_source": "table"}
        facts |= {"compute": compute, "compute_source": "table"}
    return {"devices": numbered("metal", [facts]), "warnings": []}


def working_set(memory_total: int, wired_limit: str = "") -> int:
    """Bytes that the GPU may hold: Metal's recommendation, observed as 2/3 of main memory up to 36 GiB, 3/4 above.

    Args:
        wired_limit: MiB, set by hand in `iogpu.wired_limit_mb`; "0" is not set.
    """
    if wired_limit.isdigit() and int(wired_limit):
        return min(memory_total, int(wired_limit) << 20)
    return memory_total * 2 // 3 if memory_total <= 36 << 30 else memory_total * 3 // 4

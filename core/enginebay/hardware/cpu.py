"""The processor: what it is, and how much of it this process may use."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from enginebay.hardware.cgroup import cpu_quota
from enginebay.hardware.profile import CpuInfo

ASSUMED_CLOCK = 3.0e9
"""Hz; a core's clock under vector load is not told reliably by any system."""

FLOP_PER_CYCLE = (
    (("avx512f",), 64),
    (("avx2", "fma"), 32),
    (("avx",), 16),
    (("asimd",), 16),
    (("neon",), 8),
)
"""16- or 32-bit FLOP of one core in one cycle: two fused multiply-adds of the widest vector, by instruction set."""


def read_cpu(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> CpuInfo:
    """Read the processor and the limits on it."""
    import psutil

    logical = psutil.cpu_count(logical=True) or 1
    physical = psutil.cpu_count(logical=False) or logical
    usable, limited_by = _usable(logical, _affinity(), cpu_quota(proc, cgroups))
    vendor, model, features = _identity(proc)
    return CpuInfo(
        vendor=vendor,
        model=model,
        architecture=platform.machine(),
        physical_cores=min(physical, logical),
        logical_cores=logical,
        usable_cores=usable,
        limited_by=limited_by,
        features=features,
    )


def peak_compute(cpu: CpuInfo) -> float:
    """FLOP/s of the usable cores by `FLOP_PER_CYCLE` at `ASSUMED_CLOCK`: an upper bound, not a measurement."""
    per_cycle = next((flop for needed, flop in FLOP_PER_CYCLE if cpu.features.issuperset(needed)), 4)
    return per_cycle * ASSUMED_CLOCK * cpu.usable_cores


def _affinity() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return None


def _usable(logical: int, affinity: int | None, quota: float | None) -> tuple[float, tuple[str, ...]]:
    usable, reasons = float(logical), []
    if affinity is not None and affinity < logical:
        usable = float(affinity)
        reasons.append(f"affinity {affinity} of {logical}")
    if quota is not None and quota < logical:
        usable = min(usable, quota)
        reasons.append(f"cgroup quota {quota:g}")
    return usable, tuple(reasons)


def _identity(proc: Path) -> tuple[str, str, frozenset[str]]:
    system = platform.system()
    if system == "Linux":
        return parse_cpuinfo(_read(proc / "cpuinfo"))
    if system == "Darwin":
        return _mac()
    return _windows()


def parse_cpuinfo(text: str) -> tuple[str, str, frozenset[str]]:
    """Vendor, model and instruction sets out of Linux's /proc/cpuinfo, of x86 and ARM alike."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    features = frozenset((fields.get("flags") or fields.get("features") or "").lower().split())
    vendor = fields.get("vendor_id") or _ARM_VENDORS.get(fields.get("cpu implementer", ""), "")
    part = f"{vendor} part {fields['cpu part']}".strip() if "cpu part" in fields else ""
    # "Hardware" and "Model" name the board (a Raspberry Pi, say), which tells people more than a part number.
    model = fields.get("model name") or fields.get("model", "" if "flags" in fields else part)
    if not model or model.isdigit():
        model = part or platform.processor()
    return vendor, model, features


_ARM_VENDORS = {
    "0x41": "ARM",
    "0x42": "Broadcom",
    "0x43": "Cavium",
    "0x46": "Fujitsu",
    "0x48": "HiSilicon",
    "0x4e": "NVIDIA",
    "0x50": "Ampere",
    "0x51": "Qualcomm",
    "0x61": "Apple",
    "0xc0": "Ampere",
}


def _mac() -> tuple[str, str, frozenset[str]]:
    model = sysctl("machdep.cpu.brand_string")
    if platform.machine() == "arm64":
        return "Apple", model, frozenset({"asimd", "neon", "fp16"})
    flags = f"{sysctl('machdep.cpu.features')} {sysctl('machdep.cpu.leaf7_features')}".lower()
    return sysctl("machdep.cpu.vendor"), model, frozenset(re.sub(r"avx1\.0", "avx", flags).split())


def sysctl(name: str) -> str:
    """A value of macOS's sysctl; "" when there is none."""
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


# winnt.h, PF_*
_WINDOWS_FEATURES = {
    6: "sse",
    10: "sse2",
    13: "sse3",
    36: "ssse3",
    37: "sse4_1",
    38: "sse4_2",
    39: "avx",
    40: "avx2",
    41: "avx512f",
}


def _windows() -> tuple[str, str, frozenset[str]]:
    import ctypes

    features: set[str] = set()
    kernel = getattr(getattr(ctypes, "windll", None), "kernel32", None)
    if kernel is not None:
        features = {name for code, name in _WINDOWS_FEATURES.items() if kernel.IsProcessorFeaturePresent(code)}
    if "avx2" in features:
        features.add("fma")  # every processor with AVX2 that Windows runs on has it
    if platform.machine().lower() in ("arm64", "aarch64"):
        features.add("asimd")
    model = platform.processor()
    vendor = next((name for name in ("GenuineIntel", "AuthenticAMD", "Qualcomm") if name in model), "")
    return vendor, model, frozenset(features)


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""

"""The processor: what it is, and how much of it this process may use."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from enginebay.hardware.cgroup import cpu_quota
from enginebay.hardware.files import read_number, read_text
from enginebay.hardware.profile import CpuInfo

ASSUMED_CLOCK = 3.0e9
"""Hz, where the system does not tell the highest clock, as virtual machines do not."""

FLOP_PER_CYCLE = (
    (("avx512f",), 64),
    (("avx2", "fma"), 32),
    (("avx",), 16),
    (("asimd",), 16),
    (("neon",), 8),
)
"""16- or 32-bit FLOP of one core in one cycle: two fused multiply-adds of the widest vector, by instruction set."""


class Identity(NamedTuple):
    """Who made the processor, what it is called, and its instruction sets."""

    vendor: str
    model: str
    features: frozenset[str]


def read_cpu(root: Path = Path("/")) -> CpuInfo:
    """Read the processor and the limits on it.

    Args:
        root: folder that stands for / on Linux.
    """
    logical, physical = _cores(root)
    usable, limited_by = usable_cores(logical, _affinity(), cpu_quota(root))
    identity = _identity(root)
    return CpuInfo(
        vendor=identity.vendor,
        model=identity.model,
        architecture=platform.machine(),
        physical_cores=physical,
        logical_cores=logical,
        usable_cores=usable,
        limited_by=limited_by,
        features=identity.features,
    )


def peak_compute(cpu: CpuInfo, root: Path = Path("/")) -> float:
    """FLOP/s of the usable cores by `FLOP_PER_CYCLE` at the highest clock: an upper bound, not a measurement.

    Two threads of one core share its vector units, so no more than the physical cores count.
    """
    per_cycle = next((flop for needed, flop in FLOP_PER_CYCLE if cpu.features.issuperset(needed)), 4)
    kilohertz = read_number(root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    clock = kilohertz * 1e3 if kilohertz else ASSUMED_CLOCK
    return per_cycle * clock * min(cpu.usable_cores, cpu.physical_cores)


def usable_cores(logical: int, affinity: int | None, quota: float | None) -> tuple[float, tuple[str, ...]]:
    """Cores that may be kept busy, and the limits that made them fewer than there are."""
    usable, reasons = float(logical), []
    if affinity is not None and affinity < usable:
        usable = float(affinity)
        reasons.append(f"affinity {affinity} of {logical}")
    if quota is not None and quota < usable:
        usable = quota
        reasons.append(f"cgroup quota {quota:g}")
    return usable, tuple(reasons)


def _cores(root: Path) -> tuple[int, int]:
    """Logical and physical cores."""
    logical = len(re.findall(r"^processor\s*:", read_text(root / "proc/cpuinfo"), re.MULTILINE))
    siblings = {read_text(file) for file in root.glob("sys/devices/system/cpu/cpu[0-9]*/topology/core_cpus_list")}
    physical = len(siblings - {""})
    if not logical or not physical:
        import psutil

        logical = logical or psutil.cpu_count() or 1
        physical = physical or psutil.cpu_count(logical=False) or logical
    return logical, min(physical, logical)


def _affinity() -> int | None:
    """Cores that the scheduler may give to this process; cpusets of control groups are in it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    if platform.system() == "Windows":
        import psutil

        return len(psutil.Process().cpu_affinity())
    return None


def _identity(root: Path) -> Identity:
    system = platform.system()
    if system == "Darwin":
        from enginebay.hardware.sysctl import sysctl

        return parse_sysctl(sysctl("machdep.cpu", "hw.optional"))
    return _windows() if system == "Windows" else parse_cpuinfo(read_text(root / "proc/cpuinfo"))


def parse_cpuinfo(text: str) -> Identity:
    """The processor out of Linux's /proc/cpuinfo, on x86 and ARM alike."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and value.strip():
            fields.setdefault(name.strip().lower(), []).append(value.strip())
    first = {name: values[0] for name, values in fields.items()}
    features = frozenset((first.get("flags") or first.get("features") or "").lower().split())
    if "cpu part" in first:
        return Identity(*_arm(first, fields["cpu part"]), features)
    model = first.get("model name") or first.get("uarch") or first.get("cpu") or platform.processor()
    return Identity(first.get("vendor_id", ""), model, features)


def _arm(first: dict[str, str], parts: Iterable[str]) -> tuple[str, str]:
    """ARM's kernels tell numbers of cores; "Model" is the board, such as a Raspberry Pi."""
    vendor = _ARM_VENDORS.get(first.get("cpu implementer", ""), "ARM")
    cores = [_ARM_CORES.get(part, f"{vendor} part {part}") for part in dict.fromkeys(parts)]
    model, board = " + ".join(cores), first.get("model", "")
    return vendor, f"{model} ({board})" if board else model


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

_ARM_CORES = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd49": "Neoverse-N2",
    "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3",
    "0xd4f": "Neoverse-V2",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd82": "Cortex-X4",
    "0xd84": "Neoverse-V3",
    "0xd85": "Cortex-X925",
    "0xd87": "Cortex-A725",
    "0xd8e": "Neoverse-N3",
}
"""MIDR part numbers of ARM's own cores, as util-linux's lscpu has them."""


def parse_sysctl(values: dict[str, str]) -> Identity:
    """The processor out of macOS's sysctl, with Linux's names for the instruction sets."""
    model = values.get("machdep.cpu.brand_string", "")
    if model.startswith("Apple"):
        present = {linux for apple, linux in _APPLE_FEATURES.items() if values.get(f"hw.optional.{apple}") == "1"}
        return Identity("Apple", model, frozenset({"asimd", *present}))
    flags = f"{values.get('machdep.cpu.features', '')} {values.get('machdep.cpu.leaf7_features', '')}".lower()
    features = {_INTEL_NAMES.get(flag, flag.replace(".", "_")) for flag in flags.split()}
    return Identity(values.get("machdep.cpu.vendor", ""), model, frozenset(features))


_APPLE_FEATURES = {
    "arm.FEAT_FP16": "asimdhp",
    "arm.FEAT_DotProd": "asimddp",
    "arm.FEAT_I8MM": "i8mm",
    "arm.FEAT_BF16": "bf16",
    "arm.FEAT_SME": "sme",
    "arm.FEAT_SME2": "sme2",
}
_INTEL_NAMES = {"avx1.0": "avx"}


# winnt.h, PF_*
_WINDOWS_FEATURES = {
    6: "sse",
    10: "sse2",
    13: "sse3",
    19: "asimd",
    36: "ssse3",
    37: "sse4_1",
    38: "sse4_2",
    39: "avx",
    40: "avx2",
    41: "avx512f",
    43: "asimddp",
}


def _windows() -> Identity:
    import ctypes

    kernel = getattr(getattr(ctypes, "windll", None), "kernel32", None)
    features: set[str] = set()
    if kernel is not None:
        features = {name for code, name in _WINDOWS_FEATURES.items() if kernel.IsProcessorFeaturePresent(code)}
    if "avx2" in features:
        features.add("fma")  # every processor with AVX2 that Windows runs on has it
    described = platform.processor()  # "Intel64 Family 6 Model 158 Stepping 10, GenuineIntel"
    return Identity(described.rpartition(", ")[2], _windows_name() or described, frozenset(features))


def _windows_name() -> str:
    """The name that people know, from the registry."""
    try:
        import winreg

        key = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as processor:  # type: ignore[attr-defined, unused-ignore]
            name = winreg.QueryValueEx(processor, "ProcessorNameString")[0]  # type: ignore[attr-defined, unused-ignore]
    except (ImportError, OSError):
        return ""
    return str(name).strip()

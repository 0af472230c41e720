"""Main memory: how much there is, and how much this process may still take."""

from __future__ import annotations

from pathlib import Path

from enginebay.hardware.cgroup import memory_room
from enginebay.hardware.files import read_text, whole
from enginebay.hardware.profile import MemoryInfo


def read_memory(root: Path = Path("/")) -> MemoryInfo:
    """Read main memory; `available` is the least of the system's and the control group's.

    Args:
        root: folder that stands for /.
    """
    total, available = _meminfo(root) or _by_psutil()
    room = memory_room(root)
    if room is None or room.limit >= total:
        return MemoryInfo(total=total, available=available)
    return MemoryInfo(total=total, available=min(available, room.free), limit=room.limit)


def _meminfo(root: Path) -> tuple[int, int] | None:
    """Total and available bytes out of Linux's /proc/meminfo."""
    facts = dict(line.split(":", 1) for line in read_text(root / "proc/meminfo").splitlines() if ":" in line)
    kilobytes = [whole(facts.get(name, "").removesuffix("kB").strip()) for name in ("MemTotal", "MemAvailable")]
    total, available = kilobytes
    return (total << 10, available << 10) if total and available is not None else None


def _by_psutil() -> tuple[int, int]:
    import psutil

    system = psutil.virtual_memory()
    return system.total, system.available

"""Main memory: how much there is, and how much this process may still take."""

from __future__ import annotations

from pathlib import Path

from enginebay.hardware.cgroup import memory_room
from enginebay.hardware.profile import MemoryInfo


def read_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> MemoryInfo:
    """Read main memory; `available` is the least of the system's and the control group's."""
    import psutil

    system = psutil.virtual_memory()
    room = memory_room(proc, cgroups)
    if room is None or room.limit >= system.total:
        return MemoryInfo(total=system.total, available=system.available)
    return MemoryInfo(total=system.total, available=min(system.available, room.free), limit=room.limit)

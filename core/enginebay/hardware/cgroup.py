"""Limits that Linux control groups put on this process, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NO_LIMIT = 1 << 60
"""Version 1 writes "no limit" as a number near 2**63."""


@dataclass(frozen=True, slots=True)
class MemoryRoom:
    """Memory limit of a group in bytes, and how much of it is still free."""

    limit: int
    free: int


def cpu_quota(proc: Path = Path("/proc"), mount: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores that the CPU quota allows, the least of this group's and its ancestors'; None when there is none."""
    quotas = [*_quotas_v2(proc, mount), *_quotas_v1(proc, mount)]
    return min(quotas, default=None)


def memory_room(proc: Path = Path("/proc"), mount: Path = Path("/sys/fs/cgroup")) -> MemoryRoom | None:
    """The tightest memory limit of this group and its ancestors; None when there is none."""
    rooms = [*_memory_v2(proc, mount), *_memory_v1(proc, mount)]
    if not rooms:
        return None
    return MemoryRoom(min(room.limit for room in rooms), min(room.free for room in rooms))


def _quotas_v2(proc: Path, mount: Path) -> Iterator[float]:
    for folder in _folders(_path(proc, ""), mount, "cgroup.controllers"):
        words = _read(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            yield int(words[0]) / int(words[1])


def _quotas_v1(proc: Path, mount: Path) -> Iterator[float]:
    for folder in _folders(_path(proc, "cpu"), mount / "cpu", "cpu.cfs_quota_us"):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and period and quota > 0:
            yield quota / period


def _memory_v2(proc: Path, mount: Path) -> Iterator[MemoryRoom]:
    """`memory.high` counts too: beyond it a process is not killed, but throttled almost to a halt."""
    for folder in _folders(_path(proc, ""), mount, "cgroup.controllers"):
        for name in ("memory.max", "memory.high"):
            limit = _number(folder / name)
            if limit is not None:
                yield _room(limit, _number(folder / "memory.current") or 0, folder / "memory.stat", "inactive_file")


def _memory_v1(proc: Path, mount: Path) -> Iterator[MemoryRoom]:
    for folder in _folders(_path(proc, "memory"), mount / "memory", "memory.limit_in_bytes"):
        limit = _number(folder / "memory.limit_in_bytes")
        if limit is not None and limit < _NO_LIMIT:
            used = _number(folder / "memory.usage_in_bytes") or 0
            yield _room(limit, used, folder / "memory.stat", "total_inactive_file")


def _room(limit: int, used: int, stat: Path, reclaimable: str) -> MemoryRoom:
    """Pages of inactive files are given back under pressure, so they do not count as used."""
    cached = 0
    for line in _read(stat).splitlines():
        name, _, value = line.partition(" ")
        if name == reclaimable and value.strip().isdigit():
            cached = int(value)
    return MemoryRoom(limit, max(0, min(limit, limit - used + cached)))


def _path(proc: Path, controller: str) -> str | None:
    """This process's group for a version 1 controller, or for version 2 with ""; None when it has none."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (controller == "" and hierarchy == "0" and not controllers) or (
            controller and controller in controllers.split(",")
        ):
            return path
    return None


def _folders(path: str | None, mount: Path, marker: str) -> Iterator[Path]:
    """The group's folder and its ancestors'. In a container the path may be the host's: then the mount is the group."""
    if path is None or not mount.is_dir():
        return
    folder = mount / path.strip("/")
    if ".." in path or not folder.is_dir():
        folder = mount
    while True:
        if (folder / marker).exists() or folder == mount:
            yield folder
        if folder == mount:
            return
        folder = folder.parent


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    text = _read(file).strip()
    return int(text) if text.lstrip("-").isdigit() else None

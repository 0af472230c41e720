"""Limits that Linux control groups put on this process: versions 1 and 2, and both side by side.

A group's limit holds for all groups below it, so the least of a group's and its ancestors' is what counts. Where
the hierarchies lie is read from /proc/self/mountinfo, where this process is in them from /proc/self/cgroup.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from enginebay.hardware.files import read_number, read_text, whole

_NO_LIMIT = 1 << 60
"""Version 1 writes "no limit" as a number near 2**63."""


@dataclass(frozen=True, slots=True)
class MemoryRoom:
    """Memory limit of a group in bytes, and how much of it is still free."""

    limit: int
    free: int


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted hierarchy: its options, controllers among them (none for version 2), and the group at its top."""

    options: frozenset[str]
    top: str
    point: Path


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores that the CPU quota allows; None when there is none.

    Args:
        root: folder that stands for /.
    """
    return min((quota for folder in _groups(root, "cpu") for quota in _quotas(folder)), default=None)


def memory_room(root: Path = Path("/")) -> MemoryRoom | None:
    """The tightest memory limit; None when there is none.

    `memory.high` counts as a limit: beyond it a process is not killed, but slowed down almost to a halt.
    """
    rooms = [room for folder in _groups(root, "memory") for room in _rooms(folder)]
    if not rooms:
        return None
    return MemoryRoom(min(room.limit for room in rooms), min(room.free for room in rooms))


def _quotas(folder: Path) -> Iterator[float]:
    in_version_2 = read_text(folder / "cpu.max").split()
    in_version_1 = [read_text(folder / "cpu.cfs_quota_us"), read_text(folder / "cpu.cfs_period_us")]
    for words in (in_version_2, in_version_1):
        quota, period = (whole(word) for word in words) if len(words) == 2 else (None, None)
        if quota and period and quota > 0:  # "max" and -1 are no quota
            yield quota / period


def _rooms(folder: Path) -> Iterator[MemoryRoom]:
    stat = dict(line.split(" ", 1) for line in read_text(folder / "memory.stat").splitlines() if " " in line)
    # Pages of inactive files are given back under pressure, so they do not count as used.
    used = (read_number(folder / "memory.current") or 0) - (whole(stat.get("inactive_file", "")) or 0)
    for name in ("memory.max", "memory.high"):
        yield from _room(read_number(folder / name), used)
    used = (read_number(folder / "memory.usage_in_bytes") or 0) - (whole(stat.get("total_inactive_file", "")) or 0)
    yield from _room(read_number(folder / "memory.limit_in_bytes"), used)
    # Version 1 tells the least limit of the ancestors, which a container cannot see otherwise.
    yield from _room(whole(stat.get("hierarchical_memory_limit", "")), used)


def _room(limit: int | None, used: int) -> Iterator[MemoryRoom]:
    if limit is not None and 0 <= limit < _NO_LIMIT:
        yield MemoryRoom(limit, max(0, limit - max(0, used)))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's group and its ancestors, in each hierarchy that may limit `controller`."""
    mounts = list(_mounts(root))
    for line in read_text(root / "proc/self/cgroup").splitlines():
        names, _, path = line.partition(":")[2].partition(":")
        if names and controller not in names.split(","):
            continue
        for mount in mounts:
            if mount.options.issuperset(names.split(",")) if names else not mount.options:
                yield from _upwards(_folder(mount, path), mount.point)


def _mounts(root: Path) -> Iterator[_Mount]:
    """The lines of mountinfo (proc_pid_mountinfo(5)): fifth the mount point, after " - " type, source and options."""
    for line in read_text(root / "proc/self/mountinfo").splitlines():
        place, _, kind = line.partition(" - ")
        fields, kinds = place.split(), kind.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] not in ("cgroup", "cgroup2"):
            continue
        options = frozenset(kinds[2].split(",")) if kinds[0] == "cgroup" else frozenset()
        yield _Mount(options, top=fields[3], point=root / fields[4].lstrip("/"))


def _folder(mount: _Mount, path: str) -> Path:
    """In a container the path may be the host's, or lead out of what is mounted: then the mount is the group."""
    group = PurePosixPath(path)
    if ".." not in group.parts and group.is_relative_to(mount.top):
        folder = mount.point / group.relative_to(mount.top)
        if folder.is_dir():
            return folder
    return mount.point


def _upwards(folder: Path, top: Path) -> Iterator[Path]:
    yield folder
    while folder != top:
        folder = folder.parent
        yield folder

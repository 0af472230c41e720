"""Processor, memory and the limits on them, from written trees that stand for /, and from real limits on a child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from enginebay.hardware.cgroup import MemoryRoom, cpu_quota, memory_room
from enginebay.hardware.cpu import parse_cpuinfo, peak_compute, read_cpu, usable_cores
from enginebay.hardware.memory import read_memory

GIB = 1 << 30
V2_MOUNT = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    """Files under a folder that stands for /."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def version_2(root: Path, path: str, groups: dict[str, dict[str, str]]) -> Path:
    files = {"proc/self/mountinfo": V2_MOUNT, "proc/self/cgroup": f"0::{path}\n"}
    for group, limits in groups.items():
        files |= {f"sys/fs/cgroup/{group}/{name}": text for name, text in limits.items()}
    return tree(root, files)


def test_no_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert memory_room(tmp_path) is None


def test_version_2_takes_the_least_of_the_ancestors(tmp_path: Path) -> None:
    inner = {"cpu.max": "400000 100000", "memory.max": "max", "memory.current": "0"}
    outer = {"cpu.max": "150000 100000", "memory.max": str(2 * GIB), "memory.current": str(GIB)}
    root = version_2(tmp_path, "/outer/inner", {"outer/inner": inner, "outer": outer})
    assert cpu_quota(root) == 1.5
    assert memory_room(root) == MemoryRoom(2 * GIB, GIB)


def test_inactive_file_pages_count_as_free_and_high_as_a_limit(tmp_path: Path) -> None:
    limits = {
        "memory.max": str(4 * GIB),
        "memory.high": str(3 * GIB),
        "memory.current": str(2 * GIB),
        "memory.stat": f"anon 1\ninactive_file {GIB}\n",
    }
    assert memory_room(version_2(tmp_path, "/g", {"g": limits})) == MemoryRoom(3 * GIB, 2 * GIB)


def test_a_containers_own_view(tmp_path: Path) -> None:
    """The path is the host's and does not exist here: the mount itself is the group."""
    limits = {"cpu.max": "50000 100000", "memory.max": str(GIB), "memory.current": "0"}
    root = version_2(tmp_path, "/kubepods/pod1/abc", {".": limits})
    assert cpu_quota(root) == 0.5
    assert memory_room(root) == MemoryRoom(GIB, GIB)


def test_version_1(tmp_path: Path) -> None:
    mounts = (
        "31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    )
    root = tree(
        tmp_path,
        {
            "proc/self/mountinfo": mounts,
            "proc/self/cgroup": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "250000",
            "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": str(GIB),
            "sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes": str(GIB // 2),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    assert cpu_quota(root) == 2.5
    assert memory_room(root) == MemoryRoom(GIB, GIB // 2)


@pytest.mark.parametrize("text", ["", "max 100000", "0 100000", "x y", "100000", "-5 100000", "100000 0"])
def test_senseless_quotas_are_none(tmp_path: Path, text: str) -> None:
    assert cpu_quota(version_2(tmp_path, "/g", {"g": {"cpu.max": text}})) is None


def test_memory_is_the_least_of_system_and_group(tmp_path: Path) -> None:
    tree(tmp_path, {"proc/meminfo": "MemTotal:  8388608 kB\nMemAvailable: 4194304 kB\n"})
    assert read_memory(tmp_path).available == 4 * GIB
    limited = read_memory(version_2(tmp_path, "/g", {"g": {"memory.max": str(2 * GIB), "memory.current": "0"}}))
    assert (limited.total, limited.limit, limited.available) == (8 * GIB, 2 * GIB, 2 * GIB)


def test_usable_cores_say_what_limits_them() -> None:
    assert usable_cores(8, None, None) == (8.0, ())
    assert usable_cores(8, 4, None) == (4.0, ("affinity 4 of 8",))
    assert usable_cores(8, 4, 1.5) == (1.5, ("affinity 4 of 8", "cgroup quota 1.5"))
    assert usable_cores(8, 8, 16.0) == (8.0, ())


INTEL = (
    "processor : 0\nvendor_id : GenuineIntel\nmodel : 143\nmodel name : Intel(R) Xeon(R) 8480+\n"
    "flags : fpu avx2 fma avx512f\n"
)
PI = (
    "processor : 0\nFeatures : fp asimd evtstrm aes\nCPU implementer : 0x41\nCPU part : 0xd0b\n\n"
    "Model : Raspberry Pi 5 Model B Rev 1.0\n"
)
ARM_SERVER = "processor : 0\nFeatures : fp asimd sve\nCPU implementer : 0x41\nCPU part : 0xd4f\n"


@pytest.mark.parametrize(
    ("text", "vendor", "model", "feature"),
    [
        (INTEL, "GenuineIntel", "Intel(R) Xeon(R) 8480+", "avx512f"),
        (PI, "ARM", "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)", "asimd"),
        (ARM_SERVER, "ARM", "Neoverse-V2", "sve"),
    ],
)
def test_processors(text: str, vendor: str, model: str, feature: str) -> None:
    identity = parse_cpuinfo(text)
    assert (identity.vendor, identity.model) == (vendor, model)
    assert feature in identity.features


def test_wider_vectors_compute_more() -> None:
    cpu = read_cpu()
    wide = cpu.model_copy(update={"features": frozenset({"avx512f"})})
    narrow = cpu.model_copy(update={"features": frozenset({"avx2", "fma"})})
    assert peak_compute(wide) == 2 * peak_compute(narrow) > 0


def cores_in_child(prepare: str) -> tuple[float, list[str]]:
    script = (
        f"import os, json\n{prepare}\nfrom enginebay.hardware.cpu import read_cpu\n"
        "cpu = read_cpu(); print(json.dumps([cpu.usable_cores, list(cpu.limited_by)]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    usable, limits = json.loads(done.stdout)
    return usable, limits


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2, reason="needs two cores and Linux"
)
def test_a_real_affinity() -> None:
    core = min(os.sched_getaffinity(0))
    usable, limits = cores_in_child(f"os.sched_setaffinity(0, {{{core}}})")
    assert usable <= 1
    assert limits[0].startswith("affinity 1 of ")

"""Processor, memory and the limits on them, from written trees that stand for /, and from real limits on a child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay.hardware import sysctl
from enginebay.hardware.bandwidth import cache_bytes, read_bandwidth
from enginebay.hardware.cgroup import MemoryRoom, cpu_quota, memory_room
from enginebay.hardware.cpu import parse_cpuinfo, parse_sysctl, peak_compute, read_cpu, usable_cores
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


def test_a_container_on_version_1_sees_its_own_group_and_is_told_of_its_ancestors(tmp_path: Path) -> None:
    """Docker mounts the container's group alone, and the limit of the pod above it stands in memory.stat only."""
    stat = f"hierarchical_memory_limit {2 * GIB}\ntotal_inactive_file {GIB // 2}\n"
    root = tree(
        tmp_path,
        {
            "proc/self/mountinfo": "32 24 0:28 /docker/x /sys/fs/cgroup/memory ro master:1 - cgroup cgroup rw,memory\n",
            "proc/self/cgroup": "4:memory:/docker/x\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(4 * GIB),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
            "sys/fs/cgroup/memory/memory.stat": stat,
        },
    )
    assert memory_room(root) == MemoryRoom(2 * GIB, 2 * GIB - GIB // 2)


def test_both_versions_side_by_side(tmp_path: Path) -> None:
    """systemd's hybrid layout: the CPU controller in version 1, memory in version 2."""
    mounts = (
        "31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n"
        "32 24 0:28 / /sys/fs/cgroup/systemd rw shared:4 - cgroup cgroup rw,xattr,name=systemd\n"
        "33 24 0:29 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    root = tree(
        tmp_path,
        {
            "proc/self/mountinfo": mounts,
            "proc/self/cgroup": "2:cpuacct,cpu:/job\n1:name=systemd:/job\n0::/job\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/unified/job/memory.max": str(GIB),
            "sys/fs/cgroup/unified/job/memory.current": str(GIB // 4),
        },
    )
    assert cpu_quota(root) == 0.5
    assert memory_room(root) == MemoryRoom(GIB, GIB * 3 // 4)


@pytest.mark.parametrize("path", ["/../other", "/../../kubepods/x"])
def test_a_group_outside_of_what_is_mounted(tmp_path: Path, path: str) -> None:
    """Such paths are seen from another control group namespace; they must not lead out of the mount."""
    tree(tmp_path, {"sys/fs/other/cpu.max": "1 100000"})
    root = version_2(tmp_path, path, {".": {"cpu.max": "75000 100000"}})
    assert cpu_quota(root) == 0.75


@given(texts=st.tuples(*[st.text(max_size=40)] * 4))
def test_nothing_in_these_files_is_an_error(texts: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / "any_groups"
    names = ("cpu.max", "memory.max", "memory.current", "memory.stat")
    for name, text in zip(names, texts, strict=True):
        file = version_2(root, "/g", {"g": {}}) / "sys/fs/cgroup/g" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    quota, room = cpu_quota(root), memory_room(root)
    assert quota is None or quota > 0
    assert room is None or 0 <= room.free <= room.limit
    for name, text in zip(("mountinfo", "cgroup", "meminfo"), texts, strict=False):
        (root / "proc/self" / name).write_text(text, encoding="utf-8")
    cpu_quota(root)
    memory_room(root)


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
AMD = (
    "processor : 0\nvendor_id : AuthenticAMD\ncpu family : 25\nmodel : 97\n"
    "model name : AMD Ryzen 9 7950X 16-Core Processor\nflags : fpu avx2 fma avx512f avx512_bf16\n"
)
ROCK = (
    "processor : 0\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU part : 0xd05\n\n"
    "processor : 1\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU part : 0xd0b\n"
)
UNKNOWN_ARM = "processor : 0\nFeatures : fp asimd\nCPU implementer : 0xc0\nCPU part : 0xac3\n"
ARM_SERVER = "processor : 0\nFeatures : fp asimd sve\nCPU implementer : 0x41\nCPU part : 0xd4f\n"


@pytest.mark.parametrize(
    ("text", "vendor", "model", "feature"),
    [
        (INTEL, "GenuineIntel", "Intel(R) Xeon(R) 8480+", "avx512f"),
        (PI, "ARM", "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)", "asimd"),
        (AMD, "AuthenticAMD", "AMD Ryzen 9 7950X 16-Core Processor", "avx512_bf16"),
        (ROCK, "ARM", "Cortex-A55 + Cortex-A76", "asimd"),
        (UNKNOWN_ARM, "Ampere", "Ampere part 0xac3", "asimd"),
        (ARM_SERVER, "ARM", "Neoverse-V2", "sve"),
    ],
)
def test_processors(text: str, vendor: str, model: str, feature: str) -> None:
    identity = parse_cpuinfo(text)
    assert (identity.vendor, identity.model) == (vendor, model)
    assert feature in identity.features


def test_a_mac_with_apples_chip() -> None:
    text = "machdep.cpu.brand_string: Apple M2 Pro\nhw.optional.arm.FEAT_I8MM: 1\nhw.optional.arm.FEAT_SME: 0\n"
    identity = parse_sysctl(sysctl.parse(text))
    assert (identity.vendor, identity.model) == ("Apple", "Apple M2 Pro")
    assert identity.features == {"asimd", "i8mm"}


def test_a_mac_with_intels_chip() -> None:
    text = (
        "machdep.cpu.vendor: GenuineIntel\nmachdep.cpu.brand_string: Intel(R) Core(TM) i7-8850H CPU @ 2.60GHz\n"
        "machdep.cpu.features: FPU SSE4.2 FMA AVX1.0\nmachdep.cpu.leaf7_features: AVX2 BMI2\n"
    )
    identity = parse_sysctl(sysctl.parse(text))
    assert identity.vendor == "GenuineIntel"
    assert identity.features >= {"avx", "avx2", "fma", "sse4_2"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's files")
def test_two_threads_of_a_core_are_one_physical_core(tmp_path: Path) -> None:
    cores = {f"sys/devices/system/cpu/cpu{n}/topology/core_cpus_list": f"{n % 2},{n % 2 + 2}" for n in range(4)}
    clock = {"sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000"}
    cpu = read_cpu(tree(tmp_path, {"proc/cpuinfo": AMD * 4, **cores, **clock}))
    assert (cpu.physical_cores, cpu.logical_cores) == (2, 4)
    unlimited = cpu.model_copy(update={"usable_cores": 4.0, "features": frozenset({"asimd"})})
    assert peak_compute(unlimited, tmp_path) == 2 * 2.4e9 * 16, "threads of one core share its vector units"


def test_caches_that_cores_share_count_once(tmp_path: Path) -> None:
    caches = {}
    for core in range(4):
        folder = f"sys/devices/system/cpu/cpu{core}/cache/index3"
        caches |= {f"{folder}/size": "32768K", f"{folder}/shared_cpu_list": "0-1" if core < 2 else "2-3"}
    assert cache_bytes(tree(tmp_path, caches)) == 2 * 32 << 20
    assert cache_bytes(tmp_path / "none") == 0


def test_bandwidth_needs_room_and_is_plausible() -> None:
    assert read_bandwidth(2, available=1 << 20) is None
    measured = read_bandwidth(1.0, available=2 * GIB)
    assert measured is not None
    assert 1e8 < measured < 1e13


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


def groups_in_child(groups: list[Path]) -> dict[str, Any]:
    """What the readers say in a child that has put itself into control groups."""
    script = (
        "import json, os, sys\n"
        "for group in sys.argv[1:]: open(group + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "from enginebay.hardware.cpu import read_cpu\nfrom enginebay.hardware.memory import read_memory\n"
        "cpu, memory = read_cpu(), read_memory()\n"
        "print(json.dumps([cpu.usable_cores, list(cpu.limited_by), memory.limit, memory.available]))"
    )
    done = subprocess.run([sys.executable, "-c", script, *map(str, groups)], capture_output=True, text=True, check=True)
    names = ("usable", "limited_by", "limit", "available")
    return dict(zip(names, json.loads(done.stdout), strict=True))


@pytest.fixture
def new_groups() -> Iterator[Callable[[str, dict[str, str]], Path]]:
    """A function that makes a real control group with limits; skips where this is not allowed."""
    made: list[Path] = []

    def make(parent: str, limits: dict[str, str]) -> Path:
        group = Path("/sys/fs/cgroup") / parent / f"enginebay_test_{os.getpid()}"
        if not (group.parent / "cgroup.procs").exists():
            pytest.skip(f"{group.parent} is no control group")
        try:
            group.mkdir()
            made.append(group)
            for name, value in limits.items():
                (group / name).write_text(value)
        except OSError as error:
            pytest.skip(f"no control group with {', '.join(limits)} can be made here: {error.strerror}")
        return group

    yield make
    for group in made:
        group.rmdir()


def test_real_limits_of_version_1(new_groups: Callable[[str, dict[str, str]], Path]) -> None:
    cpu = new_groups("cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"})
    memory = new_groups("memory", {"memory.limit_in_bytes": str(GIB)})
    seen = groups_in_child([cpu, memory])
    assert seen["usable"] == 0.5
    assert "cgroup quota 0.5" in seen["limited_by"]
    assert seen["limit"] == GIB
    assert 0 < seen["available"] <= GIB


def test_real_limits_of_version_2(new_groups: Callable[[str, dict[str, str]], Path]) -> None:
    group = new_groups("", {"cpu.max": "50000 100000", "memory.max": str(GIB)})
    seen = groups_in_child([group])
    assert seen["usable"] == 0.5
    assert "cgroup quota 0.5" in seen["limited_by"]
    assert seen["limit"] == GIB
    assert 0 < seen["available"] <= GIB

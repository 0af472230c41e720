"""The probe: reads the machine, natively only in child processes, and keeps the answer for a while."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from enginebay import paths
from enginebay._version import __version__
from enginebay.errors import HardwareError
from enginebay.hardware.bandwidth import read_bandwidth
from enginebay.hardware.cpu import peak_compute, read_cpu
from enginebay.hardware.files import read_text
from enginebay.hardware.findings import Findings
from enginebay.hardware.isolate import run_isolated
from enginebay.hardware.memory import read_memory
from enginebay.hardware.metal import metal_devices
from enginebay.hardware.profile import (
    RUNTIME_PROBE,
    CpuInfo,
    Device,
    HardwareProfile,
    MemoryInfo,
    ProbeWarning,
    SystemInfo,
)
from enginebay.hardware.rocm import rocm_devices
from enginebay.spec import DeviceKind, RuntimeReport

CUDA = "enginebay.hardware.cuda:cuda_devices"
VULKAN = "enginebay.hardware.vulkan:vulkan_devices"
WEBGPU = "enginebay.hardware.webgpu:webgpu_devices"

CHILDREN = 4
"""Child processes at a time: more would wait for one another's imports."""

CHECK_PATIENCE = 3
"""How much longer than a native probe a backend's check may take: it imports a large library."""

WARNED_EXPIRY = 300.0
"""Seconds a profile with warnings is kept at most: what failed may be mended meanwhile."""

FORGOTTEN = 30 * 86400.0
"""Seconds after which a kept profile of another situation is deleted."""

VISIBILITY = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "HSA_OVERRIDE_GFX_VERSION",
    "VK_DRIVER_FILES",
    "VK_ADD_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_LOADER_DRIVERS_SELECT",
    "VK_LOADER_DRIVERS_DISABLE",
    "MESA_VK_DEVICE_SELECT",
    "GGML_VK_VISIBLE_DEVICES",
)
"""Variables by which users choose devices and drivers."""


def probe(
    *,
    refresh: bool = False,
    checks: Mapping[str, str] | None = None,
    device_hooks: Sequence[str] = (),
    expiry: float = 3600.0,
    timeout: float = 10.0,
    key: str = "",
) -> HardwareProfile:
    """This machine's profile.

    It is kept in the cache folder, one with warnings for `WARNED_EXPIRY` at most. Free memory is read afresh on every
    call: main memory, and that of CUDA and ROCm GPUs; other GPUs' is as old as the profile.

    Args:
        refresh: probe anew even if the kept profile is still good.
        checks: by backend name, the import string of a function that reports on its library (`BackendSpec.check`).
        device_hooks: modules of plugins that implement `probe_devices`.
        expiry: seconds a kept profile stays good.
        timeout: seconds a native probe may take; a backend's check may take three times as long.
        key: whatever else the answer depends on, such as versions of the checked libraries.
    """
    checks = checks or {}
    cpu, memory = read_cpu(), read_memory()
    file = paths.cache_dir() / "probe" / f"{_cache_key(cpu, memory, checks, device_hooks, key)}.json"
    kept = None if refresh else _kept(file, expiry)
    if kept is not None:
        return _with_free_memory(kept, memory, timeout)
    profile = _probe(cpu, memory, checks, device_hooks, timeout)
    _keep(file, profile)
    return profile


def call_hook(module: str, profile: str) -> list[Any]:
    """In a child: a plugin module's `probe_devices` on a profile as JSON. Like any hook it may leave arguments out."""
    from importlib import import_module
    from inspect import signature

    hook = import_module(module).probe_devices
    known = {"profile": HardwareProfile.model_validate_json(profile)} if signature(hook).parameters else {}
    return list(hook(**known))


class _Asking:
    """Asks probes, and gathers the warnings of those that cannot answer."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.warnings: list[ProbeWarning] = []

    def warn(self, probe: str, message: str) -> None:
        self.warnings.append(ProbeWarning(probe=probe, message=message))

    def children(self, tasks: Mapping[str, tuple[Any, ...]], *, patience: float = 1.0) -> dict[str, Any]:
        """Answers by probe; each task is a target and its arguments, and runs in a child process."""
        with ThreadPoolExecutor(CHILDREN) as pool:
            running = {
                probe: pool.submit(run_isolated, *task, timeout=self.timeout * patience)
                for probe, task in tasks.items()
            }
        answers = {}
        for probe, answer in running.items():
            try:
                answers[probe] = answer.result()
            except HardwareError as error:
                self.warn(probe, error.message)
        return answers

    def here(self, probe: str, question: Callable[[], Findings]) -> dict[str, Any]:
        """The answer of a probe that only reads files."""
        try:
            return {probe: question()}
        except (OSError, ValueError) as error:
            self.warn(probe, f"{type(error).__name__}: {error}")
            return {}


def _probe(
    cpu: CpuInfo, memory: MemoryInfo, checks: Mapping[str, str], hooks: Sequence[str], timeout: float
) -> HardwareProfile:
    asking = _Asking(timeout)
    native = {"cuda": (CUDA,), "vulkan": (VULKAN,)}
    if find_spec("wgpu") is not None:
        native["webgpu"] = (WEBGPU,)
    found = {
        **asking.here("metal", lambda: metal_devices(memory.total)),
        **asking.here("rocm", rocm_devices),
        **asking.children(native),
    }
    runtimes = _runtimes(checks, asking)
    devices = _devices(found, memory, asking)
    # Measured last and alone: the children keep the cores busy.
    profile = HardwareProfile(
        name=platform.node(),
        created=datetime.now(UTC),
        system=_system(),
        cpu=cpu,
        memory=memory,
        devices=(_cpu_device(cpu, memory), *devices),
        runtimes=runtimes,
    )
    devices += _plugin_devices(profile, hooks, asking)
    return profile.model_copy(
        update={"devices": (profile.devices[0], *devices), "warnings": tuple(asking.warnings)},
    )


def _runtimes(checks: Mapping[str, str], asking: _Asking) -> dict[str, RuntimeReport]:
    answers = asking.children(
        {f"{RUNTIME_PROBE}{name}": (target,) for name, target in checks.items()}, patience=CHECK_PATIENCE
    )
    reports = {}
    for probe, answer in answers.items():
        try:
            reports[probe.removeprefix(RUNTIME_PROBE)] = RuntimeReport.model_validate(answer)
        except ValidationError as error:
            asking.warn(probe, _nonsense(error))
    return reports


def _devices(found: Mapping[str, Findings], memory: MemoryInfo, asking: _Asking) -> list[Device]:
    devices: list[Device] = []
    for probe, findings in found.items():
        for message in findings["warnings"]:
            asking.warn(probe, message)
        for facts in findings["devices"]:
            try:
                devices.append(Device.model_validate(_in_main_memory(facts, memory)))
            except ValidationError as error:
                asking.warn(probe, _nonsense(error))
    return [_as_fast_as_its_twin(device, devices) for device in devices]


def _in_main_memory(facts: dict[str, Any], memory: MemoryInfo) -> dict[str, Any]:
    """A device that shares main memory has no more of it than there is, and than this process may take."""
    if not facts.get("unified"):
        return facts
    total = min(facts.get("memory_total", memory.total), memory.limit or memory.total)
    return {**facts, "memory_total": total, "memory_available": min(total, memory.available)}


def _as_fast_as_its_twin(device: Device, devices: Sequence[Device]) -> Device:
    """Vulkan tells no speeds; of hardware that another API sees too, these are known."""
    for twin in devices:
        if twin.physical_id == device.physical_id is not None and twin.memory_bandwidth and not device.memory_bandwidth:
            speeds = ("memory_bandwidth", "bandwidth_source", "compute", "compute_source")
            return device.model_copy(update={name: getattr(twin, name) for name in speeds})
    return device


def _plugin_devices(profile: HardwareProfile, modules: Sequence[str], asking: _Asking) -> list[Device]:
    told = profile.model_dump_json()
    answers = asking.children({f"plugin {module}": (f"{__name__}:call_hook", module, told) for module in modules})
    devices: list[Device] = []
    taken = {device.id for device in profile.devices}
    for probe, answer in answers.items():
        for facts in answer:
            try:
                device = Device.model_validate(facts)
            except ValidationError as error:
                asking.warn(probe, _nonsense(error))
                continue
            if device.id in taken:
                asking.warn(probe, f"there is a device {device.id!r} already, so this one is left out")
                continue
            taken.add(device.id)
            devices.append(device)
    return devices


def _cpu_device(cpu: CpuInfo, memory: MemoryInfo) -> Device:
    bandwidth = read_bandwidth(cpu.usable_cores, memory.available)
    return Device(
        id="cpu",
        kind=DeviceKind.CPU,
        name=cpu.model,
        vendor=cpu.vendor,
        memory_total=memory.limit or memory.total,
        memory_available=memory.available,
        unified=True,
        architecture=cpu.architecture,
        memory_bandwidth=bandwidth,
        bandwidth_source="measured" if bandwidth else "assumed",
        compute=peak_compute(cpu),
    )


def _with_free_memory(profile: HardwareProfile, memory: MemoryInfo, timeout: float) -> HardwareProfile:
    """A kept profile with the memory that is free now."""
    asking = _Asking(timeout)
    own = {device.kind for device in profile.devices if not device.unified}
    found = {
        **(asking.children({"cuda": (CUDA,)}) if DeviceKind.CUDA in own else {}),
        **(asking.here("rocm", rocm_devices) if DeviceKind.ROCM in own else {}),
    }
    free = {
        place: facts["memory_available"]
        for findings in found.values()
        for facts in findings["devices"]
        if "memory_available" in facts
        for place in (facts["id"], facts["physical_id"])
    }
    devices = []
    for device in profile.devices:
        now = free.get(device.id, free.get(device.physical_id, device.memory_available))
        available = min(device.memory_total, memory.available if device.unified else now)
        devices.append(device.model_copy(update={"memory_available": available}))
    warnings = (*profile.warnings, *asking.warnings)
    return profile.model_copy(update={"memory": memory, "devices": tuple(devices), "warnings": warnings})


def _system() -> SystemInfo:
    return SystemInfo(
        system=platform.system(),
        release=platform.release(),
        machine=platform.machine(),
        python=platform.python_version(),
        container=any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))
        or any(name in os.environ for name in ("container", "KUBERNETES_SERVICE_HOST")),
    )


def _cache_key(
    cpu: CpuInfo, memory: MemoryInfo, checks: Mapping[str, str], hooks: Sequence[str], key: str, root: Path = Path("/")
) -> str:
    """Digest of all that changes the answer: a reboot, limits, drivers, devices passed in, variables, plugins."""
    manifests = [file for folder in ("etc", "usr/share") for file in root.glob(f"{folder}/vulkan/icd.d/*.json")]
    facts = [
        __version__,
        sys.prefix,
        platform.node(),
        platform.version(),
        _boot(root),
        [read_text(root / f"sys/module/{driver}/version") for driver in ("nvidia", "amdgpu")],
        sorted(str(file) for pattern in ("nvidia*", "kfd", "dri/*", "dxg") for file in root.glob(f"dev/{pattern}")),
        sorted((str(file), read_text(file)) for file in manifests),
        cpu.model_dump(mode="json"),
        memory.total,
        memory.limit,
        [os.environ.get(name) for name in VISIBILITY],
        sorted(checks.items()),
        sorted(hooks),
        key,
    ]
    return sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _boot(root: Path) -> str:
    """What changes with each start of the machine."""
    told = read_text(root / "proc/sys/kernel/random/boot_id")
    if told:
        return told
    import psutil

    return str(round(psutil.boot_time() / 600))


def _kept(file: Path, expiry: float) -> HardwareProfile | None:
    """The kept profile, if it is there, whole and young enough."""
    try:
        age = time.time() - file.stat().st_mtime
        profile = HardwareProfile.load(file)
    except (OSError, HardwareError):
        return None
    return profile if 0 <= age <= (min(expiry, WARNED_EXPIRY) if profile.warnings else expiry) else None


def _keep(file: Path, profile: HardwareProfile) -> None:
    """Keep a profile; a cache that cannot be written costs only the next probe."""
    try:
        paths.write_whole(file, profile.model_dump_json(indent=1).encode())
        for other in file.parent.glob("*.json"):
            if time.time() - other.stat().st_mtime > FORGOTTEN:
                other.unlink(missing_ok=True)
    except OSError:
        return


def _nonsense(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"nonsense in {'.'.join(map(str, first['loc'])) or 'the answer'}: {first['msg']}"

"""The probe: reads the machine, natively only in child processes, and keeps the answer for a while."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from enginebay import paths
from enginebay._version import __version__
from enginebay.errors import EnginebayError, HardwareError
from enginebay.hardware.bandwidth import read_bandwidth
from enginebay.hardware.cpu import peak_compute, read_cpu
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
from enginebay.spec import DeviceKind, RuntimeReport

NATIVE_PROBES = {
    "cuda": "enginebay.hardware.cuda:cuda_devices",
    "rocm": "enginebay.hardware.rocm:rocm_devices",
    "vulkan": "enginebay.hardware.vulkan:vulkan_devices",
    "webgpu": "enginebay.hardware.webgpu:webgpu_devices",
}
VISIBILITY = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "GGML_VK_VISIBLE_DEVICES",
)


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

    It is kept in the cache folder; free memory is read afresh on every call.

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
    file = paths.cache_dir() / "probe" / f"{_cache_key(cpu, checks, device_hooks, key)}.json"
    kept = None if refresh else _kept(file, expiry)
    if kept is None:
        kept = _probe(cpu, memory, checks, device_hooks, timeout)
        _keep(file, kept)
    return _with_free_memory(kept, memory)


def _probe(
    cpu: CpuInfo, memory: MemoryInfo, checks: Mapping[str, str], device_hooks: Sequence[str], timeout: float
) -> HardwareProfile:
    warnings: list[ProbeWarning] = []
    found = _native(timeout, warnings)
    runtimes = _runtimes(checks, timeout * 3, warnings)
    # Measured last and alone: the children above keep the cores busy.
    devices = [_cpu_device(cpu, memory), *_devices(found, memory, warnings)]
    profile = HardwareProfile(
        name=platform.node(),
        created=datetime.now(UTC),
        system=_system(),
        cpu=cpu,
        memory=memory,
        devices=tuple(devices),
        warnings=tuple(warnings),
        runtimes=runtimes,
    )
    return _with_plugin_devices(profile, device_hooks, timeout)


def _native(timeout: float, warnings: list[ProbeWarning]) -> list[dict[str, Any]]:
    """All native probes at once, each in a child of its own."""
    with ThreadPoolExecutor(len(NATIVE_PROBES)) as pool:
        answers = {name: pool.submit(run_isolated, target, timeout=timeout) for name, target in NATIVE_PROBES.items()}
    found: list[dict[str, Any]] = []
    for name, answer in answers.items():
        try:
            found += answer.result()
        except (HardwareError, TypeError) as error:
            warnings.append(ProbeWarning(probe=name, message=_message(error)))
    return found


def _runtimes(checks: Mapping[str, str], timeout: float, warnings: list[ProbeWarning]) -> dict[str, RuntimeReport]:
    reports: dict[str, RuntimeReport] = {}
    with ThreadPoolExecutor(max(1, min(4, len(checks)))) as pool:
        answers = {name: pool.submit(run_isolated, target, timeout=timeout) for name, target in checks.items()}
    for name, answer in answers.items():
        try:
            reports[name] = RuntimeReport.model_validate(answer.result())
        except (HardwareError, ValidationError) as error:
            warnings.append(ProbeWarning(probe=f"{RUNTIME_PROBE}{name}", message=_message(error)))
    return reports


def _devices(found: list[dict[str, Any]], memory: MemoryInfo, warnings: list[ProbeWarning]) -> list[Device]:
    devices: list[Device] = []
    for facts in [*metal_devices(memory.total, memory.available), *found]:
        if facts.get("unified"):
            facts["memory_total"] = min(facts["memory_total"], memory.total)
            facts["memory_available"] = min(facts["memory_available"], memory.available)
        try:
            devices.append(Device.model_validate(facts))
        except ValidationError as error:
            warnings.append(ProbeWarning(probe=str(facts.get("kind")), message=_message(error)))
    return devices


def _with_plugin_devices(profile: HardwareProfile, modules: Sequence[str], timeout: float) -> HardwareProfile:
    devices, warnings = list(profile.devices), list(profile.warnings)
    for module in modules:
        try:
            answer = run_isolated(f"{__name__}:call_hook", module, profile.model_dump_json(), timeout=timeout)
            new = [Device.model_validate(facts) for facts in answer]
        except (EnginebayError, ValidationError, TypeError) as error:
            warnings.append(ProbeWarning(probe=f"plugin {module}", message=_message(error)))
            continue
        known = {device.id for device in devices}
        devices += [device for device in new if device.id not in known]
    return profile.model_copy(update={"devices": tuple(devices), "warnings": tuple(warnings)})


def call_hook(module: str, profile: str) -> list[Any]:
    """In the child: a plugin module's `probe_devices` on a profile as JSON."""
    from importlib import import_module

    return list(import_module(module).probe_devices(profile=HardwareProfile.model_validate_json(profile)))


def _cpu_device(cpu: CpuInfo, memory: MemoryInfo) -> Device:
    bandwidth = read_bandwidth(round(cpu.usable_cores), memory.available)
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


def _with_free_memory(profile: HardwareProfile, memory: MemoryInfo) -> HardwareProfile:
    """The profile with main memory as it is now, for the CPU and the devices that share it.

    A discrete GPU's free memory is as old as the profile.
    """
    devices = tuple(
        device.model_copy(update={"memory_available": min(device.memory_total, memory.available)})
        if device.unified
        else device
        for device in profile.devices
    )
    return profile.model_copy(update={"memory": memory, "devices": devices})


def _system() -> SystemInfo:
    return SystemInfo(
        system=platform.system(),
        release=platform.release(),
        machine=platform.machine(),
        python=platform.python_version(),
        container=Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "container" in os.environ,
    )


def _cache_key(cpu: CpuInfo, checks: Mapping[str, str], hooks: Sequence[str], key: str) -> str:
    """Digest of all that changes the answer: a reboot, limits, drivers, visible devices, plugins, their libraries."""
    facts = [
        __version__,
        _text(Path("/proc/sys/kernel/random/boot_id")),
        _text(Path("/sys/module/nvidia/version")),
        cpu.model_dump(mode="json", exclude={"features"}),
        [os.environ.get(name) for name in VISIBILITY],
        sorted(checks.items()),
        list(hooks),
        key,
    ]
    return sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _kept(file: Path, expiry: float) -> HardwareProfile | None:
    """The kept profile, if it is there, whole and young enough."""
    try:
        if not 0 <= time.time() - file.stat().st_mtime <= expiry:
            return None
        return HardwareProfile.load(file)
    except (OSError, HardwareError):
        return None


def _keep(file: Path, profile: HardwareProfile) -> None:
    """Keep a profile; a cache that cannot be written costs only the next probe."""
    try:
        paths.write_whole(file, profile.model_dump_json(indent=1).encode())
    except OSError:
        return


def _message(error: Exception) -> str:
    if isinstance(error, EnginebayError):
        return error.message
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"nonsense in {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__}: {error}"

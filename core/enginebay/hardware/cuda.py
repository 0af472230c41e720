"""CUDA GPUs, by NVIDIA's management library (NVML). Runs in a child process."""

from __future__ import annotations

import os
from typing import Any

NO_DRIVER = ("NVMLError_LibraryNotFound", "NVMLError_DriverNotLoaded", "NVMLError_NoPermission")

FLOP_PER_CORE_CYCLE = {
    (7, 0): 16,
    (7, 2): 16,
    (7, 5): 16,
    (8, 0): 32,
    (8, 6): 4,
    (8, 7): 8,
    (8, 9): 4,
    (9, 0): 32,
    (10, 0): 32,
    (12, 0): 4,
}
"""Dense 16-bit tensor FLOP of one CUDA core in one cycle, by compute capability: from data sheets, such as 989 TFLOP/s
for the H100's 16896 cores at 1.83 GHz, 165 for the RTX 4090's 16384 at 2.52 GHz. Older ones have no tensor cores: 2."""


def cuda_devices() -> list[dict[str, Any]]:
    """CUDA devices in the order and number that CUDA_VISIBLE_DEVICES allows; none without a driver.

    Raises:
        pynvml.NVMLError: a driver is there, but broken (a library of another version, say).
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if type(error).__name__ in NO_DRIVER:
            return []
        raise
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        found = [_device(pynvml, handle, driver) for handle in handles]
        return _numbered(_visible(found, os.environ.get("CUDA_VISIBLE_DEVICES")))
    finally:
        pynvml.nvmlShutdown()


def _device(nvml: Any, handle: Any, driver: str) -> dict[str, Any]:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    capability = (int(major), int(minor))
    return {
        "kind": "cuda",
        "name": _text(nvml.nvmlDeviceGetName(handle)),
        "vendor": "NVIDIA",
        "memory_total": int(memory.total),
        "memory_available": int(memory.free),
        "compute_capability": capability,
        "driver": driver,
        "architecture": f"sm_{capability[0]}{capability[1]}",
        "uuid": _text(nvml.nvmlDeviceGetUUID(handle)),
        "physical_id": _pci(nvml, handle),
        **_bandwidth(nvml, handle),
        **_compute(nvml, handle, capability),
    }


def _bandwidth(nvml: Any, handle: Any) -> dict[str, Any]:
    """Bus width x memory clock x 2 transfers a cycle. NVML counts the clock so on every memory type."""
    try:
        bits = nvml.nvmlDeviceGetMemoryBusWidth(handle)
        megahertz = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)
    except nvml.NVMLError:
        return {}
    return (
        {"memory_bandwidth": bits / 8 * megahertz * 1e6 * 2, "bandwidth_source": "nvml"} if bits and megahertz else {}
    )


def _compute(nvml: Any, handle: Any, capability: tuple[int, int]) -> dict[str, Any]:
    try:
        cores = nvml.nvmlDeviceGetNumGpuCores(handle)
        megahertz = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)
    except nvml.NVMLError:
        return {}
    per_cycle = FLOP_PER_CORE_CYCLE.get(capability, 2)
    return {"compute": cores * megahertz * 1e6 * per_cycle, "compute_source": "nvml"} if cores and megahertz else {}


def _pci(nvml: Any, handle: Any) -> str | None:
    try:
        # "00000000:01:00.0" here, "0000:01:00.0" elsewhere: the domain is cut to four digits.
        return _text(nvml.nvmlDeviceGetPciInfo(handle).busId).lower()[-12:]
    except nvml.NVMLError:
        return None


def _visible(devices: list[dict[str, Any]], variable: str | None) -> list[dict[str, Any]]:
    """What CUDA_VISIBLE_DEVICES leaves, in its order: indexes or UUIDs; the first unknown one ends the list."""
    if variable is None:
        return devices
    chosen: list[dict[str, Any]] = []
    for entry in (part.strip() for part in variable.split(",")):
        if entry.isdigit() and int(entry) < len(devices):
            chosen.append(devices[int(entry)])
            continue
        named = [device for device in devices if entry and device["uuid"].startswith(entry)]
        if len(named) != 1:
            break
        chosen += named
    return chosen


def _numbered(devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for index, device in enumerate(devices):
        device["id"] = f"cuda:{index}"
        del device["uuid"]
    return devices


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

"""CUDA GPUs, by NVIDIA's management library (NVML). Runs in a child process.

NVML does not start a CUDA context, so asking it costs the GPU nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from enginebay.hardware.findings import Findings, numbered, visible

NO_DRIVER = ("NVMLError_LibraryNotFound", "NVMLError_DriverNotLoaded")
NO_ANSWER = ("NVMLError_NotSupported", "NVMLError_NotFound", "NVMLError_FunctionNotFound", "NVMLError_NoPermission")

FLOP_PER_CORE_CYCLE = {
    (7, 0): 16,
    (7, 2): 16,
    (7, 5): 16,
    (8, 0): 32,
    (8, 6): 4,
    (8, 7): 16,
    (8, 9): 4,
    (9, 0): 32,
    (10, 0): 64,
    (10, 3): 64,
    (11, 0): 32,
    (12, 0): 4,
    (12, 1): 4,
}
"""Dense 16-bit tensor FLOP, summed in 32 bits, of one CUDA core in one cycle, by compute capability. From data sheets:
989 TFLOP/s for the H100's 16896 cores at 1.83 GHz, 165 for the RTX 4090's 16384 at 2.52 GHz, 2250 for the B200's 18944
at 1.85 GHz. Where professional cards do twice what consumers' do (8.6, 8.9), the lower."""

BEFORE_TENSOR_CORES = 2
"""FLOP of one CUDA core in one cycle up to compute capability 6.x: a 32-bit fused multiply-add."""


def cuda_devices(environment: Mapping[str, str] = os.environ) -> Findings:
    """CUDA devices in the order and number that CUDA_VISIBLE_DEVICES allows; none without a driver.

    Raises:
        pynvml.NVMLError: a driver is there, but broken (a library of another version, say).
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if type(error).__name__ in NO_DRIVER:
            return {"devices": [], "warnings": []}
        raise
    try:
        return _findings(pynvml, environment)
    finally:
        pynvml.nvmlShutdown()


def _findings(nvml: Any, environment: Mapping[str, str]) -> Findings:
    driver = _text(nvml.nvmlSystemGetDriverVersion())
    devices: list[dict[str, Any]] = []
    warnings: list[str] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            found = _gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(index), driver)
        except nvml.NVMLError as error:
            warnings.append(f"GPU {index}: {error}")
            continue
        devices += found
        if not found:
            warnings.append(f"GPU {index} is in MIG mode, but has no MIG device")
    names = {device["name"] for device in devices if not device["uuid"].startswith("MIG-")}
    if len(names) > 1 and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        warnings.append("the GPUs differ, and CUDA may number them otherwise: set CUDA_DEVICE_ORDER=PCI_BUS_ID")
    chosen = visible(devices, environment.get("CUDA_VISIBLE_DEVICES"))
    slices = [device for device in chosen if device["uuid"].startswith("MIG-")]
    if slices and len(chosen) > 1:
        chosen = slices[:1]
        others = ", ".join(device["uuid"] for device in slices[1:])
        warnings.append(f"CUDA gives a process one MIG device; name another in CUDA_VISIBLE_DEVICES: {others}")
    return {"devices": numbered("cuda", chosen), "warnings": warnings}


def _gpu(nvml: Any, handle: Any, driver: str) -> list[dict[str, Any]]:
    """The GPU, or its MIG devices where it is split."""
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    facts = {
        "vendor": "NVIDIA",
        "compute_capability": (int(major), int(minor)),
        "driver": driver,
        "architecture": f"sm_{major}{minor}",
    }
    speed = {**_bandwidth(nvml, handle), **_compute(nvml, handle, (int(major), int(minor)))}
    own = _own(nvml, handle)
    mode = _asked(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if not mode or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return [{**facts, **own, **speed, "physical_id": _pci(nvml, handle)}]
    count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    parts = [_asked(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index) for index in range(count)]
    return [{**facts, **_slice(_own(nvml, part), own, speed)} for part in parts if part is not None]


def _own(nvml: Any, handle: Any) -> dict[str, Any]:
    """Name and memory, of a GPU or a MIG device."""
    memory = _asked(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    return {
        "name": _text(nvml.nvmlDeviceGetName(handle)),
        "uuid": _text(nvml.nvmlDeviceGetUUID(handle)),
        # Where the GPU has no memory of its own (GB10, Jetson), NVML has no answer.
        **({"memory_total": int(memory.total), "memory_available": int(memory.free)} if memory else {"unified": True}),
    }


def _slice(own: dict[str, Any], gpu: dict[str, Any], speed: dict[str, Any]) -> dict[str, Any]:
    """A MIG device: of the GPU's speed it has about the share that it has of the memory."""
    share = own["memory_total"] / gpu["memory_total"] if "memory_total" in own.keys() & gpu.keys() else 0.0
    if not share:
        return {**own, "physical_id": own["uuid"]}
    scaled = {name: value * share if isinstance(value, float) else value for name, value in speed.items()}
    return {**own, **scaled, "physical_id": own["uuid"]}


def _bandwidth(nvml: Any, handle: Any) -> dict[str, Any]:
    """Bus width x memory clock x 2 transfers a cycle: NVML counts the clock so on every type of memory."""
    bits = _asked(nvml, nvml.nvmlDeviceGetMemoryBusWidth, handle)
    megahertz = _asked(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_MEM)
    if not bits or not megahertz:
        return {}
    return {"memory_bandwidth": bits / 8 * megahertz * 1e6 * 2, "bandwidth_source": "nvml"}


def _compute(nvml: Any, handle: Any, capability: tuple[int, int]) -> dict[str, Any]:
    per_cycle = FLOP_PER_CORE_CYCLE.get(capability, BEFORE_TENSOR_CORES if capability < (7, 0) else 0)
    cores = _asked(nvml, nvml.nvmlDeviceGetNumGpuCores, handle)
    megahertz = _asked(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM)
    if not per_cycle or not cores or not megahertz:
        return {}
    return {"compute": cores * megahertz * 1e6 * per_cycle, "compute_source": "table"}


def _pci(nvml: Any, handle: Any) -> str | None:
    place = _asked(nvml, nvml.nvmlDeviceGetPciInfo, handle)
    # "00000000:01:00.0" here, "0000:01:00.0" elsewhere: the domain is cut to four digits.
    return _text(place.busId).lower()[-12:] if place else None


def _asked(nvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, or None where this GPU or driver has none; that a GPU is lost is an error all the same."""
    try:
        return question(*arguments)
    except nvml.NVMLError as error:
        if type(error).__name__ in NO_ANSWER:
            return None
        raise


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value

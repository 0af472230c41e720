"""A fake of NVIDIA's management library: it stands in for pynvml and asks no GPU anything."""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import Any

GIB = 1 << 30


@dataclass
class FakeGpu:
    """A GPU, by default an RTX 4090; `faults` are the names of functions and of the NVML errors they raise."""

    uuid: str
    name: str = "NVIDIA GeForce RTX 4090"
    total: int = 24 * GIB
    free: int = 20 * GIB
    capability: tuple[int, int] = (8, 9)
    bus_width: int = 384
    memory_clock: int = 10501
    clock: int = 2520
    cores: int = 16384
    bus: str = "00000000:01:00.0"
    faults: dict[str, str] = field(default_factory=dict)
    mig: list[FakeGpu | None] | None = None
    """Its MIG devices by index, None where there is none; None where it is not in MIG mode."""


def h100(uuid: str = "GPU-cccc3333", **changes: Any) -> FakeGpu:
    facts: dict[str, Any] = {
        "name": "NVIDIA H100 80GB HBM3",
        "total": 80 * GIB,
        "free": 79 * GIB,
        "capability": (9, 0),
        "bus_width": 5120,
        "memory_clock": 2619,
        "clock": 1830,
        "cores": 16896,
    }
    return FakeGpu(uuid, **{**facts, **changes})


class FakeNvml(types.ModuleType):
    """Stands in for pynvml with these GPUs; `fault` is the error that starting it raises."""

    NVML_CLOCK_MEM, NVML_CLOCK_SM, NVML_DEVICE_MIG_ENABLE = 2, 1, 1

    class NVMLError(Exception): ...

    def __init__(self, *gpus: FakeGpu, fault: str = "") -> None:
        super().__init__("pynvml")
        self.gpus, self.fault = gpus, fault
        self.running = False

    def error(self, name: str) -> Exception:
        made: Exception = type(f"NVMLError_{name}", (self.NVMLError,), {})(name)
        return made

    def nvmlInit(self) -> None:
        if self.fault:
            raise self.error(self.fault)
        self.running = True

    def nvmlShutdown(self) -> None:
        self.running = False

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"550.54.14"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        return self._checked(self.gpus[index], "nvmlDeviceGetHandleByIndex")

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str:
        return self._checked(gpu, "nvmlDeviceGetName").name

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:
        return gpu.uuid

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> Any:
        return types.SimpleNamespace(
            total=self._checked(gpu, "nvmlDeviceGetMemoryInfo").total, free=gpu.free, used=gpu.total - gpu.free
        )

    def nvmlDeviceGetCudaComputeCapability(self, gpu: FakeGpu) -> tuple[int, int]:
        return gpu.capability

    def nvmlDeviceGetMigMode(self, gpu: FakeGpu) -> list[int]:
        if gpu.capability < (8, 0):
            raise self.error("NotSupported")
        return [int(gpu.mig is not None)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: FakeGpu) -> int:
        return len(gpu.mig or ())

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: FakeGpu, index: int) -> FakeGpu:
        part = (gpu.mig or [])[index]
        if part is None:
            raise self.error("NotFound")
        return part

    def nvmlDeviceGetMemoryBusWidth(self, gpu: FakeGpu) -> int:
        return self._checked(gpu, "nvmlDeviceGetMemoryBusWidth").bus_width

    def nvmlDeviceGetMaxClockInfo(self, gpu: FakeGpu, clock: int) -> int:
        return gpu.memory_clock if clock == self.NVML_CLOCK_MEM else gpu.clock

    def nvmlDeviceGetNumGpuCores(self, gpu: FakeGpu) -> int:
        return gpu.cores

    def nvmlDeviceGetPciInfo(self, gpu: FakeGpu) -> Any:
        return types.SimpleNamespace(busId=gpu.bus)

    def _checked(self, gpu: FakeGpu, function: str) -> FakeGpu:
        if function in gpu.faults:
            raise self.error(gpu.faults[function])
        return gpu

"""Devices as PyTorch names them, for backends on it."""

from __future__ import annotations

from enginebay.hardware.profile import Device
from enginebay.spec import DeviceKind, RuntimeReport

_NAMES = {DeviceKind.CPU: "cpu", DeviceKind.CUDA: "cuda", DeviceKind.ROCM: "cuda", DeviceKind.METAL: "mps"}


def torch_device(device: Device) -> str:
    """PyTorch's name of a device: "cuda:1" for the id "cuda:1" or "rocm:1", "mps" for Metal's."""
    index = device.id.partition(":")[2]
    return _NAMES[device.kind] + (f":{index}" if index.isdigit() else "")


def torch_report(version: str, kinds: frozenset[DeviceKind] = frozenset({DeviceKind.CPU})) -> RuntimeReport:
    """The report of a library on PyTorch, which this imports.

    Args:
        version: of the library.
        kinds: devices that it can use here.
    """
    import torch

    return RuntimeReport(version=version, device_kinds=kinds, details=f"torch {torch.__version__}")


def torch_kinds() -> frozenset[DeviceKind]:
    """The kinds of device that the installed PyTorch was built for and sees. Imports it."""
    import torch

    kinds = {DeviceKind.CPU}
    if torch.cuda.is_available():
        kinds.add(DeviceKind.ROCM if torch.version.hip else DeviceKind.CUDA)
    if torch.backends.mps.is_available():
        kinds.add(DeviceKind.METAL)
    return frozenset(kinds)

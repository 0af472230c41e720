"""What the installed library says of itself; run in a child process by the core."""

from __future__ import annotations

from enginebay import DeviceKind, RuntimeReport

_KINDS = (DeviceKind.CUDA, DeviceKind.ROCM, DeviceKind.METAL, DeviceKind.VULKAN)


def check() -> RuntimeReport:
    """Version of MLC, and the devices that its build of TVM sees here."""
    import mlc_llm
    import tvm

    seen = frozenset(kind for kind in _KINDS if tvm.device(kind.value, 0).exist)
    return RuntimeReport(version=mlc_llm.__version__, device_kinds=seen, details=f"tvm {tvm.__version__}")

"""What the installed library says of itself; run in a child process by the core."""

from __future__ import annotations

from enginebay import DeviceKind, RuntimeReport


def check() -> RuntimeReport:
    """Version of onnxruntime and the execution providers of this build."""
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    kinds = {DeviceKind.CPU}
    if "CUDAExecutionProvider" in providers:
        kinds.add(DeviceKind.CUDA)
    return RuntimeReport(
        version=onnxruntime.__version__, device_kinds=frozenset(kinds), details=f"providers: {', '.join(providers)}"
    )

"""What the installed library says of itself; run in a child process by the core."""

from __future__ import annotations

from enginebay import DeviceKind, RuntimeReport


def check() -> RuntimeReport:
    """Version of CTranslate2, its devices, and the compute types this processor has."""
    import ctranslate2

    kinds = {DeviceKind.CPU}
    if ctranslate2.get_cuda_device_count():
        kinds.add(DeviceKind.CUDA)
    types = ", ".join(sorted(ctranslate2.get_supported_compute_types("cpu")))
    return RuntimeReport(version=ctranslate2.__version__, device_kinds=frozenset(kinds), details=f"cpu: {types}")

"""What the installed library says of itself; run in a child process by the core."""

from __future__ import annotations

from enginebay import DeviceKind, RuntimeReport

_KINDS = {"cuda": DeviceKind.CUDA, "rocm": DeviceKind.ROCM, "cpu": DeviceKind.CPU}


def check() -> RuntimeReport:
    """Version of vLLM, and the one platform that the installed build runs on."""
    import vllm
    from vllm.platforms import current_platform

    name = next((name for name in _KINDS if getattr(current_platform, f"is_{name}")()), None)
    kinds = frozenset({_KINDS[name]}) if name is not None else frozenset()
    return RuntimeReport(version=vllm.__version__, device_kinds=kinds, details=f"platform {name or 'unknown'}")

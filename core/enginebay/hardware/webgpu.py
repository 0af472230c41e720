"""WebGPU adapters, where a runtime can tell: the `wgpu` package, if it is installed. Runs in a child process."""

from __future__ import annotations

from typing import Any

from enginebay.hardware.findings import Findings, numbered


def webgpu_devices() -> Findings:
    """Adapters that wgpu lists, through the first API that serves WebGPU: a GPU may come again through another.

    WebGPU tells the greatest buffer, not the memory: that stands for it.
    """
    import wgpu  # type: ignore[import-not-found, unused-ignore]

    # OpenGL lacks half of WebGPU's compute shaders.
    adapters = [each for each in wgpu.gpu.enumerate_adapters_sync() if each.info.get("backend_type") != "OpenGL"]
    devices = [
        _device(each) for each in adapters if each.info.get("backend_type") == adapters[0].info.get("backend_type")
    ]
    return {"devices": numbered("webgpu", devices), "warnings": []}


def _device(adapter: Any) -> dict[str, Any]:
    buffer = int(adapter.limits.get("max-buffer-size", 0))
    kind = str(adapter.info.get("adapter_type", "")).lower()
    return {
        "name": str(adapter.info.get("device", "")),
        "vendor": str(adapter.info.get("vendor", "")),
        "memory_total": buffer,
        "memory_available": buffer,
        "unified": kind in ("cpu", "integratedgpu"),
        "software": kind == "cpu",
        "driver": str(adapter.info.get("description", "")) or None,
        "api_version": str(adapter.info.get("backend_type", "")) or None,
    }

"""WebGPU adapters, where a runtime can tell: the `wgpu` package, if it is installed. Runs in a child process."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any


def webgpu_devices() -> list[dict[str, Any]]:
    """Adapters that wgpu lists, one per physical device; none where it is not installed."""
    if find_spec("wgpu") is None:
        return []
    import wgpu  # type: ignore[import-not-found, unused-ignore]

    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for adapter in wgpu.gpu.enumerate_adapters_sync():
        info = adapter.info
        key = (info.get("vendor"), info.get("device"))
        found.setdefault(
            key,
            {
                "kind": "webgpu",
                "name": str(info.get("device", "")),
                "vendor": str(info.get("vendor", "")),
                "memory_total": int(adapter.limits.get("max-buffer-size", 0)),
                "memory_available": int(adapter.limits.get("max-buffer-size", 0)),
                "software": str(info.get("adapter_type", "")).lower() == "cpu",
                "api_version": str(info.get("backend_type", "")) or None,
            },
        )
    return [{**device, "id": f"webgpu:{index}"} for index, device in enumerate(found.values())]

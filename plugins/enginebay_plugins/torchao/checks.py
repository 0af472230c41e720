"""What the installed libraries say of themselves; run in a child process by the core."""

from __future__ import annotations

from enginebay import DeviceKind, RuntimeReport


def check() -> RuntimeReport:
    """Version of torchao; the quantizer computes on the CPU."""
    import torch
    import torchao

    return RuntimeReport(
        version=torchao.__version__,
        device_kinds=frozenset({DeviceKind.CPU}),
        details=f"torch {torch.__version__}",
    )

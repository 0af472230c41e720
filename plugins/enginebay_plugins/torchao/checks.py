"""What the installed libraries say of themselves; run in a child process by the core."""

from __future__ import annotations

from enginebay import RuntimeReport
from enginebay.hardware.torch_devices import torch_report


def check() -> RuntimeReport:
    """Version of torchao; the quantizer computes on the CPU."""
    import torchao

    return torch_report(torchao.__version__)

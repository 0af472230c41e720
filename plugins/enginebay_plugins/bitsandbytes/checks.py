"""What the installed libraries say of themselves; run in a child process by the core."""

from __future__ import annotations

from enginebay import RuntimeReport
from enginebay.hardware.torch_devices import torch_report


def check() -> RuntimeReport:
    """Version of bitsandbytes; the quantizer computes on the CPU."""
    import bitsandbytes

    return torch_report(bitsandbytes.__version__)

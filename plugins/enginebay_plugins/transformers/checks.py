"""What the installed libraries say of themselves; run in a child process by the core."""

from __future__ import annotations

from enginebay import RuntimeReport
from enginebay.hardware.torch_devices import torch_kinds, torch_report


def check() -> RuntimeReport:
    """Version of transformers, and the devices that the installed PyTorch was built for and sees."""
    import transformers

    return torch_report(transformers.__version__, torch_kinds())

"""What the installed libraries say of themselves; run in a child process by the core."""

from __future__ import annotations

from enginebay import RuntimeReport
from enginebay.hardware.torch_devices import torch_kinds


def check() -> RuntimeReport:
    """Version of transformers, and the devices that the installed PyTorch was built for and sees."""
    import torch
    import transformers

    return RuntimeReport(
        version=transformers.__version__, device_kinds=torch_kinds(), details=f"torch {torch.__version__}"
    )

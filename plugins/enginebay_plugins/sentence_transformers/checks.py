"""What the installed libraries say of themselves; run in a child process by the core."""

from __future__ import annotations

from enginebay import RuntimeReport
from enginebay.hardware.torch_devices import torch_kinds


def check() -> RuntimeReport:
    """Version of sentence-transformers, and the devices that PyTorch sees."""
    import sentence_transformers
    import torch

    return RuntimeReport(
        version=sentence_transformers.__version__, device_kinds=torch_kinds(), details=f"torch {torch.__version__}"
    )

"""What the installed libraries say of themselves; run in a child process by the core."""

from __future__ import annotations

from enginebay import DeviceKind, RuntimeReport


def check() -> RuntimeReport:
    """Version of transformers, and the devices that the installed PyTorch was built for and sees."""
    import torch
    import transformers

    kinds = {DeviceKind.CPU}
    if torch.cuda.is_available():
        kinds.add(DeviceKind.ROCM if torch.version.hip else DeviceKind.CUDA)
    if torch.backends.mps.is_available():
        kinds.add(DeviceKind.METAL)
    return RuntimeReport(
        version=transformers.__version__, device_kinds=frozenset(kinds), details=f"torch {torch.__version__}"
    )

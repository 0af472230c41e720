"""What the installed libraries say of themselves; run in a child process by the core."""

from __future__ import annotations

from enginebay import DeviceKind, RuntimeReport


def check() -> RuntimeReport:
    """Version of LLM Compressor; the quantizer computes on the CPU."""
    import llmcompressor
    import torch

    return RuntimeReport(
        version=llmcompressor.__version__,
        device_kinds=frozenset({DeviceKind.CPU}),
        details=f"torch {torch.__version__}",
    )

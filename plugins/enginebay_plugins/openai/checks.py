"""What the installed libraries say of themselves; run in a child process by the core."""

from __future__ import annotations

from enginebay import DeviceKind, RuntimeReport


def check() -> RuntimeReport:
    """Version of the SDK whose types are used. No server is asked: that is for opening an engine."""
    from importlib.metadata import version

    return RuntimeReport(version=version("openai"), device_kinds=frozenset({DeviceKind.REMOTE}))

"""Values of macOS's sysctl."""

from __future__ import annotations

import subprocess


def sysctl(*names: str) -> dict[str, str]:
    """Values by name; the name of a branch gives all below it. Unknown names are left out."""
    command = ["/usr/sbin/sysctl", *names]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse(done.stdout)


def parse(text: str) -> dict[str, str]:
    """Values out of lines such as "hw.memsize: 17179869184"."""
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

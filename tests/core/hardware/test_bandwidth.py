"""Measuring main memory under limits on the process itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from enginebay.hardware.bandwidth import LEAST_BUFFER, read_bandwidth

UNDER_LIMIT = """
import resource, numpy
from enginebay.hardware.bandwidth import read_bandwidth
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (40 << 20),) * 2)
print(read_bandwidth(2, 64 << 30))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is enforced on Linux")
def test_a_limit_on_address_space_costs_the_figure_not_the_probe() -> None:
    done = subprocess.run([sys.executable, "-c", UNDER_LIMIT], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "None", done.stderr


def test_without_room_nothing_is_measured() -> None:
    assert read_bandwidth(2, 4 * LEAST_BUFFER - 1) is None

"""Measuring how fast main memory can be read: what bounds decoding on a CPU."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginebay.hardware.files import read_text, whole

if TYPE_CHECKING:
    import numpy as np

LEAST_BUFFER = 128 << 20
MOST_BUFFER = 2 << 30
"""Bytes; between them the buffer is four times the last-level caches, so that these serve little of it."""
SECONDS = 0.2
"""For which rounds are timed, the best of which counts: other programs disturb the others."""
PASSES = 4
"""Passes over the buffer in a round: they make up for the cost of starting the threads' work."""


def read_bandwidth(usable_cores: float, available: int, root: Path = Path("/")) -> float | None:
    """Bytes per second that the usable cores together read, the best of some rounds; None without room for it.

    Each thread sums a buffer of its own, which it has filled itself, so that the memory lies near its core; numpy
    lets the interpreter's lock go meanwhile. Takes about 0.3 s. A fraction of a core, which a control group grants
    by stopping the process now and then, counts as a fraction.

    Args:
        available: bytes free; a quarter may be taken.
        root: folder that stands for /.
    """
    buffer = min(max(LEAST_BUFFER, 4 * cache_bytes(root)), MOST_BUFFER)
    if available < 4 * buffer:
        buffer = LEAST_BUFFER
    if available < 4 * buffer:
        return None
    threads = max(1, ceil(usable_cores))
    best = 0.0
    # A limit on the process (ulimit -v, -u) may forbid the memory or the threads.
    with suppress(MemoryError, RuntimeError), ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(_filled, [buffer // threads] * threads))
        until = time.perf_counter() + SECONDS
        while (started := time.perf_counter()) < until:
            list(pool.map(_sum, parts))
            best = max(best, PASSES * sum(part.nbytes for part in parts) / (time.perf_counter() - started))
    return best * min(1.0, usable_cores / threads) or None


def cache_bytes(root: Path = Path("/")) -> int:
    """Bytes of all last-level caches together; 0 when unknown. Only Linux tells."""
    sizes: dict[tuple[str, str], int] = {}
    for cache in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache/index3"):
        size = whole(read_text(cache / "size").removesuffix("K"))
        sizes[read_text(cache / "id"), read_text(cache / "shared_cpu_list")] = (size or 0) << 10
    return sum(sizes.values())


def _filled(size: int) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.ones(size // 8, dtype=np.int64)


def _sum(part: np.ndarray[Any, Any]) -> None:
    for _ in range(PASSES):
        part.sum()

"""Measuring how fast main memory can be read: what bounds decoding on a CPU."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

BUFFER = 128 << 20
"""Bytes, well past the caches of most processors."""
ROUNDS = 4


def read_bandwidth(threads: int, available: int) -> float | None:
    """Bytes per second that `threads` threads read together, the best of a few rounds; None without room for it.

    Each thread sums its part of a buffer; numpy lets the interpreter's lock go meanwhile. Takes about 0.1 s.
    """
    import numpy as np

    if available < 4 * BUFFER:
        return None
    threads = max(1, min(threads, 16))
    parts = np.array_split(np.ones(BUFFER // 8, dtype=np.int64), threads)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(ROUNDS):
            started = time.perf_counter()
            list(pool.map(np.ndarray.sum, parts))
            best = max(best, BUFFER / (time.perf_counter() - started))
    return best

"""Measuring an engine: time to first token and decode speed, for one stream and for several."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

from enginebay.matching.decision import Measurement
from enginebay.spec import Interface

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.generation.handle import GeneratorHandle
    from enginebay.generation.results import Result
    from enginebay.matching.decision import Match

PROMPT = "Count slowly from one to one thousand, writing each number as a word."


def measure_match(
    bay: Bay, model: str, match: Match, *, streams: int, tokens: int, runs: int, context_length: int | None = None
) -> list[Measurement]:
    """Open the match's backend and measure it alone and with `streams` streams (if it decodes more than one together).

    Args:
        tokens: tokens each stream generates.
        runs: repetitions; medians are kept.
        context_length: tokens of context for each stream; None fits what is measured.
    """
    spec = bay.plugins.spec(Interface.GENERATOR, match.backend)
    widths = sorted({1, min(streams, spec.max_streams)})
    handle = bay.generator(
        model,
        backend=match.backend,
        device=match.device,
        streams=widths[-1],
        context_length=context_length or max(512, 2 * tokens),
        fallback=False,
    )
    version = bay.plugins.availability(spec).version or ""
    try:
        _run(handle, 1, tokens)
        return [_measure(handle, version, width, tokens, runs) for width in widths]
    finally:
        bay.release(handle)


def _measure(handle: GeneratorHandle, version: str, streams: int, tokens: int, runs: int) -> Measurement:
    ttfts: list[float] = []
    speeds: list[float] = []
    for _ in range(runs):
        results, seconds = _run(handle, streams, tokens)
        ttfts += [result.timing.ttft for result in results]
        if streams == 1:
            speeds.append(results[0].timing.tokens_per_second)
        else:
            speeds.append(sum(result.usage.completion_tokens for result in results) / seconds)
    return Measurement(
        backend=handle.spec.name,
        device=handle.device,
        version=version,
        model_digest=handle.model.digest,
        streams=streams,
        tokens_per_second=median(speeds),
        ttft=median(ttfts),
        measured=datetime.now(UTC),
    )


def _run(handle: GeneratorHandle, streams: int, tokens: int) -> tuple[list[Result], float]:
    """`streams` answers at once; each has a prompt of its own, so that no cache serves it."""

    def one(index: int) -> Result:
        return handle.complete(f"{time.time_ns()} {index}: {PROMPT}", max_tokens=tokens, temperature=0)

    started = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        results = list(pool.map(one, range(streams)))
    return results, time.perf_counter() - started

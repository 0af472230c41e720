"""Engines that live in an event loop of their own: cancelling, closing, errors. The engine here is a fake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from enginebay import Chunk, FinishReason, GenerationRequest, LoopGenerator, Usage
from enginebay.errors import EngineClosedError, GenerationError


class FakeLoopGenerator(LoopGenerator):
    """Counts up, one token a piece; it runs no model."""

    max_concurrency = 8

    def __init__(self, pieces: int = 5, pause: float = 0.0, fail_at: int | None = None) -> None:
        super().__init__()
        self.pieces, self.pause, self.fail_at = pieces, pause, fail_at
        self.running = self.most_running = self.given = self.shut = 0

    @property
    def context_length(self) -> int:
        return 128

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        return [1] * len(text)

    async def produce(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            for place in range(self.pieces):
                if place == self.fail_at:
                    raise GenerationError("it broke")
                await asyncio.sleep(self.pause)
                self.given += 1
                yield Chunk(str(place), (place,))
            yield Chunk("", finish_reason=FinishReason.STOP, usage=Usage(1, self.pieces))
        finally:
            await asyncio.sleep(0)  # letting go takes a turn of the loop
            self.running -= 1

    async def shut_down(self) -> None:
        self.shut += 1


REQUEST = GenerationRequest("x")


def test_whole_streamed_and_async() -> None:
    engine = FakeLoopGenerator()
    assert engine.generate(REQUEST).text == "01234"
    assert "".join(chunk.text for chunk in engine.stream(REQUEST)) == "01234"
    assert asyncio.run(engine.agenerate(REQUEST)).text == "01234"
    assert engine.running == 0
    engine.close()


def test_requests_run_together() -> None:
    engine = FakeLoopGenerator(pause=0.02)
    assert [one.text for one in engine.generate_batch([REQUEST] * 8)] == ["01234"] * 8
    assert engine.most_running == 8

    async def together() -> None:
        await asyncio.gather(*(engine.agenerate(REQUEST) for _ in range(20)))

    asyncio.run(together())
    assert engine.most_running == 20
    engine.close()


def test_closing_a_stream_stops_the_engine_before_it_returns() -> None:
    engine = FakeLoopGenerator(pieces=10_000, pause=0.001)
    stream = engine.stream(REQUEST)
    next(stream)
    stream.close()
    assert engine.running == 0
    given = engine.given
    time.sleep(0.05)
    assert engine.given == given
    engine.close()


def test_cancelling_a_task_stops_the_engine_before_it_is_over() -> None:
    engine = FakeLoopGenerator(pieces=10_000, pause=0.001)

    async def cancelled() -> None:
        task = asyncio.ensure_future(engine.agenerate(REQUEST))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.running == 0

    asyncio.run(cancelled())
    engine.close()


@pytest.mark.parametrize("fail_at", [0, 3])
def test_errors_reach_the_caller_after_what_came_before(fail_at: int) -> None:
    engine = FakeLoopGenerator(fail_at=fail_at)
    texts: list[str] = []
    with pytest.raises(GenerationError, match="it broke"):
        texts.extend(chunk.text for chunk in engine.stream(REQUEST))
    with pytest.raises(GenerationError, match="it broke"):
        engine.generate(REQUEST)
    with pytest.raises(GenerationError, match="it broke"):
        asyncio.run(engine.agenerate(REQUEST))
    assert engine.running == 0
    engine.close()


def test_closing_ends_what_runs() -> None:
    engine = FakeLoopGenerator(pieces=10_000, pause=0.001)
    stream = engine.stream(REQUEST)
    next(stream)
    engine.close()
    engine.close()
    assert engine.shut == 1
    with pytest.raises(EngineClosedError):
        list(stream)
    with pytest.raises(EngineClosedError):
        engine.generate(REQUEST)
    assert not engine._thread.is_alive()

"""Blocking iterators for async callers: order, errors, cancellation."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from enginebay.interfaces._threads import Push, close_iterator, items_from_thread


def from_iterator(source: Callable[[], Iterator[int]]) -> AsyncIterator[int]:
    """The items of a blocking iterator, pushed as the generator interface does it."""

    def push(receive: Callable[[int], bool]) -> None:
        iterator = source()
        try:
            for item in iterator:
                if receive(item):
                    return
        finally:
            close_iterator(iterator)

    pushing: Push[int] = push
    return items_from_thread(pushing)


class Counting:
    """Counts up until stopped and notes that it was closed."""

    def __init__(self, count: int, pause: float = 0.0) -> None:
        self.count = count
        self.pause = pause
        self.given = 0
        self.closed = threading.Event()

    def __call__(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                time.sleep(self.pause)
                self.given += 1
                yield number
        finally:
            self.closed.set()


def test_all_items_in_order() -> None:
    async def run() -> list[int]:
        return [number async for number in from_iterator(Counting(10_000))]

    assert asyncio.run(run()) == list(range(10_000))


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("broke")

    async def run() -> list[int]:
        stream = from_iterator(failing)
        first = await anext(stream)
        with pytest.raises(ValueError, match="broke"):
            await anext(stream)
        return [first]

    assert asyncio.run(run()) == [1]


def test_an_error_before_the_first_item() -> None:
    def failing() -> Iterator[int]:
        raise ValueError("at once")

    async def run() -> None:
        with pytest.raises(ValueError, match="at once"):
            await anext(from_iterator(failing))  # type: ignore[arg-type]

    asyncio.run(run())


def test_a_cancelled_task_stops_the_iterator_within_one_item() -> None:
    source = Counting(10_000, pause=0.005)

    async def consume() -> None:
        async for _ in from_iterator(source):
            pass

    async def run() -> int:
        task = asyncio.create_task(consume())
        while source.given < 3:
            await asyncio.sleep(0.001)
        before = source.given
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.closed.is_set(), "the task ended before the iterator was closed"
        return source.given - before

    assert asyncio.run(run()) <= 2


def test_closing_early_closes_the_iterator() -> None:
    source = Counting(10_000, pause=0.001)

    async def run() -> None:
        stream = from_iterator(source)
        async for number in stream:
            if number == 2:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        assert source.closed.is_set()

    asyncio.run(run())
    assert source.given < 10_000


def test_many_at_once() -> None:
    async def one(index: int) -> int:
        return sum([number async for number in from_iterator(Counting(100 + index))])

    async def run() -> list[int]:
        return list(await asyncio.gather(*(one(index) for index in range(64))))

    assert asyncio.run(run()) == [sum(range(100 + index)) for index in range(64)]

"""Blocking work for asynchronous callers."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def close_iterator(iterator: Iterator[T]) -> None:
    """Close a generator; other iterators have nothing to close."""
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


async def iterate_in_thread(open_iterator: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Run a blocking iterator in a thread of its own and hand its items to this event loop.

    When the consumer stops early or is cancelled, the iterator is closed after its current item, and
    this returns only when the thread has ended: what the iterator held is free again.
    """
    loop = asyncio.get_running_loop()
    items: deque[T] = deque()
    news = asyncio.Event()
    ended: asyncio.Future[None] = loop.create_future()
    stop = threading.Event()
    awake = threading.Event()

    def wake() -> None:
        awake.clear()
        news.set()

    def finish(error: BaseException | None) -> None:
        news.set()
        if not ended.done():
            ended.set_result(None) if error is None else ended.set_exception(error)

    def pump() -> None:
        error: BaseException | None = None
        try:
            iterator = open_iterator()
            try:
                for item in iterator:
                    items.append(item)
                    if not awake.is_set():
                        awake.set()
                        loop.call_soon_threadsafe(wake)
                    if stop.is_set():
                        break
            finally:
                close_iterator(iterator)
        except BaseException as caught:  # noqa: BLE001 - handed to the consumer, which raises it
            error = caught
        loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=pump, name="enginebay-stream", daemon=True).start()
    try:
        while True:
            await news.wait()
            news.clear()
            while items:
                yield items.popleft()
            if ended.done() and not items:
                ended.result()
                return
    finally:
        stop.set()
        await _settled(ended)


async def _settled(ended: asyncio.Future[None]) -> None:
    """Wait for the thread even while being cancelled; its error, if any, is the consumer's or moot."""
    cancelled = False
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            cancelled = True
    ended.exception()
    if cancelled:
        raise asyncio.CancelledError

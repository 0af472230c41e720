"""Blocking work for asynchronous callers."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

Push = Callable[[Callable[[T], bool]], None]
"""Hands each item to a receiver, in the thread it is called in, until the receiver returns True."""


def close_iterator(iterator: Iterator[T]) -> None:
    """Close a generator; other iterators have nothing to close."""
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


async def items_from_thread(push: Push[T]) -> AsyncIterator[T]:
    """Run a push in a thread of its own and give its items to this event loop.

    When the consumer stops early or is cancelled, the push is stopped at its next item, and this returns only when
    the thread has ended: what the push held is free again.
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

    def receive(item: T) -> bool:
        items.append(item)
        # One wake-up serves all items that come before the loop gets to them.
        if not awake.is_set():
            awake.set()
            loop.call_soon_threadsafe(wake)
        return stop.is_set()

    def finish(error: BaseException | None) -> None:
        news.set()
        if not ended.done():
            ended.set_result(None) if error is None else ended.set_exception(error)

    def work() -> None:
        error: BaseException | None = None
        try:
            push(receive)
        except BaseException as caught:  # noqa: BLE001 - handed to the consumer, which raises it
            error = caught
        loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=work, name="enginebay-stream", daemon=True).start()
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
        await settled(ended)


async def settled(ended: asyncio.Future[Any]) -> None:
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

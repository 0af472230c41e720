"""Generators whose engines are asynchronous themselves."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

from enginebay.errors import EngineClosedError
from enginebay.interfaces.generator import Chunk, GenerationRequest, Generator

T = TypeVar("T")


class LoopGenerator(Generator):
    """A generator whose engine lives in an event loop: it has one of its own, in a thread of its own.

    A backend implements `produce`; blocking and async callers from any thread or loop are served by it, so that their
    requests run together.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="enginebay-engine", daemon=True)
        self._thread.start()
        self._running: set[concurrent.futures.Future[None]] = set()
        self._lock = threading.Lock()
        self._closed = False

    @abstractmethod
    def produce(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Generate, in the engine's loop. Closing or cancelling it stops the engine and frees the slot.

        Rules and errors as of `Generator.stream`.
        """

    def on_loop(self, work: Awaitable[T]) -> T:
        """Run something in the engine's loop and wait for it."""

        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def stream(self, request: GenerationRequest) -> Iterator[Chunk]:
        """Generate; see `Generator.stream`."""
        items: SimpleQueue[Chunk | None] = SimpleQueue()
        running = self._start(request, items.put)
        ended = False
        try:
            while (chunk := items.get()) is not None:
                yield chunk
            ended = True
        finally:
            if not ended:
                running.cancel()
            while not ended:
                ended = items.get() is None
            self._forget(running)
        self._raise(running)

    async def astream(self, request: GenerationRequest) -> AsyncIterator[Chunk]:
        """Async twin of `stream`, without a thread for each request."""
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[Chunk | None] = asyncio.Queue()
        running = self._start(request, lambda item: _tell(loop, items, item))
        ended = False
        try:
            while (chunk := await items.get()) is not None:
                yield chunk
            ended = True
        finally:
            if not ended:
                running.cancel()
            await _drained(items, ended)
            self._forget(running)
        self._raise(running)

    def check_open(self) -> None:
        """Raise EngineClosedError after `close`."""
        if self._closed:
            raise EngineClosedError("the engine was closed", hint="open it again")

    async def shut_down(self) -> None:
        """Free the engine; called in its loop, once, when nothing runs any more."""

    def close(self) -> None:
        """Stop what runs, free the engine and end the loop. Closing twice is no error."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            running = list(self._running)
        for one in running:
            one.cancel()
        if threading.current_thread() is not self._thread:
            concurrent.futures.wait(running, timeout=30)
            with suppress(Exception):
                self.on_loop(self.shut_down())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)
            if not self._thread.is_alive():
                self._loop.close()

    def _start(
        self, request: GenerationRequest, put: Callable[[Chunk | None], None]
    ) -> concurrent.futures.Future[None]:
        async def pump() -> None:
            chunks = self.produce(request)
            try:
                async for chunk in chunks:
                    put(chunk)
                    if chunk.finish_reason is not None:
                        break
            finally:
                try:
                    await chunks.aclose()
                finally:
                    put(None)

        with self._lock:
            self.check_open()
            running = asyncio.run_coroutine_threadsafe(pump(), self._loop)
            self._running.add(running)
        return running

    def _forget(self, running: concurrent.futures.Future[None]) -> None:
        with self._lock:
            self._running.discard(running)

    def _raise(self, running: concurrent.futures.Future[None]) -> None:
        """Raise what ended a stream that its consumer did not end."""
        try:
            running.result()
        except concurrent.futures.CancelledError:
            if self._closed:
                raise EngineClosedError("the engine was closed while it generated") from None


def _tell(loop: asyncio.AbstractEventLoop, items: asyncio.Queue[Chunk | None], item: Chunk | None) -> None:
    with suppress(RuntimeError):  # the consumer's loop has ended
        loop.call_soon_threadsafe(items.put_nowait, item)


async def _drained(items: asyncio.Queue[Chunk | None], ended: bool) -> None:
    """Wait until the engine has let go, even while being cancelled."""
    cancelled = False
    while not ended:
        try:
            ended = await items.get() is None
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError

"""A queue of callers before an engine that takes one call at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from enginebay.errors import EngineError


class Gate:
    """Lets one caller in at a time, first come first served, threads and tasks alike. Also a context manager."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._free = True
        self._waiting: deque[Callable[[], None]] = deque()
        self._holder: int | None = None

    def acquire(self) -> None:
        """Wait for a place, blocking this thread.

        Raises:
            EngineError: this thread itself holds a place, in a stream it has not finished: waiting would never end.
        """
        me = threading.get_ident()
        if self._holder == me:
            raise EngineError(
                "this thread has a stream of the same engine open, and the engine takes one call at a time",
                hint="read the stream to its end or close it first, or use a backend with continuous batching",
            )
        granted = threading.Event()
        if not self._enter(granted.set):
            granted.wait()
        self._holder = me

    async def aacquire(self) -> None:
        """Wait for a place without blocking the event loop; a cancelled waiter leaves the queue."""
        loop = asyncio.get_running_loop()
        granted = asyncio.Event()

        def grant() -> None:
            loop.call_soon_threadsafe(granted.set)

        if self._enter(grant):
            return
        try:
            await granted.wait()
        except asyncio.CancelledError:
            if not self._leave(grant):
                self._pass_on()
            raise

    def release(self) -> None:
        """Give the place to the next in the queue."""
        self._holder = None
        self._pass_on()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.release()

    async def __aenter__(self) -> None:
        await self.aacquire()

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self.release()

    def _enter(self, grant: Callable[[], None]) -> bool:
        with self._mutex:
            if self._free:
                self._free = False
                return True
            self._waiting.append(grant)
            return False

    def _leave(self, grant: Callable[[], None]) -> bool:
        with self._mutex:
            if grant in self._waiting:
                self._waiting.remove(grant)
                return True
            return False

    def _pass_on(self) -> None:
        with self._mutex:
            if self._waiting:
                grant = self._waiting.popleft()
            else:
                self._free = True
                return
        grant()

"""A stranger's code, run with a time limit and away from standard output."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from enginebay.errors import PluginError
from enginebay.plugins.stdout import Router, Sink

T = TypeVar("T")

_PROCESS = threading.Lock()
"""sys.stdout and the import system belong to the whole process: one guarded call at a time."""


class Stopped(BaseException):
    """Raised inside a thread that ran past its limit; no `except Exception` holds it up."""


@dataclass(slots=True)
class Outcome(Generic[T]):
    """How a guarded call ended.

    Attributes:
        error: what it raised, SystemExit and KeyboardInterrupt included.
        hung: it did not end within the limit.
        printed: what it wrote to `sys.stdout`, at most the first 4096 characters.
        replaced_stdout: it put something else in the place of `sys.stdout`; that was undone.
    """

    value: T | None = None
    error: BaseException | None = None
    hung: bool = False
    printed: str = ""
    replaced_stdout: bool = False
    seconds: float = 0.0

    @property
    def result(self) -> T:
        """The value; to be asked for only when nothing went wrong."""
        return cast(T, self.value)


class _Worker(threading.Thread, Generic[T]):
    """Runs one function. A thread of its own also tells a KeyboardInterrupt that a plugin raises from a real one."""

    def __init__(self, function: Callable[[], T], outcome: Outcome[T], router: Router, sink: Sink) -> None:
        super().__init__(name="enginebay-plugin", daemon=True)
        self._function = function
        self._outcome = outcome
        self._router = router
        self._sink = sink

    def run(self) -> None:
        self._router.divert(self._sink)
        try:
            self._outcome.value = self._function()
        except BaseException as error:  # noqa: BLE001 - judged by the caller
            self._outcome.error = error
        finally:
            self._router.release()


def call_guarded(function: Callable[[], T], limit: float) -> Outcome[T]:
    """Run `function` in a thread of its own for at most `limit` seconds.

    A thread that runs past the limit is asked to stop by an exception; one that sleeps in native code stays behind as
    a daemon, its output still diverted. A real Ctrl-C ends the wait and passes.

    Raises:
        PluginError: the calling thread is itself in a guarded call.
    """
    if isinstance(threading.current_thread(), _Worker):
        raise PluginError(
            "a plugin may not load or ask plugins while it is being loaded or asked itself",
            hint="do it when one of its commands or engines runs",
        )
    outcome: Outcome[T] = Outcome()
    sink = Sink()
    with _PROCESS:
        router = Router(sys.stdout)
        worker = _Worker(function, outcome, router, sink)
        started = time.perf_counter()
        router.install()
        try:
            worker.start()
            worker.join(min(limit, threading.TIMEOUT_MAX))
            outcome.seconds = time.perf_counter() - started
            if worker.is_alive():
                outcome.hung = True
                _stop(worker)
        finally:
            outcome.replaced_stdout = not router.leave()
    outcome.printed = sink.text
    return outcome


def _stop(thread: threading.Thread) -> None:
    """Raise `Stopped` in a thread that spins; several times, for one that swallows it."""
    import ctypes

    raise_in = getattr(ctypes.pythonapi, "PyThreadState_SetAsyncExc", None)
    if raise_in is None or thread.ident is None:
        return
    for _ in range(3):
        raise_in(ctypes.c_ulong(thread.ident), ctypes.py_object(Stopped))
        thread.join(0.05)
        if not thread.is_alive():
            return

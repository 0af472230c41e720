"""llama.cpp's log, kept off the user's terminal: into Python's logging, and the last lines for error messages."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp

_ERROR, _CONTINUES = 4, 5
logger = logging.getLogger("enginebay.llama_cpp")


class NativeLog:
    """Receives llama.cpp's log. The library has one receiver for the whole process."""

    def __init__(self) -> None:
        self._last: deque[str] = deque(maxlen=8)
        self._errors: deque[str] = deque(maxlen=4)
        self._level = 0
        self._listener: Callable[[str], None] | None = None
        self._failure: BaseException | None = None
        # ctypes calls into this object, so it must outlive the library's use of it.
        self._callback = llama_cpp.llama_log_callback(self._receive)
        llama_cpp.llama_log_set(self._callback, None)

    def reason(self) -> str:
        """The last errors, or the last lines when there were none."""
        lines = self._errors or self._last
        return "; ".join(lines) or "no reason given"

    def clear(self) -> None:
        """Forget what came before."""
        self._last.clear()
        self._errors.clear()

    @contextmanager
    def heard_by(self, listener: Callable[[str], None]) -> Iterator[None]:
        """Pass each line on to `listener`. What it raises comes at the end of the block: C cannot be unwound."""
        self.clear()
        self._listener, self._failure = listener, None
        try:
            yield
        finally:
            self._listener = None
        if self._failure is not None:
            raise self._failure

    def _tell(self, line: str) -> None:
        try:
            if self._listener is not None:
                self._listener(line)
        except BaseException as error:  # noqa: BLE001 - raised at the end of `heard_by`
            self._listener, self._failure = None, error

    def _receive(self, level: int, text: bytes, _: Any) -> None:
        line = text.decode(errors="replace").strip()
        self._level = self._level if level == _CONTINUES else level
        if line.strip("."):
            (self._errors if self._level == _ERROR else self._last).append(line)
            logger.debug("%s", line)
            self._tell(line)


LOG = NativeLog()
"""Made on import, which is when an engine is first opened."""

"""Standard output, kept clean of what plugins print while they are being loaded.

Only writes through `sys.stdout` are seen; a native library that writes to file descriptor 1 is not.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

LIMIT = 4096
"""Characters kept of what a plugin prints; the rest is dropped."""


class Sink:
    """A file that keeps the first characters written to it."""

    encoding = "utf-8"
    errors = "replace"
    closed = False

    def __init__(self) -> None:
        self.text = ""
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        self.text = (self.text + text)[:LIMIT]
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


class _Bytes:
    """The binary side of a sink."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: bytes) -> int:
        self._sink.write(bytes(data).decode("utf-8", "replace"))
        return len(data)

    def flush(self) -> None: ...

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


class Router:
    """Stands in for `sys.stdout`: one thread writes into its sink, all others where they always did."""

    def __init__(self, original: Any) -> None:
        self._original = original
        self._sinks: dict[int, Sink] = {}

    def divert(self, sink: Sink) -> None:
        """What the calling thread writes from now on goes into `sink`."""
        self._sinks[threading.get_ident()] = sink

    def release(self) -> None:
        """The calling thread writes as all others again."""
        self._sinks.pop(threading.get_ident(), None)

    def install(self) -> None:
        """Take the place of `sys.stdout`."""
        sys.stdout = self

    def leave(self) -> bool:
        """Give `sys.stdout` back, unless a diverted thread still runs; False when somebody had replaced it."""
        untouched = sys.stdout is self
        if self._sinks:
            self.install()
        else:
            sys.stdout = self._original
        return untouched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sinks.get(threading.get_ident(), self._original), name)

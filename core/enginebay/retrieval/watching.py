"""Being told of changes below folders, by watchfiles."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from enginebay.errors import DocumentError
from enginebay.retrieval.libraries import load

_LOOK = 300
"""Milliseconds after which the watcher looks whether it is to stop."""


def changes(paths: Sequence[Path], stop: threading.Event | None = None) -> Iterator[None]:
    """Give something once the paths are watched, and again whenever something has changed below them.

    Changes of hidden files are told, too: a .gitignore is one. It ends when `stop` is set.

    Raises:
        DocumentError: a path leads nowhere.
        BackendUnavailableError: watchfiles is not installed.
    """
    for path in paths:
        if not path.exists():
            raise DocumentError(f"there is no file or folder {path}", value=str(path))
    watched = load("watchfiles").watch(
        *paths, stop_event=stop, watch_filter=None, debounce=400, rust_timeout=_LOOK, yield_on_timeout=True
    )
    for number, found in enumerate(watched):
        if found or number == 0:
            yield None

"""Being told of changes below folders, by watchfiles."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from enginebay.retrieval.libraries import load


def changes(paths: Sequence[Path], stop: threading.Event | None = None) -> Iterator[None]:
    """Give something whenever something has changed below the paths, until `stop` is set.

    Changes of hidden files are told, too: a .gitignore is one.

    Raises:
        BackendUnavailableError: watchfiles is not installed.
    """
    library = load("watchfiles")
    for _ in library.watch(*paths, stop_event=stop, watch_filter=None, debounce=400, raise_interrupt=True):
        yield None

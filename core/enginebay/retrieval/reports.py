"""What a run over documents did, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that is not in the index.

    Attributes:
        source: its path.
        reason: why, for people.
    """

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a run changed.

    Attributes:
        added, changed, removed: ids of documents.
        unchanged: how many documents were left as they are.
        left_out: what is not in the index, and why.
        passages: how many were embedded and written.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: int = 0
    left_out: tuple[LeftOut, ...] = ()
    passages: int = 0

    @property
    def nothing_changed(self) -> bool:
        """The index is as it was."""
        return not (self.added or self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        documents: read, of `total`.
        passages: embedded.
        source: the document read last.
    """

    documents: int
    total: int
    passages: int
    source: str


Tell = Callable[[Progress], None]

"""What one environment remembers of its plugins between runs: deadly imports, failures, proven backends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from enginebay.paths import data_dir, write_whole
from enginebay.plugins.records import BackendState, Failure
from enginebay.spec import FrozenModel

MOST_ENTRIES = 200
"""Entries kept in each table; the oldest go first."""

V = TypeVar("V")


class Proof(FrozenModel):
    """A backend state that was reached, and with which versions."""

    state: BackendState
    versions: str


class Notes(FrozenModel):
    """The file's content.

    Attributes:
        condemned: reasons by fingerprint, of plugins that never return or end the process.
        failures: by "interface:backend".
        proofs: by "interface:backend".
    """

    condemned: dict[str, str] = {}
    failures: dict[str, Failure] = {}
    proofs: dict[str, Proof] = {}


class Memory:
    """Reads and changes the notes. One file per environment (`sys.prefix`), since each has its own libraries.

    Where the folder cannot be written or the file cannot be read, nothing is remembered and nothing fails.
    """

    def __init__(self) -> None:
        environment = sha256(sys.prefix.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.path: Path = data_dir() / "plugins" / f"{environment}.json"

    def read(self) -> Notes:
        """The notes as they are now."""
        try:
            return Notes.model_validate_json(self.path.read_bytes())
        except (OSError, ValidationError):
            return Notes()

    def change(self, edit: Callable[[Notes], Notes]) -> None:
        """Apply `edit` to the newest notes, other processes held off."""
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock"), timeout=2):
                before = self.read()
                after = edit(before)
                if after != before:
                    write_whole(self.path, after.model_dump_json(indent=1).encode())
        except (OSError, Timeout):
            return

    def condemn(self, fingerprint: str, reason: str) -> None:
        """Remember not to import this version of a plugin again: the next start would wait, or die, again."""
        said = f"{reason}; tried on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, not again"
        self.change(
            lambda notes: notes.model_copy(update={"condemned": with_entry(notes.condemned, fingerprint, said)})
        )

    def forget(self) -> None:
        """Forget everything."""
        self.change(lambda _: Notes())


def with_entry(table: dict[str, V], key: str, value: V) -> dict[str, V]:
    """A copy of `table` with the entry as its newest, and the oldest dropped beyond `MOST_ENTRIES`."""
    entries = {**{name: kept for name, kept in table.items() if name != key}, key: value}
    return dict(list(entries.items())[-MOST_ENTRIES:])


def without_entry(table: dict[str, V], key: str) -> dict[str, V]:
    """A copy of `table` without the entry."""
    return {name: kept for name, kept in table.items() if name != key}

"""Showing the progress of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from enginebay.cli._output import err

if TYPE_CHECKING:
    from enginebay.interfaces.jobs import JobEvent


class JobBar:
    """A progress bar on stderr; without a terminal there, nothing. A context manager."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def event(self, event: JobEvent) -> None:
        """Show where a job is."""
        what = event.message or event.stage
        self._bar.update(self._task, description=what[:60], total=event.steps, completed=event.step)

    def tell(self, what: str) -> None:
        """Show what is being done, of which nobody knows how long it takes."""
        self._bar.update(self._task, description=what[:60], total=None, completed=0)

    def __enter__(self) -> JobBar:
        self._bar.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._bar.stop()

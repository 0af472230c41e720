"""Fetching with a progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from enginebay.cli._output import err

if TYPE_CHECKING:
    from enginebay.models.store import ModelStore


def pull_visibly(models: ModelStore, reference: str, *, force: bool = False) -> Path:
    """Fetch a model with a progress bar on stderr; without a terminal there, quietly."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(f"fetching {reference}", total=None)
        return models.pull(
            reference, progress=lambda done, total: bar.update(task, completed=done, total=total), force=force
        )

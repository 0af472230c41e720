"""`enginebay index`: make folders searchable, and keep them so."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from enginebay.cli import _index
from enginebay.cli._engine import Config, Profile
from enginebay.cli._output import err, out, print_json
from enginebay.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enginebay.bay import Bay
    from enginebay.retrieval import Index, SyncReport
    from enginebay.retrieval.reports import Tell

app = typer.Typer()

_EXPECTED = ("hidden", "ignored by .gitignore", "excluded", "not included")
"""Reasons that people gave themselves: told as numbers."""

_NAMED = 10
"""Files that are named one by one, with the reason why each is left out."""


@app.command()
def index(
    paths: Annotated[list[Path] | None, typer.Argument(help="Folders and files to index.")] = None,
    name: _index.Name = None,
    store: _index.Store = None,
    embedder: _index.Embedder = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", help="Take only files that match, as in .gitignore; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Leave out what matches, as in .gitignore; repeatable.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay, and follow what changes.")] = False,
    reindex: Annotated[
        bool, typer.Option("--reindex", help="First embed all that the index holds anew, as by another model.")
    ] = False,
    config: Config = None,
    profile: Profile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON; with --watch one on each line.")
    ] = False,
) -> None:
    """Make folders searchable: what is new or changed is embedded, what has gone is removed."""
    from enginebay.bay import Bay

    if not paths and not reindex:
        raise ConfigError("there is nothing to index", hint="name a folder: enginebay index docs")
    changed = _index.changes(store, embedder, include=include, exclude=exclude)
    with Bay(config=config, profile=profile) as bay:
        opened = _reindexed(bay, name, changed) if reindex else _index.open_index(bay, name, changed, create=True)
        if not paths:
            return
        if watch:
            _watch(opened, paths, as_json)
            return
        with _bar("indexing") as tell:
            report = opened.sync(*paths, progress=tell)
        if as_json:
            print_json(_as_json(report))
        else:
            _print(opened, report)


def _reindexed(bay: Bay, name: str | None, changed: dict[str, Any]) -> Index:
    from enginebay.retrieval import Index

    _index.ensure_embedder(bay, name, changed)
    with _bar("embedding anew") as tell:
        opened = Index.reindex(bay, name, progress=tell, **changed)
    err.print(f"embedded {opened.collection.count()} passages anew with {opened.embedder.name}")
    return opened


def _watch(opened: Index, paths: list[Path], as_json: bool) -> None:
    """Until Ctrl-C, which ends it as asked."""
    reports = opened.watch(*paths)
    try:
        for first, report in enumerate(reports):
            if as_json:
                sys.stdout.write(json.dumps(_as_json(report)) + "\n")
                sys.stdout.flush()
            else:
                _print(opened, report, named=first > 0)
                if not first:
                    err.print("[dim]watching; Ctrl-C ends it[/]")
    except KeyboardInterrupt:
        err.print("ended")


@contextmanager
def _bar(what: str) -> Iterator[Tell]:
    """A progress bar on stderr; without a terminal there, none."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("documents, {task.fields[passages]} passages"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None, passages=0)
        yield lambda now: bar.update(task, completed=now.documents, total=now.total, passages=now.passages)


def _print(opened: Index, report: SyncReport, *, named: bool = False) -> None:
    """A report for people.

    Args:
        named: name each document that changed.
    """
    counts = {"added": report.added, "changed": report.changed, "removed": report.removed}
    told = [f"{len(sources)} {what}" for what, sources in counts.items()] + [f"{report.unchanged} unchanged"]
    out.print(f"{', '.join(told)}; {report.passages} passages embedded")
    if named:
        for what, sources in counts.items():
            for source in sources:
                out.print(f"  {what} {escape(_index.shown(source))}", soft_wrap=True)
        return
    reasons = Counter(one.reason for one in report.left_out if one.reason in _EXPECTED)
    for reason, count in sorted(reasons.items()):
        out.print(f"  [dim]left out {count}: {reason}[/]")
    others = [one for one in report.left_out if one.reason not in _EXPECTED]
    for one in others[:_NAMED]:
        out.print(f"  left out {escape(_index.shown(one.source))}: {escape(one.reason)}", soft_wrap=True)
    if len(others) > _NAMED:
        out.print(f"  left out {len(others) - _NAMED} more; --json names them")
    held = opened.collection.count()
    out.print(f"[dim]{escape(opened.name)} holds {held} passages in {opened.collection.backend}[/]")


def _as_json(report: SyncReport) -> dict[str, Any]:
    return {**asdict(report), "left_out": [asdict(one) for one in report.left_out]}

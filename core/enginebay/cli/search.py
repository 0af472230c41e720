"""`enginebay search`: find passages."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from enginebay.cli import _index
from enginebay.cli._engine import Config, Profile
from enginebay.cli._output import err, out, print_json

if TYPE_CHECKING:
    from enginebay.retrieval import Passage

app = typer.Typer()

_SHOWN = 300
"""Characters of a passage that are shown."""


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    limit: _index.Limit = 5,
    where: _index.Where = None,
    mode: _index.Mode = None,
    diversity: Annotated[
        float | None, typer.Option("--diversity", help="0 to 1: how much passages should differ.", min=0, max=1)
    ] = None,
    name: _index.Name = None,
    store: _index.Store = None,
    embedder: _index.Embedder = None,
    config: Config = None,
    profile: Profile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print whole passages as JSON.")] = False,
) -> None:
    """Find the passages of an index that fit a query best."""
    from enginebay.bay import Bay

    wanted = _index.parse_where(where)
    with Bay(config=config, profile=profile) as bay:
        index = _index.open_index(bay, name, _index.changes(store, embedder))
        found = index.search(query, limit, where=wanted, mode=mode, diversity=diversity)
    if as_json:
        print_json([passage_as_json(passage) for passage in found])
        return
    for passage in found:
        near = "" if passage.similarity is None else f"  [dim]{passage.similarity:.2f}[/]"
        out.print(f"[bold]{escape(_index.shown(passage.where))}[/]{near}", soft_wrap=True)
        text = " ".join(passage.text.split())
        out.print(Padding(Text(text if len(text) <= _SHOWN else text[:_SHOWN] + " …"), (0, 0, 0, 2), expand=False))
    if not found:
        err.print("nothing found")


def passage_as_json(passage: Passage) -> dict[str, Any]:
    """A passage with all that is known of it."""
    return {**asdict(passage), "metadata": dict(passage.metadata), "where": passage.where}

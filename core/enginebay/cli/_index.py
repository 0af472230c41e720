"""What the commands over an index share: their options, opening it, how a source is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginebay.cli._engine import ensure_pulled
from enginebay.cli._output import err

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.interfaces.filters import Filter
    from enginebay.retrieval import Index

Name = Annotated[
    str | None, typer.Option("--name", help="A configured index ([collections.NAME]) or a new name; else documents.")
]
Store = Annotated[str | None, typer.Option("--store", help="A configured store, or a backend.")]
Embedder = Annotated[str | None, typer.Option("--embedder", help="A configured embedder, or a model.")]
Where = Annotated[
    str | None, typer.Option("--where", help='Only documents whose metadata matches, as JSON: {"team": "search"}')
]
Mode = Annotated[str | None, typer.Option("--mode", help="hybrid, vector, lexical or store_hybrid.")]
Limit = Annotated[int, typer.Option("--limit", help="Passages at most.", min=1)]


def changes(store: str | None, embedder: str | None, **more: Any) -> dict[str, Any]:
    """What the flags change of an index's configuration."""
    given = {"store": store, "embedder": embedder, **more}
    return {name: value for name, value in given.items() if value is not None}


def ensure_embedder(bay: Bay, name: str | None, changed: dict[str, Any]) -> None:
    """Fetch the model of an index's embedder if it is not here, visibly."""
    from enginebay.retrieval.opening import embedder_name, index_settings

    _, settings = index_settings(bay, name, changed)
    _, config = bay.embedder_config(embedder_name(bay, settings))
    ensure_pulled(bay, config.model)


def open_index(bay: Bay, name: str | None, changed: dict[str, Any], *, create: bool = False) -> Index:
    """Open an index.

    Raises:
        CollectionNotFoundError: it is not there; says how to make it.
    """
    from enginebay.errors import CollectionNotFoundError
    from enginebay.retrieval import Index

    ensure_embedder(bay, name, changed)
    with err.status("opening the index …"):
        try:
            return Index.open(bay, name, create=create, **changed)
        except CollectionNotFoundError as error:
            error.hint = f"make it: enginebay index FOLDER{f' --name {name}' if name else ''}"
            raise


def parse_where(text: str | None) -> Filter | None:
    """A filter of the command line.

    Raises:
        ConfigError: it is no JSON.
        InvalidFilterError: it is no filter.
    """
    import json

    from enginebay.errors import ConfigError
    from enginebay.interfaces.filters import parse_filter

    if text is None:
        return None
    try:
        return parse_filter(json.loads(text))
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"--where {text!r} is no JSON: {error.msg}", value=text, hint='write it like {"year": {"$gte": 2020}}'
        ) from error


def shown(place: str) -> str:
    """A source, or a place in one, as short as it can be from here."""
    here = str(Path.cwd()) + "/"
    return place.removeprefix(here)

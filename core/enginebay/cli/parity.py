"""`enginebay parity`: one model on several backends, side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from enginebay.cli._engine import ContextLength, ensure_pulled
from enginebay.cli._output import err, out, print_json
from enginebay.errors import ConfigError

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.parity import Agreement, Column

app = typer.Typer()


@app.command()
def parity(
    model: Annotated[str, typer.Argument(help="Model; converted for backends that do not read it.")],
    backends: Annotated[
        str | None, typer.Option("--backends", "-b", help="Backends, with commas; the first is the reference.")
    ] = None,
    message: Annotated[list[str] | None, typer.Option(help="User message to compare by; repeatable.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", "-n", min=1)] = 32,
    context_length: ContextLength = 1024,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare rendered prompt, token ids, greedy text and the distribution of the next token. Exit 1 if one fails."""
    from enginebay.bay import Bay
    from enginebay.parity import MESSAGES, agreement, columns

    with Bay() as bay:
        ensure_pulled(bay, model)
        names = [name.strip() for name in backends.split(",") if name.strip()] if backends else _all(bay, model)
        if len(names) < 2:
            raise ConfigError("parity needs two backends", value=backends, hint="see: enginebay plugins")
        found: list[Column] = []
        with err.status("asking …") as status:
            for column in columns(
                bay, model, names, messages=message or MESSAGES, max_tokens=max_tokens, context_length=context_length
            ):
                found.append(column)
                status.update(f"{column.backend} has answered …")
    reference = next((column for column in found if not column.problem), None)
    against = {
        column.backend: agreement(reference, column)
        for column in found
        if reference is not None and column is not reference and not column.problem
    }
    if as_json:
        told = {name: asdict(one) for name, one in against.items()}
        print_json({"model": model, "columns": [_plain(column) for column in found], "agreement": told})
    else:
        _print(found, reference, against)
    if any(column.problem for column in found):
        raise typer.Exit(1)


def _all(bay: Bay, model: str) -> list[str]:
    """Every backend that can run the model here, the fastest first."""
    decision = bay.explain(model)
    return list(dict.fromkeys(match.backend for match in decision.matches if match.accepted))


def _plain(column: Column) -> dict[str, object]:
    """A column without distributions: they have an entry for each token of the vocabulary."""
    fields = asdict(column)
    for sample in fields["samples"]:
        del sample["following"]
    return fields


def _print(found: list[Column], reference: Column | None, against: dict[str, Agreement]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("backend", no_wrap=True)
    for header in ("prompts", "ids", "texts", "common", "best", "KL mean", "KL max", "tok/s"):
        table.add_column(header, justify="right")
    for column in found:
        count = len(column.samples)
        if column.problem:
            continue
        speed = f"{column.tokens_per_second:.0f}"
        if column is reference:
            table.add_row(column.backend, "reference", *[""] * 6, speed)
            continue
        one = against[column.backend]
        table.add_row(
            column.backend, f"{one.same_prompts}/{count}", f"{one.same_ids}/{count}", f"{one.same_texts}/{count}",
            f"{one.common:.0%}", f"{one.same_best}/{count}", f"{one.kl_mean:.4f}", f"{one.kl_max:.4f}", speed,
        )  # fmt: skip
    out.print(table)
    for column in found:
        told = escape(repr(column.samples[0].text)) if column.samples else f"[red]{escape(column.problem)}[/]"
        out.print(f"[bold]{column.backend}[/] on {column.device}, {column.weights}: {told}", soft_wrap=True)

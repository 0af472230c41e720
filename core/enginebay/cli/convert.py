"""`enginebay convert`: a model in another format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginebay import paths
from enginebay.cli._engine import Options, ensure_pulled, parse_options
from enginebay.cli._output import err, out, print_json
from enginebay.errors import ConfigError

if TYPE_CHECKING:
    from enginebay.plugins import Plugins

app = typer.Typer()


@app.command()
def convert(
    model: Annotated[str | None, typer.Argument(help="Model: catalogue name, path, hf:…, pypi:…")] = None,
    to: Annotated[str | None, typer.Argument(help="Format: gguf, safetensors, ctranslate2, mlc.")] = None,
    option: Options = None,
    output: Annotated[Path | None, typer.Option("--output", help="Copy the result there; it must be free.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the converters and whether they can run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Convert a model by the shortest path of installed converters. The result is kept and found again by engines."""
    from enginebay.bay import Bay
    from enginebay.spec import ModelFormat

    with Bay() as bay:
        if listing:
            _list(bay.plugins, as_json)
            return
        if model is None or to is None:
            raise ConfigError("name a model and a format", hint="enginebay convert MODEL FORMAT; formats: --list")
        if to not in set(ModelFormat):
            raise ConfigError(f"{to!r} is no model format", value=to, hint=", ".join(ModelFormat))
        if output is not None and output.exists():
            raise ConfigError(f"{output} exists already", value=str(output), hint="name another place")
        ensure_pulled(bay, model)
        with err.status("converting …") as status:
            path = bay.convert(
                model,
                to,
                options=parse_options(option or []),
                report=lambda what, share: status.update(f"{what} ({share:.0%})"),
            )
        if output is not None:
            path = _copy(path, output)
    if as_json:
        print_json({"path": str(path), "format": to})
    else:
        out.print(str(path), soft_wrap=True)


def _copy(path: Path, output: Path) -> Path:
    """Copy beside, then rename: nobody finds a part."""
    import shutil

    beside = output.with_name(f".{output.name}.part")
    try:
        shutil.copytree(path, beside) if path.is_dir() else shutil.copyfile(path, beside)
        return beside.rename(output)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror or error}", value=str(output)) from error
    finally:
        paths.remove(beside)


def _list(plugins: Plugins, as_json: bool) -> None:
    found = [(spec, plugins.converter_availability(spec)) for spec in plugins.converters()]
    if as_json:
        print_json([spec.model_dump(mode="json") | {"missing": known.message or None} for spec, known in found])
        return
    from rich.table import Table

    table = Table("converter", "from", "to", "options", "state", box=None)
    for spec, known in found:
        options = ", ".join(f"{name}={value}" for name, value in spec.defaults.items())
        state = f"[yellow]{known.message}[/] [dim]-> {known.hint}[/]" if known.code else "[green]installed[/]"
        table.add_row(spec.name, spec.source, spec.target, options, state)
    out.print(table)

"""`enginebay config`: what is set, where it came from, and a file to start with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginebay.cli._engine import Config, Profile
from enginebay.cli._output import err, out, print_json
from enginebay.errors import ConfigError

if TYPE_CHECKING:
    from enginebay.config import LoadedSettings

app = typer.Typer(help="Show, check and start the configuration.", no_args_is_help=True)

STARTER = """\
# enginebay.toml: every value may also be set by an environment variable, such as
# ENGINEBAY_GENERATORS__CHAT__BACKEND, which overrides this file.

default_generator = "chat"

[generators.chat]
model = "smollm2-135m-instruct"   # a catalogue name, a path, hf:org/name:file or pypi:distribution
backend = "auto"                  # or a name that `enginebay plugins` lists
# device = "auto"
# context_length = 4096
# sampling = { temperature = 0.7, top_p = 0.95 }
# system = "You are a helpful assistant."

# [profiles.greedy.generators.chat]   # laid over by --profile greedy or ENGINEBAY_PROFILE=greedy
# sampling = { temperature = 0 }
"""


@app.command()
def show(
    config: Config = None,
    profile: Profile = None,
    everything: Annotated[bool, typer.Option("--all", help="Show defaults too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show every value and where it came from. Secrets are masked."""
    from enginebay.config import load_settings

    loaded = load_settings(file=config, profile=profile)
    rows = [row for row in _rows(loaded) if everything or row["source"] != "default"]
    if as_json:
        files = [str(file) for file in loaded.files]
        print_json({"files": files, "profile": loaded.profile, "profiles": list(loaded.profiles), "values": rows})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("key", "value", "from"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(f"[bold]{row['key']}[/]", str(row["value"]), f"[dim]{row['source']}[/]")
    out.print(table if rows else "nothing is configured; defaults apply (--all shows them)")


@app.command()
def path(config: Config = None) -> None:
    """Print the files that are read, weakest first."""
    from enginebay.config import load_settings

    files = load_settings(file=config).files
    for file in files:
        out.print(str(file), soft_wrap=True)
    if not files:
        err.print("[dim]no file is read; enginebay config init writes one[/]")


@app.command()
def check(config: Config = None, profile: Profile = None) -> None:
    """Read the configuration, each profile of it, and each backend's options; the first fault is an error."""
    from enginebay.bay import Bay
    from enginebay.config import load_settings
    from enginebay.engines import check_options
    from enginebay.spec import Interface

    loaded = load_settings(file=config, profile=profile)
    for name in loaded.profiles:
        load_settings(file=config, profile=name)
    bay = Bay(config=config, profile=profile)
    settings = loaded.settings
    for interface, configured in (
        (Interface.GENERATOR, settings.generators),
        (Interface.EMBEDDER, settings.embedders),
        (Interface.VECTOR_STORE, settings.stores),
    ):
        for engine in configured.values():
            if engine.backend != "auto":
                spec = bay.plugins.spec(interface, engine.backend)
                check_options(spec, bay.plugins.options_model(spec), engine.options)
    out.print(f"sound: {', '.join(map(str, loaded.files)) or 'no file'}", soft_wrap=True)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("enginebay.toml"),
) -> None:
    """Write a commented file to start with. An existing file is left alone."""
    from enginebay.paths import write_whole

    if file.exists():
        raise ConfigError(f"{file} exists", value=str(file), hint="edit it, or name another file")
    try:
        write_whole(file, STARTER.encode())
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}", value=str(file)) from error
    out.print(f"{file} written", soft_wrap=True)


def _rows(loaded: LoadedSettings) -> list[dict[str, Any]]:
    from enginebay.config.sources import leaves

    shown = dict(leaves(loaded.settings.model_dump(mode="json")))
    return [
        {"key": ".".join(key), "value": value, "source": str(_source(loaded, key) or "default")}
        for key, value in shown.items()
    ]


def _source(loaded: LoadedSettings, key: tuple[str, ...]) -> object:
    for length in range(len(key), 0, -1):
        if (source := loaded.provenance.get(".".join(key[:length]))) is not None:
            return source
    return None

"""What the commands that open an engine share: their options, fetching a missing model, opening."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginebay.cli._output import err
from enginebay.errors import ConfigError

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.generation.handle import GeneratorHandle

Generator = Annotated[
    str | None,
    typer.Option("--generator", "-g", help="A configured generator, or a model: catalogue name, path, hf:…, pypi:…"),
]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Model reference, in place of the configured one.")]
Backend = Annotated[str | None, typer.Option("--backend", "-b", help="Backend to use; auto lets the matcher choose.")]
DeviceOption = Annotated[str | None, typer.Option("--device", "-d", help="Device id or kind, such as cuda:0 or cpu.")]
ContextLength = Annotated[int | None, typer.Option("--context-length", help="Tokens the context must hold.", min=1)]
Options = Annotated[list[str] | None, typer.Option("--option", "-o", help="Backend option as NAME=VALUE; repeatable.")]
System = Annotated[str | None, typer.Option("--system", "-s", help="System prompt.")]
Config = Annotated[Path | None, typer.Option("--config", help="Configuration file in place of the discovered ones.")]
Profile = Annotated[str | None, typer.Option("--profile", help="Configuration profile to lay over.")]


def open_generator(
    *,
    generator: str | None,
    model: str | None,
    backend: str | None,
    device: str | None,
    context_length: int | None,
    options: list[str] | None,
    system: str | None,
    config: Path | None,
    profile: str | None,
    sampling: dict[str, Any] | None = None,
    **more: Any,
) -> tuple[Bay, GeneratorHandle]:
    """Open what the flags name; a model of the catalogue that is not here is fetched, visibly."""
    from enginebay.bay import Bay

    bay = Bay(config=config, profile=profile)
    flags = {"model": model, "backend": backend, "device": device, "context_length": context_length, "system": system}
    changes: dict[str, Any] = {name: value for name, value in (flags | more).items() if value is not None}
    if options:
        changes["options"] = parse_options(options)
    _, settings = bay.generator_config(generator, **changes)
    if sampling:
        # The matcher is to choose a backend that has what the request needs.
        changes["sampling"] = {**settings.sampling, **sampling}
    ensure_pulled(bay, settings.model)
    with err.status("opening the engine …"):
        return bay, bay.generator(generator, **changes)


def ensure_pulled(bay: Bay, reference: str) -> None:
    """Fetch a model that is not on this machine, with a progress bar on stderr."""
    from enginebay.cli._progress import pull_visibly

    if bay.models.locate(reference) is None and not reference.startswith("remote:"):
        pull_visibly(bay.models, reference)


def parse_options(options: list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is read as TOML where it is TOML, else as text.

    Raises:
        ConfigError: a pair has no "=".
    """
    import tomllib

    parsed: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name:
            raise ConfigError(f"--option {option!r} is not of the form NAME=VALUE", value=option)
        try:
            parsed[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            parsed[name] = text
    return parsed


def read_prompt(prompt: str | None) -> str:
    """The prompt of the command line, with what is piped in after it.

    Raises:
        ConfigError: neither is there.
    """
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    text = "\n\n".join(part for part in (prompt if prompt != "-" else None, piped.strip()) if part)
    if not text:
        raise ConfigError("there is no prompt", hint='write it: enginebay generate "…", or pipe it in')
    return text

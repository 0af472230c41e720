"""A toy backend that repeats its prompt: the shortest plugin that does everything a plugin does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enginebay import (
    BackendSpec,
    DeviceKind,
    DeviceSupport,
    Feature,
    Interface,
    ModelFormat,
    hookimpl,
)

if TYPE_CHECKING:
    import typer

api_version = 1

TOY_ECHO = BackendSpec(
    name="toy_echo",
    interface=Interface.GENERATOR,
    summary="Toy: repeats the prompt, runs no model",
    factory="enginebay_toy_echo.engine:open_engine",
    check="enginebay_toy_echo.engine:check",
    options="enginebay_toy_echo.engine:EchoOptions",
    # The lowest speed there is: the matcher never takes a toy unless somebody asks for it by name.
    devices=(DeviceSupport(kind=DeviceKind.CPU, efficiency=1e-9, overhead_bytes=0),),
    formats=frozenset({ModelFormat.GGUF, ModelFormat.SAFETENSORS}),
    features=frozenset({Feature.STREAMING}),
    sampling=frozenset({"max_tokens"}),
)


@hookimpl
def backends() -> list[BackendSpec]:
    return [TOY_ECHO]


@hookimpl
def cli(app: typer.Typer) -> None:
    @app.command("toy-echo")
    def toy_echo(text: str) -> None:
        """Print a text: an example of a command that a plugin adds."""
        print(text)

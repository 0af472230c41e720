"""Entry point of `enginebay`: finds the command's module and turns errors into one clear message."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

COMMANDS = (
    "ask",
    "bench",
    "chat",
    "config",
    "convert",
    "doctor",
    "embed",
    "eval",
    "explain",
    "generate",
    "index",
    "models",
    "parity",
    "plugins",
    "probe",
    "pull",
    "quantize",
    "search",
    "task",
    "tune",
    "verify",
)
"""First-party commands; each is the `app` of `enginebay.cli.NAME`."""


def main() -> None:
    """Run the command line on `sys.argv`."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        _print_version()
        return
    # pydantic reads the entry points of every distribution for plugins of its own, unguarded: one with broken
    # metadata would stop every command.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from enginebay.errors import EnginebayError

    try:
        build_app()(prog_name="enginebay")
    except EnginebayError as error:
        from enginebay.cli._output import report

        report(error)
        sys.exit(1)
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is left to say, and flushing at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def build_app() -> Any:
    """The command line as one click-style command, commands not yet imported."""
    import typer
    from typer.core import TyperGroup

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [*COMMANDS, *sorted(_plugin_commands())]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return _own_command(cmd_name) if cmd_name in COMMANDS else _plugin_commands().get(cmd_name)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
                from enginebay.suggest import did_you_mean

                ctx.fail(f"There is no command {args[0]!r}; {did_you_mean(args[0], self.list_commands(ctx))}")
            return super().resolve_command(ctx, args)

    app = typer.Typer(cls=LazyGroup, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", "-V", help="Print the version and exit.", callback=_version_asked, is_eager=True
        ),
    ) -> None:
        """Run language models on whichever engine fits this machine."""

    return app


def _print_version() -> None:
    from enginebay._version import __version__

    print(f"enginebay {__version__}")


def _version_asked(asked: bool) -> None:
    if asked:
        _print_version()
        sys.exit(0)


def _own_command(name: str) -> Any:
    import typer

    command = typer.main.get_command(import_module(f"enginebay.cli.{name}").app)
    command.name = name
    # Each Typer brings these; they belong to the root alone.
    command.params = [param for param in command.params if param.name not in ("install_completion", "show_completion")]
    return command


@cache
def _plugin_commands() -> dict[str, Any]:
    """Commands that plugins add; plugins are loaded only for the help and for a name that is not one of ours."""
    import typer

    from enginebay.cli._plugins import configured_plugins

    app: typer.Typer = typer.Typer()
    configured_plugins().extend_cli(app, reserved=COMMANDS)
    if not app.registered_commands and not app.registered_groups:
        return {}
    return dict(typer.main.get_group(app).commands)


if __name__ == "__main__":
    main()

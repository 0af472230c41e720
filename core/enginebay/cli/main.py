"""Entry point of `enginebay`: finds the command's module and turns errors into one clear message."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

COMMANDS = (
    "bench",
    "chat",
    "config",
    "doctor",
    "explain",
    "generate",
    "models",
    "plugins",
    "probe",
    "pull",
)
"""First-party commands; each is the `app` of `enginebay.cli.NAME`."""


def main() -> None:
    """Run the command line on `sys.argv`."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from enginebay._version import __version__

        print(f"enginebay {__version__}")
        return
    from enginebay.errors import EnginebayError

    try:
        build_app()(prog_name="enginebay")
    except EnginebayError as error:
        from enginebay.cli._output import report

        report(error)
        sys.exit(1)
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is left to say, and flushing at exit must not complain.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def build_app() -> Any:
    """The command line as one click-style command, commands not yet imported."""
    import typer
    from typer.core import TyperGroup

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [*COMMANDS, *sorted(name for name in _plugin_commands() if name not in COMMANDS)]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name in COMMANDS:
                module = import_module(f"enginebay.cli.{cmd_name}")
                command = typer.main.get_command(module.app)
                command.name = cmd_name
                return command
            return _plugin_commands().get(cmd_name)

    app = typer.Typer(
        cls=LazyGroup,
        no_args_is_help=True,
        add_completion=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(version: bool = typer.Option(False, "--version", "-V", help="Print the version and exit.")) -> None:
        """Run language models on whichever engine fits this machine."""

    return app


def _plugin_commands() -> dict[str, Any]:
    """Commands that plugins add; loading plugins is put off until a name is not one of ours."""
    import typer

    from enginebay.plugins import load_plugins

    app: typer.Typer = typer.Typer()
    load_plugins().extend_cli(app)
    if not app.registered_commands and not app.registered_groups:
        return {}
    app.callback()(lambda: None)
    group = typer.main.get_command(app)
    return dict(getattr(group, "commands", {}))

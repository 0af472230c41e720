"""`enginebay doctor`: everything about this installation in one go, and what to do about what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from enginebay.cli._output import err, out, print_json

if TYPE_CHECKING:
    from enginebay.cli._checkup import Finding

app = typer.Typer()

_COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}


@app.command()
def doctor(
    refresh: Annotated[
        bool, typer.Option(help="First forget what is remembered of plugins, so that all are tried again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check this installation: Python, configuration, plugins, backends, hardware, folders.

    The library of each installed backend is imported in a child process. Ends with exit code 1 when there is
    something that a person should act on.
    """
    findings = _examine(refresh)
    problems = [finding for finding in findings if finding.level == "problem"]
    if as_json:
        print_json({"ok": not problems, "findings": [finding.model_dump(mode="json") for finding in findings]})
    else:
        _print(findings, len(problems))
    raise typer.Exit(1 if problems else 0)


def _examine(refresh: bool) -> list[Finding]:
    from enginebay.cli import _checkup
    from enginebay.cli._plugins import configured_plugins
    from enginebay.plugins.memory import Memory

    if refresh:
        Memory().forget()
    findings = [*_checkup.look_at_python(), *_checkup.look_at_configuration()]
    with err.status("loading plugins …") as status:
        plugins = configured_plugins()
        findings += _checkup.look_at_plugins(plugins)
        findings += _checkup.look_at_backends(plugins, lambda name: status.update(f"importing the library of {name} …"))
        status.update("probing the hardware …")
        findings += _checkup.look_at_hardware(plugins)
    return [*findings, *_checkup.look_at_folders()]


def _print(findings: list[Finding], problems: int) -> None:
    from rich.markup import escape

    for topic in dict.fromkeys(finding.topic for finding in findings):
        out.print(f"[bold]{escape(topic)}[/]")
        for finding in findings:
            if finding.topic == topic:
                level = f"[{_COLOURS[finding.level]}]{finding.level:>7}[/]"
                out.print(f"  {level}  {escape(finding.text)}", soft_wrap=True)
                if finding.hint:
                    out.print(f"           [dim]->[/] {escape(finding.hint)}", soft_wrap=True)
    if problems:
        out.print(f"\n[bold red]{problems} problem{'s' if problems > 1 else ''}[/] to act on")
    else:
        out.print("\n[green]nothing to act on[/]")

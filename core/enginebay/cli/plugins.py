"""`enginebay plugins`: every plugin with its origin and state, every backend with its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginebay.cli._output import out, print_json

if TYPE_CHECKING:
    from enginebay.plugins import PluginRecord, Plugins

app = typer.Typer()

_COLOURS = {
    "ok": "green",
    "quarantined": "red",
    "disabled": "dim",
    "declared": "dim",
    "installed": "yellow",
    "loadable": "green",
    "verified": "bold green",
}


@app.command()
def plugins(
    parameters: Annotated[
        bool, typer.Option("--parameters", help="Print which generator honours which sampling parameter.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the listing as JSON.")] = False,
) -> None:
    """List plugins and backends: where they come from, what state they are in, and why.

    A backend is declared (a plugin offers it), installed (its distributions are there), loadable (its library
    imports, as `enginebay doctor` found) or verified (the conformance kit passed on this machine).
    """
    from enginebay.cli._plugins import configured_plugins

    loaded = configured_plugins()
    if parameters:
        _print_parameters(loaded, as_json)
    elif as_json:
        print_json(listing(loaded))
    else:
        _print_plugins(loaded)
        _print_backends(listing(loaded)["backends"])


def _print_parameters(loaded: Plugins, as_json: bool) -> None:
    from rich.table import Table

    from enginebay.sampling.table import EMULATION, NATIVE, REFUSED, parameter_table
    from enginebay.spec import Interface

    specs = loaded.specs(Interface.GENERATOR)
    rows = parameter_table(specs)
    if as_json:
        names = [spec.name for spec in specs]
        print_json({name: dict(zip(names, cells, strict=True)) for name, *cells in rows})
        return
    marks = (NATIVE, EMULATION, REFUSED)
    table = Table("parameter", *marks, box=None)
    for name, *cells in rows:
        by = {mark: [spec.name for spec, cell in zip(specs, cells, strict=True) if cell == mark] for mark in marks}
        table.add_row(name, *("all" if len(names) == len(specs) else ", ".join(names) for names in by.values()))
    out.print(table)


def listing(loaded: Plugins) -> dict[str, Any]:
    """Plugins and backends as data."""
    return {
        "plugins": [record.model_dump(mode="json") for record in loaded.records],
        "backends": backend_rows(loaded),
        "unknown_names": list(loaded.unknown_names),
    }


def backend_rows(loaded: Plugins) -> list[dict[str, Any]]:
    """One entry per backend: name, interface, plugin, state, version, what is missing and how to get it."""
    rows = []
    for spec in loaded.backends:
        availability = loaded.availability(spec)
        failure = loaded.failure(spec)
        rows.append(
            {
                "name": spec.name,
                "interface": spec.interface.value,
                "summary": spec.summary,
                "plugin": loaded.owner(spec).name,
                "state": loaded.backend_state(spec).value,
                "version": availability.version,
                "reason": availability.message or None,
                "hint": availability.hint,
                "devices": [device.kind.value for device in spec.devices],
                "last_failure": failure.model_dump(mode="json") if failure else None,
            }
        )
    return rows


def _print_plugins(loaded: Plugins) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("plugin", "from", "state", "load", "backends", box=None, pad_edge=False, header_style="bold")
    for record in loaded.records:
        table.add_row(
            escape(record.name),
            escape(f"{record.distribution} {record.version}".strip()),
            coloured(record.state),
            f"{record.load_seconds * 1000:.0f} ms",
            ", ".join(record.backends),
        )
    out.print(table if loaded.records else "no plugins are installed")
    off: dict[str, list[str]] = {}
    for record in loaded.records:
        if record.state == "disabled":
            off.setdefault(record.reason or "", []).append(record.name)
        else:
            _print_notes(record)
    for reason, names in off.items():
        out.print(f"\n{coloured('disabled')} {escape(', '.join(names))}: {escape(reason)}", soft_wrap=True)
    for name in loaded.unknown_names:
        out.print(f"\n[yellow]{escape(name)}[/]: named to be switched on or off, but no such plugin is installed")


def _print_notes(record: PluginRecord) -> None:
    """Why a plugin is not there, what to do, and its warnings; each on one line, however long."""
    from rich.markup import escape

    if record.reason:
        out.print(f"\n{coloured(record.state)} {escape(record.name)}: {escape(record.reason)}", soft_wrap=True)
    if record.hint:
        out.print(f"  [dim]->[/] {escape(record.hint)}", soft_wrap=True)
    for warning in record.warnings:
        out.print(f"\n[yellow]warning[/] {escape(record.name)}: {escape(warning)}", soft_wrap=True)


def _print_backends(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    for interface in dict.fromkeys(row["interface"] for row in rows):
        own = [row for row in rows if row["interface"] == interface]
        table = Table(interface, "plugin", "state", "version", "devices", box=None, pad_edge=False, header_style="bold")
        for row in own:
            devices = ", ".join(row["devices"])
            table.add_row(row["name"], escape(row["plugin"]), coloured(row["state"]), row["version"] or "-", devices)
        out.print()
        out.print(table)
        for row in own:
            if row["reason"]:
                out.print(f"  [dim]{row['name']}:[/] {escape(row['reason'])}", soft_wrap=True)
            if row["hint"]:
                out.print(f"    [dim]->[/] {escape(row['hint'])}", soft_wrap=True)
            if row["last_failure"]:
                reason = escape(row["last_failure"]["reason"])
                out.print(f"  [red]{row['name']} did not open last time:[/] {reason}", soft_wrap=True)


def coloured(state: str) -> str:
    """A state's name in its colour."""
    return f"[{_COLOURS.get(state, 'default')}]{state}[/]"

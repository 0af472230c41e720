"""`enginebay probe`: what this machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from enginebay.cli._output import format_bytes, out, print_json

if TYPE_CHECKING:
    from enginebay.hardware.profile import Device, HardwareProfile

app = typer.Typer()


@app.command()
def probe(
    refresh: Annotated[bool, typer.Option("--refresh", help="Probe anew in place of the kept profile.")] = False,
    name: Annotated[str | None, typer.Option(help="Label for the profile.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON, for explain --hardware.")] = False,
) -> None:
    """Read this machine's processor, memory and devices."""
    from enginebay.bay import Bay

    profile = Bay().hardware(refresh=refresh)
    if name is not None:
        profile = profile.model_copy(update={"name": name})
    if as_json:
        print_json(profile)
    else:
        _show(profile)


def _show(profile: HardwareProfile) -> None:
    from rich.markup import escape
    from rich.table import Table

    system, cpu, memory = profile.system, profile.cpu, profile.memory
    container = " in a container" if system.container else ""
    limits = f" [yellow](limited by {', '.join(cpu.limited_by)})[/]" if cpu.limited_by else ""
    vectors = [
        name
        for name in ("avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "avx2", "fma", "f16c", "asimd", "sve")
        if name in cpu.features
    ]
    limit = f", [yellow]limited to {format_bytes(memory.limit)}[/]" if memory.limit else ""
    out.print(
        f"[bold]system[/]  {system.system} {system.release} on {system.machine}{container}, Python {system.python}"
    )
    out.print(
        f"[bold]CPU[/]     {escape(cpu.model or cpu.architecture)}:"
        f" {cpu.usable_cores:g} of {cpu.logical_cores} cores usable{limits}"
    )
    out.print(f"        {' '.join(vectors) or 'no vector extension known'}")
    out.print(f"[bold]memory[/]  {format_bytes(memory.available)} free of {format_bytes(memory.total)}{limit}")
    table = Table(box=None, pad_edge=False)
    for heading in ("device", "name", "memory", "bandwidth", "driver", "note"):
        table.add_column(heading, overflow="fold")
    for device in profile.devices:
        table.add_row(*_row(device))
    out.print(table)
    for runtime, report in sorted(profile.runtimes.items()):
        kinds = ", ".join(sorted(report.device_kinds)) or "no device"
        out.print(f"[bold]{runtime}[/] {report.version} can use {kinds}")
    for warning in profile.warnings:
        out.print(f"[yellow]warning[/] {escape(warning.probe)}: {escape(warning.message)}", soft_wrap=True)


def _row(device: Device) -> tuple[str, ...]:
    from rich.markup import escape

    notes = [
        "emulated on the CPU" if device.software else "",
        "shares main memory" if device.unified and device.id != "cpu" and not device.software else "",
        f"compute capability {'.'.join(map(str, device.compute_capability))}" if device.compute_capability else "",
        f"{device.kind} {device.api_version}" if device.api_version else "",
    ]
    bandwidth = (
        f"{device.memory_bandwidth / 1e9:.0f} GB/s ({device.bandwidth_source})" if device.memory_bandwidth else "-"
    )
    return (
        f"[bold]{device.id}[/]",
        escape(device.name),
        f"{format_bytes(device.memory_available)} free of {format_bytes(device.memory_total)}",
        bandwidth,
        escape(device.driver or "-"),
        ", ".join(note for note in notes if note),
    )

"""`enginebay probe`: what this machine has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from enginebay.cli._output import format_bytes, out, print_json

if TYPE_CHECKING:
    from enginebay.hardware.profile import CpuInfo, Device, HardwareProfile

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

    system, cpu, memory = profile.system, profile.cpu, profile.memory
    container = " in a container" if system.container else ""
    limits = f" [yellow](limited by {escape(', '.join(cpu.limited_by))})[/]" if cpu.limited_by else ""
    limit = f", [yellow]limited to {format_bytes(memory.limit)} by a control group[/]" if memory.limit else ""
    _line("system", f"{system.system} {system.release} on {system.machine}{container}, Python {system.python}")
    _line("CPU", f"{escape(cpu.model or cpu.architecture)}: {cpu.usable_cores:g} of {_cores(cpu)} usable{limits}")
    _line("", " ".join(name for name in VECTORS if name in cpu.features) or "no vector extension known")
    _line("memory", f"{format_bytes(memory.available)} free of {format_bytes(memory.total)}{limit}")
    for device in profile.devices:
        emulated = " [yellow](emulated on the CPU)[/]" if device.software else ""
        _line(device.id, f"{escape(device.name or 'unnamed')}{emulated}")
        _line("", escape(", ".join(_facts(device))))
    for runtime, report in sorted(profile.runtimes.items()):
        kinds = ", ".join(sorted(report.device_kinds)) or "no device"
        _line(runtime, f"{escape(report.version)} can use: {kinds}")
    for warning in profile.warnings:
        _line("warning", f"[yellow]{escape(warning.probe)}[/]: {escape(warning.message)}")


VECTORS = (
    "amx_tile",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx2",
    "fma",
    "f16c",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)
"""Instruction sets that say most about speed."""


def _line(label: str, text: str) -> None:
    from rich.markup import escape

    out.print(f"[bold]{escape(label):<11}[/] {text}", soft_wrap=True)


def _cores(cpu: CpuInfo) -> str:
    threads = "" if cpu.physical_cores == cpu.logical_cores else f" ({cpu.physical_cores} physical)"
    return f"{cpu.logical_cores} cores{threads}"


def _facts(device: Device) -> Iterator[str]:
    yield f"{format_bytes(device.memory_available)} free of {format_bytes(device.memory_total)}"
    if device.unified and device.id != "cpu":
        yield "in main memory"
    if device.memory_bandwidth:
        yield f"reads {device.memory_bandwidth / 1e9:.0f} GB/s ({device.bandwidth_source})"
    if device.compute:
        yield f"{device.compute / 1e12:.2g} TFLOP/s ({device.compute_source})"
    if device.compute_capability:
        yield f"compute capability {'.'.join(map(str, device.compute_capability))}"
    if device.api_version:
        yield f"{device.kind} {device.api_version}"
    if device.driver:
        yield f"driver {device.driver}"

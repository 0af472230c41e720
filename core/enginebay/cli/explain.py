"""`enginebay explain`: which engine would run a model, and why not the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enginebay.cli import _engine
from enginebay.cli._output import out, print_json
from enginebay.errors import ConfigError
from enginebay.matching.requirement import Workload
from enginebay.spec import Feature, Interface
from enginebay.suggest import did_you_mean

app = typer.Typer()

NOTHING_FITS = 3
"""Exit code when no backend fits."""


@app.command()
def explain(
    model: Annotated[str, typer.Argument(help="Model reference.")],
    hardware: Annotated[
        Path | None, typer.Option(help="Profile of another machine, from: enginebay probe --json.")
    ] = None,
    interface: Annotated[
        Interface | None, typer.Option(help="As what; default: an embedder if its files say how it embeds.")
    ] = None,
    workload: Annotated[
        Workload | None, typer.Option(help="What to rank by; default: latency, for embedders throughput.")
    ] = None,
    need: Annotated[list[str] | None, typer.Option(help="Feature the engine must have; repeatable.")] = None,
    sampling: Annotated[list[str] | None, typer.Option(help="Sampling parameter it must have; repeatable.")] = None,
    context_length: _engine.ContextLength = None,
    streams: Annotated[int | None, typer.Option(help="Sequences decoded together.", min=1)] = None,
    backend: _engine.Backend = None,
    device: _engine.DeviceOption = None,
    assume_installed: Annotated[
        bool | None,
        typer.Option(
            "--assume-installed/--as-installed", help="Judge as if all were installed; default with --hardware."
        ),
    ] = None,
    software: Annotated[
        bool, typer.Option("--allow-software-devices", help="Accept devices emulated on the CPU.")
    ] = False,
    config: _engine.Config = None,
    profile: _engine.Profile = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the arithmetic of every match.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the decision as JSON.")] = False,
) -> None:
    """Say which backend on which device would run a model, and why. Nothing is opened or fetched.

    The exit code is 3 when nothing fits.
    """
    from enginebay.bay import Bay
    from enginebay.hardware.profile import HardwareProfile
    from enginebay.matching.report import explanation

    _check_names(need or [], Feature)
    _check_names(sampling or [], _sampling_names())
    bay = Bay(config=config, profile=profile)
    elsewhere = HardwareProfile.load(hardware) if hardware else None
    decision = bay.explain(
        model,
        hardware=elsewhere,
        interface=interface,
        workload=workload,
        features=need or (),
        sampling=sampling or (),
        context_length=context_length,
        streams=streams,
        backend=backend,
        device=device,
        allow_software_devices=software,
        assume_installed=elsewhere is not None if assume_installed is None else assume_installed,
    )
    if as_json:
        print_json(decision)
    else:
        plugins = bay.plugins
        installs = {
            spec.name: availability.hint or spec.install
            for spec in plugins.specs(decision.requirement.interface)
            if (availability := plugins.availability(spec)).code is not None
        }
        for line in explanation(decision, verbose=verbose, installs=installs):
            out.print(line, soft_wrap=True)
    if decision.chosen is None:
        raise typer.Exit(NOTHING_FITS)


def _sampling_names() -> list[str]:
    from enginebay.sampling.params import SamplingParams

    return [name for name in SamplingParams.model_fields if name != "constraint"]


def _check_names(given: list[str], known: type[Feature] | list[str]) -> None:
    for name in given:
        if name not in list(known):
            raise ConfigError(f"{name!r} is not known here", value=name, hint=did_you_mean(name, map(str, known)))

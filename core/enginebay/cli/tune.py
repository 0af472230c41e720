"""`enginebay tune`: look a tuning job over before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginebay.cli._output import out, print_json
from enginebay.errors import JobError

if TYPE_CHECKING:
    from enginebay.hardware.profile import HardwareProfile
    from enginebay.interfaces.tuner import MemoryEstimate, TuningJob
    from enginebay.tuning.data import DatasetReport

app = typer.Typer()


@app.command()
def tune(
    file: Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job.")],
    check: Annotated[bool, typer.Option("--check", help="Look job, data and memory over; run nothing.")] = False,
    hardware: Annotated[
        Path | None, typer.Option("--hardware", help="Judge for another machine: its profile as JSON.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tune a model as a job file says. No backend for it comes with enginebay yet; --check works without one."""
    from enginebay.bay import Bay
    from enginebay.hardware.profile import HardwareProfile
    from enginebay.tuning.data import check_dataset
    from enginebay.tuning.job import load_job
    from enginebay.tuning.memory import estimate_memory, ways_out

    job = load_job(file)
    if not check:
        raise JobError(
            "enginebay runs no tuning jobs yet: no tuner backend comes with it",
            value=str(file),
            hint=f"look the job over: enginebay tune {file} --check",
        )
    reports = [check_dataset(path, job.method) for path in (job.data, job.evaluation.data) if path is not None]
    profile = HardwareProfile.load(hardware) if hardware is not None else None
    with Bay() as bay:
        model = bay.models.info(job.model)
        available, devices, host = _machine(profile or bay.hardware(), job.scale.devices)
    if model.parameters == 0:
        raise JobError(f"nothing is known of the weights of {job.model}", value=job.model, hint="name a model in files")
    estimate = estimate_memory(model, job)
    ways = ways_out(model, job, available, devices=devices, host_available=host)
    fits = estimate.total <= available and (estimate.host <= host or not estimate.host)
    if as_json:
        print_json(_told(job, reports, estimate, available, ways))
    else:
        _show(job, reports, estimate, available, ways)
    if not fits:
        raise JobError(
            f"the job takes about {estimate.total / 1e9:.2f} GB; {available / 1e9:.2f} GB are free",
            value=estimate.total,
            hint=ways[0] if ways else "take a smaller model, a smaller max_length, or a larger machine",
        )


def _machine(hardware: HardwareProfile, wanted: int) -> tuple[int, int, int]:
    """Bytes free on a device that tunes, how many such devices there are, and bytes of main memory beside them.

    Without GPUs, the processes that were `wanted` share main memory.
    """
    from enginebay.spec import DeviceKind

    gpus = [device for device in hardware.devices if device.kind in (DeviceKind.CUDA, DeviceKind.ROCM)]
    if not gpus:
        return hardware.memory.available // wanted, 1, 0
    return min(device.memory_available for device in gpus), len(gpus), hardware.memory.available


def _told(
    job: TuningJob, reports: list[DatasetReport], estimate: MemoryEstimate, available: int, ways: list[str]
) -> dict[str, Any]:
    return {
        "job": job.model_dump(mode="json"),
        "data": [report.model_dump(mode="json") for report in reports],
        "memory": {**estimate.model_dump(), "total": estimate.total, "available": available},
        "ways_out": ways,
    }


def _show(
    job: TuningJob, reports: list[DatasetReport], estimate: MemoryEstimate, available: int, ways: list[str]
) -> None:
    from rich.markup import escape

    out.print(escape(f"{job.method.value} of {job.model}"), soft_wrap=True)
    for report in reports:
        labels = ", ".join(f"{label} {count}" for label, count in list(report.labels.items())[:10])
        what = f"{report.examples} examples, {report.shape.value}{f' ({labels})' if labels else ''}"
        out.print(escape(f"{report.path}: {what}"), soft_wrap=True)
        for warning in report.warnings:
            out.print(f"  [yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    parts = " + ".join(f"{name} {size / 1e9:.2f}" for name, size in estimate.model_dump(exclude={"host"}).items())
    sums = f"memory: {parts} = {estimate.total / 1e9:.2f} GB on each device; {available / 1e9:.2f} GB are free"
    out.print(sums, soft_wrap=True)
    for way in ways:
        out.print(escape(f"  would fit: {way}"), soft_wrap=True)

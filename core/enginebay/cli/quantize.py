"""`enginebay quantize`: a smaller model, and what that cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginebay.cli._engine import Options, ensure_pulled, parse_options
from enginebay.cli._jobs import JobBar
from enginebay.cli._output import format_bytes, out, print_json
from enginebay.cli._quality import quality_table
from enginebay.errors import ConfigError, JobError

if TYPE_CHECKING:
    from enginebay.evaluation.quality import QualityReport
    from enginebay.hardware.profile import HardwareProfile
    from enginebay.interfaces.quantizer import QuantizedModel
    from enginebay.matching.quantizers import Candidate

app = typer.Typer()

THIS_MACHINE = "this-machine"


@app.command()
def quantize(
    model: Annotated[str, typer.Argument(help="Model: catalogue name, path, hf:…, pypi:…")],
    to: Annotated[
        str | None,
        typer.Argument(help="Type, or several with commas: q4_k_m,torchao:int8. None searches for the best that fits."),
    ] = None,
    machine: Annotated[
        str, typer.Option("--for", help="Machine that will run it: this-machine, or a hardware profile in JSON.")
    ] = THIS_MACHINE,
    engine: Annotated[str | None, typer.Option("--engine", help="Backend that will run it.")] = None,
    device: Annotated[str | None, typer.Option("--device", "-d", help="Device id or kind that will run it.")] = None,
    context_length: Annotated[
        int | None, typer.Option("--context-length", help="Tokens its context must hold.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", help='What it may take when it runs: "4GB".')
    ] = None,
    max_loss: Annotated[
        str, typer.Option("--max-perplexity-loss", help="For a search: how much the perplexity may rise.")
    ] = "3%",
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="Quantizer to use.")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="File (GGUF) or folder to make.")] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Text for activations; shipped: enginebay's own.")
    ] = None,
    option: Options = None,
    requantize: Annotated[bool, typer.Option("--requantize", help="Accept a model that is quantised already.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what stands under the output's name.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Measure quality and speed, before and after.")] = False,
    text: Annotated[Path | None, typer.Option("--text", help="Text for perplexity; enginebay brings one.")] = None,
    window: Annotated[int, typer.Option("--window", help="Tokens of one pass over it.", min=2)] = 512,
    tokens: Annotated[int, typer.Option("--tokens", help="Tokens of it that are scored at most.", min=16)] = 4096,
    task: Annotated[list[str] | None, typer.Option("--task", help="Task of `enginebay eval` for the report.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Samples of each task.", min=1)] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw size against quality into this file.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="List what the model could be quantised to.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Quantise a model, for the machine and the engine that will run it."""
    from enginebay.bay import Bay
    from enginebay.evaluation.quality import compare
    from enginebay.evaluation.search import find_best
    from enginebay.quantizing import read_text

    where: dict[str, Any] = {
        "hardware": _machine(machine),
        "engine": engine,
        "device": device,
        "context_length": context_length,
        "memory_limit": _bytes(max_memory),
    }
    jobs: dict[str, Any] = {
        "output": output,
        "calibration": calibration,
        "requantize": requantize,
        "overwrite": force,
        "options": parse_options(option or []),
    }
    if text is not None:
        read_text(text)  # before anything is made
    found: QualityReport | None = None
    with Bay() as bay:
        ensure_pulled(bay, model)
        if listing:
            _list(bay.quantizations(model, **where), as_json)
            return
        with JobBar() as bar:
            if to is None:
                search = find_best(
                    bay,
                    model,
                    text=text,
                    max_perplexity_loss=_share(max_loss),
                    window=window,
                    tokens=tokens,
                    backend=backend,
                    tell=bar.tell,
                    quantize={**jobs, "events": bar.event},
                    **where,
                )
                made = [search.best] if search.best else []
                found = search.report
            else:
                names = [name.strip() for name in to.split(",") if name.strip()]
                if output is not None and len(names) > 1:
                    raise ConfigError("one output cannot hold several types", value=to, hint="quantise them one by one")
                made = [
                    bay.quantize(model, name, backend=who or backend, events=bar.event, **jobs, **where)
                    for who, _, name in (each.rpartition(":") for each in names)
                ]
                if report or picture is not None or task:
                    found = compare(
                        bay,
                        model,
                        [str(one.path) for one in made],
                        text=text,
                        window=window,
                        tokens=tokens,
                        tasks=task or (),
                        limit=limit,
                        tell=lambda what: bar.tell(f"measuring {Path(what).name}"),
                    )
    if picture is not None and found is not None:
        from enginebay.evaluation.picture import draw

        draw(found, picture)
    if as_json:
        told = found.model_dump(mode="json") if found is not None else None
        print_json({"made": [one.model_dump(mode="json") for one in made], "report": told})
    else:
        for one in made:
            out.print(_line(one), soft_wrap=True)
        if found is not None:
            out.print(quality_table(found))
    if not made:
        raise JobError(
            f"no type that fits keeps the perplexity of {model} within {max_loss}",
            value=max_loss,
            hint="allow a larger loss (--max-perplexity-loss), or more memory (--max-memory)",
        )


def _machine(name: str) -> HardwareProfile | None:
    """The hardware profile of another machine; None for this one."""
    if name == THIS_MACHINE:
        return None
    from enginebay.hardware.profile import HardwareProfile

    return HardwareProfile.load(Path(name))


def _bytes(text: str | None) -> int | None:
    from pydantic import TypeAdapter, ValidationError

    from enginebay.config.settings import Bytes

    if text is None:
        return None
    try:
        return TypeAdapter(Bytes).validate_python(text)
    except ValidationError as error:
        raise ConfigError(f"{text!r} is no size", value=text, hint='write it as "4GB" or "500MB"') from error


def _share(text: str) -> float:
    """ "3%" or "0.03" as a share."""
    try:
        share = float(text.rstrip("% ")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 100:
        raise ConfigError(f"{text!r} is no share", value=text, hint='write it as "3%" or 0.03')
    return share


def _line(one: QuantizedModel) -> str:
    how = f"in {one.seconds:.1f} s" if one.seconds else "made before"
    return (
        f"[bold]{one.type}[/] by {one.backend}, {how}: {format_bytes(one.source_bytes)} -> {format_bytes(one.bytes)}, "
        f"{one.shrinks:.2f} times smaller, {one.bits_per_weight:.2f} bits per weight; for {', '.join(one.engines)}\n"
        f"{one.path}"
    )


def _list(found: list[Candidate], as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print_json([{**asdict(one), "type": one.type.model_dump(mode="json")} for one in found])
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in ("type", "quantizer", "fastest in", "on"):
        table.add_column(heading, no_wrap=True)
    for heading in ("bits", "MB", "tok/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    best: dict[tuple[str, str], Candidate] = {}
    for one in found:
        best.setdefault((one.backend, one.type.name), one)
    refused: dict[tuple[str, str], list[str]] = {}
    for one in best.values():
        if one.accepted:
            table.add_row(
                one.type.name, one.backend, one.engine, one.device,
                f"{one.type.bits:.2f}", f"{one.weight_bytes / 1e6:.0f}", f"{one.speed:.0f}",
            )  # fmt: skip
        else:
            reason = (*one.making, *one.running)[0]
            told = reason.message + (f"\n  -> {reason.hint}" if reason.hint else "")
            refused.setdefault((one.backend if one.making else f"{one.backend} for {one.engine}", told), []).append(
                one.type.name
            )
    out.print(table)
    for (who, why), names in refused.items():
        out.print(f"[bold]{who}[/] ({', '.join(names)}): {escape(why)}", soft_wrap=True)

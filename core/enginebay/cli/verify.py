"""`enginebay verify`: the conformance kit on one backend, here."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from enginebay.cli import _engine
from enginebay.cli._output import err, out, print_json
from enginebay.errors import ConfigError

app = typer.Typer()

NEEDED_CONTEXT = 512


@app.command()
def verify(
    backend: Annotated[str, typer.Argument(help="The backend to verify.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A real, instruction-tuned model.")] = (
        "smollm2-135m-instruct"
    ),
    device: _engine.DeviceOption = None,
    option: _engine.Options = None,
    streams: Annotated[int, typer.Option(help="Outputs decoded together.", min=1)] = 4,
    schemas: Annotated[int, typer.Option(help="JSON schemas to try.", min=1)] = 200,
    draws: Annotated[int, typer.Option(help="Samples for statistical checks.", min=50)] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that a backend keeps every rule of its interface on this machine. Exit code 1 when one is broken."""
    try:
        import jsonschema  # noqa: F401
    except ImportError as error:
        raise ConfigError("verifying needs jsonschema", hint="pip install 'enginebay[testing]'") from error
    from enginebay.plugins import BackendState
    from enginebay.testing.checks import run_checks
    from enginebay.testing.generator_checks import GENERATOR_CHECKS
    from enginebay.testing.generator_subject import GeneratorSubject

    bay, handle = _engine.open_generator(
        generator=None, model=model, backend=backend, device=device, context_length=NEEDED_CONTEXT, options=option,
        system=None, config=None, profile=None, streams=streams,
    )  # fmt: skip
    told: list[dict[str, Any]] = []
    with bay:
        subject = GeneratorSubject(handle, schemas=schemas, draws=draws)
        with err.status("checking …"):
            for outcome in run_checks(GENERATOR_CHECKS, subject):
                told.append({name: getattr(outcome, name) for name in ("name", "rule", "problem", "seconds")})
                if not as_json:
                    mark = "[red]broken[/]" if outcome.problem else "[green]kept[/]  "
                    out.print(f"{mark} {outcome.name} [dim]{outcome.seconds:.1f} s[/]")
                    if outcome.problem:
                        out.print(f"  rule: {outcome.rule}", highlight=False)
                        out.print(f"  {outcome.problem}", markup=False, highlight=False)
        broken = sum(bool(entry["problem"]) for entry in told)
        if not broken:
            bay.plugins.record_state(handle.spec, BackendState.VERIFIED)
    if as_json:
        print_json({"backend": backend, "device": handle.device, "model": model, "checks": told, "broken": broken})
    else:
        out.print(f"{backend} on {handle.device}: {len(told) - broken} of {len(told)} rules kept")
    if broken:
        raise typer.Exit(1)

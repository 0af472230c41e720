"""`enginebay verify`: the conformance kit on one backend, here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enginebay.cli import _engine
from enginebay.cli._output import err, out, print_json
from enginebay.errors import ConfigError
from enginebay.spec import Interface

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.cli._kits import OpenKit
    from enginebay.testing.checks import Outcome

app = typer.Typer()


@app.command()
def verify(
    backend: Annotated[str, typer.Argument(help="The backend to verify.")],
    interface: Annotated[
        Interface | None, typer.Option(help="As which interface; default: what the model is for, or all that it has.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A real, instruction-tuned model, or an embedding model.")
    ] = None,
    device: _engine.DeviceOption = None,
    option: _engine.Options = None,
    streams: Annotated[int, typer.Option(help="Generators: outputs decoded together.", min=1)] = 4,
    schemas: Annotated[int, typer.Option(help="Generators: JSON schemas to try.", min=1)] = 200,
    draws: Annotated[int, typer.Option(help="Generators: samples for statistical checks.", min=50)] = 300,
    url: Annotated[str | None, typer.Option(help="Stores: where the server is.")] = None,
    path: Annotated[
        Path | None, typer.Option(help="Stores: folder of the files; without it and a url a temporary one.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="Stores: the server's key, as env:NAME.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that a backend keeps every rule of its interfaces on this machine. Exit code 1 when one is broken."""
    try:
        import jsonschema  # noqa: F401
    except ImportError as error:
        raise ConfigError("verifying needs jsonschema", hint="pip install 'enginebay[testing]'") from error
    from enginebay.bay import Bay
    from enginebay.cli._kits import Wanted, interfaces_of, open_kit

    wanted = Wanted(backend, model, device, option, streams, schemas, draws, url, path, api_key)
    told: list[dict[str, Any]] = []
    for kind in interfaces_of(Bay(), wanted, interface):
        with Bay() as bay, open_kit(bay, kind, wanted) as kit:
            told.append(_verified(bay, kit, quiet=as_json))
    if as_json:
        print_json(told[0] if len(told) == 1 else told)
    if any(entry["broken"] for entry in told):
        raise typer.Exit(1)


def _verified(bay: Bay, kit: OpenKit, *, quiet: bool) -> dict[str, Any]:
    """Run one kit, remember a backend that keeps every rule, and give the report."""
    from enginebay.plugins import BackendState
    from enginebay.testing.checks import run_checks

    spec = kit.spec
    outcomes: list[Outcome] = []
    with err.status(f"checking {spec.name} as {spec.interface} …"):
        for outcome in run_checks(kit.checks, kit.subject):
            kit.tidy()
            outcomes.append(outcome)
            if not quiet:
                _print(outcome)
    broken = sum(bool(outcome.problem) for outcome in outcomes)
    if not broken:
        bay.plugins.record_state(spec, BackendState.VERIFIED)
    if not quiet:
        kept = len(outcomes) - broken
        out.print(f"{spec.name} as {spec.interface} on {kit.where}: {kept} of {len(outcomes)} rules kept")
    checks = [{name: getattr(outcome, name) for name in ("name", "rule", "problem", "seconds")} for outcome in outcomes]
    facts = {"backend": spec.name, "interface": spec.interface.value, "device": kit.where, "model": kit.model}
    return {**facts, "checks": checks, "broken": broken}


def _print(outcome: Outcome) -> None:
    mark = "[red]broken[/]" if outcome.problem else "[green]kept[/]  "
    out.print(f"{mark} {outcome.name} [dim]{outcome.seconds:.1f} s[/]")
    if outcome.problem:
        out.print(f"  rule: {outcome.rule}", highlight=False)
        out.print(f"  {outcome.problem}", markup=False, highlight=False)

"""A decision told to people, as plain lines with rich markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rich.markup import escape

from enginebay.matching.decision import Decision, Match
from enginebay.matching.requirement import Requirement
from enginebay.matching.sums import arithmetic, size, told_conversion
from enginebay.spec import Interface


def explanation(
    decision: Decision, *, verbose: bool = False, installs: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The lines: chosen, runner-up, what would win if installed, the refused with reasons and ways out.

    Args:
        verbose: tell the arithmetic of every match, and what is refused because something else was asked for.
        installs: install commands of backends that are not installed, by name.
    """
    requirement, model = decision.requirement, decision.requirement.model
    if model is not None:
        kind = escape(f"{model.format} {model.quantization}".strip())
        yield f"[bold]{escape(model.reference)}[/] · {kind} · {size(model.weight_bytes)} of weights"
        yield f"for {requirement.workload}, {requirement.wanted_context_length} tokens of {_room(requirement)}"
    yield f"{'[green]chosen[/]' if decision.chosen else '[red]nothing chosen[/]'}: {escape(decision.why)}"
    if decision.chosen is not None:
        yield from _details(decision.chosen)
        if command := (installs or {}).get(decision.chosen.backend):
            yield f"  [yellow]not installed here:[/] {escape(command)}"
    if decision.runner_up is not None:
        yield f"[bold]runner-up[/]: {_place(decision.runner_up)}, {_speeds(decision.runner_up)}"
    if decision.best_if_installed is not None:
        best = decision.best_if_installed
        yield f"[yellow]would win if installed[/]: {_place(best)}, {_speeds(best)}"
        yield from _reasons(best)
    for failure in decision.failures:
        yield f"[red]did not open[/]: {escape(failure)}"
    others = [match for match in decision.matches if match not in (decision.chosen, decision.best_if_installed)]
    for match in others:
        if match.accepted and match != decision.runner_up:
            yield f"[bold]also fits[/]: {_place(match)}, {_speeds(match)}"
        if match.accepted and verbose:
            yield from _details(match)
    refused = [match for match in others if not match.accepted and (verbose or not match.asked_otherwise)]
    for alike in _alike(refused):
        yield f"[red]refused[/]: {', '.join(map(_place, alike))}"
        yield from _reasons(alike[0])
        if verbose:
            yield from _details(alike[0])


def _room(requirement: Requirement) -> str:
    return "a text" if requirement.interface is Interface.EMBEDDER else "context"


def _alike(matches: Iterable[Match]) -> Iterable[list[Match]]:
    """Refusals of one text together, such as those of seven kinds of server for a model on this machine."""
    groups: dict[tuple[str, ...], list[Match]] = {}
    for match in matches:
        groups.setdefault((*_reasons(match), *_details(match)), []).append(match)
    return groups.values()


def _details(match: Match) -> Iterator[str]:
    if match.conversion is not None:
        yield f"  [dim]conversion: {escape(told_conversion(match.conversion))}[/]"
    if match.estimate is not None:
        for line in arithmetic(match.estimate):
            yield f"  [dim]{escape(line)}[/]"


def _reasons(match: Match) -> Iterator[str]:
    for reason in match.reasons:
        yield f"  - {escape(reason.message)}" + (f" [dim]-> {escape(reason.hint)}[/]" if reason.hint else "")


def _place(match: Match) -> str:
    name = f" ({escape(match.device_name)})" if match.device_name else ""
    return f"[bold]{match.backend}[/]" + (f" on {escape(match.device)}{name}" if match.device else "")


def _speeds(match: Match) -> str:
    if match.estimate is None:
        return "no estimate"
    one, many, unit = match.estimate.tokens_per_second, match.estimate.throughput, match.estimate.unit
    together = f", {many:.0f} over {match.estimate.streams} {unit}s" if match.estimate.streams > 1 else ""
    return f"about {one:.0f} tokens/s for one {unit}{together} ({match.estimate.source})"

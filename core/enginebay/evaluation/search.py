"""The best type of a model for a machine: the fastest that fits and loses little enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginebay.errors import JobError
from enginebay.evaluation.quality import Comparison, QualityReport
from enginebay.matching.decision import Reason
from enginebay.matching.quantizers import Candidate
from enginebay.quantizing import check_source

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.interfaces.quantizer import QuantizedModel

MAX_PERPLEXITY_LOSS = 0.03
"""Share by which the perplexity may rise when nobody says how much."""


@dataclass(frozen=True, slots=True)
class Search:
    """What was tried and what was found.

    Attributes:
        report: the model as it was, and each type that was made and measured, in that order.
        best: the result; None when no type loses little enough.
    """

    report: QualityReport
    best: QuantizedModel | None


def worth_trying(found: Sequence[Candidate], bits: float) -> list[Candidate]:
    """One candidate for each size, smallest first, of those that can be made here, run there, and are smaller.

    Of types of one size the one whose result runs fastest is kept. What is both larger and slower than another stays:
    it may lose less.

    Args:
        bits: bits per weight of the original.
    """
    kept: dict[float, Candidate] = {}
    for one in found:
        if one.accepted and one.type.bits < bits:
            known = kept.get(one.type.bits)
            if known is None or one.speed > known.speed:
                kept[one.type.bits] = one
    return [kept[size] for size in sorted(kept)]


def find_best(
    bay: Bay,
    model: str,
    *,
    text: Path | None = None,
    backend: str | None = None,
    max_perplexity_loss: float = MAX_PERPLEXITY_LOSS,
    window: int = 512,
    tokens: int = 4096,
    tell: Callable[[str], None] = lambda what: None,
    quantize: dict[str, Any] | None = None,
    **where: Any,
) -> Search:
    """Make and measure types until the smallest is found that loses no more than is allowed.

    Perplexity is taken to fall as bits per weight rise, which holds nearly always within one family of types: sizes are
    searched by bisection, so that about log2 of their number are made. What is chosen was measured.

    Args:
        text: file for perplexity; None takes the one that enginebay brings.
        backend: only this quantizer.
        max_perplexity_loss: share by which the perplexity may rise: 0.03 is 3 %.
        tell: told what is being done.
        quantize: arguments of `Bay.quantize_as`.
        where: what is to run the result; see `Bay.quantizations`. Results are measured on this machine.

    Raises:
        JobError: nothing fits the machine, or the model cannot be measured.
    """
    found = [one for one in bay.quantizations(model, **where) if backend in (None, one.backend)]
    info = bay.models.info(model)
    jobs = {**(quantize or {})}
    output = jobs.pop("output", None)
    check_source(info, jobs.get("requantize", False))
    sizes = worth_trying(found, info.bits_per_weight or 64.0)
    if not sizes:
        raise JobError(
            f"no type of {model} fits", value=model, hint=nearest_way_out(found) or "see: enginebay quantize --list"
        )
    tell(f"measuring {model}")
    best: tuple[Candidate, QuantizedModel] | None = None
    with Comparison(bay, model, text, window=window, tokens=tokens) as comparison:
        if comparison.report.original.perplexity is None:
            raise JobError(f"no engine here gives the perplexity of {model}", value=model)
        low, high = 0, len(sizes)  # sizes[high:] are good enough or too large, as far as is known
        while low < high:
            middle = (low + high) // 2
            one = sizes[middle]
            tell(f"{one.type.name} by {one.backend}")
            made = bay.quantize_as(info, one, **jobs)
            loss = comparison.measure(str(made.path)).perplexity_loss
            if _too_large(one, made):
                high = middle
            elif loss is not None and loss <= max_perplexity_loss:
                best, high = (one, made), middle
            else:
                low = middle + 1
    if best is not None and output is not None:
        best = (best[0], bay.quantize_as(info, best[0], output=output, **jobs))
    return Search(comparison.report, best[1] if best is not None else None)


def _too_large(one: Candidate, made: QuantizedModel) -> bool:
    """The result is larger than was expected, and does not fit: small models keep more of their weights whole."""
    estimate = one.estimate
    if estimate is None or estimate.host_bytes:
        return False
    return estimate.total_bytes - estimate.weight_bytes + made.bytes > estimate.available_bytes


def nearest_way_out(found: Sequence[Candidate]) -> str | None:
    """What would let some type be made or run: the first refusal's advice."""
    reasons: list[Reason] = [reason for one in found for reason in (*one.making, *one.running)]
    return next((f"{reason.message}; {reason.hint}" for reason in reasons if reason.hint), None)

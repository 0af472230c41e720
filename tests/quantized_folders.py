"""Quantising by a quantizer's own `run`, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginebay import Bay, HardwareProfile, Quantizer
from enginebay.interfaces.jobs import JobEvent
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay.models.fingerprint import lost_on_the_way
from enginebay.models.headers import read_info
from enginebay.quantizing import shipped_text


@dataclass
class Quantized:
    """A folder that a quantizer made.

    Attributes:
        bits: of stored weights over the number of the source's weights.
        lost: what ought to have travelled with the weights and did not.
    """

    path: Path
    bits: float
    lost: list[str]
    events: list[JobEvent] = field(default_factory=list)


def run_quantizer(
    quantizer: Quantizer,
    model: Path,
    to: str,
    output: Path,
    events: Callable[[JobEvent], None] = lambda event: None,
    **more: Any,
) -> Path:
    """Quantise, with the output's folder as the cache and two threads, and give the path of the result."""
    job = QuantizationJob(model=model, to=to, output=output, threads=2, **{"cache": output.parent, **more})
    quantizer.run(job, events)
    return output


def quantized(quantizer: Quantizer, source: Path, to: str, folder: Path, **options: Any) -> Quantized:
    """The model at `source`, quantised into `folder`."""
    events: list[JobEvent] = []
    text = shipped_text("calibration")
    made = run_quantizer(quantizer, source, to, folder / to, events.append, calibration=text, options=options)
    before, after = read_info(source), read_info(made)
    return Quantized(made, 8 * after.weight_bytes / before.parameters, lost_on_the_way(before, after), events)


def perplexity_and_answer(folder: Path, backend: str, hardware: HardwareProfile) -> tuple[float, str]:
    """Of some hundred tokens of enginebay's evaluation text, and of the capital of France, on an engine."""
    text = shipped_text("evaluation").read_text(encoding="utf-8")[:2200]
    with Bay(hardware=hardware) as bay:
        handle = bay.generator(str(folder), backend=backend, context_length=1024, features=["scoring"], fallback=False)
        answer = handle.complete("The capital of France is", temperature=0, max_tokens=4).text
        return handle.perplexity(text, window=1024).value, answer

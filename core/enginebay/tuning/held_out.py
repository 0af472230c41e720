"""Holding examples out of training, to measure what was learned on what was not seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from enginebay.errors import DatasetError
from enginebay.interfaces.tuner import TuningMethod
from enginebay.tuning.data import Line, read_lines


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The two sides of a file, as line numbers."""

    training: frozenset[int]
    held_out: frozenset[int]


def hold_out(path: Path, method: TuningMethod, share: float, seed: int = 0) -> HeldOut:
    """Split a file; the same seed gives the same split, whatever the order of the lines.

    Each label is split by itself, so that both sides have its share; examples that are alike but for their labels come
    to the same side. A label with a single example is left in training.

    Args:
        share: of the examples to hold out, above 0 and below 1.

    Raises:
        DatasetError: an example is wrong, or too few are there to hold one out.
        ValueError: the share is none.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; it must be above 0 and below 1")
    lines: dict[bytes, list[int]] = {}
    labels: dict[bytes, str] = {}
    for line in read_lines(path, method):
        digest, label = line.example.digest, _label(line)
        lines.setdefault(digest, []).append(line.number)
        labels[digest] = min(label, labels.get(digest, label))
    strata: dict[str, list[bytes]] = {}
    for digest, label in labels.items():
        strata.setdefault(label, []).append(digest)
    held = {digest for digests in strata.values() for digest in _drawn(digests, share, seed)}
    if not held:
        raise DatasetError(
            f"{path}: too few examples to hold one out", value=len(lines), hint="give at least two that differ"
        )
    return HeldOut(_lines(lines, lines.keys() - held), _lines(lines, held))


def _label(line: Line) -> str:
    return repr(getattr(line.example, "label", None))


def _drawn(digests: list[bytes], share: float, seed: int) -> list[bytes]:
    """A share of them, at least one and not all; none of a single one."""
    count = min(max(1, round(share * len(digests))), len(digests) - 1)
    return sorted(digests, key=lambda digest: sha256(f"{seed}:".encode() + digest).digest())[:count]


def _lines(lines: dict[bytes, list[int]], digests: Iterable[bytes]) -> frozenset[int]:
    return frozenset(number for digest in digests for number in lines[digest])

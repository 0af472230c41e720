"""What a converter declares and is given: a step from one model format to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enginebay.spec import BackendName, DeviceKind, FrozenModel, ImportString, ModelFormat, RequirementString

Report = Callable[[str, float], None]
"""Told what is going on, and the share of the work that is done, 0 to 1."""


class ConverterSpec(FrozenModel):
    """A step from one model format to another, for the shortest path.

    Attributes:
        name: unique among converters.
        source, target: formats.
        factory: import string of `(request: ConversionRequest) -> None`.
        version: changes when the same source would give another target; part of the fingerprint.
        seconds_per_gb: duration per 10^9 bytes of weights, for choosing between paths and for telling the cost.
        size_ratio: bytes of the target's weights over the source's.
        quantizations: of the source that it takes ("F16", …); empty means all.
        architectures: model architectures it knows; empty means any.
        devices: device kinds the target is for, when it is compiled for one; empty means all.
        defaults: its options and their default values.
        requires: distributions it needs, as requirement strings.
        install: the command that installs them.
    """

    name: BackendName
    source: ModelFormat
    target: ModelFormat
    factory: ImportString
    version: int = 1
    seconds_per_gb: float = 30.0
    size_ratio: float = 1.0
    quantizations: frozenset[str] = frozenset()
    architectures: frozenset[str] = frozenset()
    devices: frozenset[DeviceKind] = frozenset()
    defaults: Mapping[str, Any] = {}
    requires: tuple[RequirementString, ...] = ()
    install: str = ""


@dataclass(frozen=True, slots=True)
class ConversionRequest:
    """Everything a converter needs.

    Attributes:
        source: file or folder of the model.
        target: what is to be made; nothing is there yet, its parent folder exists. GGUF is one file, all else a folder.
        options: the converter's defaults with the caller's changes over them.
        report: progress.
    """

    source: Path
    target: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    report: Report = lambda what, share: None

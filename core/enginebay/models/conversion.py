"""Steps from one model format to another: what a converter declares, what it is given, and the shortest path."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from enginebay.models.info import ModelInfo
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
        requires_any: distributions of which it needs one as well.
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
    requires_any: tuple[RequirementString, ...] = ()
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


@dataclass(frozen=True, slots=True)
class Conversion:
    """A way from a model's format to another.

    Attributes:
        formats: the formats it goes through, the model's own first.
        converters: names of the converters, one less than formats.
        seconds: estimated duration.
        weight_bytes: estimated size of the weights at its end.
    """

    formats: tuple[ModelFormat, ...]
    converters: tuple[str, ...]
    seconds: float
    weight_bytes: int

    @property
    def target(self) -> ModelFormat:
        """The format at its end."""
        return self.formats[-1]


def shortest_path(
    model: ModelInfo, targets: Collection[ModelFormat], converters: Sequence[ConverterSpec]
) -> Conversion | None:
    """The quickest way from a model to one of the target formats, by Dijkstra's algorithm; None when there is none.

    What a converter asks of quantization is asked of the model's own: after a step nothing is known of it.
    """
    order = count()
    queue: list[tuple[float, int, Conversion]] = [
        (0.0, next(order), Conversion((model.format,), (), 0.0, model.weight_bytes))
    ]
    while queue:
        _, _, reached = heapq.heappop(queue)
        if reached.converters and reached.target in targets:
            return reached
        for step in converters:
            if step.source is reached.target and step.target not in reached.formats and _takes(step, model, reached):
                seconds = reached.seconds + step.seconds_per_gb * reached.weight_bytes / 1e9
                longer = Conversion(
                    (*reached.formats, step.target),
                    (*reached.converters, step.name),
                    seconds,
                    int(reached.weight_bytes * step.size_ratio),
                )
                heapq.heappush(queue, (seconds, next(order), longer))
    return None


def _takes(step: ConverterSpec, model: ModelInfo, reached: Conversion) -> bool:
    if step.architectures and model.architecture not in step.architectures:
        return False
    if model.quantization_method:
        return False  # its weights are packed in a way that only the library which packed them knows
    return bool(reached.converters) or not step.quantizations or model.quantization in step.quantizations

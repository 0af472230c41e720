"""The quantizer interface: a smaller model out of a larger one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enginebay.interfaces.jobs import Events
from enginebay.spec import FrozenModel, ModelFormat


class QuantizationJob(FrozenModel):
    """One quantising job.

    Attributes:
        model: path of the model to quantise.
        to: type to quantise to, in the backend's names, lower case ("q4_k_m", "int8", "nf4").
        output: file or folder that will hold the result; written whole or not at all.
        calibration: text file for methods that need activations, or None.
        options: the backend's own options, checked by its options model.
    """

    model: Path
    to: str
    output: Path
    calibration: Path | None = None
    options: dict[str, Any] = {}


class QuantizedModel(FrozenModel):
    """What a quantising job made.

    Attributes:
        path: file or folder.
        format: its format.
        source_bytes, bytes: size before and after.
        bits_per_weight: bits of stored weights over number of weights.
        fingerprint: see `ModelFingerprint`, as a mapping of its fields.
    """

    path: Path
    format: ModelFormat
    type: str
    source_bytes: int
    bytes: int
    bits_per_weight: float
    fingerprint: Mapping[str, Any] = {}


class Quantizer(ABC):
    """A backend that quantises models. It implements `types` and `run`."""

    @abstractmethod
    def types(self) -> tuple[str, ...]:
        """Types it can quantise to, lower case."""

    @abstractmethod
    def run(self, job: QuantizationJob, events: Events) -> QuantizedModel:
        """Run the job.

        Raises:
            JobError: it failed; nothing stands under the output's name.
            JobCancelled: `events` asked for it; nothing stands under the output's name.
        """

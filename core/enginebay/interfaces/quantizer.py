"""The quantizer interface: a smaller model out of a larger one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from enginebay.interfaces.jobs import Events
from enginebay.spec import FrozenModel, ModelFormat

OptionsT = TypeVar("OptionsT", bound=BaseModel)


class QuantizationJob(FrozenModel):
    """One quantising job, as a backend gets it.

    Attributes:
        model: file or folder of the model to quantise, in a format that the spec names.
        to: name of one of the types that the spec declares.
        output: what is to be made; nothing is there yet, its parent folder exists. GGUF is one file, all else a folder.
        calibration: text file for what needs activations, or None.
        requantize: the model is quantised already, and the caller accepts the second loss.
        threads: cores to use.
        options: the backend's own options as its options model gives them in JSON.
        cache: folder for what costs much to make and serves other jobs of the same model (an importance matrix); files
            in it are written whole.
    """

    model: Path
    to: str
    output: Path
    calibration: Path | None = None
    requantize: bool = False
    threads: int = Field(default=1, ge=1)
    options: dict[str, Any] = {}
    cache: Path

    def options_as(self, model: type[OptionsT]) -> OptionsT:
        """The options as the backend's options model."""
        return model.model_validate(self.options)


class QuantizedModel(FrozenModel):
    """What a quantising job made, as read from the files that it wrote.

    Attributes:
        path: file or folder.
        type: what it was quantised to.
        backend: the quantizer.
        engines: backends that load it.
        source_bytes, bytes: size of the weights before and after.
        bits_per_weight: bits of stored weights over the number of weights.
        seconds: how long it took; 0 when it was found made.
        fingerprint: see `ModelFingerprint`, as a mapping of its fields.
    """

    path: Path
    format: ModelFormat
    type: str
    backend: str
    engines: tuple[str, ...]
    source_bytes: int
    bytes: int
    bits_per_weight: float
    seconds: float = 0.0
    fingerprint: Mapping[str, Any] = {}

    @property
    def shrinks(self) -> float:
        """How many times smaller the weights are."""
        return self.source_bytes / self.bytes


class Quantizer(ABC):
    """A backend that quantises models. Its factory takes no argument; it is called in a process of its own.

    The core checks type, options, memory and disk before, writes beside and renames after, and looks whether the
    tokenizer, the chat template and the end of sequence are still those of the source.
    """

    @abstractmethod
    def run(self, job: QuantizationJob, events: Events) -> None:
        """Write the quantised model to `job.output`, with all that must travel with the weights.

        Args:
            events: told of progress, at least once a second where the library lets it.

        Raises:
            JobError: it failed.
            ModelFormatError: the model is none that the library knows.
        """

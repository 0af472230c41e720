"""What a backend's factory is given when an engine is opened."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from enginebay.hardware.profile import CpuInfo, Device
from enginebay.models.info import ModelInfo


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """Everything a factory needs, decided and checked.

    Attributes:
        model: facts of the model; `model.path` is on this machine.
        device: where to run.
        cpu: the processor, for thread counts: take `cpu.usable_cores`, not the machine's count.
        context_length: tokens each sequence must hold.
        streams: sequences that will be decoded together.
        device_layers: layers to put on the device; equals the model's layers unless offload is partial.
        options: the backend's options, an instance of its options model; None when it has none.
        backend: name of the backend, for factories that serve several.
    """

    model: ModelInfo
    device: Device
    cpu: CpuInfo
    context_length: int
    streams: int
    device_layers: int
    options: BaseModel | None = None
    backend: str = ""

"""What a backend's factory is given when an engine is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, SecretStr

from enginebay.hardware.profile import CpuInfo, Device
from enginebay.models.embedding import EmbeddingFacts
from enginebay.models.info import ModelInfo


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """Everything a factory needs, decided and checked.

    Attributes:
        model: facts of the model; `model.path` is on this machine.
        device: where to run.
        cpu: the processor, for thread counts: take `cpu.usable_cores`, not the machine's count.
        context_length: tokens each sequence must hold; for embedders, tokens of a text that are to be read.
        streams: sequences that will be decoded together; for embedders, texts of one batch.
        device_layers: layers to put on the device; equals the model's layers unless offload is partial.
        options: the backend's options, an instance of its options model; None when it has none.
        backend: name of the backend, for factories that serve several.
        embedding: for embedders: how to pool. None for generators, and for models of servers.
    """

    model: ModelInfo
    device: Device
    cpu: CpuInfo
    context_length: int
    streams: int
    device_layers: int
    options: BaseModel | None = None
    backend: str = ""
    embedding: EmbeddingFacts | None = None


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """Everything the factory of a vector store needs.

    Attributes:
        path: folder of the store's files, for stores that keep any on this machine; it may not be there yet.
        url: where the store's server is; None takes the backend's own default.
        api_key: of the server; None when it has none.
        options: the backend's options, an instance of its options model; None when it has none.
        backend: name of the backend, for factories that serve several.
    """

    path: Path
    url: str | None = None
    api_key: SecretStr | None = None
    options: BaseModel | None = None
    backend: str = ""

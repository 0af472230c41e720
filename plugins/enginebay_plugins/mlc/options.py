"""Options of the MLC backend."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MlcOptions(BaseModel):
    """Options; names and meaning are those of MLC's own EngineConfig.

    Attributes:
        model_lib: the model's compiled library; None takes the one in the model's folder for the device, or lets MLC
            compile one (minutes, once; MLC keeps it in its own cache).
        mode: MLC's preset for what follows; "interactive" is for one stream, "server" takes what memory there is.
        tensor_parallel_shards: GPUs that the model is spread over; None takes what the model was converted for.
        gpu_memory_utilization: share of the GPU's memory for the engine, 0 to 1; None is MLC's 0.85.
        prefill_chunk_size: tokens of a prompt that are read at once; None lets MLC choose.
        prefix_cache_mode: "radix" keeps the KV cache of prompts that begin alike.
        speculative_mode: let a small model draft what the large one checks.
        spec_draft_length: tokens of one draft.
        additional_models: folders of the models that draft.
        verbose: MLC's own log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_lib: Path | None = None
    mode: Literal["local", "interactive", "server"] = "local"
    tensor_parallel_shards: int | None = Field(default=None, ge=1)
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    prefill_chunk_size: int | None = Field(default=None, ge=1)
    prefix_cache_mode: Literal["radix", "disable"] = "radix"
    speculative_mode: Literal["disable", "small_draft", "eagle", "medusa"] = "disable"
    spec_draft_length: int = Field(default=4, ge=1)
    additional_models: tuple[Path, ...] = ()
    verbose: bool = False


class MlcQuantizerOptions(BaseModel):
    """Options of the quantizer.

    Attributes:
        device: compile the model's library for it as well; "" leaves that to MLC, when the model is opened first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Literal["", "cuda", "metal", "rocm", "vulkan"] = ""

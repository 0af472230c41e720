"""Options of the llama.cpp backends."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CacheType = Literal["f16", "bf16", "q8_0", "q5_1", "q4_1", "q4_0", "f32"]

TensorType = Literal[
    "f32",
    "f16",
    "bf16",
    "q8_0",
    "q6_k",
    "q5_k",
    "q4_k",
    "q3_k",
    "q2_k",
    "q5_1",
    "q5_0",
    "q4_1",
    "q4_0",
    "iq4_xs",
    "iq4_nl",
]
"""Those that llama.cpp makes without an importance matrix."""


class LoraAdapter(BaseModel):
    """A LoRA adapter in GGUF; `scale` 0 switches it off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    scale: float = 1.0


class ModelOptions(BaseModel):
    """Options of everything that runs a model on llama.cpp.

    Attributes:
        threads: threads that decode; None takes the usable cores, rounded down.
        batch_threads: threads that read prompts and texts; None takes `threads`.
        batch_size: tokens of a prompt, or of several texts to embed, that are read in one piece.
        device_layers: layers on the device, in place of the number computed from memory.
        flash_attention: "auto" lets llama.cpp decide.
        mmap: map the file in place of reading it.
        mlock: keep the weights from being swapped out.
        rope_freq_base, rope_freq_scale: 0 takes the model's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int | None = Field(default=None, ge=1)
    batch_threads: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=512, ge=1)
    device_layers: int | None = Field(default=None, ge=0)
    flash_attention: Literal["auto", "on", "off"] = "auto"
    mmap: bool = True
    mlock: bool = False
    rope_freq_base: float = Field(default=0.0, ge=0)
    rope_freq_scale: float = Field(default=0.0, ge=0)


class LlamaCppOptions(ModelOptions):
    """Options of both generators.

    Attributes:
        cache_type_k, cache_type_v: types of the KV cache; a quantised V needs flash attention.
        lora: adapters, applied together.
    """

    cache_type_k: CacheType = "f16"
    cache_type_v: CacheType = "f16"
    lora: tuple[LoraAdapter, ...] = ()


class XllamacppOptions(LlamaCppOptions):
    """Options of the generator on the server in process.

    Attributes:
        prompt_cache_mib: main memory for KV caches of earlier prompts, beside the slots' own; 0 keeps none.
    """

    prompt_cache_mib: int = Field(default=0, ge=0)


class QuantizerOptions(BaseModel):
    """Options of the quantizer.

    Attributes:
        importance_matrix: "auto" makes one where the type needs it, or a calibration text is given and the type has
            fewer than 8 bits; "never" makes none.
        output_tensor_type, token_embedding_type: of these two matrices; None leaves the choice to llama.cpp. A model
            that uses one matrix for both has the second only.
        pure: give all tensors the same type, in place of llama.cpp's mixtures.
        leave_output_tensor: do not quantise the output matrix, where the model has one of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    importance_matrix: Literal["auto", "never"] = "auto"
    output_tensor_type: TensorType | None = None
    token_embedding_type: TensorType | None = None
    pure: bool = False
    leave_output_tensor: bool = False

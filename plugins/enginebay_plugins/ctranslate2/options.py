"""Options of the CTranslate2 backend."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ComputeType = Literal[
    "default",
    "auto",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
]


class CTranslate2EmbedderOptions(BaseModel):
    """Options of the embedder.

    Attributes:
        compute_type: type to compute in; "default" keeps the model's, or the nearest this device has.
        threads: threads on the CPU; None takes the usable cores, rounded down.
        flash_attention: flash attention 2, on CUDA GPUs that have it.
        tensor_parallel: share the model out over the GPUs of an MPI run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    compute_type: ComputeType = "default"
    threads: int | None = Field(default=None, ge=1)
    flash_attention: bool = False
    tensor_parallel: bool = False


class CTranslate2Options(CTranslate2EmbedderOptions):
    """Options of the generator: the embedder's, and one more.

    Attributes:
        no_repeat_ngram_size: no sequence of this many tokens comes twice in an output; 0 is off.
    """

    no_repeat_ngram_size: int = Field(default=0, ge=0)


class CTranslate2QuantizerOptions(BaseModel):
    """Options of the quantizer.

    Attributes:
        load_as_float16: load the source's weights as float16: half the memory for a model in float32. Numbers beyond
            65504, which bfloat16 and float32 have room for, become infinite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    load_as_float16: bool = False

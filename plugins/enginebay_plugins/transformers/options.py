"""Options of the transformers backend."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TransformersOptions(BaseModel):
    """Options.

    Attributes:
        dtype: type that weights are held and computed in; "auto" takes the model's own.
        quantization: quantise while loading, by bitsandbytes; None takes the weights as they are.
        attention: attention implementation; None lets transformers choose.
        threads: threads on the CPU; None takes the usable cores, rounded down. PyTorch has one number for the process.
        lora: folders of PEFT adapters, merged into the weights one after another.
        trust_remote_code: run Python code that the model's folder brings. Only for models you trust like a program.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["nf4", "fp4", "int8"] | None = None
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    threads: int | None = Field(default=None, ge=1)
    lora: tuple[Path, ...] = ()
    trust_remote_code: bool = False

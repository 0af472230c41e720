"""Options of the sentence_transformers backend."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SentenceTransformersOptions(BaseModel):
    """Options.

    Attributes:
        dtype: type that weights are held and computed in; "auto" takes the model's own.
        attention: attention implementation; None lets transformers choose.
        threads: threads on the CPU; None takes the usable cores, rounded down. PyTorch has one number for the process.
        trust_remote_code: run Python code that the model's folder brings. Only for models you trust like a program.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    threads: int | None = Field(default=None, ge=1)
    trust_remote_code: bool = False

"""Options of the quantizer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LlmCompressorOptions(BaseModel):
    """Options.

    Attributes:
        group_size: weights of a row that share a scale, for 4 bits; None takes 128, or 64 or 32 where the model's
            rows are no multiples of it.
        samples: pieces of the calibration text, at most.
        sample_tokens: tokens of a piece.
        dtype: type of what is not quantised; "auto" takes the model's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    group_size: Literal[128, 64, 32] | None = None
    samples: int = Field(default=128, ge=1)
    sample_tokens: int = Field(default=512, ge=16)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

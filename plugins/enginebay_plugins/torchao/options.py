"""Options of the quantizer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class TorchaoOptions(BaseModel):
    """Options.

    Attributes:
        dtype: type of what is not quantised; "auto" takes the model's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

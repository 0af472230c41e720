"""Options of the quantizer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class BitsAndBytesOptions(BaseModel):
    """Options.

    Attributes:
        double_quant: quantise the scales of nf4 and fp4, too: 0.37 bits less for each weight, slower on CPUs.
        dtype: type of what is not quantised; "auto" takes the model's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    double_quant: bool = False
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

"""Quantising by bitsandbytes, while transformers loads the model."""

from __future__ import annotations

import torch
from transformers import BitsAndBytesConfig

from enginebay import Quantizer
from enginebay.interfaces.jobs import Events
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay.models.saving import quantize_while_loading
from enginebay_plugins.bitsandbytes.options import BitsAndBytesOptions


class BitsAndBytesQuantizer(Quantizer):
    """Makes int8 (LLM.int8, https://arxiv.org/abs/2208.07339), nf4 (https://arxiv.org/abs/2305.14314) and fp4."""

    def run(self, job: QuantizationJob, events: Events) -> None:
        """Quantise; see `Quantizer.run`.

        The model computes nothing here: on CPUs, 4-bit weights are packed anew at the first computation, and those
        would not be read again.
        """
        options = job.options_as(BitsAndBytesOptions)
        quantize_while_loading(job, events, _config(job.to, options.double_quant), dtype=options.dtype)


def _config(to: str, double_quant: bool) -> BitsAndBytesConfig:
    if to == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=to,
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )

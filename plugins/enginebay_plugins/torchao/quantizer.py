"""Quantising by torchao, while transformers loads the model."""

from __future__ import annotations

from torchao.quantization import Int8WeightOnlyConfig
from transformers import TorchAoConfig

from enginebay import Quantizer
from enginebay.interfaces.jobs import Events
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay.models.saving import quantize_while_loading
from enginebay_plugins.torchao.options import TorchaoOptions


class TorchaoQuantizer(Quantizer):
    """Makes int8: weights of linear layers alone, symmetric, a scale for each row."""

    def run(self, job: QuantizationJob, events: Events) -> None:
        """Quantise; see `Quantizer.run`."""
        options = job.options_as(TorchaoOptions)
        quantize_while_loading(job, events, TorchAoConfig(Int8WeightOnlyConfig()), dtype=options.dtype)

"""Quantising by CTranslate2's converter: a folder in its own format out of safetensors."""

from __future__ import annotations

import torch

from enginebay import Quantizer
from enginebay.interfaces.jobs import Events, reporter
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay_plugins.ctranslate2.converter import write
from enginebay_plugins.ctranslate2.options import CTranslate2QuantizerOptions


class CTranslate2Quantizer(Quantizer):
    """Makes every type of the spec, of generators and of encoders."""

    def run(self, job: QuantizationJob, events: Events) -> None:
        """Quantise; see `Quantizer.run`.

        Raises:
            ModelFormatError: CTranslate2 does not know the architecture, or the source is broken.
        """
        options = job.options_as(CTranslate2QuantizerOptions)
        torch.set_num_threads(job.threads)
        report = reporter(events, "quantize")
        write(job.model, job.output, job.to, report, load_as_float16=options.load_as_float16)

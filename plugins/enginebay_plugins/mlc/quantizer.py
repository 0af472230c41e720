"""Quantising by MLC's own commands: a folder in its format out of safetensors."""

from __future__ import annotations

from enginebay import Quantizer
from enginebay.errors import ConversionError, JobError
from enginebay.interfaces.jobs import Events, reporter
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay_plugins.mlc.converter import write
from enginebay_plugins.mlc.options import MlcQuantizerOptions


class MlcQuantizer(Quantizer):
    """Makes every type of the spec, which are MLC's codes."""

    def run(self, job: QuantizationJob, events: Events) -> None:
        """Quantise; see `Quantizer.run`.

        Raises:
            JobError: mlc_llm does not run.
            ModelFormatError: mlc_llm does not know the architecture or the quantization, or the source is broken.
        """
        options = job.options_as(MlcQuantizerOptions)
        report = reporter(events, "quantize")
        try:
            write(job.model, job.output, job.to, report, device=options.device, threads=job.threads)
        except ConversionError as error:
            raise JobError(error.message, value=error.value, hint=error.hint) from error

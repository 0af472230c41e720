"""Quantising by llama.cpp itself: one GGUF file out of another, tensor by tensor."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from typing import Any

import llama_cpp

from enginebay import Quantizer
from enginebay.errors import JobError, ModelFormatError
from enginebay.interfaces.jobs import Events, JobEvent
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay_plugins.llama_cpp.logs import LOG
from enginebay_plugins.llama_cpp.options import QuantizerOptions

_TENSOR = re.compile(r"\[\s*(\d+)/\s*(\d+)\]\s+(\S+)")
_REPLACED = re.compile(r"-> falling back to\s+(\S+)")


class LlamaCppQuantizer(Quantizer):
    """Makes every type of `quantization_types.TYPES`."""

    def run(self, job: QuantizationJob, events: Events) -> None:
        """Quantise; see `Quantizer.run`. The parts of a split model become one file.

        Raises:
            JobError: llama.cpp failed; the text has its last log lines.
            ModelFormatError: llama.cpp does not know the architecture.
        """
        options = job.options_as(QuantizerOptions)
        params = _params(job, options)
        llama_cpp.llama_backend_init()
        with LOG.heard_by(_Progress(events)):
            code = llama_cpp.llama_model_quantize(
                str(job.model).encode(), str(job.output).encode(), ctypes.byref(params)
            )
        if code:
            raise _failure(job, LOG.reason())


class _Progress:
    """Makes events of what llama.cpp logs: `[  12/ 272] blk.0.ffn_down.weight - …` for each tensor."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._replaced: Counter[str] = Counter()

    def __call__(self, line: str) -> None:
        replaced = _REPLACED.search(line)
        if replaced is not None:
            self._replaced[replaced[1]] += 1
        tensor = _TENSOR.match(line)
        if tensor is None:
            return
        step, steps = int(tensor[1]), int(tensor[2])
        if step == 1 and self._replaced:
            self._events(JobEvent("quantize", 0, steps, message=self._replacements(steps)))
        self._events(JobEvent("quantize", step, steps, message=tensor[3]))

    def _replacements(self, steps: int) -> str:
        types = ", ".join(f"{count} become {kind}" for kind, count in sorted(self._replaced.items()))
        return f"{self._replaced.total()} of {steps} tensors have rows that the type's blocks do not divide: {types}"


def _params(job: QuantizationJob, options: QuantizerOptions) -> Any:
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = job.threads
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{job.to.upper()}")
    params.allow_requantize = job.requantize
    params.quantize_output_tensor = not options.leave_output_tensor
    params.pure = options.pure
    return params


def _failure(job: QuantizationJob, reason: str) -> JobError | ModelFormatError:
    if "unknown model architecture" in reason:
        return ModelFormatError(f"llama.cpp does not know {job.model}: {reason}", value=str(job.model))
    if "iostream error" in reason:
        return JobError(
            f"llama.cpp could not write {job.output}",
            value=str(job.output),
            hint="free some room, or name another output",
        )
    return JobError(f"llama.cpp did not make {job.to} of {job.model}: {reason}", value=str(job.model))

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
from enginebay.models.gguf import TENSOR_TYPES, read_gguf, split_parts
from enginebay_plugins.llama_cpp.importance import ImportanceMatrix, importance_matrix
from enginebay_plugins.llama_cpp.logs import LOG
from enginebay_plugins.llama_cpp.options import QuantizerOptions
from enginebay_plugins.llama_cpp.quantization_types import TYPES

_MATRIX_BELOW = 8
"""Bits from which llama.cpp has no use for an importance matrix."""
_TENSOR = re.compile(r"\[\s*(\d+)/\s*(\d+)\]\s+(\S+)")
_REPLACED = re.compile(r"-> falling back to\s+(\S+)")


class LlamaCppQuantizer(Quantizer):
    """Makes every type of `quantization_types.TYPES`."""

    def run(self, job: QuantizationJob, events: Events) -> None:
        """Quantise; see `Quantizer.run`. The parts of a split model become one file.

        Raises:
            JobError: llama.cpp failed (the text has its last log lines), the type needs an importance matrix and there
                is none, or a type that the options name does not fit its tensor.
            ModelFormatError: llama.cpp does not know the model.
        """
        options = job.options_as(QuantizerOptions)
        llama_cpp.llama_backend_init()
        matrix = importance_matrix(job, events) if _wants_matrix(job, options) else None
        params = _params(job, options, matrix)
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


def _wants_matrix(job: QuantizationJob, options: QuantizerOptions) -> bool:
    made = next(made for made in TYPES if made.name == job.to)
    given = job.calibration is not None and options.importance_matrix == "auto"
    if made.calibration and not given:
        raise JobError(
            f"{job.to} needs an importance matrix",
            value=job.to,
            hint='give a calibration text and leave the option importance_matrix at "auto"',
        )
    return given and made.bits < _MATRIX_BELOW


def _params(job: QuantizationJob, options: QuantizerOptions, matrix: ImportanceMatrix | None) -> Any:
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = job.threads
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{job.to.upper()}")
    params.allow_requantize = job.requantize
    params.quantize_output_tensor = not options.leave_output_tensor
    params.pure = options.pure
    if options.output_tensor_type is not None:
        params.output_tensor_type = _fitting(job, "output.weight", options.output_tensor_type)
    if options.token_embedding_type is not None:
        params.token_embedding_type = _fitting(job, "token_embd.weight", options.token_embedding_type)
    if matrix is not None:
        params.imatrix = _native(matrix)
    return params


def _fitting(job: QuantizationJob, name: str, kind: str) -> int:
    """ggml's number of a type, which llama.cpp gives the tensor unasked: it aborts where its blocks do not fit."""
    number, block = next((number, block) for number, (known, block, _) in TENSOR_TYPES.items() if known == kind.upper())
    tensors = [tensor for part in split_parts(job.model) for tensor in read_gguf(part).tensors if tensor.name == name]
    for tensor in tensors:
        if tensor.shape[0] % block:
            raise JobError(
                f"{name} has rows of {tensor.shape[0]}, which the blocks of {kind} do not divide",
                value=kind,
                hint="name a type with blocks of 32, such as q8_0 or q4_0",
            )
    return number


def _native(matrix: ImportanceMatrix) -> Any:
    """The matrix as llama.cpp takes it: an array that an entry without a name ends."""
    entries = (llama_cpp.llama_model_imatrix_data * (len(matrix) + 1))()
    for entry, (name, means) in zip(entries, matrix.items(), strict=False):
        entry.name, entry.size = name.encode(), means.size
        entry.data = means.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return entries


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

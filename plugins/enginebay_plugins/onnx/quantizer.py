"""Quantising by onnxruntime: an encoder's graph in 8 bits out of one in float32."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from enginebay import Quantizer
from enginebay.errors import JobError, ModelFormatError
from enginebay.interfaces.jobs import Events, reporter
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay.models.onnx import onnx_file, onnx_folder, read_onnx
from enginebay_plugins.onnx import writing
from enginebay_plugins.onnx.options import OnnxQuantizerOptions
from enginebay_plugins.onnx.writing import copy_companions, quantize

_ERRORS = (ValueError, KeyError, RuntimeError, OSError, AttributeError, TypeError, IndexError)


def _sound(file: Path) -> bool:
    """The graph can be parsed."""
    try:
        onnx.load(str(file), load_external_data=False)
    except DecodeError:
        return False
    return True


class OnnxQuantizer(Quantizer):
    """Makes int8 and uint8 for embedders: weights with a scale for each channel, activations when they come."""

    def run(self, job: QuantizationJob, events: Events) -> None:
        """Quantise; see `Quantizer.run`.

        Raises:
            JobError: the graph has no products of weights in float32, as one that is quantised already.
            ModelFormatError: the model is no sound ONNX file.
        """
        options = job.options_as(OnnxQuantizerOptions)
        report = reporter(events, "quantize")
        file = onnx_file(job.model)
        if file is None:
            raise ModelFormatError(f"{job.model} holds no ONNX file", value=str(job.model))
        before = read_onnx(file)
        job.output.mkdir()
        target = job.output / "model.onnx"
        report(f"converting to {job.to}", 0.0)
        try:
            large = sum(one.size for one in before) > writing.LARGEST
            quantize(file, target, job.to, large=large, all_products=options.all_products)
        except (*_ERRORS, DecodeError, ValidationError, InferenceError) as error:
            if isinstance(error, DecodeError) and _sound(file):
                # onnxruntime does not look whether its own intermediate file was written to the end.
                raise JobError(
                    f"cannot write the result to {job.output.parent}: a file on the way was cut off",
                    value=str(job.output.parent),
                    hint=f"free some room there and in {tempfile.gettempdir()}",
                ) from error
            raise ModelFormatError(
                f"onnxruntime cannot quantise {file}: {str(error).splitlines()[0] if str(error) else error!r}",
                value=str(file),
                hint="export the model again, or take another backend",
            ) from error
        if sum(one.size for one in read_onnx(target)) >= sum(one.size for one in before):
            raise JobError(
                f"onnxruntime finds nothing in {file} to quantise",
                value=str(file),
                hint="start from a model in float32: enginebay convert … onnx",
            )
        report("copying the tokenizer", 0.9)
        copy_companions(onnx_folder(file), job.output)
        report("done", 1.0)

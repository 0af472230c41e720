"""safetensors to ONNX: the encoder alone, traced by torch, and checked on a batch of another shape."""

from __future__ import annotations

import inspect
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers
from numpy.typing import NDArray

from enginebay import ConversionRequest
from enginebay.errors import ConversionError, ModelFormatError
from enginebay_plugins.onnx import writing
from enginebay_plugins.onnx.writing import QUANTIZATIONS, copy_companions, write

OUTPUT = "last_hidden_state"
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OPSET = 17
_AGREEMENT = 0.9999
"""Least cosine between what torch and the exported graph make of one batch."""


def convert(request: ConversionRequest) -> None:
    """Write a folder with `model.onnx`, the model's configuration, its tokenizer and the steps that follow it.

    The graph takes `input_ids`, `attention_mask` and, where the model has them, `token_type_ids`, int64 of shape
    (batch, sequence), and gives `last_hidden_state`, float32 of shape (batch, sequence, hidden).

    `quantization` is "none" (float32) or "int8": weights as int8 with a scale for each channel, activations when they
    come; products that narrow stay in float32.

    Raises:
        ConversionError: the quantization is none of these.
        ModelFormatError: transformers or torch cannot load or trace the model, or the graph gives something else.
    """
    quantization = str(request.options["quantization"])
    if quantization not in QUANTIZATIONS:
        raise ConversionError(
            f"ONNX models have no quantization {quantization!r} here", value=quantization, hint=", ".join(QUANTIZATIONS)
        )
    request.target.mkdir()
    exported = request.target / "exported"
    exported.mkdir()
    try:
        request.report("loading", 0.0)
        model = _Encoder(_load(request.source)).eval()
        request.report("tracing", 0.3)
        _export(model, exported / "model.onnx")
        _check(model, exported / "model.onnx", request.source)
        large = sum(weight.nbytes for weight in model.parameters()) > writing.LARGEST
        request.report("writing", 0.7)
        write(exported / "model.onnx", request.target / "model.onnx", quantization, large=large)
    except (ValueError, KeyError, RuntimeError, OSError, AttributeError, TypeError, ImportError) as error:
        raise ModelFormatError(
            f"torch cannot export {request.source}: {str(error).splitlines()[0] if str(error) else error!r}",
            value=str(request.source),
            hint="take another backend, or a model that transformers' AutoModel knows",
        ) from error
    shutil.rmtree(exported)
    copy_companions(request.source, request.target)
    request.report("done", 1.0)


class _Encoder(torch.nn.Module):  # type: ignore[misc]
    """The model, with inputs in a fixed order and one output."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        known = inspect.signature(model.forward).parameters
        self.inputs = [name for name in _INPUTS if name in known]

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return self.model(**dict(zip(self.inputs, values, strict=True))).last_hidden_state


def _load(source: Path) -> Any:
    # The plain attention is the one whose trace holds for all shapes.
    model = transformers.AutoModel.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model


def _batch(texts: int, length: int, vocabulary: int) -> Mapping[str, torch.Tensor]:
    """Arbitrary tokens; the last text is padded from its middle on."""
    ids = torch.arange(texts * length).reshape(texts, length) % vocabulary
    mask = torch.ones_like(ids)
    mask[-1, length // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def _export(model: _Encoder, target: Path) -> None:
    batch = _batch(2, 8, model.model.config.vocab_size)
    axes = {name: {0: "batch", 1: "sequence"} for name in (*model.inputs, OUTPUT)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of what holds for this trace only: that is checked
        torch.onnx.export(
            model,
            tuple(batch[name] for name in model.inputs),
            str(target),
            input_names=model.inputs,
            output_names=[OUTPUT],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )


def _check(model: _Encoder, file: Path, source: Path) -> None:
    """Compare the graph with the model on a batch of another shape than the traced one.

    Raises:
        ModelFormatError: they do not agree.
    """
    batch = _batch(3, 21, model.model.config.vocab_size)
    with torch.no_grad():
        expected = model(*(batch[name] for name in model.inputs)).numpy()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    [found] = session.run([OUTPUT], {one.name: batch[one.name].numpy() for one in session.get_inputs()})
    read = batch["attention_mask"].numpy().astype(bool)
    agreement = _cosine(found[read], expected[read])
    if not agreement >= _AGREEMENT:
        raise ModelFormatError(
            f"the ONNX graph of {source} gives something else than the model: cosine {agreement:.4f}",
            value=agreement,
            hint="its code depends on the shape of its input; take another backend",
        )


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float((one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum()))

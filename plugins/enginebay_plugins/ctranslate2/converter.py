"""safetensors to CTranslate2, by its own converter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ctranslate2.converters import TransformersConverter
from safetensors import SafetensorError

from enginebay import ConversionRequest
from enginebay.errors import ConversionError, ModelFormatError
from enginebay.models.conversion import Report
from enginebay.models.tokenizer import travelling

QUANTIZATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")
_ERRORS = (ValueError, KeyError, RuntimeError, OSError, AttributeError, AssertionError, SafetensorError)
SOURCE_CONFIG = "source_config.json"
"""The source's config.json: CTranslate2's own of that name does not tell layers, heads or context."""


class _Converter(TransformersConverter):  # type: ignore[misc]
    """CTranslate2's converter, on a transformers that has no kind of positions but the usual one any more."""

    def __init__(self, source: str, report: Report, quantization: str, **options: Any) -> None:
        super().__init__(source, **options)
        self._report = report
        self._quantization = quantization

    def load_model(self, model_class: Any, model_name_or_path: str, **options: Any) -> Any:
        """Load the source; CTranslate2 asks encoders for an attribute that older versions of transformers gave."""
        self._report("loading", 0.0)
        model = super().load_model(model_class, model_name_or_path, **options)
        if not hasattr(model.config, "position_embedding_type"):
            model.config.position_embedding_type = "absolute"
        self._report(f"converting to {self._quantization}", 0.5)
        return model


def convert(request: ConversionRequest) -> None:
    """Write a CTranslate2 folder, with the tokenizer, the chat template and the source's configuration.

    Raises:
        ConversionError: the quantization is none of `QUANTIZATIONS`.
        ModelFormatError: CTranslate2 does not know the architecture.
    """
    quantization = str(request.options["quantization"])
    if quantization not in QUANTIZATIONS:
        raise ConversionError(
            f"CTranslate2 has no quantization {quantization!r}", value=quantization, hint=", ".join(QUANTIZATIONS)
        )
    write(request.source, request.target, quantization, request.report)


def write(source: Path, target: Path, quantization: str, report: Report, *, load_as_float16: bool = False) -> None:
    """What `convert` does, and the quantizer.

    Args:
        quantization: one of `QUANTIZATIONS`.
        report: progress.
        load_as_float16: load the source's weights as float16, whatever they are.

    Raises:
        ModelFormatError: CTranslate2 does not know the architecture, or the source is broken.
    """
    kept = travelling(source)
    try:
        converter = _Converter(str(source), report, quantization, copy_files=kept, load_as_float16=load_as_float16)
        converter.convert(str(target), quantization=quantization)
    except _ERRORS as error:
        raise ModelFormatError(
            f"CTranslate2 cannot convert {source}: {str(error) or type(error).__name__}",
            value=str(source),
            hint="see its list of supported models, or take another backend",
        ) from error
    shutil.copyfile(source / "config.json", target / SOURCE_CONFIG)
    report("done", 1.0)

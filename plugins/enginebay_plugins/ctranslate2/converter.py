"""safetensors to CTranslate2, by its own converter."""

from __future__ import annotations

import shutil
from typing import Any

from ctranslate2.converters import TransformersConverter

from enginebay import ConversionRequest
from enginebay.errors import ConversionError, ModelFormatError
from enginebay.models.tokenizer import FILES

QUANTIZATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")
SOURCE_CONFIG = "source_config.json"
"""The source's config.json: CTranslate2's own of that name does not tell layers, heads or context."""


class _Converter(TransformersConverter):  # type: ignore[misc]
    """CTranslate2's converter, on a transformers that has no kind of positions but the usual one any more."""

    def load_model(self, model_class: Any, model_name_or_path: str, **options: Any) -> Any:
        """Load the source; CTranslate2 asks encoders for an attribute that older versions of transformers gave."""
        model = super().load_model(model_class, model_name_or_path, **options)
        if not hasattr(model.config, "position_embedding_type"):
            model.config.position_embedding_type = "absolute"
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
    request.report(f"converting to {quantization}", 0.0)
    present = [name for name in FILES if (request.source / name).exists()]
    try:
        converter = _Converter(str(request.source), copy_files=present)
        converter.convert(str(request.target), quantization=quantization)
    except (ValueError, KeyError, RuntimeError, OSError, AttributeError, AssertionError) as error:
        raise ModelFormatError(
            f"CTranslate2 cannot convert {request.source}: {error or type(error).__name__}",
            value=str(request.source),
            hint="see its list of supported models, or take another backend",
        ) from error
    shutil.copyfile(request.source / "config.json", request.target / SOURCE_CONFIG)
    request.report("done", 1.0)

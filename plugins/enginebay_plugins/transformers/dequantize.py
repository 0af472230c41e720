"""GGUF to safetensors, by transformers' own dequantiser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from enginebay import ConversionRequest
from enginebay.errors import ConversionError, ModelFormatError
from enginebay.models.gguf import read_gguf
from enginebay.models.pretokenizers import pretokenizer
from enginebay.models.quietly import quietly

DTYPES = ("bfloat16", "float16", "float32")


def convert(request: ConversionRequest) -> None:
    """Write a folder with the weights in `dtype`, the tokenizer and the chat template.

    Raises:
        ConversionError: `dtype` is none of `DTYPES`.
        ModelFormatError: transformers cannot read the file's architecture or types.
    """
    folder, name = str(request.source.parent), request.source.name
    wanted = str(request.options["dtype"])
    if wanted not in DTYPES:
        raise ConversionError(f"dtype {wanted!r} is none of: {', '.join(DTYPES)}", value=wanted)
    dtype = getattr(torch, wanted)
    with quietly():
        try:
            request.report("reading and dequantising", 0.0)
            model: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=dtype)
            request.report("rebuilding the tokenizer", 0.7)
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        except (ValueError, KeyError, NotImplementedError, RuntimeError, OSError) as error:
            raise ModelFormatError(
                f"transformers cannot dequantise {request.source}: {error}",
                value=str(request.source),
                hint="take the model's original safetensors",
            ) from error
        _forget_quantization(model)
        request.report("writing", 0.8)
        model.to(dtype).save_pretrained(request.target)
        tokenizer.save_pretrained(request.target)
    _cut_alike(request.source, request.target / "tokenizer.json")
    request.report("done", 1.0)


def _cut_alike(source: Path, file: Path) -> None:
    """Let the tokenizer cut text as the GGUF file says: transformers takes GPT-2's way for all byte-level ones."""
    metadata = read_gguf(source).metadata
    name = str(metadata.get("tokenizer.ggml.pre", "default"))
    if metadata.get("tokenizer.ggml.model") != "gpt2":
        return
    description = pretokenizer(name)
    if description is None:
        raise ModelFormatError(
            f"{source} cuts text as {name!r}, which is not known here",
            value=name,
            hint="take the model's original safetensors",
        )
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    tokenizer["pre_tokenizer"] = description
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def _forget_quantization(model: Any) -> None:
    """The weights are plain now; while the model remembers that they were not, it refuses to be saved."""
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config

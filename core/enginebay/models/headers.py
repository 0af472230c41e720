"""Facts of a model file or folder, whatever its format: told by content, not by suffix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from enginebay.errors import ModelFormatError, ModelNotFoundError
from enginebay.models.embedding import EmbeddingFacts
from enginebay.models.embedding_files import folder_embedding
from enginebay.models.gguf import MAGIC, gguf_info
from enginebay.models.identity import read_record
from enginebay.models.info import ModelInfo
from enginebay.models.onnx import onnx_file, onnx_info
from enginebay.models.safetensors import config_facts, read_json, safetensors_info
from enginebay.spec import ModelFormat

_BYTES = {"int16": 2, "float16": 2, "bfloat16": 2, "float32": 4}
"""Bytes of a weight in CTranslate2's types; int8 where it is not told."""

_MLC_BITS = re.compile(r"q(\d+)f")
"""MLC's quantization codes begin with the bits of a weight, 0 for 16 or 32 of them."""


def read_info(path: Path, reference: str | None = None) -> ModelInfo:
    """Facts of a model on this machine.

    Args:
        reference: what the user wrote; the path when None.

    Raises:
        ModelNotFoundError: nothing is there.
        ModelFormatError: it is broken or of no known format.
    """
    reference = reference if reference is not None else str(path)
    if not path.exists():
        raise ModelNotFoundError(f"there is no model at {path}", value=reference, hint="see: enginebay models")
    info = _format_info(path, reference)
    return info.model_copy(update={"embedding": _embedding(path, info), **_quantized(path, info)})


def _quantized(path: Path, info: ModelInfo) -> dict[str, Any]:
    """What the record of a quantised model tells better than its files: packed weights cannot be counted."""
    made = read_record(path).get("quantized")
    if not isinstance(made, dict) or info.format is ModelFormat.GGUF:
        return {}
    return {"parameters": int(made["parameters"]), "quantization": str(made["type"])}


def _embedding(path: Path, info: ModelInfo) -> EmbeddingFacts | None:
    """How it embeds: as its source does, if it was converted; else as its own files say."""
    record = read_record(path)
    if "embedding" not in record:
        return folder_embedding(path) if path.is_dir() and info.format is not ModelFormat.GGUF else info.embedding
    kept = record["embedding"]
    try:
        return EmbeddingFacts.model_validate(kept) if kept is not None else None
    except ValidationError as error:
        raise ModelFormatError(
            f"the record beside {path} is damaged", value=str(path), hint="convert it anew"
        ) from error


def _format_info(path: Path, reference: str) -> ModelInfo:
    if path.is_dir():
        return _folder_info(path, reference)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ModelFormatError(f"cannot read {path}: {error.strerror}", value=str(path)) from error
    if start[:4] == MAGIC:
        return gguf_info(path, reference)
    if len(start) == 9 and start[8:9] == b"{":
        return safetensors_info(path, reference)
    if start[:1] == b"\x08":  # protobuf's key of the first field
        return onnx_info(path, reference)
    raise ModelFormatError(
        f"{path} is neither a GGUF, a safetensors nor an ONNX file",
        value=str(path),
        hint="fetch it again, or name another file",
    )


def _folder_info(path: Path, reference: str) -> ModelInfo:
    if (path / "mlc-chat-config.json").exists():
        return _mlc_info(path, reference)
    if (path / "model.bin").exists() and (path / "config.json").exists() and not (path / "model.safetensors").exists():
        return _ctranslate2_info(path, reference)
    if any(path.glob("*.safetensors")) or (path / "model.safetensors.index.json").exists():
        return safetensors_info(path, reference)
    files = sorted(path.glob("*.gguf"))
    first = [file for file in files if "-of-" not in file.name or "-00001-of-" in file.name]
    if len(first) == 1:
        return gguf_info(first[0], reference)
    if not first and onnx_file(path) is not None:
        return onnx_info(path, reference)
    raise ModelFormatError(
        f"{path} holds {'several GGUF models' if first else 'no model of a known format'}",
        value=str(path),
        hint="name one file" if first else "GGUF, safetensors, ONNX, CTranslate2 and MLC are known",
    )


def _ctranslate2_info(path: Path, reference: str) -> ModelInfo:
    """CTranslate2's own configuration tells no shapes: they come from the source's, which the converter keeps."""
    config, made = read_json(path / "source_config.json"), read_json(path / "enginebay.json")
    weights = (path / "model.bin").stat().st_size
    quantization = str(made.get("options", {}).get("quantization", ""))
    try:
        facts = config_facts(path, config, read_json(path / "tokenizer_config.json"))
        return ModelInfo(
            reference=reference,
            path=path,
            format=ModelFormat.CTRANSLATE2,
            parameters=int(weights / _BYTES.get(quantization, 1)),
            weight_bytes=weights,
            quantization=quantization,
            **facts,
        )
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise ModelFormatError(
            f"{path} has senseless metadata: {str(error).splitlines()[0]}", value=str(path)
        ) from error


def _mlc_info(path: Path, reference: str) -> ModelInfo:
    """What an MLC folder tells: shapes are in its `model_config`, the chat template in the tokenizer's files."""
    config = read_json(path / "mlc-chat-config.json")
    weights = sum(file.stat().st_size for file in path.glob("params_shard_*.bin"))
    quantization = str(config.get("quantization", ""))
    bits = _MLC_BITS.match(quantization)
    try:
        facts = config_facts(
            path,
            {
                **config.get("model_config", {}),
                "model_type": config.get("model_type", ""),
                "vocab_size": config.get("vocab_size", 0),
                "max_position_embeddings": config.get("context_window_size") or 0,
            },
            read_json(path / "tokenizer_config.json"),
        )
        return ModelInfo(
            reference=reference,
            path=path,
            format=ModelFormat.MLC,
            parameters=int(weights * 8 / (int(bits[1]) or 16)) if bits else 0,
            weight_bytes=weights,
            quantization=quantization,
            **facts,
        )
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise ModelFormatError(
            f"{path} has senseless metadata: {str(error).splitlines()[0]}", value=str(path)
        ) from error

"""Headers of safetensors files and of the folders they come in, without loading weights.

Format: https://github.com/huggingface/safetensors#format. Every length and offset is checked against the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from enginebay.errors import ModelFormatError
from enginebay.models.info import ModelInfo
from enginebay.spec import ModelFormat

_MAX_HEADER = 100_000_000
"""The format's own bound, in bytes."""

DTYPES = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of one element."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of the header; `start` and `end` count bytes from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def elements(self) -> int:
        """Number of weights."""
        return prod(self.shape)


def read_safetensors(path: Path) -> tuple[Tensor, ...]:
    """Read the header of one safetensors file.

    Raises:
        ModelFormatError: the file cannot be read, is truncated, mutated or no safetensors at all.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(_MAX_HEADER, size - 8):
                raise _broken(path, f"its header claims {length} bytes of {size}")
            raw = file.read(length)
    except OSError as error:
        raise ModelFormatError(f"cannot read {path}: {error.strerror}", value=str(path)) from error
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _broken(path, "its header is no JSON") from error
    if not isinstance(header, dict):
        raise _broken(path, "its header is no JSON object")
    header.pop("__metadata__", None)
    tensors = [_tensor(path, name, entry, 8 + length, size) for name, entry in header.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    end = 8 + length
    for tensor in tensors:
        if tensor.start != end:
            raise _broken(path, f"the tensor {tensor.name!r} leaves a hole or overlaps another")
        end = tensor.end
    if end != size:
        raise _broken(path, f"its tensors end at byte {end}, the file at {size}")
    return tuple(tensors)


def _tensor(path: Path, name: str, entry: object, base: int, size: int) -> Tensor:
    def count(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0

    if not isinstance(entry, dict):
        raise _broken(path, f"the tensor {name!r} is no JSON object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if dtype not in DTYPES:
        raise _broken(path, f"the tensor {name!r} has the unknown type {dtype!r}")
    if (
        not isinstance(shape, list)
        or len(shape) > 16
        or not all(count(extent) and extent < 1 << 48 for extent in shape)
    ):
        raise _broken(path, f"the tensor {name!r} has the shape {str(shape)[:80]}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(count, offsets)):
        raise _broken(path, f"the tensor {name!r} has the offsets {str(offsets)[:80]}")
    start, end = offsets
    if not start <= end <= size - base:
        raise _broken(path, f"the tensor {name!r} reaches beyond the end of the file: it is truncated")
    if (end - start) * 8 != prod(shape) * DTYPES[dtype]:
        raise _broken(path, f"the tensor {name!r} has {end - start} bytes, not what its shape and type make")
    return Tensor(name, dtype, tuple(shape), base + start, base + end)


def safetensors_info(path: Path, reference: str) -> ModelInfo:
    """Facts of a safetensors model: a folder with config.json, or one file.

    Raises:
        ModelFormatError: a file is broken, a shard is missing, or a fact is of the wrong type.
    """
    folder = path if path.is_dir() else path.parent
    tensors = [tensor for file in weight_files(path) for tensor in read_safetensors(file)]
    config = read_json(folder / "config.json") if path.is_dir() else {}
    tokenizer = read_json(folder / "tokenizer_config.json") if path.is_dir() else {}
    try:
        return _info(path, reference, tensors, config, tokenizer)
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise ModelFormatError(
            f"{path} has senseless metadata: {str(error).splitlines()[0]}", value=str(path)
        ) from error


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a model; a sharded one names them in its index.

    Raises:
        ModelFormatError: there are none, or a shard is missing.
    """
    if path.is_file():
        return [path]
    index = path / "model.safetensors.index.json"
    if index.exists():
        shards = read_json(index).get("weight_map", {})
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise _broken(index, "its weight_map is no object of file names")
        names = sorted(set(shards.values()))
        if any(Path(name).name != name for name in names):
            raise _broken(index, "a shard lies outside its folder")
        files = [path / name for name in names]
    else:
        files = sorted(path.glob("*.safetensors"))
    missing = [file.name for file in files if not file.exists()]
    if missing or not files:
        raise ModelFormatError(f"{path} lacks weights: {', '.join(missing) or 'no safetensors file'}", value=str(path))
    return files


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model's folder; {} when the file is not there.

    Raises:
        ModelFormatError: it is no JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelFormatError(f"cannot read {path}: {error.strerror}", value=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} is no JSON: {error}", value=str(path)) from error
    if not isinstance(value, dict):
        raise ModelFormatError(f"{path} is no JSON object", value=str(path))
    return value


def _info(
    path: Path, reference: str, tensors: list[Tensor], config: Mapping[str, Any], tokenizer: Mapping[str, Any]
) -> ModelInfo:
    elements: dict[str, int] = {}
    for tensor in tensors:
        elements[tensor.dtype] = elements.get(tensor.dtype, 0) + tensor.elements
    return ModelInfo(
        reference=reference,
        path=path,
        format=ModelFormat.SAFETENSORS,
        parameters=sum(elements.values()),
        weight_bytes=sum(tensor.end - tensor.start for tensor in tensors),
        quantization=max(elements, key=lambda dtype: elements[dtype]) if elements else "",
        quantization_method=str((config.get("quantization_config") or {}).get("quant_method", "")),
        active_share=_active_share(config.get("text_config", config), tensors),
        **config_facts(path, config, tokenizer),
    )


def config_facts(path: Path, config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `ModelInfo` that config.json and the tokenizer's files tell."""
    text = config.get("text_config", config)
    # DistilBERT has names of its own.
    heads = int(text.get("num_attention_heads") or text.get("n_heads") or 0)
    hidden = int(text.get("hidden_size") or text.get("dim") or 0)
    return {
        "architecture": str(config.get("model_type", "")),
        "name": str(config.get("_name_or_path", "")) or path.name,
        "layers": int(text.get("num_hidden_layers") or text.get("n_layers") or 0),
        "heads": heads,
        "kv_heads": int(text.get("num_key_value_heads") or heads),
        "head_dim": int(text.get("head_dim") or (hidden // heads if heads else 0)),
        "embedding_length": hidden,
        "vocabulary": int(text.get("vocab_size", 0)),
        "context_length": int(text.get("max_position_embeddings", 0)),
        "chat_template": _template(path, tokenizer),
        "bos": _token(tokenizer.get("bos_token")),
        "eos": _token(tokenizer.get("eos_token")),
        "add_bos": bool(tokenizer.get("add_bos_token", False)),
    }


def _template(path: Path, tokenizer: Mapping[str, Any]) -> str | None:
    file = path / "chat_template.jinja"
    if path.is_dir() and file.exists():
        return file.read_text(encoding="utf-8", errors="replace")
    template = tokenizer.get("chat_template")
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _token(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _active_share(config: Mapping[str, Any], tensors: list[Tensor]) -> float:
    """Share of the weights that one token reads: all but the experts not used."""
    experts = int(config.get("num_local_experts") or config.get("num_experts") or 0)
    used = int(config.get("num_experts_per_tok") or 0)
    parameters = sum(tensor.elements for tensor in tensors)
    if not 0 < used < experts or not parameters:
        return 1.0
    in_experts = sum(tensor.elements for tensor in tensors if ".experts." in tensor.name)
    return 1.0 - in_experts * (1 - used / experts) / parameters


def _broken(path: Path, what: str) -> ModelFormatError:
    return ModelFormatError(
        f"{path} is no sound safetensors file: {what}", value=str(path), hint="fetch it again, or verify its checksum"
    )

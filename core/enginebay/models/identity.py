"""What tells whether two models have the same weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from enginebay import paths
from enginebay.models.download import file_digest
from enginebay.models.gguf import split_parts
from enginebay.models.info import ModelInfo
from enginebay.models.safetensors import read_json, weight_files
from enginebay.spec import ModelFormat

RECORD = "enginebay.json"
"""Beside a converted model: what it was made of, by what, with which options."""


def read_record(path: Path) -> dict[str, Any]:
    """The record of a converted or quantised model, given its file or folder; {} for one that was not made here."""
    if path.is_dir():
        return read_json(path / RECORD)
    return read_json(record_beside(path)) or read_json(path.parent / RECORD)


def record_beside(file: Path) -> Path:
    """Where the record of a model in one file is kept that does not have a folder of its own."""
    return file.with_name(f"{file.name}.{RECORD}")


def weights_identity(model: ModelInfo) -> str:
    """A text that is equal for equal weights: the SHA-256 sum of their files, or a server's name for them.

    A converted model has the identity of what it was made of, quantised or not.
    """
    if model.path is None:
        return model.reference
    origin = read_record(model.path).get("origin")
    return str(origin) if origin else files_digest({str(part): file for part, file in enumerate(weight_paths(model))})


def files_digest(files: Mapping[str, Path]) -> str:
    """SHA-256 of files by their names, remembered by their sizes and times: reading gigabytes again takes long."""
    stamps = [[name, str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for name, file in files.items()]
    key = sha256(json.dumps(stamps).encode()).hexdigest()
    kept = paths.cache_dir() / "digests" / key
    if kept.exists():
        return kept.read_text()
    total = sha256()
    for name, file in files.items():
        total.update(f"{name}:{file_digest(file)};".encode())
    kept.parent.mkdir(parents=True, exist_ok=True)
    paths.write_whole(kept, total.hexdigest().encode())
    return total.hexdigest()


_PATTERNS: Mapping[ModelFormat, Sequence[str]] = {
    ModelFormat.CTRANSLATE2: ("model.bin",),
    ModelFormat.MLC: ("params_shard_*.bin",),
    ModelFormat.ONNX: ("**/*.onnx", "**/*.onnx_data", "**/*.onnx.data"),
}


def weight_paths(model: ModelInfo) -> list[Path]:
    """The files that hold the weights of a model on this machine."""
    path = model.path
    assert path is not None
    if model.format is ModelFormat.GGUF:
        return split_parts(path)
    if model.format is ModelFormat.SAFETENSORS:
        return weight_files(path)
    return [path] if path.is_file() else sorted(file for each in _PATTERNS[model.format] for file in path.glob(each))

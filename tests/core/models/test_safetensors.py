"""Safetensors headers and folders: the facts, and no hostile file that does more than raise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay import ModelFormat
from enginebay.errors import ModelFormatError, ModelNotFoundError
from enginebay.models.headers import read_info
from enginebay.models.safetensors import read_safetensors

HEADER: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
    "b": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]},
}
CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 32,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}


def safetensors_bytes(header: Any = HEADER, size: int = 16) -> bytes:
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(size)


SOUND = safetensors_bytes()


def folder(path: Path, **files: Any) -> Path:
    path.mkdir(exist_ok=True)
    (path / "model.safetensors").write_bytes(SOUND)
    (path / "config.json").write_text(json.dumps(CONFIG))
    for name, content in files.items():
        (path / name.replace("__", ".")).write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_facts_of_a_folder(tmp_path: Path) -> None:
    tokenizer = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "T", "add_bos_token": True}
    info = read_info(folder(tmp_path / "m", tokenizer_config__json=tokenizer))
    assert (info.format, info.architecture, info.quantization) == (ModelFormat.SAFETENSORS, "llama", "F16")
    assert (info.parameters, info.weight_bytes) == (7, 16)
    assert (info.layers, info.kv_heads, info.head_dim, info.context_length) == (2, 2, 8, 64)
    assert (info.bos, info.eos, info.add_bos, info.chat_template) == ("<s>", "</s>", True, "T")


def test_the_template_file_wins(tmp_path: Path) -> None:
    files = {"tokenizer_config__json": {"chat_template": "old"}, "chat_template__jinja": "new"}
    assert read_info(folder(tmp_path / "m", **files)).chat_template == "new"


def test_shards(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", model__safetensors__index__json={"weight_map": {"a": "one.safetensors"}})
    with pytest.raises(ModelFormatError, match=r"one\.safetensors"):
        read_info(model)
    (model / "one.safetensors").write_bytes(SOUND)
    assert read_info(model).parameters == 7
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(ModelFormatError, match="outside"):
        read_info(model)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "claims"),
        (b"\xff" * 8 + b"{}", "claims"),
        (safetensors_bytes(size=15), "truncated"),
        (safetensors_bytes(size=20), "the file at"),
        (safetensors_bytes({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}), "unknown type 'F99'"),
        (safetensors_bytes({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}), "shape"),
        (safetensors_bytes({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]}}), "16 bytes"),
        (safetensors_bytes({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}), "hole"),
        (safetensors_bytes({"a": 1}), "no JSON object"),
        (safetensors_bytes([]), "no JSON object"),
        ((5).to_bytes(8, "little") + b"{{{{{", "no JSON"),
        ((40000).to_bytes(8, "little") + b"[" * 40000, "no JSON"),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=message):
        read_safetensors(path)


@given(
    changes=st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=6),
    end=st.integers(0, len(SOUND)),
)
def test_mutated_and_truncated(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], end: int
) -> None:
    data = bytearray(SOUND)
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(data[:end])
    try:
        tensors = read_safetensors(path)
    except ModelFormatError as error:
        assert str(path) in str(error)
    else:
        assert all(tensor.end <= len(data) for tensor in tensors)


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    disguised = tmp_path / "model.bin"
    disguised.write_bytes(SOUND)
    assert read_info(disguised).format is ModelFormat.SAFETENSORS
    (tmp_path / "x.gguf").write_text("plain text, no model")
    with pytest.raises(ModelFormatError, match="neither a GGUF, a safetensors nor an ONNX"):
        read_info(tmp_path / "x.gguf")
    with pytest.raises(ModelNotFoundError, match="no model at"):
        read_info(tmp_path / "nothing.gguf")


@pytest.mark.parametrize(
    ("files", "model_format"),
    [
        ({"model.bin": "x", "config.json": "{}"}, ModelFormat.CTRANSLATE2),
        ({"mlc-chat-config.json": '{"model_type": "llama", "quantization": "q4f16_1"}'}, ModelFormat.MLC),
    ],
)
def test_folders_of_engines_own_formats(tmp_path: Path, files: dict[str, str], model_format: ModelFormat) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert read_info(tmp_path).format is model_format


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="no model of a known format"):
        read_info(tmp_path)
    for broken in ("{", "[]"):
        (tmp_path / "mlc-chat-config.json").write_text(broken)
        with pytest.raises(ModelFormatError, match=r"mlc-chat-config\.json"):
            read_info(tmp_path)

"""ONNX headers and folders: the facts, and no hostile file that does more than raise."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay import ModelFormat, Pooling
from enginebay.errors import ModelFormatError
from enginebay.models.headers import read_info
from enginebay.models.onnx import read_onnx

CONFIG = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}
FLOAT, UINT8, INT8 = 1, 2, 3


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def content(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def tensor(name: str, shape: tuple[int, ...], kind: int, data: bytes) -> bytes:
    dims = b"".join(number(1, extent) for extent in shape)
    return dims + number(2, kind) + content(8, name.encode()) + content(9, data)


def external(name: str, shape: tuple[int, ...], **facts: str) -> bytes:
    dims = b"".join(number(1, extent) for extent in shape)
    pairs = (content(1, key.encode()) + content(2, value.encode()) for key, value in facts.items())
    return (
        dims
        + number(2, FLOAT)
        + content(8, name.encode())
        + b"".join(content(13, pair) for pair in pairs)
        + number(14, 1)
    )


def onnx_bytes(*tensors: bytes) -> bytes:
    graph = content(1, b"a node") + content(2, b"graph") + b"".join(content(5, one) for one in tensors)
    return number(1, 9) + content(2, b"a test") + content(7, graph) + content(8, number(2, 17))


SOUND = onnx_bytes(tensor("a", (2, 3), FLOAT, bytes(24)), tensor("b", (2,), INT8, bytes(2)))


def folder(path: Path, file: str = "model.onnx", data: bytes = SOUND) -> Path:
    (path / file).parent.mkdir(parents=True, exist_ok=True)
    (path / file).write_bytes(data)
    (path / "config.json").write_text(json.dumps(CONFIG))
    return path


@pytest.mark.parametrize("file", ["model.onnx", "onnx/model.onnx", "onnx/model_quantized.onnx"])
def test_facts_of_a_folder_and_of_its_file(tmp_path: Path, file: str) -> None:
    model = folder(tmp_path / "m", file)
    for path in (model, model / file):
        info = read_info(path)
        assert (info.format, info.architecture, info.quantization) == (ModelFormat.ONNX, "bert", "F32")
        assert (info.parameters, info.weight_bytes) == (8, 26)
        assert (info.layers, info.embedding_length, info.context_length) == (2, 32, 64)
        assert info.path == path


def test_how_it_embeds_is_read_from_above_a_file(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", "onnx/model.onnx")
    steps = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"]
    modules = [{"idx": place, "path": ("", "1_Pooling")[place], "type": kind} for place, kind in enumerate(steps)]
    (model / "modules.json").write_text(json.dumps(modules))
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    for path in (model, model / "onnx" / "model.onnx"):
        facts = read_info(path).embedding
        assert facts is not None and facts.pooling is Pooling.CLS


@pytest.mark.parametrize("kind", [UINT8, INT8])
def test_most_weights_name_the_quantisation(tmp_path: Path, kind: int) -> None:
    data = onnx_bytes(tensor("a", (2,), FLOAT, bytes(8)), tensor("b", (2, 3), kind, bytes(6)))
    assert read_info(folder(tmp_path / "m", data=data)).quantization == "INT8"


def test_of_several_files_the_full_one_is_taken_or_none(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", "onnx/model.onnx")
    folder(model, "onnx/model_quantized.onnx", b"")
    assert read_info(model).parameters == 8
    (model / "onnx" / "model.onnx").rename(model / "onnx" / "model_O1.onnx")
    with pytest.raises(ModelFormatError, match=r"several ONNX models: model_O1\.onnx, model_quantized\.onnx"):
        read_info(model)


def test_weights_as_safetensors_come_first(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", "onnx/model.onnx")
    (model / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    assert read_info(model).format is ModelFormat.SAFETENSORS
    assert read_info(model / "onnx" / "model.onnx").format is ModelFormat.ONNX


def test_weights_in_a_file_beside(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", data=onnx_bytes(external("a", (2, 3), location="data", offset="4", length="24")))
    with pytest.raises(ModelFormatError, match="lacks its data file data"):
        read_info(model)
    (model / "data").write_bytes(bytes(28))
    assert read_info(model).weight_bytes == 24
    (model / "data").write_bytes(bytes(27))
    with pytest.raises(ModelFormatError, match="truncated"):
        read_info(model)


@pytest.mark.parametrize("place", ["../data", "/etc/passwd", "", ".."])
def test_weights_elsewhere_are_refused(tmp_path: Path, place: str) -> None:
    model = folder(tmp_path / "m", data=onnx_bytes(external("a", (2, 3), location=place)))
    with pytest.raises(ModelFormatError):
        read_info(model)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x08", "ends inside a number"),
        (b"\x08\x09", "no graph"),
        (b"\x08" + b"\xff" * 12, "without end"),
        (SOUND[:-30], "truncated"),
        (number(1, 9) + b"\x3b", "no field"),
        (onnx_bytes(tensor("a", (2, 3), FLOAT, bytes(23))), "23 bytes"),
        (onnx_bytes(tensor("a", (2, 3), 99, bytes(24))), "unknown type 99"),
        (onnx_bytes(tensor("a", (-1 & (1 << 64) - 1,), FLOAT, bytes(24))), "shape"),
        (onnx_bytes(number(1, 1000) + number(2, FLOAT)), "lacks its data"),
        (onnx_bytes(external("a", (2, 3), location="model.onnx", offset="-1")), "'-1'"),
    ],
)
def test_broken_files(tmp_path: Path, data: bytes, message: str) -> None:
    model = folder(tmp_path / "m", data=data)
    with pytest.raises(ModelFormatError, match=message):
        read_info(model)


@pytest.mark.parametrize("config", ["[]", "{", '{"hidden_size": "wide"}', '{"num_attention_heads": [1]}'])
def test_a_broken_config(tmp_path: Path, config: str) -> None:
    model = folder(tmp_path / "m")
    (model / "config.json").write_text(config)
    with pytest.raises(ModelFormatError):
        read_info(model)


@given(st.integers(0, len(SOUND) - 1), st.binary(max_size=12))
def test_mutated_files_raise_one_error_or_none(tmp_path_factory: pytest.TempPathFactory, at: int, put: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "mutated.onnx"
    file.write_bytes(SOUND[:at] + put + SOUND[at + len(put) :])
    with suppress(ModelFormatError):
        read_onnx(file)

"""Headers of ONNX files and of the folders they come in, without loading weights and without the onnx library.

Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, in protobuf's wire format
(https://protobuf.dev/programming-guides/encoding). Every length is checked against the file.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from enginebay.errors import ModelFormatError
from enginebay.models.embedding_files import folder_embedding
from enginebay.models.info import ModelInfo
from enginebay.models.safetensors import config_facts, read_json
from enginebay.spec import ModelFormat

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_IR_VERSION, _GRAPH, _INITIALIZER = 1, 7, 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 8, 9, 13, 14
_EXTERNAL = 1
_MOST_FIELDS = 1 << 22

_Buffer = mmap.mmap | bytes
_Field = tuple[int, int, int, int]
"""Number, value of a number or 0, start and end of the content."""

DTYPES = {
    1: ("F32", 32), 2: ("U8", 8), 3: ("INT8", 8), 4: ("U16", 16), 5: ("I16", 16), 6: ("I32", 32), 7: ("I64", 64),
    9: ("BOOL", 8), 10: ("F16", 16), 11: ("F64", 64), 12: ("U32", 32), 13: ("U64", 64), 14: ("C64", 64),
    15: ("C128", 128), 16: ("BF16", 16), 17: ("F8_E4M3", 8), 18: ("F8_E4M3", 8), 19: ("F8_E5M2", 8), 20: ("F8_E5M2", 8),
    21: ("UINT4", 4), 22: ("INT4", 4), 23: ("F4", 4),
}  # fmt: skip
"""Name and bits of one element, by TensorProto.DataType."""

_QUANTIZATION = {"U8": "INT8", "UINT4": "INT4"}
"""Quantised weights are called alike, signed or not."""


@dataclass(frozen=True, slots=True)
class Initializer:
    """A constant tensor of the graph: `size` is in bytes, wherever they lie."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


def onnx_file(path: Path) -> Path | None:
    """The ONNX file of a model: the path itself, or the one in a folder or its `onnx` folder; None when it has none.

    Of several, `model.onnx` is taken.

    Raises:
        ModelFormatError: there are several, and none is `model.onnx`.
    """
    if path.is_file():
        return path
    for folder in (path, path / "onnx"):
        files = sorted(folder.glob("*.onnx"))
        named = [file for file in files if file.name == "model.onnx"]
        if named or len(files) == 1:
            return (named or files)[0]
        if files:
            raise ModelFormatError(
                f"{path} holds several ONNX models: {', '.join(file.name for file in files)}",
                value=str(path),
                hint="name one file",
            )
    return None


def onnx_folder(file: Path) -> Path:
    """Where the configuration and the tokenizer of an ONNX file are: beside it or, in the hub's layout, above it."""
    folder = file.parent
    return folder.parent if folder.name == "onnx" and not (folder / "config.json").exists() else folder


def onnx_info(path: Path, reference: str) -> ModelInfo:
    """Facts of an ONNX model: sizes and types from the file, shapes from config.json.

    Raises:
        ModelFormatError: a file is broken or missing, or a fact is of the wrong type.
    """
    file = onnx_file(path)
    if file is None:
        raise ModelFormatError(f"{path} holds no ONNX file", value=str(path))
    folder = onnx_folder(file)
    initializers = read_onnx(file)
    elements: dict[str, int] = {}
    for one in initializers:
        elements[one.dtype] = elements.get(one.dtype, 0) + prod(one.shape)
    most = max(elements, key=lambda dtype: elements[dtype], default="")
    config, tokenizer = read_json(folder / "config.json"), read_json(folder / "tokenizer_config.json")
    try:
        return ModelInfo(
            reference=reference,
            path=path,
            format=ModelFormat.ONNX,
            parameters=sum(elements.values()),
            weight_bytes=sum(one.size for one in initializers),
            quantization=_QUANTIZATION.get(most, most),
            embedding=folder_embedding(folder),
            **config_facts(folder, config, tokenizer),
        )
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise ModelFormatError(
            f"{path} has senseless metadata: {str(error).splitlines()[0]}", value=str(path)
        ) from error


def read_onnx(path: Path) -> tuple[Initializer, ...]:
    """Read the weights' names, types, shapes and sizes of one ONNX file.

    Raises:
        ModelFormatError: the file cannot be read, is truncated, mutated or no ONNX at all, or lacks its data file.
    """
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise _broken(path, "it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                return _Reader(path, buffer).initializers()
    except OSError as error:
        raise ModelFormatError(f"cannot read {path}: {error.strerror}", value=str(path)) from error


class _Reader:
    """Walks over one file; what is not asked for is skipped unread."""

    def __init__(self, path: Path, buffer: _Buffer) -> None:
        self._path = path
        self._buffer = buffer
        self._left = _MOST_FIELDS

    def initializers(self) -> tuple[Initializer, ...]:
        graph: tuple[int, int] | None = None
        version = 0
        for number, value, start, end in self._fields(0, len(self._buffer)):
            if number == _IR_VERSION:
                version = value
            if number == _GRAPH and start:
                graph = (start, end)
        if graph is None or not 0 < version < 128:
            raise _broken(self._path, "it has no graph")
        entries = [field for field in self._fields(*graph) if field[0] == _INITIALIZER]
        return tuple(self._initializer(start, end) for _, _, start, end in entries)

    def _initializer(self, start: int, end: int) -> Initializer:
        name, shape, kind, raw, external, location = "", [], 0, None, {}, 0
        for number, value, begin, stop in self._fields(start, end):
            if number == _DIMS:
                shape += [value] if not begin else self._packed(begin, stop)
            elif number == _DATA_TYPE:
                kind = value
            elif number == _NAME:
                name = self._text(begin, stop)
            elif number == _RAW_DATA:
                raw = stop - begin
            elif number == _EXTERNAL_DATA:
                key, told = self._pair(begin, stop)
                external[key] = told
            elif number == _DATA_LOCATION:
                location = value
        if kind not in DTYPES and kind != 8:  # 8: strings, which are no weights
            raise _broken(self._path, f"the tensor {name!r} has the unknown type {kind}")
        if len(shape) > 16 or not all(0 <= extent < 1 << 48 for extent in shape):
            raise _broken(self._path, f"the tensor {name!r} has the shape {str(shape)[:80]}")
        dtype, bits = DTYPES.get(kind, ("STRING", 0))
        size = -(-prod(shape) * bits // 8)
        if location == _EXTERNAL:
            self._check_external(name, size, external)
        elif raw is not None and raw != size:
            raise _broken(self._path, f"the tensor {name!r} has {raw} bytes, not what its shape and type make")
        elif raw is None and prod(shape) > 2 * (end - start):  # two elements of 4 bits fit into a byte
            raise _broken(self._path, f"the tensor {name!r} lacks its data")
        return Initializer(name, dtype, tuple(shape), size)

    def _check_external(self, name: str, size: int, external: Mapping[str, str]) -> None:
        place, offset, length = (external.get(key, "0") for key in ("location", "offset", "length"))
        if Path(place).name != place:
            raise _broken(self._path, f"the data of {name!r} lies outside its folder: {place[:80]!r}")
        file = self._path.parent / place
        if not file.is_file():
            raise ModelFormatError(f"{self._path} lacks its data file {place}", value=str(self._path))
        if not (offset.isdecimal() and length.isdecimal()) or len(offset) > 18:
            raise _broken(self._path, f"the data of {name!r} is at {offset[:20]!r}, {length[:20]!r} bytes")
        if int(length) not in (0, size) or int(offset) + size > file.stat().st_size:
            raise _broken(self._path, f"the data of {name!r} reaches beyond {place}: it is truncated")

    def _pair(self, start: int, end: int) -> tuple[str, str]:
        found = {number: self._text(begin, stop) for number, _, begin, stop in self._fields(start, end) if begin}
        return found.get(1, ""), found.get(2, "")

    def _packed(self, start: int, end: int) -> list[int]:
        values = []
        while start < end:
            value, start = self._varint(start, end)
            values.append(value)
        return values

    def _text(self, start: int, end: int) -> str:
        return self._buffer[start : min(end, start + 4096)].decode(errors="replace")

    def _fields(self, start: int, end: int) -> Iterator[_Field]:
        while start < end:
            self._left -= 1
            if not self._left:
                raise _broken(self._path, "it has too many fields")
            key, start = self._varint(start, end)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, start = self._varint(start, end)
                yield number, value, 0, 0
                continue
            if wire == _BYTES:
                length, start = self._varint(start, end)
            elif wire in (_FIXED64, _FIXED32):
                length = 8 if wire == _FIXED64 else 4
            else:
                raise _broken(self._path, f"byte {start} begins no field of protobuf")
            if length > end - start:
                raise _broken(self._path, f"the field at byte {start} reaches beyond its end: it is truncated")
            yield number, 0, start, start + length
            start += length

    def _varint(self, start: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if start >= end:
                raise _broken(self._path, "it ends inside a number: it is truncated")
            byte = self._buffer[start]
            start += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, start
        raise _broken(self._path, f"byte {start} is inside a number without end")


def _broken(path: Path, what: str) -> ModelFormatError:
    return ModelFormatError(f"{path} is no sound ONNX file: {what}", value=str(path), hint="fetch it again")

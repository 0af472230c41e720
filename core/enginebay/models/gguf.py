"""Headers of GGUF files, read by mmap without loading weights.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every length, count and offset is checked against the
file before it is used: a hostile file is a `ModelFormatError`, never a crash or a flood of memory.
"""

from __future__ import annotations

import mmap
import re
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, overload

from enginebay.errors import ModelFormatError
from enginebay.models.embedding_files import gguf_embedding
from enginebay.models.info import ModelInfo
from enginebay.spec import ModelFormat

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_MAX_DIMENSIONS = 4
_MAX_DEPTH = 4
_MAX_NAME = 1024

TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}
"""ggml tensor types: name, weights in a block, bytes of a block (ggml.h, ggml-common.h)."""

FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}
"""`general.file_type`: the quantisation as people name it (llama.h, llama_ftype)."""


class Strings(Sequence[str]):
    """A string array of the file, each string decoded when asked for."""

    def __init__(self, data: bytes | mmap.mmap, offsets: array[int], lengths: array[int]) -> None:
        self._data = data
        self._offsets = offsets
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        start = self._offsets[index]
        return bytes(self._data[start : start + self._lengths[index]]).decode("utf-8", errors="replace")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of the tensor table; `offset` counts from the beginning of the file, sizes in bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size: int

    @property
    def elements(self) -> int:
        """Number of weights."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A file's header.

    Attributes:
        metadata: key-values; string arrays are `Strings`.
    """

    path: Path
    version: int
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]


class _Reader:
    """A place in the file that only moves forward, and only over bytes that are there."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.path = path
        self.place = 0
        self.order = "<"

    def broken(self, what: str) -> ModelFormatError:
        return ModelFormatError(
            f"{self.path} is no sound GGUF file: {what} (at byte {self.place})",
            value=str(self.path),
            hint="fetch it again, or verify its checksum",
        )

    def skip(self, size: int, what: str) -> int:
        start = self.place
        if size < 0 or start + size > len(self.data):
            raise self.broken(f"{what} reaches beyond the end of the file")
        self.place = start + size
        return start

    def scalar(self, code: str, what: str) -> Any:
        layout = self.order + code
        return struct.unpack_from(layout, self.data, self.skip(struct.calcsize(layout), what))[0]

    def text(self, what: str, limit: int | None = None) -> str:
        size = self.scalar("Q", f"the length of {what}")
        if limit is not None and size > limit:
            raise self.broken(f"{what} is {size} bytes long")
        start = self.skip(size, what)
        try:
            return self.data[start : start + size].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.broken(f"{what} is no UTF-8") from error

    def value(self, kind: int, what: str, depth: int = 0) -> Any:
        if kind == _STRING:
            return self.text(what)
        if kind == _ARRAY:
            return self.values(what, depth + 1)
        if kind not in _SCALARS:
            raise self.broken(f"{what} has the unknown value type {kind}")
        return self.scalar(_SCALARS[kind], what)

    def values(self, what: str, depth: int) -> Any:
        kind = self.scalar("I", f"the type of {what}")
        count = self.scalar("Q", f"the count of {what}")
        if depth > _MAX_DEPTH:
            raise self.broken(f"{what} is nested more than {_MAX_DEPTH} deep")
        if kind == _STRING:
            return self.strings(count, what)
        if kind == _ARRAY:
            self.check_count(count, 12, what)
            return [self.values(what, depth + 1) for _ in range(count)]
        if kind not in _SCALARS:
            raise self.broken(f"{what} has the unknown element type {kind}")
        layout = f"{self.order}{_SCALARS[kind]}"
        self.check_count(count, struct.calcsize(layout), what)
        start = self.skip(count * struct.calcsize(layout), what)
        return struct.unpack_from(f"{self.order}{count}{_SCALARS[kind]}", self.data, start)

    def strings(self, count: int, what: str) -> Strings:
        self.check_count(count, 8, what)
        offsets, lengths = array("Q"), array("Q")
        unpack, data, place, end = struct.Struct(self.order + "Q").unpack_from, self.data, self.place, len(self.data)
        for _ in range(count):
            if place + 8 > end:
                raise self.broken(f"{what} reaches beyond the end of the file")
            (size,) = unpack(data, place)
            offsets.append(place + 8)
            lengths.append(size)
            place += 8 + size
        if place > end:
            raise self.broken(f"{what} reaches beyond the end of the file")
        self.place = place
        return Strings(data, offsets, lengths)

    def check_count(self, count: int, least: int, what: str) -> None:
        """`count` things of at least `least` bytes must fit into what is left."""
        if count * least > len(self.data) - self.place:
            raise self.broken(f"{what} claims {count} entries, more than the file can hold")


def read_gguf(path: Path) -> GgufFile:
    """Read the header of one GGUF file.

    Raises:
        ModelFormatError: the file cannot be read, is truncated, mutated, of an unknown version, or no GGUF at all.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _detach(_parse(_Reader(data, path)), data)
    except OSError as error:
        raise ModelFormatError(f"cannot read {path}: {error.strerror}", value=str(path)) from error
    except ValueError as error:
        raise ModelFormatError(f"{path} is empty", value=str(path), hint="fetch it again") from error


def _detach(header: GgufFile, data: mmap.mmap) -> GgufFile:
    """Copy the header's bytes, so that string arrays outlive the map."""
    end = min((tensor.offset for tensor in header.tensors), default=len(data))
    copied = bytes(data[:end])
    for key, value in header.metadata.items():
        if isinstance(value, Strings):
            header.metadata[key] = Strings(copied, value._offsets, value._lengths)
    return header


def _parse(reader: _Reader) -> GgufFile:
    if reader.data[: len(MAGIC)] != MAGIC:
        raise reader.broken("it does not begin with GGUF")
    reader.skip(len(MAGIC), "the magic")
    version = reader.scalar("I", "the version")
    if version >= 1 << 16:
        reader.order, reader.place = ">", len(MAGIC)
        version = reader.scalar("I", "the version")
    if version not in (2, 3):
        raise reader.broken(f"its version is {version}, versions 2 and 3 are known")
    tensor_count = reader.scalar("Q", "the tensor count")
    key_count = reader.scalar("Q", "the key count")
    reader.check_count(key_count, 13, "the key-value table")
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = reader.text("a key", _MAX_NAME)
        if key in metadata:
            raise reader.broken(f"the key {key!r} stands twice")
        metadata[key] = reader.value(reader.scalar("I", f"the type of {key!r}"), f"{key!r}")
    reader.check_count(tensor_count, 24, "the tensor table")
    tensors = tuple(_tensors(reader, tensor_count, metadata))
    return GgufFile(reader.path, version, metadata, tensors)


def _tensors(reader: _Reader, count: int, metadata: dict[str, Any]) -> Iterator[Tensor]:
    table: list[tuple[str, tuple[int, ...], str, int, int]] = []
    names: set[str] = set()
    for _ in range(count):
        name = reader.text("a tensor name", _MAX_NAME)
        if name in names:
            raise reader.broken(f"the tensor {name!r} stands twice")
        names.add(name)
        dimensions = reader.scalar("I", f"the dimensions of {name!r}")
        if dimensions > _MAX_DIMENSIONS:
            raise reader.broken(f"the tensor {name!r} has {dimensions} dimensions")
        shape = tuple(reader.scalar("Q", f"the shape of {name!r}") for _ in range(dimensions))
        type_id = reader.scalar("I", f"the type of {name!r}")
        offset = reader.scalar("Q", f"the offset of {name!r}")
        if type_id not in TENSOR_TYPES:
            raise reader.broken(f"the tensor {name!r} has the unknown type {type_id}")
        type_name, block, block_bytes = TENSOR_TYPES[type_id]
        if shape and shape[0] % block:
            raise reader.broken(f"the rows of {name!r} are no multiple of {block}, as {type_name} wants")
        table.append((name, shape, type_name, offset, prod(shape) // block * block_bytes))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise reader.broken(f"its alignment is {alignment!r}")
    start = -(-reader.place // alignment) * alignment
    last_end = 0
    for name, shape, type_name, offset, size in sorted(table, key=lambda entry: entry[3]):
        if offset < last_end:
            raise reader.broken(f"the tensor {name!r} overlaps another")
        last_end = offset + size
        if start + last_end > len(reader.data):
            missing = start + last_end - len(reader.data)
            raise reader.broken(
                f"the weights of {name!r} end {missing} bytes beyond the end of the file: it is truncated"
            )
        yield Tensor(name, shape, type_name, start + offset, size)


def gguf_info(path: Path, reference: str) -> ModelInfo:
    """Facts of a GGUF model; the parts of a split one are read together.

    Raises:
        ModelFormatError: see `read_gguf`; or a part is missing, or a fact is of the wrong type.
    """
    headers = [read_gguf(part) for part in split_parts(path)]
    try:
        return _info(headers, path, reference)
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise ModelFormatError(
            f"{path} has senseless metadata: {str(error).splitlines()[0]}", value=str(path)
        ) from error


_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


def split_parts(path: Path) -> list[Path]:
    """All files of a model: the one, or those named NAME-00001-of-0000N.gguf.

    Raises:
        ModelFormatError: a part is missing.
    """
    named = _SPLIT.fullmatch(path.name)
    if named is None:
        return [path]
    stem, _, count = named.groups()
    parts = [path.with_name(f"{stem}-{part:05}-of-{count}.gguf") for part in range(1, int(count) + 1)]
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise ModelFormatError(f"{path} is one of {int(count)} parts, missing: {', '.join(missing)}", value=missing)
    return parts


def _info(headers: list[GgufFile], path: Path, reference: str) -> ModelInfo:
    metadata = headers[0].metadata
    tensors = [tensor for header in headers for tensor in header.tensors]
    architecture = str(metadata.get("general.architecture", ""))

    def number(key: str, default: int = 0) -> int:
        value = metadata.get(f"{architecture}.{key}", default)
        # Some models have a value per layer: the largest is the safe one for memory.
        return int(max(value) if isinstance(value, tuple) else value)

    heads = number("attention.head_count")
    embedding = number("embedding_length")
    tokens = metadata.get("tokenizer.ggml.tokens", ())
    parameters = sum(tensor.elements for tensor in tensors)
    template = metadata.get("tokenizer.chat_template")
    return ModelInfo(
        reference=reference,
        path=path,
        format=ModelFormat.GGUF,
        architecture=architecture,
        name=str(metadata.get("general.name", "")),
        parameters=parameters,
        weight_bytes=sum(tensor.size for tensor in tensors),
        quantization=_quantization(metadata, tensors),
        layers=number("block_count"),
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        head_dim=number("attention.key_length", embedding // heads if heads else 0),
        embedding_length=embedding,
        vocabulary=len(tokens) or number("vocab_size"),
        context_length=number("context_length"),
        chat_template=str(template) if template is not None else None,
        bos=_token(tokens, metadata.get("tokenizer.ggml.bos_token_id")),
        eos=_token(tokens, metadata.get("tokenizer.ggml.eos_token_id")),
        add_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", False)),
        license=str(metadata.get("general.license", "")),
        active_share=_active_share(tensors, number("expert_count"), number("expert_used_count"), parameters),
        embedding=gguf_embedding(metadata, architecture),
    )


def _quantization(metadata: dict[str, Any], tensors: list[Tensor]) -> str:
    """The file's own name for its type, or the type that most weights have."""
    named = FILE_TYPES.get(metadata.get("general.file_type", -1))
    if named is not None or not tensors:
        return named or ""
    elements: dict[str, int] = {}
    for tensor in tensors:
        elements[tensor.type] = elements.get(tensor.type, 0) + tensor.elements
    return max(elements, key=lambda name: elements[name])


def _token(tokens: Sequence[str], token_id: object) -> str:
    return tokens[token_id] if isinstance(token_id, int) and 0 <= token_id < len(tokens) else ""


def _active_share(tensors: list[Tensor], experts: int, used: int, parameters: int) -> float:
    """Share of the weights that one token reads: all but the experts not used."""
    if not 0 < used < experts or not parameters:
        return 1.0
    in_experts = sum(tensor.elements for tensor in tensors if "_exps" in tensor.name)
    return 1.0 - in_experts * (1 - used / experts) / parameters

"""Writes small GGUF files for tests: any key-values, zero-filled F32 or Q4_0 tensors, either byte order."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

Tensors = Sequence[tuple[str, tuple[int, ...], int]]
"""Name, shape, ggml type: 0 is F32, 2 is Q4_0."""

FACTS: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "tiny",
    "general.file_type": 2,
    "llama.block_count": 2,
    "llama.context_length": 64,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["<s>", "</s>", "a", "é"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": "{{ messages }}",
}
TENSORS: Tensors = (("token_embd.weight", (32, 4), 2), ("output_norm.weight", (32,), 0))


def gguf_bytes(
    facts: Mapping[str, Any] = FACTS, tensors: Tensors = TENSORS, *, version: int = 3, order: str = "<"
) -> bytes:
    """A GGUF file's bytes."""
    head = b"GGUF" + struct.pack(f"{order}IQQ", version, len(tensors), len(facts))
    for key, value in facts.items():
        head += _text(key, order) + _value(value, order)
    offset = 0
    data = b""
    for name, shape, kind in tensors:
        size = prod(shape) * 4 if kind == 0 else prod(shape) // 32 * 18
        head += _text(name, order) + struct.pack(f"{order}I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        padded = -(-size // 32) * 32
        data += bytes(padded)
        offset += padded
    return head + bytes(-len(head) % 32) + data


def write_gguf(path: Path, facts: Mapping[str, Any] = FACTS, tensors: Tensors = TENSORS, **layout: Any) -> Path:
    """Write a GGUF file."""
    path.write_bytes(gguf_bytes(facts, tensors, **layout))
    return path


def _text(text: str, order: str) -> bytes:
    raw = text.encode()
    return struct.pack(f"{order}Q", len(raw)) + raw


def _value(value: Any, order: str) -> bytes:
    kind, payload = _typed(value, order)
    return struct.pack(f"{order}I", kind) + payload


def _typed(value: Any, order: str) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return 7, struct.pack(f"{order}?", value)
    if isinstance(value, int):
        return 4, struct.pack(f"{order}I", value)
    if isinstance(value, float):
        return 6, struct.pack(f"{order}f", value)
    if isinstance(value, str):
        return 8, _text(value, order)
    kinds = [_typed(item, order) for item in value]
    kind = kinds[0][0] if kinds else 4
    return 9, struct.pack(f"{order}IQ", kind, len(value)) + b"".join(payload for _, payload in kinds)

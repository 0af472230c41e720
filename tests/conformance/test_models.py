"""The real model in every format that the engines read."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginebay import ModelFormat
from enginebay.models.headers import read_info

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


def test_safetensors(smollm2_path: Path, smollm2_safetensors: Path) -> None:
    source, made = read_info(smollm2_path), read_info(smollm2_safetensors)
    assert made.format is ModelFormat.SAFETENSORS
    assert (made.layers, made.kv_heads, made.head_dim) == (source.layers, source.kv_heads, source.head_dim)
    assert made.chat_template == source.chat_template
    assert (made.bos, made.eos) == (source.bos, source.eos)


def test_ctranslate2(smollm2_path: Path, smollm2_ctranslate2: Path) -> None:
    source, made = read_info(smollm2_path), read_info(smollm2_ctranslate2)
    assert (made.format, made.quantization) == (ModelFormat.CTRANSLATE2, "int8")
    assert (made.layers, made.kv_heads, made.head_dim) == (source.layers, source.kv_heads, source.head_dim)
    assert made.context_length == source.context_length
    assert made.chat_template == source.chat_template

"""GGUF headers: the facts, and no hostile file that does more than raise."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginebay.errors import ModelFormatError
from enginebay.models.gguf import gguf_info, read_gguf
from gguf_writer import FACTS, TENSORS, gguf_bytes, write_gguf

SOUND = gguf_bytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 3])
def test_facts(tmp_path: Path, order: str, version: int) -> None:
    info = gguf_info(write_gguf(tmp_path / "m.gguf", order=order, version=version), "ref")
    assert info.reference == "ref"
    assert (info.architecture, info.name, info.quantization) == ("llama", "tiny", "Q4_0")
    assert (info.parameters, info.weight_bytes) == (160, 4 * 18 + 128)
    assert (info.layers, info.heads, info.kv_heads, info.head_dim) == (2, 4, 2, 8)
    assert (info.context_length, info.vocabulary) == (64, 4)
    assert (info.bos, info.eos, info.add_bos) == ("<s>", "</s>", True)
    assert info.chat_template == "{{ messages }}"
    assert info.kv_bytes_per_token() == 2 * 2 * 2 * 8 * 2


def test_strings_are_read_when_asked_for(tmp_path: Path) -> None:
    header = read_gguf(write_gguf(tmp_path / "m.gguf"))
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert list(tokens) == ["<s>", "</s>", "a", "é"]
    assert tokens[1:3] == ["</s>", "a"]


def test_heads_of_each_layer_give_the_largest(tmp_path: Path) -> None:
    facts = FACTS | {"llama.attention.head_count_kv": [1, 2]}
    assert gguf_info(write_gguf(tmp_path / "m.gguf", facts), "m").kv_heads == 2


def test_an_explicit_head_width_wins(tmp_path: Path) -> None:
    facts = FACTS | {"llama.attention.key_length": 16}
    assert gguf_info(write_gguf(tmp_path / "m.gguf", facts), "m").head_dim == 16


def test_a_mixture_of_experts_reads_a_share(tmp_path: Path) -> None:
    facts = FACTS | {"llama.expert_count": 8, "llama.expert_used_count": 2}
    tensors = (("blk.0.ffn_up_exps.weight", (32, 8), 0), ("token_embd.weight", (32, 8), 0))
    assert gguf_info(write_gguf(tmp_path / "m.gguf", facts, tensors), "m").active_share == pytest.approx(1 - 0.5 * 0.75)


def test_split_files_are_read_together(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m-00001-of-00002.gguf", FACTS, TENSORS[:1])
    second = write_gguf(tmp_path / "m-00002-of-00002.gguf", {"split.no": 1}, TENSORS[1:])
    info = gguf_info(tmp_path / "m-00001-of-00002.gguf", "m")
    assert info.parameters == 160
    second.unlink()
    with pytest.raises(ModelFormatError, match=r"missing: m-00002-of-00002\.gguf"):
        gguf_info(tmp_path / "m-00001-of-00002.gguf", "m")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"GG", "does not begin with GGUF"),
        (b"ELF!" + SOUND[4:], "does not begin with GGUF"),
        (SOUND[:4] + struct.pack("<I", 1) + SOUND[8:], "version is 1"),
        (SOUND[:8] + struct.pack("<Q", 1 << 60) + SOUND[16:], "more than the file can hold"),
        (SOUND[:16] + struct.pack("<Q", 1 << 60) + SOUND[24:], "more than the file can hold"),
        (SOUND[:-200], "truncated"),
        (gguf_bytes(tensors=(("a", (31,), 2),)), "multiple of 32"),
        (gguf_bytes(tensors=(("a", (32,), 99),)), "unknown type 99"),
        (gguf_bytes(tensors=(("a", (32,), 0), ("a", (32,), 0))), "stands twice"),
        (gguf_bytes(FACTS | {"general.alignment": 3}), "alignment"),
        (gguf_bytes(FACTS | {"deep": [[[[[[1]]]]]]}), "nested"),
        (gguf_bytes(FACTS | {"llama.block_count": "two"}), "senseless metadata"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=message):
        gguf_info(path, "m")


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    tensors = (("a", (32,), 0), ("b", (32,), 0))
    data = bytearray(gguf_bytes({"general.architecture": "llama"}, tensors))
    second = data.index(b"b" + struct.pack("<I", 1))
    data[second + 17 : second + 25] = struct.pack("<Q", 0)
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match="overlaps"):
        read_gguf(path)


def survives(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    tracemalloc.start()
    try:
        gguf_info(path, "m")
    except ModelFormatError as error:
        assert str(path) in str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10 << 20


@given(end=st.integers(0, len(SOUND)))
def test_truncated_anywhere(tmp_path_factory: pytest.TempPathFactory, end: int) -> None:
    survives(SOUND[:end], tmp_path_factory.getbasetemp() / "truncated.gguf")


mutations = st.lists(
    st.tuples(
        st.integers(0, len(SOUND) - 1), st.binary(min_size=1, max_size=9), st.sampled_from(["set", "insert", "cut"])
    ),
    min_size=1,
    max_size=6,
)


@given(changes=mutations)
def test_mutated_anywhere(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, bytes, str]]) -> None:
    data = bytearray(SOUND)
    for place, new, how in changes:
        if how == "set":
            data[place : place + len(new)] = new
        elif how == "insert":
            data[place:place] = new
        else:
            del data[place : place + len(new)]
    survives(bytes(data), tmp_path_factory.getbasetemp() / "mutated.gguf")


@given(data=st.binary(max_size=300))
def test_anything_after_the_magic(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(b"GGUF" + struct.pack("<I", 3) + data, tmp_path_factory.getbasetemp() / "noise.gguf")


@pytest.mark.model
def test_the_real_smollm2(smollm2_path: Path) -> None:
    info = gguf_info(smollm2_path, "smollm2-135m-instruct")
    expected: dict[str, Any] = {
        "architecture": "llama",
        "parameters": 134515008,
        "weight_bytes": 96576768,
        "quantization": "Q4_1",
        "layers": 30,
        "heads": 9,
        "kv_heads": 3,
        "head_dim": 64,
        "vocabulary": 49152,
        "context_length": 8192,
        "bos": "<|im_start|>",
        "eos": "<|im_end|>",
        "add_bos": False,
        "license": "apache-2.0",
    }
    assert {name: getattr(info, name) for name in expected} == expected
    assert info.chat_template is not None
    assert "<|im_start|>" in info.chat_template

"""Both llama.cpp embedders beyond the conformance kit: decoders, batches, options, words without end."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from enginebay import Bay, Embedder, HardwareProfile, OpenRequest, Pooling
from enginebay.errors import EngineOpenError, OptionError
from enginebay.models.headers import read_info
from enginebay.models.token_cutting import cut, end_tokens
from enginebay_plugins.llama_cpp.options import ModelOptions
from enginebay_plugins.llama_cpp.wordpiece import word_limit

TEXTS = (
    "A man is eating.",
    "Interest rates rose by 0.25% in 2023.",
    "hello " * 40,
    "x",
    "Zürich liegt in der Schweiz.",
)


def open_engine(backend: str, path: Path, hardware: HardwareProfile, **changes: Any) -> Embedder:
    device, model = hardware.device("cpu"), read_info(path)
    assert device is not None
    request = OpenRequest(model, device, hardware.cpu, 128, 8, model.layers, embedding=model.embedding)
    engine: Embedder = import_module(f"enginebay_plugins.llama_cpp.{backend}_embedder").open_engine(
        replace(request, **changes)
    )
    return engine


def of_length_one(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def hidden_states(smollm2_safetensors: Path) -> list[NDArray[np.float32]]:
    """SmolLM2's last hidden states of each text, by transformers."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(smollm2_safetensors)
    model = transformers.AutoModel.from_pretrained(smollm2_safetensors, dtype=torch.float32)
    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy() for text in TEXTS]


@pytest.mark.model
@pytest.mark.parametrize("pooling", [Pooling.LAST, Pooling.MEAN])
def test_decoders_pool_as_stated(
    backend: str,
    pooling: Pooling,
    smollm2_path: Path,
    hidden_states: list[NDArray[np.float32]],
    this_machine: HardwareProfile,
) -> None:
    rows = [states[-1] if pooling is Pooling.LAST else states.mean(axis=0) for states in hidden_states]
    with Bay(hardware=this_machine) as bay:
        handle = bay.embedder(str(smollm2_path), backend=backend, pooling=pooling, context_length=128)
        found = handle.embed_documents(TEXTS)
    agreement = (found * of_length_one(np.stack(rows))).sum(axis=1)
    assert agreement.min() > 0.98, f"4-bit weights, 8-bit activations: {agreement}"


@pytest.mark.model
@pytest.mark.parametrize(("streams", "batch_size"), [(1, 512), (3, 16), (7, 100), (64, 2048)])
def test_every_size_of_batch(
    backend: str, streams: int, batch_size: int, minilm_gguf: Path, this_machine: HardwareProfile
) -> None:
    """llama.cpp aborts the process where tokens are no multiple of texts."""
    usual = open_engine(backend, minilm_gguf, this_machine)
    other = open_engine(
        backend, minilm_gguf, this_machine, streams=streams, options=ModelOptions(batch_size=batch_size)
    )
    try:
        expected = usual.embed(TEXTS)
        for start in range(0, len(TEXTS), streams):
            found = other.embed(TEXTS[start : start + streams])
            same = of_length_one(found.vectors) * of_length_one(expected.vectors[start : start + streams])
            assert same.sum(axis=1).min() > 0.9999
    finally:
        usual.close()
        other.close()


@pytest.mark.model
def test_opening_and_closing_again_and_again(backend: str, minilm_gguf: Path, this_machine: HardwareProfile) -> None:
    for _ in range(10):
        open_engine(backend, minilm_gguf, this_machine).close()


@pytest.mark.model
def test_broken_files_are_told(backend: str, minilm_gguf: Path, tmp_path: Path, this_machine: HardwareProfile) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(minilm_gguf.read_bytes()[:1_000_000])
    model = read_info(minilm_gguf).model_copy(update={"path": broken})
    with pytest.raises(EngineOpenError, match=r"did not open .*broken\.gguf"):
        open_engine(backend, minilm_gguf, this_machine, model=model)


@pytest.mark.model
def test_a_model_without_pooling_is_refused(smollm2_path: Path, this_machine: HardwareProfile) -> None:
    with pytest.raises(EngineOpenError, match="how its tokens' vectors become one"):
        open_engine("llama_cpp", smollm2_path, this_machine)


@pytest.mark.model
def test_options_of_generators_are_none_of_embedders(
    backend: str, minilm_gguf: Path, this_machine: HardwareProfile
) -> None:
    with Bay(hardware=this_machine) as bay, pytest.raises(OptionError, match="cache_type_k"):
        bay.embedder(str(minilm_gguf), backend=backend, options={"cache_type_k": "f16"})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a" * 100, "a" * 100),
        ("x " + "a" * 101 + "!", "x [UNK]!"),
        ("日" * 200, "日" * 200),
        (("a" * 60 + "_") * 3, ("a" * 60 + "_") * 3),
    ],
)
def test_words_that_wordpiece_does_not_read(text: str, read: str) -> None:
    def tokenize(text: str, special: bool) -> list[int]:
        return [1] if text == "[UNK]" else [2] * len(text)

    assert word_limit("bert", tokenize)(text) == read
    assert word_limit("bert", lambda text, special: [2] * len(text))(text) == text, "bert with another tokenizer"
    assert word_limit("llama", tokenize)(text) == text


def test_cutting_keeps_the_end() -> None:
    def tokenize(text: str, special: bool) -> list[int]:
        return [101, *map(ord, text), 102] if special else list(map(ord, text))

    assert end_tokens(tokenize) == (102,)
    assert cut(tokenize("abcdef", True), 4, (102,)) == [101, 97, 98, 102]
    assert end_tokens(lambda text, special: [7, 8] if special else [9]) == ()

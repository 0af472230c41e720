"""Real models: what was GGUF comes back the same, and MiniLM embeds as its authors' library does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
import torch
import transformers

from conftest import MODEL_FOLDER, converted
from enginebay import Bay
from enginebay.models.headers import read_info
from enginebay.models.store import ModelStore
from enginebay_plugins.gguf import SAFETENSORS_TO_GGUF

SENTENCES = (
    "The cat sits on the mat.",
    "A feline rests upon a rug.",
    "Interest rates rose by 0.25% in 2023.",
    "Zürich liegt in der Schweiz — 日本は島国です。",
)


@pytest.fixture(scope="module")
def came_back(smollm2_safetensors: Path) -> Path:
    """SmolLM2 as GGUF in bfloat16, from its safetensors."""
    return converted(smollm2_safetensors, SAFETENSORS_TO_GGUF)


def test_facts_travel(came_back: Path, smollm2_path: Path) -> None:
    before, after = read_info(smollm2_path), read_info(came_back)
    assert after.quantization == "BF16"
    same = ("architecture", "layers", "heads", "kv_heads", "head_dim", "context_length", "chat_template", "vocabulary")
    assert {name: getattr(after, name) for name in same} == {name: getattr(before, name) for name in same}
    assert (after.bos, after.eos) == (before.bos, before.eos)


def test_token_ids_and_greedy_text_are_the_same(came_back: Path, smollm2_path: Path) -> None:
    texts = ["It costs 12345.67 in 2024!", *SENTENCES]
    answers: list[tuple[list[list[int]], str]] = []
    with Bay() as bay:
        for path in (smollm2_path, came_back):
            handle = bay.generator(str(path), backend="llama_cpp", context_length=512)
            ids = [handle.tokenize(text) for text in texts]
            messages = [("system", "You are a helpful assistant."), ("user", "What is the capital of France?")]
            answer = handle.chat(
                [{"role": role, "content": text} for role, text in messages], temperature=0, max_tokens=16
            )
            answers.append((ids, answer.text))
    assert answers[0] == answers[1]
    assert "Paris" in answers[1][1]


def test_token_ids_are_those_of_the_dequantised_tokenizer(smollm2_safetensors: Path, smollm2_path: Path) -> None:
    """Digits are cut one by one in this model, which transformers' own reading of GGUF files loses."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(smollm2_safetensors)
    with Bay() as bay:
        handle = bay.generator(str(smollm2_path), backend="llama_cpp", context_length=512)
        for text in ("It costs 12345.67 in 2024!", "007 1000000", *SENTENCES):
            assert handle.tokenize(text) == tokenizer.encode(text, add_special_tokens=False)


def test_minilm_embeds_as_before(own_folders: Path) -> None:
    folder = ModelStore(MODEL_FOLDER).pull("all-minilm-l6-v2")
    path = converted(folder, SAFETENSORS_TO_GGUF)
    assert read_info(path).architecture == "bert"
    engine = llama_cpp.Llama(str(path), embedding=True, verbose=False, n_ctx=256)
    try:
        found = np.array([engine.embed(text) for text in SENTENCES])
    finally:
        engine.close()
    expected = _embedded(folder)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert (found * expected).sum(axis=1).min() > 0.999
    assert found[0] @ found[1] > 0.5 > found[0] @ found[2]


def _embedded(folder: Path) -> np.ndarray[Any, Any]:
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in SENTENCES:
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = states.mean(0).numpy()
        rows.append(mean / np.linalg.norm(mean))
    return np.array(rows)

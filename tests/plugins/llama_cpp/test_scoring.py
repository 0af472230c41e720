"""Scoring given texts on llama.cpp: in one pass, and with the values that transformers gives."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from enginebay import Bay, Generator, HardwareProfile, LogitsModel
from enginebay.errors import ContextLengthError
from enginebay.quantizing import shipped_text
from tiny_gguf import CONTEXT

TEXT = "The quick brown fox jumps over the lazy dog"


@pytest.mark.parametrize("batch_size", [7, 512])
def test_one_pass_gives_what_single_calls_give(tiny: Path, batch_size: int, this_machine: HardwareProfile) -> None:
    with Bay(hardware=this_machine) as bay:
        options = {"batch_size": batch_size}
        handle = bay.generator(str(tiny), backend="llama_cpp", context_length=CONTEXT, options=options)
        model = handle.engine.logits_model()
        tokens = model.tokenize(TEXT, add_bos=True)
        slowly = LogitsModel.prompt_logits(model, tokens)
        at_once = model.prompt_logits(tokens)
        assert at_once.shape == (len(tokens), len(model.vocabulary))
        np.testing.assert_allclose(at_once, slowly, rtol=1e-2, atol=5e-2)
        # The KV cache holds these tokens now, and the engine knows it.
        np.testing.assert_allclose(model.logits(tokens), at_once[-1], rtol=1e-6)
        np.testing.assert_allclose(model.logits(tokens[:9]), at_once[8], rtol=1e-2, atol=5e-2)
        before = handle.complete(TEXT, temperature=0, max_tokens=5)
        model.prompt_logits(model.tokenize("something else"))
        assert handle.complete(TEXT, temperature=0, max_tokens=5).text == before.text


def test_more_than_the_context_is_refused(tiny: Path, this_machine: HardwareProfile) -> None:
    with Bay(hardware=this_machine) as bay:
        engine: Generator = bay.generator(str(tiny), backend="llama_cpp", context_length=CONTEXT).engine
        with pytest.raises(ContextLengthError):
            engine.prompt_logits([5] * (engine.context_length + 1))
        assert engine.prompt_logits([]).shape[0] == 0


@pytest.mark.model
def test_perplexity_agrees_with_transformers(
    smollm2_gguf_f16: Path, smollm2_safetensors: Path, this_machine: HardwareProfile
) -> None:
    text = shipped_text("evaluation").read_text(encoding="utf-8")[:1500]
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(smollm2_safetensors)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(smollm2_safetensors, dtype=torch.float32)
    tokens = tokenizer(text, return_tensors="pt").input_ids
    assert 256 < tokens.shape[1] < 512
    with torch.no_grad():
        expected = math.exp(model(tokens, labels=tokens).loss.item())
    with Bay(hardware=this_machine) as bay:
        found = bay.generator(str(smollm2_gguf_f16), backend="llama_cpp", context_length=512).perplexity(text)
    assert found.tokens == tokens.shape[1] - 1
    assert found.value == pytest.approx(expected, rel=0.01)

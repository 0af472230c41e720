"""Scores of given tokens: one pass over them all, equal to single steps and to what transformers itself computes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from enginebay import Bay, LogitsModel
from enginebay.generation.handle import GeneratorHandle

pytestmark = pytest.mark.model
TEXT = "The cat sat on the mat. The capital of France is Paris, and that of Germany is Berlin."


@pytest.fixture(scope="module")
def handle(smollm2_safetensors: Path) -> Iterator[GeneratorHandle]:
    with Bay() as bay:
        yield bay.generator(
            str(smollm2_safetensors), backend="transformers", context_length=256, options={"dtype": "float32"}
        )


def test_one_pass_gives_what_single_steps_give(handle: GeneratorHandle) -> None:
    tokens = handle.tokenize(TEXT)
    model = handle.engine.logits_model()
    at_once = model.prompt_logits(tokens)
    stepwise = LogitsModel.prompt_logits(model, tokens)
    assert at_once.shape == (len(tokens), stepwise.shape[1])
    np.testing.assert_allclose(at_once, stepwise, atol=2e-3)


def test_perplexity_is_the_loss_that_transformers_computes(handle: GeneratorHandle, smollm2_safetensors: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(smollm2_safetensors, dtype=torch.float32)
    ids = torch.tensor([handle.tokenize(TEXT, add_bos=True)])
    with torch.inference_mode():
        loss = float(model(input_ids=ids, labels=ids).loss)
    perplexity = handle.perplexity(TEXT)
    assert perplexity.tokens == ids.shape[1] - 1
    assert perplexity.value == pytest.approx(math.exp(loss), rel=1e-4)


def test_the_likelier_answer_has_the_higher_likelihood(handle: GeneratorHandle) -> None:
    before = "The capital of France is"
    paris, rome = (handle.log_likelihood(f" {city}", after=before) for city in ("Paris", "Rome"))
    assert paris.greedy and not rome.greedy
    assert paris.total > rome.total

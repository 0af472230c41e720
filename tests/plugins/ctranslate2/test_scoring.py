"""Scores of given texts, against transformers on the same weights."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from conftest import converted
from enginebay import Bay, HardwareProfile
from enginebay.errors import EngineClosedError
from enginebay_plugins.ctranslate2 import SAFETENSORS_TO_CTRANSLATE2

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

TEXT = (
    "The tide had gone out while they were talking, and the boats in the harbour lay on their sides in the mud. "
    "An old man walked between them with a bucket, looking for worms, and stopped now and then to straighten his back."
)


def test_perplexity_is_that_of_transformers(smollm2_safetensors: Path, this_machine: HardwareProfile) -> None:
    path = converted(smollm2_safetensors, SAFETENSORS_TO_CTRANSLATE2, quantization="float32")
    with Bay(hardware=this_machine) as bay:
        handle = bay.generator(str(path), backend="ctranslate2", context_length=256)
        tokens = handle.tokenize(TEXT, add_bos=True)
        found = handle.perplexity(TEXT).value
        likely = handle.log_likelihood(" Paris.", after="The capital of France is")
        unlikely = handle.log_likelihood(" cheese.", after="The capital of France is")
    model = AutoModelForCausalLM.from_pretrained(smollm2_safetensors, dtype=torch.float32)
    with torch.inference_mode():
        expected = math.exp(model(torch.tensor([tokens]), labels=torch.tensor([tokens])).loss.item())
    assert found == pytest.approx(expected, rel=0.01)
    assert likely.total > unlikely.total + 2


def test_a_closed_engine_does_not_score(smollm2_ctranslate2: Path, this_machine: HardwareProfile) -> None:
    with Bay(hardware=this_machine) as bay:
        engine = bay.generator(str(smollm2_ctranslate2), backend="ctranslate2", context_length=64).engine
        engine.close()
        with pytest.raises(EngineClosedError):
            engine.prompt_logits([1, 2, 3])

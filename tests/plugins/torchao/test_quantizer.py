"""torchao's int8 on the real model: what it weighs, what it loses, and that transformers reads it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginebay import HardwareProfile
from enginebay_plugins.torchao.quantizer import TorchaoQuantizer
from quantized_folders import perplexity_and_answer, quantized

pytestmark = pytest.mark.model


def test_int8_weighs_half_and_loses_nothing_to_speak_of(
    smollm2_safetensors: Path, this_machine: HardwareProfile, tmp_path: Path
) -> None:
    made = quantized(TorchaoQuantizer(), smollm2_safetensors, "int8", tmp_path)
    assert made.lost == []
    assert made.bits == pytest.approx(9.74, abs=0.02)  # a fifth of this small model are embeddings, in 16 bits
    assert [path.name for path in made.path.glob("*model*")] == ["model.safetensors"]
    before, _ = perplexity_and_answer(smollm2_safetensors, "transformers", this_machine)
    after, answer = perplexity_and_answer(made.path, "transformers", this_machine)
    assert "Paris" in answer
    assert after / before - 1 < 0.01

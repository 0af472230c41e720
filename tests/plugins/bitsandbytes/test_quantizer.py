"""bitsandbytes' types on the real model: what they weigh, what they lose, and that transformers reads them again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from enginebay import HardwareProfile
from enginebay.errors import ModelFormatError
from enginebay_plugins.bitsandbytes.quantizer import BitsAndBytesQuantizer
from quantized_folders import perplexity_and_answer, quantized

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def perplexity(smollm2_safetensors: Path, this_machine: HardwareProfile) -> float:
    """Of the source, in bfloat16."""
    return perplexity_and_answer(smollm2_safetensors, "transformers", this_machine)[0]


# A fifth of this small model are embeddings, which stay in 16 bits. 4 bits cost it a third; large models lose less.
@pytest.mark.parametrize(
    ("to", "bits", "loss", "options"),
    [
        ("int8", 9.73, 0.01, {}),
        ("nf4", 6.93, 0.5, {}),
        ("fp4", 6.93, 0.9, {}),
        ("nf4", 6.65, 0.5, {"double_quant": True}),
    ],
    ids=["int8", "nf4", "fp4", "nf4 with double quantisation"],
)
def test_a_type_weighs_and_loses_what_it_ought_to(
    to: str, bits: float, loss: float, options: dict[str, bool], smollm2_safetensors: Path, tmp_path: Path,
    this_machine: HardwareProfile, perplexity: float,
) -> None:  # fmt: skip
    made = quantized(BitsAndBytesQuantizer(), smollm2_safetensors, to, tmp_path, **options)
    assert made.lost == []
    assert made.bits == pytest.approx(bits, abs=0.02)
    assert [event.stage for event in made.events] == ["quantize", "write", "done"]
    found, answer = perplexity_and_answer(made.path, "transformers", this_machine)
    assert "Paris" in answer
    assert found / perplexity - 1 < loss


def test_packed_weights_are_refused(smollm2_safetensors: Path, tmp_path: Path) -> None:
    packed = shutil.copytree(smollm2_safetensors, tmp_path / "packed")
    config = packed / "config.json"
    config.write_text(config.read_text().replace("{", '{"quantization_config": {"quant_method": "gptq"},', 1))
    with pytest.raises(ModelFormatError, match="quantised already, by gptq"):
        quantized(BitsAndBytesQuantizer(), packed, "int8", tmp_path)
    assert not (tmp_path / "int8").exists()


def test_a_model_that_is_no_generator_is_refused(minilm_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="is no generator, or not a whole one: it lacks cls"):
        quantized(BitsAndBytesQuantizer(), minilm_path, "int8", tmp_path)


def test_truncated_weights_are_refused(smollm2_safetensors: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(smollm2_safetensors, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000_000])
    with pytest.raises(ModelFormatError, match="cannot load"):
        quantized(BitsAndBytesQuantizer(), broken, "int8", tmp_path)

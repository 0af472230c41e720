"""LLM Compressor itself: its types on the real model, read again by transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginebay import HardwareProfile
from enginebay.errors import JobError
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay_plugins.llm_compressor.options import LlmCompressorOptions
from enginebay_plugins.llm_compressor.quantizer import LlmCompressorQuantizer, calibration_samples
from enginebay_plugins.llm_compressor.recipes import recipe
from quantized_folders import perplexity_and_answer, quantized

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def perplexity(smollm2_safetensors: Path, this_machine: HardwareProfile) -> float:
    """Of the source, in bfloat16."""
    return perplexity_and_answer(smollm2_safetensors, "transformers", this_machine)[0]


# A fifth of this small model are embeddings, which stay in 16 bits; its rows take groups of 64.
@pytest.mark.parametrize(
    ("to", "bits", "loss"), [("int8", 9.71, 0.05), ("gptq_int4", 6.73, 0.4), ("awq_int4", 6.78, 0.4)]
)
def test_a_type_weighs_and_loses_what_it_ought_to(
    to: str, bits: float, loss: float, smollm2_safetensors: Path, tmp_path: Path, this_machine: HardwareProfile,
    perplexity: float,
) -> None:  # fmt: skip
    made = quantized(LlmCompressorQuantizer(), smollm2_safetensors, to, tmp_path, samples=8, sample_tokens=256)
    assert made.lost == []
    assert made.bits == pytest.approx(bits, abs=0.05)
    assert [event.stage for event in made.events] == ["load", "quantize", "write", "done"]
    found, answer = perplexity_and_answer(made.path, "transformers", this_machine)
    assert "Paris" in answer
    assert found / perplexity - 1 < loss


def test_the_largest_group_that_divides_all_rows_is_taken() -> None:
    for columns, expected in (({4096, 14336}, 128), ({576, 1536}, 64), ({96}, 32)):
        [modifier] = recipe("gptq_int4", columns, None)
        assert modifier.config_groups["group_0"].weights.group_size == expected


def test_rows_that_fit_no_group_are_refused() -> None:
    with pytest.raises(JobError, match="rows of 100 weights") as caught:
        recipe("awq_int4", {4096, 100}, None)
    assert caught.value.hint is not None and "int8" in caught.value.hint
    with pytest.raises(JobError, match="rows of 576 weights are no multiple of the group size 128"):
        recipe("gptq_int4", {576}, 128)


def test_calibration_takes_pieces_of_one_length(smollm2_safetensors: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one two three four " * 100)
    job = QuantizationJob(
        model=smollm2_safetensors, to="gptq_int4", output=tmp_path / "out", calibration=text, cache=tmp_path
    )
    pieces = calibration_samples(job, LlmCompressorOptions(samples=5, sample_tokens=32))
    assert [len(piece) for piece in pieces] == [32] * 5
    with pytest.raises(JobError, match="a sample takes 4096"):
        calibration_samples(job, LlmCompressorOptions(sample_tokens=4096))
    with pytest.raises(JobError, match="needs a calibration text"):
        calibration_samples(job.model_copy(update={"calibration": None}), LlmCompressorOptions())

"""The quantizer on tiny random models and on the real ones, opened by both engines of the plugin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from enginebay import Bay, HardwareProfile, ModelFormat
from enginebay.errors import ModelFormatError
from enginebay.interfaces.jobs import Events, JobCancelled, JobEvent
from enginebay.models.headers import read_info
from enginebay_plugins.ctranslate2 import CTRANSLATE2_QUANTIZER
from enginebay_plugins.ctranslate2.quantizer import CTranslate2Quantizer
from quantized_folders import run_quantizer
from tiny_encoders import TEXTS, make_tiny
from tiny_llama import make_tiny_llama

TYPES = [made.name for made in CTRANSLATE2_QUANTIZER.types]
KEPT = ("architecture", "layers", "heads", "kv_heads", "context_length", "vocabulary", "chat_template", "bos", "eos")

Quantise = Callable[..., Path]


@pytest.fixture
def quantise(tmp_path: Path) -> Quantise:
    """A function that quantises a model and gives the path of the result."""

    def run(model: Path, to: str, *events: Events, **options: Any) -> Path:
        return run_quantizer(CTranslate2Quantizer(), model, to, tmp_path / f"made-{to}", *events, options=options)

    return run


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.mark.parametrize("to", TYPES)
def test_every_type_scores_nearly_as_the_source(
    to: str, tiny_llama: Path, quantise: Quantise, this_machine: HardwareProfile
) -> None:
    path = quantise(tiny_llama, to)
    tokens = list(range(4, 40))
    with torch.inference_mode():
        expected = AutoModelForCausalLM.from_pretrained(tiny_llama)(torch.tensor([tokens])).logits[0].numpy()
    with Bay(hardware=this_machine) as bay:
        found = bay.generator(str(path), backend="ctranslate2", context_length=48).prompt_logits(tokens)
    assert found.shape == expected.shape
    assert found == pytest.approx(expected, abs=0.05 * float(abs(expected).max()))


@pytest.mark.parametrize(("to", "bits"), [("int8", 8), ("int16", 16), ("bfloat16", 16)])
def test_the_header_tells_what_travels(to: str, bits: int, tiny_llama: Path, quantise: Quantise) -> None:
    source, result = read_info(tiny_llama), read_info(quantise(tiny_llama, to))
    assert result.format is ModelFormat.CTRANSLATE2
    assert {name: getattr(result, name) for name in KEPT} == {name: getattr(source, name) for name in KEPT}
    assert 8 * result.weight_bytes / source.parameters == pytest.approx(bits, rel=0.3), "tiny rows have large scales"


def test_the_record_tells_what_the_files_do_not(tiny_llama: Path, quantise: Quantise) -> None:
    path = quantise(tiny_llama, "int8")
    source = read_info(tiny_llama)
    record = {"quantized": {"type": "int8", "parameters": source.parameters}}
    (path / "enginebay.json").write_text(json.dumps(record))
    result = read_info(path)
    assert (result.quantization, result.parameters, result.quantized) == ("int8", source.parameters, True)


def test_an_encoder_embeds_nearly_as_before(quantise: Quantise, tmp_path: Path, this_machine: HardwareProfile) -> None:
    folder = make_tiny(tmp_path / "tiny")
    with Bay(hardware=this_machine) as bay:
        before = bay.embedder(str(quantise(folder, "float16")), backend="ctranslate2", pooling="mean")
        after = bay.embedder(str(quantise(folder, "int8", load_as_float16=True)), backend="ctranslate2", pooling="mean")
        cosines = (before.embed_documents(TEXTS) * after.embed_documents(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.99


def test_progress_is_told(tiny_llama: Path, quantise: Quantise) -> None:
    events: list[JobEvent] = []
    quantise(tiny_llama, "int8", events.append)
    assert [event.message for event in events] == ["loading", "converting to int8", "done"]
    assert [event.step for event in events] == sorted(event.step for event in events)
    assert (events[-1].step, events[-1].steps) == (100, 100)


def test_what_a_receiver_of_events_raises_comes_through(tiny_llama: Path, quantise: Quantise) -> None:
    def receive(event: JobEvent) -> None:
        raise JobCancelled

    with pytest.raises(JobCancelled):
        quantise(tiny_llama, "int8", receive)


def test_an_unknown_architecture(tiny_llama: Path, quantise: Quantise, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "electra"}))
    with pytest.raises(ModelFormatError, match=r"No conversion is registered.*ElectraConfig") as caught:
        quantise(folder, "int8")
    assert caught.value.hint


@pytest.mark.parametrize("keep", [0, 1000])
def test_a_broken_source(keep: int, tiny_llama: Path, quantise: Quantise, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "broken")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ModelFormatError, match="CTranslate2 cannot convert"):
        quantise(folder, "int8")


@pytest.mark.model
def test_the_real_model_answers(smollm2_safetensors: Path, quantise: Quantise, this_machine: HardwareProfile) -> None:
    path = quantise(smollm2_safetensors, "int8_float32")
    source, result = read_info(smollm2_safetensors), read_info(path)
    assert {name: getattr(result, name) for name in KEPT} == {name: getattr(source, name) for name in KEPT}
    declared = CTRANSLATE2_QUANTIZER.type("int8_float32")
    assert declared is not None
    assert 8 * result.weight_bytes / source.parameters == pytest.approx(declared.bits, abs=0.01)
    with Bay(hardware=this_machine) as bay:
        chat = bay.generator(
            str(path), backend="ctranslate2", context_length=256, system="You are a helpful assistant."
        )
        assert "Paris" in chat.chat("What is the capital of France?", temperature=0, max_tokens=12).text

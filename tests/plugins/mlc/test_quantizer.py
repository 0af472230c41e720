"""MLC's quantizer against a stand-in for mlc_llm (see its docstring): the calls are checked, MLC itself is not.

The stand-in copies weights in place of packing them: sizes and losses of MLC's types are not tested.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enginebay import Bay, DeviceKind, ModelFormat
from enginebay.errors import JobError, ModelFormatError
from enginebay.hardware.profile import HardwareProfile
from enginebay.interfaces.jobs import Events, JobCancelled, JobEvent
from enginebay.models.headers import read_info
from enginebay_plugins.mlc import MLC_QUANTIZER
from enginebay_plugins.mlc.converter import library_of
from enginebay_plugins.mlc.quantizer import MlcQuantizer
from quantized_folders import run_quantizer
from tiny_llama import make_tiny_llama

TYPES = [made.name for made in MLC_QUANTIZER.types]
KEPT = ("architecture", "layers", "heads", "kv_heads", "context_length", "vocabulary", "chat_template", "bos", "eos")

Quantise = Callable[..., Path]


@pytest.fixture
def quantise(stand_in: Path, tmp_path: Path) -> Quantise:
    """A function that quantises a model by the stand-in and gives the path of the result."""

    def run(model: Path, to: str, *events: Events, **options: Any) -> Path:
        return run_quantizer(MlcQuantizer(), model, to, tmp_path / f"made-{to}", *events, options=options)

    return run


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.mark.parametrize("to", TYPES)
def test_the_header_tells_every_code_and_what_travels(to: str, tiny_llama: Path, quantise: Quantise) -> None:
    source, result = read_info(tiny_llama), read_info(quantise(tiny_llama, to))
    assert (result.format, result.quantization) == (ModelFormat.MLC, to)
    assert result.quantized is not to.startswith("q0")
    assert {name: getattr(result, name) for name in KEPT} == {name: getattr(source, name) for name in KEPT}


def test_the_record_tells_the_number_of_weights(tiny_llama: Path, quantise: Quantise) -> None:
    path = quantise(tiny_llama, "q4f16_1")
    (path / "enginebay.json").write_text(json.dumps({"quantized": {"type": "q4f16_1", "parameters": 1234}}))
    assert (read_info(path).quantization, read_info(path).parameters) == ("q4f16_1", 1234)


def test_mlcs_backend_opens_the_result(tiny_llama: Path, quantise: Quantise, vulkan_machine: HardwareProfile) -> None:
    path = quantise(tiny_llama, "q4f16_1", device="vulkan")
    assert library_of(path, DeviceKind.VULKAN) is not None
    with Bay(hardware=vulkan_machine) as bay:
        result = bay.generator(str(path), backend="mlc", context_length=32).complete("w1 w2", max_tokens=4)
    assert result.usage.completion_tokens > 0


def test_progress_is_told(tiny_llama: Path, quantise: Quantise) -> None:
    events: list[JobEvent] = []
    quantise(tiny_llama, "q3f16_1", events.append, device="vulkan")
    told = ["converting weights to q3f16_1", "writing the configuration", "compiling for vulkan", "done"]
    assert [event.message for event in events] == told
    assert [event.step for event in events] == [0, 80, 85, 100]


def test_what_a_receiver_of_events_raises_comes_through(tiny_llama: Path, quantise: Quantise) -> None:
    def receive(event: JobEvent) -> None:
        raise JobCancelled

    with pytest.raises(JobCancelled):
        quantise(tiny_llama, "q0f16", receive)


def test_the_job_says_how_many_cores(tiny_llama: Path, quantise: Quantise, monkeypatch: pytest.MonkeyPatch) -> None:
    from enginebay_plugins.mlc import converter

    seen: list[str] = []
    run = converter.subprocess.run

    def watched(*arguments: Any, env: dict[str, str], **more: Any) -> Any:
        seen.append(env["TVM_NUM_THREADS"])
        assert env["PATH"] == os.environ["PATH"]
        return run(*arguments, env=env, **more)

    monkeypatch.setattr(converter.subprocess, "run", watched)
    quantise(tiny_llama, "q0f32")
    assert seen == ["2", "2"]


def test_an_unknown_architecture(tiny_llama: Path, quantise: Quantise, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "electra"}))
    with pytest.raises(ModelFormatError, match="Unknown model type: electra") as caught:
        quantise(folder, "q4f16_1")
    assert caught.value.hint


def test_a_source_without_weights(tiny_llama: Path, quantise: Quantise, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "broken")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFormatError, match=r"convert_weight failed on .*model\.safetensors"):
        quantise(folder, "q4f16_1")


def test_mlc_that_does_not_start(tiny_llama: Path, quantise: Quantise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(JobError, match="mlc_llm does not start"):
        quantise(tiny_llama, "q4f16_1")

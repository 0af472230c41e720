"""The quantizer: every type on a tiny model, the usual ones on the real model, in both engines."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from llama_cpp._ggml import libggml

from conftest import converted
from enginebay import Bay, HardwareProfile
from enginebay.errors import JobError
from enginebay.interfaces.jobs import JobCancelled, JobEvent
from enginebay.interfaces.quantizer import QuantizationJob
from enginebay.models.gguf import FILE_TYPES, TENSOR_TYPES, read_gguf
from enginebay.models.headers import read_info
from enginebay_plugins.gguf import SAFETENSORS_TO_GGUF
from enginebay_plugins.llama_cpp.quantizer import LlamaCppQuantizer

Quantise = Callable[..., Path]


@pytest.fixture(scope="session")
def smollm2_f16(smollm2_safetensors: Path) -> Path:
    """The real model in 16 bits, as GGUF."""
    return converted(smollm2_safetensors, SAFETENSORS_TO_GGUF, type="F16")


@pytest.fixture
def quantise(tmp_path: Path) -> Quantise:
    """A function that quantises a model and gives the path of the result."""

    def run(model: Path, to: str, events: Callable[[JobEvent], None] = lambda event: None, **more: Any) -> Path:
        output = tmp_path / f"{model.stem}-{to}.gguf"
        job = QuantizationJob(model=model, to=to, output=output, threads=2, **{"cache": tmp_path, **more})
        LlamaCppQuantizer().run(job, events)
        return output

    return run


def test_the_core_knows_every_type_of_the_library() -> None:
    libggml.ggml_type_name.restype = ctypes.c_char_p
    libggml.ggml_type_size.restype = ctypes.c_size_t
    libggml.ggml_blck_size.restype = ctypes.c_int64
    count = llama_cpp.llama_model_quantize_default_params().output_tensor_type
    assert count > 40
    found = {
        number: (libggml.ggml_type_name(number).decode().upper(), blocks, libggml.ggml_type_size(number))
        for number in range(count)
        if (blocks := libggml.ggml_blck_size(number))
    }
    assert found == TENSOR_TYPES


def test_the_core_knows_every_file_type_of_the_library() -> None:
    """The one difference: MXFP4 of mixtures of experts is called MXFP4."""
    prefix = "LLAMA_FTYPE_"
    names = {name.removeprefix(prefix): number for name, number in vars(llama_cpp).items() if name.startswith(prefix)}
    found = {number: name.removeprefix("ALL_").removeprefix("MOSTLY_") for name, number in names.items()}
    del found[llama_cpp.LLAMA_FTYPE_GUESSED]
    assert {**found, llama_cpp.LLAMA_FTYPE_MOSTLY_MXFP4_MOE: "MXFP4"} == FILE_TYPES


@pytest.mark.model
@pytest.mark.parametrize("to", ["q8_0", "q4_k_m"])
def test_the_real_model_answers(to: str, smollm2_f16: Path, quantise: Quantise, this_machine: HardwareProfile) -> None:
    events: list[JobEvent] = []
    path = quantise(smollm2_f16, to, events.append)
    source, result = read_info(smollm2_f16), read_info(path)
    assert result.quantization == to.upper()
    assert result.weight_bytes < source.weight_bytes / 1.8
    for kept in ("chat_template", "bos", "eos", "vocabulary", "context_length", "parameters"):
        assert getattr(result, kept) == getattr(source, kept)
    steps = [event.step for event in events if event.step]
    assert steps == list(range(1, len(read_gguf(path).tensors) + 1))
    assert {event.steps for event in events} == {len(steps)}
    with Bay(hardware=this_machine) as bay:
        for backend in ("llama_cpp", "xllamacpp"):
            model = bay.generator(str(path), backend=backend, context_length=256)
            assert model.complete("The capital of France is", temperature=0, max_tokens=4).text.startswith(" Paris")


@pytest.mark.model
def test_what_falls_back_is_told(smollm2_f16: Path, quantise: Quantise) -> None:
    """Rows of 576 numbers are no multiple of 256."""
    messages: list[str] = []
    path = quantise(smollm2_f16, "q4_k_s", lambda event: messages.append(event.message))
    types = {tensor.name: tensor.type for tensor in read_gguf(path).tensors}
    assert types["blk.5.ffn_down.weight"] == "Q4_K"
    assert types["blk.5.ffn_up.weight"] == "Q5_0"
    replaced = sum(kind == "Q5_0" for kind in types.values())
    assert f"{replaced} become q5_0" in messages[0]


@pytest.mark.model
def test_a_quantised_source_is_refused_unless_meant(smollm2_path: Path, quantise: Quantise) -> None:
    with pytest.raises(JobError, match="requantizing from type q4_1 is disabled"):
        quantise(smollm2_path, "q8_0")
    assert read_info(quantise(smollm2_path, "q8_0", requantize=True)).quantization == "Q8_0"


@pytest.mark.model
def test_an_output_that_cannot_be_written(smollm2_f16: Path, tmp_path: Path) -> None:
    job = QuantizationJob(model=smollm2_f16, to="q8_0", output=tmp_path / "nowhere" / "x.gguf", cache=tmp_path)
    with pytest.raises(JobError, match=r"could not write .*x\.gguf"):
        LlamaCppQuantizer().run(job, lambda event: None)


@pytest.mark.model
def test_what_a_receiver_of_events_raises_comes_through(smollm2_f16: Path, quantise: Quantise) -> None:
    told: list[JobEvent] = []

    def receive(event: JobEvent) -> None:
        told.append(event)
        raise JobCancelled

    with pytest.raises(JobCancelled):
        quantise(smollm2_f16, "q8_0", receive)
    assert len(told) == 1, "nothing more is told"

"""The quantizer on tiny random models and on the real one, opened by the plugin's embedder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from enginebay import Bay, ConversionRequest, HardwareProfile, ModelFormat
from enginebay.errors import JobError, ModelFormatError
from enginebay.interfaces.jobs import Events, JobCancelled, JobEvent
from enginebay.models.headers import read_info
from enginebay_plugins.onnx import ONNX_QUANTIZER, writing
from enginebay_plugins.onnx.converter import convert
from enginebay_plugins.onnx.quantizer import OnnxQuantizer
from quantized_folders import run_quantizer
from tiny_encoders import TEXTS, make_tiny

TYPES = [made.name for made in ONNX_QUANTIZER.types]
REAL_TEXTS = (
    "A cat sits on the mat.",
    "The capital of France is Paris.",
    "Quarterly revenue grew by 12 percent in Europe.",
    "def square(x): return x**2",
    "Wie spät ist es?",
    "hello",
)

Quantise = Callable[..., Path]


@pytest.fixture
def quantise(tmp_path: Path) -> Quantise:
    """A function that quantises a model and gives the path of the result."""

    def run(model: Path, to: str, *events: Events, **options: Any) -> Path:
        return run_quantizer(
            OnnxQuantizer(), model, to, tmp_path / f"made-{to}-{len(options)}", *events, options=options
        )

    return run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    source = make_tiny(folder / "tiny", pooling="cls", more=("Normalize",), prompts={"query": "find: "})
    convert(ConversionRequest(source, folder / "converted", {"quantization": "none"}))
    return folder / "converted"


def vectors(path: Path, texts: tuple[str, ...], hardware: HardwareProfile) -> NDArray[np.float32]:
    with Bay(hardware=hardware) as bay:
        return bay.embedder(str(path), backend="onnx").embed_documents(texts)


@pytest.mark.parametrize("to", TYPES)
def test_vectors_are_nearly_those_of_the_source(
    to: str, tiny: Path, quantise: Quantise, this_machine: HardwareProfile
) -> None:
    path = quantise(tiny, to)
    cosines = (vectors(tiny, TEXTS, this_machine) * vectors(path, TEXTS, this_machine)).sum(axis=1)
    assert cosines.min() > 0.99


@pytest.mark.parametrize("to", TYPES)
def test_the_header_tells_what_travels(to: str, tiny: Path, quantise: Quantise) -> None:
    source, result = read_info(tiny), read_info(quantise(tiny, to))
    assert (result.format, result.quantization) == (ModelFormat.ONNX, "INT8")
    assert result.embedding == source.embedding and source.embedding is not None
    assert result.weight_bytes < 0.7 * source.weight_bytes
    for kept in ("architecture", "layers", "embedding_length", "context_length", "vocabulary"):
        assert getattr(result, kept) == getattr(source, kept)


@pytest.mark.parametrize("to", TYPES)
def test_a_vector_does_not_depend_on_its_company(
    to: str, tiny: Path, quantise: Quantise, this_machine: HardwareProfile
) -> None:
    """With the core's record as well, which names the type as users do."""
    path = quantise(tiny, to)
    embedding = read_info(tiny).embedding
    assert embedding is not None
    record = {"quantized": {"type": to, "parameters": 99}, "embedding": embedding.model_dump(mode="json")}
    (path / "enginebay.json").write_text(json.dumps(record))
    result = read_info(path)
    assert (result.quantization, result.parameters, result.quantized) == (to, 99, True)
    together = vectors(path, TEXTS, this_machine)
    alone = np.vstack([vectors(path, (text,), this_machine) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-6)


def test_all_products_may_be_quantised(tiny: Path, quantise: Quantise) -> None:
    def left(path: Path) -> int:
        graph = onnx.load(path / "model.onnx").graph
        weights = {weight.name for weight in graph.initializer}
        return sum(node.op_type == "MatMul" and node.input[1] in weights for node in graph.node)

    assert left(quantise(tiny, "int8")) == 2
    assert left(quantise(tiny, "int8", all_products=True)) == 0


def test_large_weights_lie_beside(
    tiny: Path, quantise: Quantise, this_machine: HardwareProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LARGEST", 1000)
    path = quantise(tiny, "int8")
    assert (path / "model.onnx.data").exists()
    assert (vectors(tiny, TEXTS, this_machine) * vectors(path, TEXTS, this_machine)).sum(axis=1).min() > 0.99


def test_the_hubs_layout_is_read(tiny: Path, quantise: Quantise, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "hub")
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    assert read_info(quantise(folder, "int8")).embedding == read_info(tiny).embedding


def test_progress_is_told(tiny: Path, quantise: Quantise) -> None:
    events: list[JobEvent] = []
    quantise(tiny, "int8", events.append)
    assert [event.message for event in events] == ["converting to int8", "copying the tokenizer", "done"]
    assert (events[-1].step, events[-1].steps) == (100, 100)


def test_what_a_receiver_of_events_raises_comes_through(tiny: Path, quantise: Quantise) -> None:
    def receive(event: JobEvent) -> None:
        raise JobCancelled

    with pytest.raises(JobCancelled):
        quantise(tiny, "int8", receive)


def test_a_quantised_graph_has_nothing_to_quantise(tiny: Path, quantise: Quantise) -> None:
    once = quantise(tiny, "int8", all_products=True)
    with pytest.raises(JobError, match=r"nothing in .* to quantise") as caught:
        quantise(once, "uint8")
    assert caught.value.hint


@pytest.mark.parametrize("damage", ["truncated", "renamed operator", "no file"])
def test_a_broken_source(damage: str, tiny: Path, quantise: Quantise, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "broken")
    file = folder / "model.onnx"
    data = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "renamed operator":
        file.write_bytes(data.replace(b"Softmax", b"S\xff\xfe\xfdmax"))
    with pytest.raises(ModelFormatError):
        quantise(folder, "int8")


@pytest.mark.model
def test_the_real_model_in_8_bits(minilm_onnx: Path, quantise: Quantise, this_machine: HardwareProfile) -> None:
    path = quantise(minilm_onnx, "uint8")
    declared = ONNX_QUANTIZER.type("uint8")
    assert declared is not None
    bits = 8 * read_info(path).weight_bytes / read_info(minilm_onnx).parameters
    assert bits == pytest.approx(declared.bits, abs=0.1)
    cosines = (vectors(minilm_onnx, REAL_TEXTS, this_machine) * vectors(path, REAL_TEXTS, this_machine)).sum(axis=1)
    assert cosines.min() > 0.98

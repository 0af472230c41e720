"""The way to ONNX and the embedder on it, on tiny random models, against sentence-transformers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from numpy.typing import NDArray
from onnx import TensorProto, helper
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as PoolingStep

from enginebay import Bay, ConversionRequest, DeviceKind, HardwareProfile, OpenRequest, Pooling
from enginebay.errors import ConversionError, EngineOpenError, ModelFormatError, OptionError
from enginebay.models.headers import read_info
from enginebay_plugins.onnx import checks, converter, writing
from enginebay_plugins.onnx.converter import convert
from enginebay_plugins.onnx.engine import open_engine
from tiny_encoders import TEXTS, make_tiny

MODES = {Pooling.MEAN: "mean", Pooling.CLS: "cls", Pooling.LAST: "lasttoken"}
SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
OTHERS = {
    "mpnet": lambda: transformers.MPNetConfig(**SMALL),
    "electra": lambda: transformers.ElectraConfig(**SMALL),
    "deberta-v2": lambda: transformers.DebertaV2Config(**SMALL),
    "modernbert": lambda: transformers.ModernBertConfig(**SMALL, cls_token_id=0, sep_token_id=2),
    "qwen3": lambda: transformers.Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=8),
    "gemma3": lambda: transformers.Gemma3TextConfig(**SMALL, num_key_value_heads=2, head_dim=8),
}


def made(folder: Path, target: Path, quantization: str = "none") -> Path:
    convert(ConversionRequest(folder, target, {"quantization": quantization}))
    return target


def expected(folder: Path, pooling: Pooling) -> NDArray[np.float32]:
    model = SentenceTransformer(str(folder), device="cpu")
    for step in model:
        if isinstance(step, PoolingStep):
            step.pooling_mode = MODES[pooling]
    return np.asarray(model.encode(list(TEXTS), normalize_embeddings=True, show_progress_bar=False))


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "roberta"])
def test_vectors_are_those_of_sentence_transformers(
    architecture: str, tmp_path: Path, this_machine: HardwareProfile
) -> None:
    folder = make_tiny(tmp_path / "tiny", architecture=architecture)
    target = made(folder, tmp_path / "converted")
    with Bay(hardware=this_machine) as bay:
        for pooling in Pooling:
            handle = bay.embedder(str(target), backend="onnx", pooling=pooling)
            assert handle.embed_documents(TEXTS) == pytest.approx(expected(folder, pooling), abs=1e-4), pooling


@pytest.mark.parametrize("architecture", OTHERS)
def test_other_architectures_are_exported_and_checked(architecture: str, tmp_path: Path) -> None:
    transformers.AutoModel.from_config(OTHERS[architecture]()).save_pretrained(tmp_path / "m")
    info = read_info(made(tmp_path / "m", tmp_path / "converted"))
    assert (info.quantization, info.embedding_length) == ("F32", 32)


def test_all_files_travel(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "tiny", pooling="cls", more=("Dense",), prompts={"query": "find: "})
    target = made(folder, tmp_path / "converted")
    assert read_info(target).embedding == read_info(folder).embedding
    names = {str(file.relative_to(target)) for file in target.rglob("*") if file.is_file()}
    assert {"config.json", "tokenizer.json", "modules.json", "model.onnx", "2_Dense/model.safetensors"} <= names
    assert not any("exported" in name or name == "model.safetensors" for name in names)


def test_int8_keeps_what_narrows(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "tiny")
    target = made(folder, tmp_path / "converted", "int8")
    assert read_info(target).quantization == "INT8"
    kept = [node for node in onnx.load(target / "model.onnx").graph.node if node.op_type == "MatMul"]
    assert len([node for node in kept if "/output/dense" in node.name and "attention" not in node.name]) == 2


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_large_weights_lie_beside(
    quantization: str, tmp_path: Path, this_machine: HardwareProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LARGEST", 1000)
    folder = make_tiny(tmp_path / "tiny")
    target = made(folder, tmp_path / "converted", quantization)
    assert (target / "model.onnx.data").exists()
    with Bay(hardware=this_machine) as bay:
        found = bay.embedder(str(target), backend="onnx").embed_documents(TEXTS)
    assert (found * expected(folder, Pooling.MEAN)).sum(axis=1).min() > 0.98


def test_an_unknown_quantization(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="int3"):
        made(tmp_path, tmp_path / "converted", "int3")


@pytest.mark.parametrize("config", [{}, {"model_type": "no such"}, {"model_type": "bert", "hidden_size": 7}])
def test_what_transformers_cannot_load(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = make_tiny(tmp_path / "tiny")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFormatError, match="torch cannot export"):
        made(folder, tmp_path / "converted")


def test_a_trace_that_holds_for_one_shape_only_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shape_bound(self: Any, *values: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=values[0]).last_hidden_state
        return hidden * float(len(values[0]))

    monkeypatch.setattr(converter._Encoder, "forward", shape_bound)
    monkeypatch.setattr(converter, "_cosine", lambda one, other: float(np.allclose(one, other)))
    with pytest.raises(ModelFormatError, match="something else than the model"):
        made(make_tiny(tmp_path / "tiny"), tmp_path / "converted")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    return made(make_tiny(folder / "tiny"), folder / "converted")


@pytest.mark.parametrize(
    "options",
    [
        {"intra_op_num_threads": 1, "graph_optimization_level": "off"},
        {"batch_tokens": 1},
        {"batch_tokens": 10_000, "provider_options": {"arena_extend_strategy": "kSameAsRequested"}},
    ],
)
def test_options_change_no_vectors(tiny: Path, options: dict[str, Any], this_machine: HardwareProfile) -> None:
    with Bay(hardware=this_machine) as bay:
        plain = bay.embedder(str(tiny), backend="onnx").embed_documents(TEXTS)
        assert bay.embedder(str(tiny), backend="onnx", options=options).embed_documents(TEXTS) == pytest.approx(
            plain, abs=1e-5
        )


def test_wrong_options(tiny: Path, this_machine: HardwareProfile) -> None:
    with Bay(hardware=this_machine) as bay:
        with pytest.raises(OptionError, match="did you mean 'intra_op_num_threads'"):
            bay.embedder(str(tiny), backend="onnx", options={"intra_op_threads": 1})
        with pytest.raises(OptionError, match="graph_optimization_level"):
            bay.embedder(str(tiny), backend="onnx", options={"graph_optimization_level": "most"})


def open_request(path: Path, hardware: HardwareProfile) -> OpenRequest:
    device, model = hardware.device("cpu"), read_info(path)
    assert device is not None
    return OpenRequest(model, device, hardware.cpu, 32, 8, model.layers, embedding=model.embedding)


def test_a_gpu_is_never_replaced_in_silence(tiny: Path, this_machine: HardwareProfile) -> None:
    if DeviceKind.CUDA in checks.check().device_kinds:
        pytest.skip("this build has CUDA")
    request = open_request(tiny, this_machine)
    on_gpu = replace(request, device=request.device.model_copy(update={"id": "cuda:0", "kind": DeviceKind.CUDA}))
    with pytest.raises(EngineOpenError, match="CUDAExecutionProvider"), pytest.warns(UserWarning, match="CUDA"):
        open_engine(on_gpu)


def test_the_check_tells_the_providers() -> None:
    report = checks.check()
    assert DeviceKind.CPU in report.device_kinds and "CPUExecutionProvider" in report.details


def graph(inputs: dict[str, int], shape: list[int | str]) -> bytes:
    """A graph that gives constants, whatever it is asked."""
    width = [4 if isinstance(extent, str) else extent for extent in shape]
    constant = helper.make_tensor("c", TensorProto.FLOAT, width, [0.0] * int(np.prod(width)))
    made_graph = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["out"])],
        "a test",
        [helper.make_tensor_value_info(name, kind, ["batch", "sequence"]) for name, kind in inputs.items()],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, width)],
        [constant],
    )
    model = helper.make_model(made_graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (graph({"input_ids": TensorProto.INT64}, [2, 4]), "no output"),
        (graph({"input_ids": TensorProto.INT64, "past_key_values.0.key": TensorProto.FLOAT}, [1, 2, 4]), "past_key"),
    ],
)
def test_graphs_of_other_models(tiny: Path, tmp_path: Path, data: bytes, message: str, this_machine: Any) -> None:
    folder = shutil.copytree(tiny, tmp_path / "m")
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(EngineOpenError, match=message):
        open_engine(open_request(folder, this_machine))


def test_a_file_that_onnxruntime_does_not_open(tiny: Path, tmp_path: Path, this_machine: HardwareProfile) -> None:
    folder = shutil.copytree(tiny, tmp_path / "m")
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data.replace(b"MatMul", b"MatNul"))
    with pytest.raises(EngineOpenError, match="onnxruntime did not open"):
        open_engine(open_request(folder, this_machine))


def test_a_folder_without_a_tokenizer(tiny: Path, tmp_path: Path, this_machine: HardwareProfile) -> None:
    folder = shutil.copytree(tiny, tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFormatError, match=r"tokenizer\.json"):
        open_engine(open_request(folder, this_machine))

"""Which files of a hub repository are fetched."""

from __future__ import annotations

import pytest

from enginebay.errors import FetchError
from enginebay.models.hub_files import select
from enginebay.models.reference import HubReference

TOP = ["config.json", "modules.json", "tokenizer.json", "vocab.txt"]
STEPS = ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"]
OTHER = [".gitattributes", "README.md", "openvino/openvino_model.xml", "pytorch_model.bin", "train_script.py"]
ONNX = ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_O1.onnx", "onnx/model_quantized.onnx"]


def chosen(names: list[str], file: str | None = None) -> set[str]:
    return set(select(names, HubReference("org/name", file=file)))


def test_an_embedding_model_comes_with_its_steps() -> None:
    assert chosen(["model.safetensors", *TOP, *STEPS, *OTHER, *ONNX]) == {"model.safetensors", *TOP, *STEPS}


def test_of_onnx_files_the_full_one_comes_with_its_data_and_companions() -> None:
    assert chosen([*ONNX, *TOP, *STEPS, *OTHER]) == {*ONNX[:2], *TOP, *STEPS}


def test_a_named_onnx_file_comes_with_its_companions() -> None:
    names = ["model.safetensors", *TOP, *STEPS, *OTHER, *ONNX]
    assert chosen(names, "onnx/model_quantized.onnx") == {"onnx/model_quantized.onnx", *TOP, *STEPS}


def test_a_gguf_file_comes_alone() -> None:
    assert chosen(["a.gguf", "config.json"]) == {"a.gguf"}
    assert chosen(["a-Q4_K_M.gguf", "a-Q8_0.gguf"], "*Q8_0.gguf") == {"a-Q8_0.gguf"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.gguf", "b.gguf"], "several GGUF files"),
        (["onnx/model_O1.onnx", "onnx/model_O2.onnx"], "several ONNX files"),
        (["README.md"], "no file"),
    ],
)
def test_what_cannot_be_chosen(names: list[str], message: str) -> None:
    with pytest.raises(FetchError, match=message):
        chosen(names)

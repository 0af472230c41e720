"""What the first-party plugins declare: cheap to read, and nothing in it that the core does not know."""

from __future__ import annotations

import subprocess
import sys

import pytest

from enginebay import BackendSpec, DeviceKind, Interface
from enginebay.sampling.params import SamplingParams
from machines import GGUF_8B, NAMES, decide, first_party_specs

SPECS = first_party_specs()
FIRST_PARTY = (
    "llama_cpp",
    "transformers",
    "ctranslate2",
    "vllm",
    "mlc",
    "openai",
    "gguf",
    "onnx",
    "chroma",
    "pinecone",
)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_spec_names_only_what_there_is(spec: BackendSpec) -> None:
    assert spec.sampling <= set(SamplingParams.model_fields)
    assert spec.summary
    assert spec.install
    assert spec.requires or spec.requires_any
    assert spec.formats
    assert spec.factory
    assert spec.options


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_gpu_build_has_a_command_of_its_own_or_comes_with_the_usual_one(spec: BackendSpec) -> None:
    rocm, cuda = spec.device(DeviceKind.ROCM), spec.device(DeviceKind.CUDA)
    if spec.name == "vllm":
        assert rocm is not None
        assert rocm.install, "the usual wheel is for CUDA"
    assert cuda is None or cuda.min_driver, "CUDA 12 needs a driver of its time"


@pytest.mark.parametrize(
    "spec", [spec for spec in SPECS if spec.interface is Interface.GENERATOR], ids=lambda spec: spec.name
)
def test_each_backend_can_win_nowhere_but_on_what_it_declares(spec: BackendSpec) -> None:
    kinds = {support.kind for support in spec.devices}
    for name in NAMES:
        for match in decide(name, GGUF_8B).matches:
            if match.backend == spec.name and match.device:
                assert DeviceKind(match.device.partition(":")[0]) in kinds


@pytest.mark.parametrize("name", FIRST_PARTY)
def test_reading_a_plugin_imports_no_engine(name: str) -> None:
    script = f"import sys, enginebay_plugins.{name}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "torch",
        "transformers",
        "vllm",
        "mlc_llm",
        "ctranslate2",
        "llama_cpp",
        "xllamacpp",
        "onnxruntime",
        "numpy",
    }
    assert not (heavy | {"chromadb", "pinecone"}) & set(loaded)

"""Saved machines, models and the first-party specs, for tests of the matcher."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from enginebay import BackendSpec, Interface, ModelFormat, ModelInfo
from enginebay.hardware.profile import HardwareProfile
from enginebay.matching.decision import Decision
from enginebay.matching.match import match
from enginebay.matching.requirement import Requirement

FOLDER = Path(__file__).parent / "hardware_profiles"
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))


def machine(name: str) -> HardwareProfile:
    """A saved machine."""
    return HardwareProfile.load(FOLDER / f"{name}.json")


def first_party_specs() -> list[BackendSpec]:
    """The specs of all first-party plugins."""
    modules = ("llama_cpp", "vllm", "mlc", "ctranslate2", "transformers", "openai", "onnx")
    return [spec for name in modules for spec in import_module(f"enginebay_plugins.{name}").backends()]


def generator_specs() -> list[BackendSpec]:
    """Those of them that generate."""
    return [spec for spec in first_party_specs() if spec.interface is Interface.GENERATOR]


def model_8b(model_format: ModelFormat, bits: float) -> ModelInfo:
    """A model of Llama 3 8B's shape."""
    return ModelInfo(
        reference=f"llama-8b-{model_format}",
        format=model_format,
        architecture="llama",
        parameters=8_030_000_000,
        weight_bytes=int(8_030_000_000 * bits / 8),
        quantization=f"{bits} bits",
        layers=32,
        heads=32,
        kv_heads=8,
        head_dim=128,
        embedding_length=4096,
        vocabulary=128256,
        context_length=8192,
    )


GGUF_8B = model_8b(ModelFormat.GGUF, 4.85)
SAFETENSORS_8B = model_8b(ModelFormat.SAFETENSORS, 16)
MLC_8B = model_8b(ModelFormat.MLC, 4.5)
SMALL = ModelInfo(
    reference="smollm2-135m-instruct",
    format=ModelFormat.GGUF,
    architecture="llama",
    parameters=134_515_008,
    weight_bytes=96_576_768,
    quantization="Q4_1",
    layers=30,
    heads=9,
    kv_heads=3,
    head_dim=64,
    embedding_length=576,
    vocabulary=49152,
    context_length=8192,
)
HUGE = GGUF_8B.model_copy(
    update={"reference": "huge", "weight_bytes": 200 * 10**9, "parameters": 350 * 10**9, "layers": 100}
)


def decide(name: str, model: ModelInfo, **fields: Any) -> Decision:
    """What is chosen on a saved machine if everything were installed."""
    requirement = Requirement(model=model, **fields)
    return match(requirement, machine(name), first_party_specs(), assume_installed=True)

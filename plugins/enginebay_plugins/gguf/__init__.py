"""The way from safetensors to GGUF, on the gguf package."""

from collections.abc import Iterable

from enginebay import ConverterSpec, ModelFormat, hookimpl

api_version = 1

SAFETENSORS_TO_GGUF = ConverterSpec(
    name="safetensors_to_gguf",
    source=ModelFormat.SAFETENSORS,
    target=ModelFormat.GGUF,
    factory="enginebay_plugins.gguf.converter:convert",
    version=2,
    seconds_per_gb=15,
    quantizations=frozenset({"F32", "F16", "BF16"}),
    architectures=frozenset(
        {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "bert"},
    ),
    defaults={"type": "auto"},
    requires=("gguf>=0.17",),
    install="pip install 'enginebay[gguf]'",
)


@hookimpl
def converters() -> Iterable[ConverterSpec]:
    """Into llama.cpp's format."""
    return [SAFETENSORS_TO_GGUF]

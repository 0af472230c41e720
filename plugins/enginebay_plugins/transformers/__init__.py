"""transformers on PyTorch: the widest model coverage, and the way from GGUF to safetensors."""

from collections.abc import Iterable

from enginebay import (
    BackendSpec,
    Concurrency,
    ConverterSpec,
    DeviceKind,
    DeviceSupport,
    Feature,
    Interface,
    ModelFormat,
    hookimpl,
)

api_version = 1

INSTALL = "pip install 'enginebay[transformers]'"

TRANSFORMERS = BackendSpec(
    name="transformers",
    interface=Interface.GENERATOR,
    summary="transformers on PyTorch: the widest model coverage; batches of one call are decoded together",
    factory="enginebay_plugins.transformers.engine:open_engine",
    check="enginebay_plugins.transformers.checks:check",
    requires=("transformers>=4.56", "torch>=2.4", "tokenizers>=0.21", "llguidance>=1.3,<2"),
    install=INSTALL,
    devices=(
        DeviceSupport(kind=DeviceKind.CPU, efficiency=0.35, step_overhead=1.5e-2, overhead_bytes=512 << 20),
        DeviceSupport(
            kind=DeviceKind.CUDA,
            efficiency=0.4,
            step_overhead=1.5e-2,
            overhead_bytes=1 << 30,
            min_compute_capability=(5, 0),
            min_driver="525.60.13",
        ),
        DeviceSupport(
            kind=DeviceKind.METAL, efficiency=0.4, step_overhead=1.5e-2, overhead_bytes=512 << 20, systems=("Darwin",)
        ),
        DeviceSupport(
            kind=DeviceKind.ROCM, efficiency=0.35, step_overhead=1.5e-2, overhead_bytes=1 << 30, systems=("Linux",)
        ),
    ),
    formats=frozenset({ModelFormat.SAFETENSORS}),
    features=frozenset(
        {
            Feature.STREAMING,
            Feature.CHAT_TEMPLATE,
            Feature.LOGPROBS,
            Feature.CHOICES,
            Feature.REGEX,
            Feature.JSON_SCHEMA,
            Feature.GRAMMAR,
            Feature.LORA,
            Feature.LOGITS,
        }
    ),
    sampling=frozenset(
        {
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "repetition_penalty",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "seed",
            "max_tokens",
            "logprobs",
        }
    ),
    concurrency=Concurrency.BATCHED,
    max_streams=32,
    options="enginebay_plugins.transformers.options:TransformersOptions",
    quantization_methods=frozenset({"bitsandbytes", "torchao", "compressed-tensors", "gptq", "awq"}),
)

GGUF_TO_SAFETENSORS = ConverterSpec(
    name="gguf_to_safetensors",
    source=ModelFormat.GGUF,
    target=ModelFormat.SAFETENSORS,
    factory="enginebay_plugins.transformers.dequantize:convert",
    version=2,
    seconds_per_gb=60,
    size_ratio=3.5,
    defaults={"dtype": "bfloat16"},
    requires=("transformers>=4.56", "torch>=2.4", "gguf>=0.10", "accelerate>=1"),
    install=INSTALL,
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The generator."""
    return [TRANSFORMERS]


@hookimpl
def converters() -> Iterable[ConverterSpec]:
    """Dequantising GGUF."""
    return [GGUF_TO_SAFETENSORS]

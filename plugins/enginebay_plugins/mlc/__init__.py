"""MLC: kernels compiled for Vulkan, Metal, CUDA and ROCm, quantising, and its format from safetensors."""

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
from enginebay.spec import QuantizationType

api_version = 1

INSTALL = "pip install --pre -U -f https://mlc.ai/wheels mlc-llm-{0} mlc-ai-{0} tokenizers llguidance"
OLDEST = ">=0.20.dev0"
BUILDS = ("cpu", "cu122", "cu123", "cu124", "cu128", "cu130", "rocm61", "rocm62", "rocm63")
WHEELS = (
    f"mlc-llm{OLDEST}",
    *(f"mlc-llm-{build}{OLDEST}" for build in BUILDS),
    *(f"mlc-llm-nightly-{build}{OLDEST}" for build in BUILDS),
)
"""MLC's wheels have a name for each build. Those on package indexes are empty placeholders, of version 0.1."""

_GPUS = frozenset({DeviceKind.CUDA, DeviceKind.METAL, DeviceKind.ROCM, DeviceKind.VULKAN})

MLC = BackendSpec(
    name="mlc",
    interface=Interface.GENERATOR,
    summary="MLC: kernels compiled for Vulkan, Metal, CUDA and ROCm",
    factory="enginebay_plugins.mlc.engine:open_engine",
    check="enginebay_plugins.mlc.checks:check",
    requires=("tokenizers>=0.21", "llguidance>=1.3"),
    requires_any=WHEELS,
    install=INSTALL.format("cpu"),
    devices=(
        DeviceSupport(
            kind=DeviceKind.CUDA,
            efficiency=0.75,
            step_overhead=1e-3,
            overhead_bytes=1 << 30,
            min_compute_capability=(7, 0),
            min_driver="525.60.13",
            install=INSTALL.format("cu128"),
        ),
        DeviceSupport(
            kind=DeviceKind.METAL, efficiency=0.7, step_overhead=1e-3, overhead_bytes=512 << 20, systems=("Darwin",)
        ),
        DeviceSupport(
            kind=DeviceKind.ROCM,
            efficiency=0.6,
            step_overhead=1e-3,
            overhead_bytes=1 << 30,
            systems=("Linux",),
            install=INSTALL.format("rocm62"),
        ),
        DeviceSupport(
            kind=DeviceKind.VULKAN, efficiency=0.6, step_overhead=2e-3, overhead_bytes=512 << 20, min_api_version="1.2"
        ),
    ),
    formats=frozenset({ModelFormat.MLC}),
    features=frozenset(
        {
            Feature.STREAMING,
            Feature.CHAT_TEMPLATE,
            Feature.JSON_SCHEMA,
            Feature.CONTINUOUS_BATCHING,
            Feature.PREFIX_CACHE,
            Feature.MULTI_DEVICE,
        }
    ),
    # Its repetition penalty counts the output only; its log-probabilities name tokens by ambiguous texts.
    sampling=frozenset(
        {"temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "max_tokens"}
    ),
    concurrency=Concurrency.CONTINUOUS_BATCHING,
    max_streams=80,
    options="enginebay_plugins.mlc.options:MlcOptions",
)

_BITS = {
    "q0f32": 32.0,
    "q0f16": 16.0,
    "q4f16_2": 6.0,
    "q4f32_1": 5.0,
    "q4f16_1": 4.5,
    "q4f16_0": 4.5,
    "q3f16_1": 3.6,
}
"""Computed from MLC's layout (group_quantization.py): 4 bits and a scale for 32 weights, 3.2 bits and one for 40.
q4f16_2 leaves embeddings and the output matrix in 16 bits: its figure is that of Llama 3 8B."""

MLC_QUANTIZER = BackendSpec(
    name="mlc",
    interface=Interface.QUANTIZER,
    summary="MLC's convert_weight and gen_config: groups of 3 or 4 bits with a scale",
    factory="enginebay_plugins.mlc.quantizer:MlcQuantizer",
    check=MLC.check,
    requires=("tokenizers>=0.21",),
    requires_any=WHEELS,
    install=MLC.install,
    devices=(DeviceSupport(kind=DeviceKind.CPU), *MLC.devices),
    formats=frozenset({ModelFormat.SAFETENSORS}),
    options="enginebay_plugins.mlc.options:MlcQuantizerOptions",
    types=tuple(
        QuantizationType(name=name, format=ModelFormat.MLC, bits=bits, engines=("mlc",)) for name, bits in _BITS.items()
    ),
)

SAFETENSORS_TO_MLC = ConverterSpec(
    name="safetensors_to_mlc",
    source=ModelFormat.SAFETENSORS,
    target=ModelFormat.MLC,
    factory="enginebay_plugins.mlc.converter:convert",
    seconds_per_gb=60,
    size_ratio=0.29,
    devices=_GPUS,
    defaults={"quantization": "q4f16_1", "device": ""},
    requires=("tokenizers>=0.21",),
    requires_any=WHEELS,
    install=INSTALL.format("cpu"),
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The generator and the quantizer."""
    return [MLC, MLC_QUANTIZER]


@hookimpl
def converters() -> Iterable[ConverterSpec]:
    """Into MLC's own format."""
    return [SAFETENSORS_TO_MLC]

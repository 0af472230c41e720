"""CTranslate2: generating, embedding and quantising, int8 on CPUs and CUDA GPUs; its format from safetensors."""

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

CTRANSLATE2 = BackendSpec(
    name="ctranslate2",
    interface=Interface.GENERATOR,
    summary="CTranslate2: int8 on CPUs and CUDA GPUs; batches of one call are decoded together",
    factory="enginebay_plugins.ctranslate2.engine:open_engine",
    check="enginebay_plugins.ctranslate2.checks:check",
    requires=("ctranslate2>=4.6", "tokenizers>=0.21"),
    install="pip install 'enginebay[ctranslate2]'",
    devices=(
        DeviceSupport(kind=DeviceKind.CPU, efficiency=0.35, compute_efficiency=0.35, step_overhead=5e-3),
        DeviceSupport(
            kind=DeviceKind.CUDA,
            efficiency=0.6,
            step_overhead=2e-3,
            overhead_bytes=512 << 20,
            min_compute_capability=(5, 0),
            min_driver="525.60.13",
        ),
    ),
    formats=frozenset({ModelFormat.CTRANSLATE2}),
    features=frozenset({Feature.STREAMING, Feature.CHAT_TEMPLATE, Feature.LOGPROBS, Feature.SCORING}),
    sampling=frozenset({"temperature", "top_k", "top_p", "repetition_penalty", "max_tokens", "logprobs"}),
    concurrency=Concurrency.BATCHED,
    max_streams=32,
    options="enginebay_plugins.ctranslate2.options:CTranslate2Options",
)

CTRANSLATE2_EMBEDDER = BackendSpec(
    name="ctranslate2",
    interface=Interface.EMBEDDER,
    summary="CTranslate2: encoders like BERT in int8 on CPUs and CUDA GPUs",
    factory="enginebay_plugins.ctranslate2.embedder:open_embedder",
    check=CTRANSLATE2.check,
    requires=CTRANSLATE2.requires,
    install=CTRANSLATE2.install,
    devices=(
        DeviceSupport(kind=DeviceKind.CPU, efficiency=0.35, compute_efficiency=0.55, step_overhead=5e-4),
        DeviceSupport(
            kind=DeviceKind.CUDA,
            step_overhead=1e-3,
            overhead_bytes=512 << 20,
            min_compute_capability=(5, 0),
            min_driver="525.60.13",
        ),
    ),
    formats=frozenset({ModelFormat.CTRANSLATE2}),
    architectures=frozenset({"bert", "distilbert", "roberta", "camembert", "xlm-roberta"}),
    concurrency=Concurrency.THREAD_SAFE,
    max_streams=256,
    options="enginebay_plugins.ctranslate2.options:CTranslate2EmbedderOptions",
)

_BITS = {
    "int8": 8.05,
    "int8_float32": 8.06,
    "int8_float16": 8.05,
    "int8_bfloat16": 8.05,
    "int16": 16.0,
    "float16": 16.0,
    "bfloat16": 16.0,
}
"""int8 and int8_float32: measured on SmolLM2-135M, whose short rows each have a scale of 32 bits; others: by layout."""

CTRANSLATE2_QUANTIZER = BackendSpec(
    name="ctranslate2",
    interface=Interface.QUANTIZER,
    summary="CTranslate2's own converter: int8 with a scale for each row, int16, and types of 16 bits",
    factory="enginebay_plugins.ctranslate2.quantizer:CTranslate2Quantizer",
    check=CTRANSLATE2.check,
    requires=("ctranslate2>=4.6", "transformers>=4.56", "torch>=2.4"),
    install="pip install 'enginebay[ctranslate2,transformers]'",
    devices=(DeviceSupport(kind=DeviceKind.CPU, overhead_bytes=280 << 20),),
    formats=frozenset({ModelFormat.SAFETENSORS}),
    options="enginebay_plugins.ctranslate2.options:CTranslate2QuantizerOptions",
    types=tuple(
        QuantizationType(name=name, format=ModelFormat.CTRANSLATE2, bits=bits, engines=("ctranslate2",))
        for name, bits in _BITS.items()
    ),
    memory_ratio=2.4,
)

SAFETENSORS_TO_CTRANSLATE2 = ConverterSpec(
    name="safetensors_to_ctranslate2",
    source=ModelFormat.SAFETENSORS,
    target=ModelFormat.CTRANSLATE2,
    factory="enginebay_plugins.ctranslate2.converter:convert",
    seconds_per_gb=45,
    size_ratio=0.52,
    defaults={"quantization": "int8"},
    requires=CTRANSLATE2_QUANTIZER.requires,
    install=CTRANSLATE2_QUANTIZER.install,
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The generator, the embedder and the quantizer."""
    return [CTRANSLATE2, CTRANSLATE2_EMBEDDER, CTRANSLATE2_QUANTIZER]


@hookimpl
def converters() -> Iterable[ConverterSpec]:
    """Into CTranslate2's own format."""
    return [SAFETENSORS_TO_CTRANSLATE2]

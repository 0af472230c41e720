"""CTranslate2: generating and embedding, int8 on CPUs and CUDA GPUs, and the way to its format from safetensors."""

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
    features=frozenset({Feature.STREAMING, Feature.CHAT_TEMPLATE, Feature.LOGPROBS}),
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

SAFETENSORS_TO_CTRANSLATE2 = ConverterSpec(
    name="safetensors_to_ctranslate2",
    source=ModelFormat.SAFETENSORS,
    target=ModelFormat.CTRANSLATE2,
    factory="enginebay_plugins.ctranslate2.converter:convert",
    seconds_per_gb=45,
    size_ratio=0.52,
    defaults={"quantization": "int8"},
    requires=("ctranslate2>=4.6", "transformers>=4.56", "torch>=2.4"),
    install="pip install 'enginebay[ctranslate2,transformers]'",
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The generator and the embedder."""
    return [CTRANSLATE2, CTRANSLATE2_EMBEDDER]


@hookimpl
def converters() -> Iterable[ConverterSpec]:
    """Into CTranslate2's own format."""
    return [SAFETENSORS_TO_CTRANSLATE2]

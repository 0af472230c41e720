"""llama.cpp for generating, embedding and quantising: through llama-cpp-python, and as its own server (xllamacpp)."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Feature, Interface, ModelFormat, hookimpl
from enginebay_plugins.llama_cpp.quantization_types import TYPES

api_version = 1

_FEATURES = frozenset(
    {
        Feature.STREAMING,
        Feature.CHAT_TEMPLATE,
        Feature.LOGPROBS,
        Feature.CHOICES,
        Feature.GRAMMAR,
        Feature.LORA,
        Feature.PARTIAL_OFFLOAD,
        Feature.PREFIX_CACHE,
    }
)

# What llama.cpp's server honours with enginebay's meaning. Its presence and frequency penalties also count the
# prompt, so they are not among them.
_SERVER_SAMPLING = frozenset(
    {
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repetition_penalty",
        "logit_bias",
        "seed",
        "max_tokens",
        "logprobs",
    }
)


def _devices(cpu: DeviceSupport, builds: dict[DeviceKind, str]) -> tuple[DeviceSupport, ...]:
    """The device kinds that llama.cpp has; GPUs decode alike in both backends, but are installed otherwise."""
    return (
        cpu,
        DeviceSupport(
            kind=DeviceKind.METAL,
            efficiency=0.75,
            compute_efficiency=0.4,
            step_overhead=5e-4,
            systems=("Darwin",),
            machines=("arm64",),
            install=builds[DeviceKind.METAL],
        ),
        DeviceSupport(
            kind=DeviceKind.CUDA,
            efficiency=0.75,
            compute_efficiency=0.25,
            step_overhead=5e-4,
            overhead_bytes=512 << 20,
            min_compute_capability=(5, 0),
            min_driver="525.60.13",
            install=builds[DeviceKind.CUDA],
        ),
        DeviceSupport(
            kind=DeviceKind.ROCM,
            efficiency=0.6,
            compute_efficiency=0.2,
            step_overhead=1e-3,
            overhead_bytes=512 << 20,
            systems=("Linux", "Windows"),
            install=builds[DeviceKind.ROCM],
        ),
        DeviceSupport(
            kind=DeviceKind.VULKAN,
            efficiency=0.6,
            compute_efficiency=0.2,
            step_overhead=1e-3,
            overhead_bytes=384 << 20,
            min_api_version="1.2",
            install=builds[DeviceKind.VULKAN],
        ),
    )


def _compiled(flag: str) -> str:
    return f"CMAKE_ARGS=-DGGML_{flag}=on pip install --force-reinstall --no-cache-dir llama-cpp-python"


def _wheel(build: str) -> str:
    """The project's own wheels, on its own site."""
    return f"pip install xllamacpp --force-reinstall --index-url https://xorbitsai.github.io/xllamacpp/whl/{build}"


LLAMA_CPP = BackendSpec(
    name="llama_cpp",
    interface=Interface.GENERATOR,
    summary="llama.cpp through llama-cpp-python, compiled on this machine; one call at a time",
    factory="enginebay_plugins.llama_cpp.llama_cpp_engine:open_engine",
    check="enginebay_plugins.llama_cpp.checks:check_llama_cpp",
    requires=("llama-cpp-python>=0.3.30,<0.4", "llguidance>=1.3,<2"),
    install="pip install 'enginebay[llama-cpp]'",
    devices=_devices(
        DeviceSupport(kind=DeviceKind.CPU, efficiency=0.55, compute_efficiency=0.3, step_overhead=5e-4),
        {
            DeviceKind.METAL: _compiled("METAL"),
            DeviceKind.CUDA: _compiled("CUDA"),
            DeviceKind.ROCM: _compiled("HIP"),
            DeviceKind.VULKAN: _compiled("VULKAN"),
        },
    ),
    formats=frozenset({ModelFormat.GGUF}),
    # Schemas and regular expressions come from the core: the library's own schemas drop bounds in silence.
    features=_FEATURES | {Feature.LOGITS},
    sampling=_SERVER_SAMPLING | {"presence_penalty", "frequency_penalty"},
    concurrency=Concurrency.SERIAL,
    options="enginebay_plugins.llama_cpp.options:LlamaCppOptions",
)

XLLAMACPP = BackendSpec(
    name="xllamacpp",
    interface=Interface.GENERATOR,
    summary="llama.cpp's own server in process, prebuilt; continuous batching",
    factory="enginebay_plugins.llama_cpp.xllamacpp_engine:open_engine",
    check="enginebay_plugins.llama_cpp.checks:check_xllamacpp",
    requires=("xllamacpp>=2026.10", "llguidance>=1.3,<2"),
    install="pip install 'enginebay[xllamacpp]'",
    devices=_devices(
        DeviceSupport(kind=DeviceKind.CPU, efficiency=0.6, compute_efficiency=0.3, step_overhead=3e-4),
        {
            DeviceKind.METAL: "pip install --force-reinstall xllamacpp",
            DeviceKind.CUDA: _wheel("cu128"),
            DeviceKind.ROCM: _wheel("rocm-6.4.1"),
            DeviceKind.VULKAN: _wheel("vulkan"),
        },
    ),
    formats=frozenset({ModelFormat.GGUF}),
    features=_FEATURES | {Feature.JSON_SCHEMA, Feature.REGEX, Feature.CONTINUOUS_BATCHING},
    sampling=_SERVER_SAMPLING,
    concurrency=Concurrency.CONTINUOUS_BATCHING,
    max_streams=64,
    options="enginebay_plugins.llama_cpp.options:XllamacppOptions",
)


def _embedder(generator: BackendSpec, summary: str, concurrency: Concurrency, on_cpu: float) -> BackendSpec:
    """The embedder on the library of a generator; `on_cpu` is its compute efficiency there."""
    cpu, *gpus = generator.devices
    return BackendSpec(
        name=generator.name,
        interface=Interface.EMBEDDER,
        summary=summary,
        factory=f"enginebay_plugins.llama_cpp.{generator.name}_embedder:open_engine",
        check=generator.check,
        requires=generator.requires[:1],  # what comes after is for constraints
        install=generator.install,
        devices=(cpu.model_copy(update={"compute_efficiency": on_cpu}), *gpus),
        formats=generator.formats,
        concurrency=concurrency,
        max_streams=64,
        options="enginebay_plugins.llama_cpp.options:ModelOptions",
    )


LLAMA_CPP_EMBEDDER = _embedder(
    LLAMA_CPP,
    "llama.cpp through llama-cpp-python: GGUF models for embedding; one call at a time",
    Concurrency.BATCHED,
    on_cpu=0.3,
)
XLLAMACPP_EMBEDDER = _embedder(
    XLLAMACPP,
    "llama.cpp's own server in process: GGUF models for embedding; calls run together",
    Concurrency.CONTINUOUS_BATCHING,
    on_cpu=0.17,
)
LLAMA_CPP_QUANTIZER = BackendSpec(
    name="llama_cpp",
    interface=Interface.QUANTIZER,
    summary="llama.cpp's own quantizer through llama-cpp-python: GGUF types of 1 to 8 bits, importance matrices",
    factory="enginebay_plugins.llama_cpp.quantizer:LlamaCppQuantizer",
    check=LLAMA_CPP.check,
    requires=("llama-cpp-python>=0.3.36,<0.4",),
    install=LLAMA_CPP.install,
    devices=(DeviceSupport(kind=DeviceKind.CPU),),
    formats=frozenset({ModelFormat.GGUF}),
    options="enginebay_plugins.llama_cpp.options:QuantizerOptions",
    types=TYPES,
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """Generators, embedders and the quantizer."""
    return [LLAMA_CPP, XLLAMACPP, LLAMA_CPP_EMBEDDER, XLLAMACPP_EMBEDDER, LLAMA_CPP_QUANTIZER]

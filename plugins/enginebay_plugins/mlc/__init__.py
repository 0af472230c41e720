"""MLC, declared ahead of its engine: the matcher knows when it would be the better choice."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Feature, Interface, ModelFormat, hookimpl

api_version = 1

INSTALL = "pip install --pre -U -f https://mlc.ai/wheels mlc-llm-{0} mlc-ai-{0}"

MLC = BackendSpec(
    name="mlc",
    interface=Interface.GENERATOR,
    summary="MLC: compiled kernels for Vulkan, Metal, CUDA and ROCm (declared; its engine is not in this release)",
    requires=("mlc-llm>=0.18",),
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
            kind=DeviceKind.ROCM, efficiency=0.6, step_overhead=1e-3, overhead_bytes=1 << 30, systems=("Linux",)
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
            Feature.LOGPROBS,
            Feature.JSON_SCHEMA,
            Feature.GRAMMAR,
            Feature.CONTINUOUS_BATCHING,
            Feature.PREFIX_CACHE,
            Feature.MULTI_DEVICE,
        }
    ),
    sampling=frozenset(
        {
            "temperature",
            "top_p",
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
    max_streams=80,
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The declared backend."""
    return [MLC]

"""transformers, declared ahead of its engine: the matcher knows when it would be the better choice."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Feature, Interface, ModelFormat, hookimpl

api_version = 1

TRANSFORMERS = BackendSpec(
    name="transformers",
    interface=Interface.GENERATOR,
    summary="transformers on PyTorch: the widest model coverage (declared; its engine is not in this release)",
    requires=("transformers>=4.50", "torch>=2.4"),
    install="pip install transformers torch",
    devices=(
        DeviceSupport(kind=DeviceKind.CPU, efficiency=0.4, step_overhead=1.5e-2, overhead_bytes=512 << 20),
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
    features=frozenset({Feature.STREAMING, Feature.CHAT_TEMPLATE, Feature.LOGPROBS, Feature.LORA, Feature.LOGITS}),
    sampling=frozenset(
        {"temperature", "top_k", "top_p", "min_p", "repetition_penalty", "logit_bias", "seed", "max_tokens", "logprobs"}
    ),
    concurrency=Concurrency.SERIAL,
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The declared backend."""
    return [TRANSFORMERS]

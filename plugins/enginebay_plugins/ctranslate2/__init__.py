"""CTranslate2, declared ahead of its engine: the matcher knows when it would be the better choice."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Feature, Interface, ModelFormat, hookimpl

api_version = 1

CTRANSLATE2 = BackendSpec(
    name="ctranslate2",
    interface=Interface.GENERATOR,
    summary="CTranslate2: int8 on CPUs and CUDA GPUs (declared; its engine is not in this release)",
    requires=("ctranslate2>=4.5",),
    install="pip install ctranslate2",
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
    features=frozenset({Feature.STREAMING, Feature.CHAT_TEMPLATE}),
    sampling=frozenset({"temperature", "top_k", "top_p", "repetition_penalty", "max_tokens", "n"}),
    concurrency=Concurrency.THREAD_SAFE,
    max_streams=32,
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The declared backend."""
    return [CTRANSLATE2]

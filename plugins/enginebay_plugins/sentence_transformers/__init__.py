"""sentence-transformers on PyTorch: the widest coverage of embedding models."""

from collections.abc import Iterable

from enginebay import (
    BackendSpec,
    Concurrency,
    DeviceKind,
    DeviceSupport,
    Feature,
    Interface,
    ModelFormat,
    hookimpl,
)

api_version = 1

SENTENCE_TRANSFORMERS = BackendSpec(
    name="sentence_transformers",
    interface=Interface.EMBEDDER,
    summary="sentence-transformers on PyTorch: every step that a model's files name, the widest coverage",
    factory="enginebay_plugins.sentence_transformers.embedder:open_embedder",
    check="enginebay_plugins.sentence_transformers.checks:check",
    # Before 6 it ran the code of a folder on this machine without being asked to.
    requires=("sentence-transformers>=6", "torch>=2.4"),
    install="pip install 'enginebay[sentence-transformers]'",
    devices=(
        DeviceSupport(kind=DeviceKind.CPU, compute_efficiency=0.25, step_overhead=5e-3, overhead_bytes=512 << 20),
        DeviceSupport(
            kind=DeviceKind.CUDA,
            step_overhead=5e-3,
            overhead_bytes=1 << 30,
            min_compute_capability=(5, 0),
            min_driver="525.60.13",
        ),
        DeviceSupport(kind=DeviceKind.METAL, step_overhead=5e-3, overhead_bytes=512 << 20, systems=("Darwin",)),
        DeviceSupport(kind=DeviceKind.ROCM, step_overhead=5e-3, overhead_bytes=1 << 30, systems=("Linux",)),
    ),
    formats=frozenset({ModelFormat.SAFETENSORS}),
    features=frozenset({Feature.EMBEDDING_MODULES}),
    concurrency=Concurrency.BATCHED,
    max_streams=256,
    options="enginebay_plugins.sentence_transformers.options:SentenceTransformersOptions",
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """The embedder."""
    return [SENTENCE_TRANSFORMERS]

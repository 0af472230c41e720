"""Qdrant, embedded in this process or behind its server."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Interface, hookimpl

api_version = 1

QDRANT = BackendSpec(
    name="qdrant",
    interface=Interface.VECTOR_STORE,
    summary="an HNSW index on a Qdrant server, or a small collection in a folder of one process",
    factory="enginebay_plugins.qdrant.store:open_store",
    requires=("qdrant-client>=1.16",),
    install="pip install 'enginebay[qdrant]'",
    devices=(DeviceSupport(kind=DeviceKind.CPU),),
    concurrency=Concurrency.THREAD_SAFE,
    options="enginebay_plugins.qdrant.options:QdrantOptions",
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """One vector store."""
    return [QDRANT]

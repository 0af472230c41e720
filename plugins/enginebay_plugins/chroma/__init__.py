"""Chroma, embedded in this process or behind its server."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Interface, hookimpl

api_version = 1

CHROMA = BackendSpec(
    name="chroma",
    interface=Interface.VECTOR_STORE,
    summary="an HNSW index in a folder of one process, or on a Chroma server",
    factory="enginebay_plugins.chroma.store:open_store",
    requires=("chromadb>=1.5,<2",),
    install="pip install 'enginebay[chroma]'",
    devices=(DeviceSupport(kind=DeviceKind.CPU),),
    concurrency=Concurrency.THREAD_SAFE,
    options="enginebay_plugins.chroma.options:ChromaOptions",
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """One vector store."""
    return [CHROMA]

"""Weaviate, a server with vector, keyword and hybrid search."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Interface, hookimpl

api_version = 1

WEAVIATE = BackendSpec(
    name="weaviate",
    interface=Interface.VECTOR_STORE,
    summary="a server, one or a cluster; HNSW, BM25 and hybrid search; namespaces are tenants",
    factory="enginebay_plugins.weaviate.store:open_store",
    requires=("weaviate-client>=4.23,<5",),
    install="pip install 'enginebay[weaviate]'",
    devices=(DeviceSupport(kind=DeviceKind.REMOTE, overhead_bytes=0),),
    concurrency=Concurrency.THREAD_SAFE,
    options="enginebay_plugins.weaviate.options:WeaviateOptions",
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """One vector store."""
    return [WEAVIATE]

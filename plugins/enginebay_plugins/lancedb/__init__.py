"""LanceDB: tables in a folder, or in object storage."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Interface, hookimpl

api_version = 1

LANCEDB = BackendSpec(
    name="lancedb",
    interface=Interface.VECTOR_STORE,
    summary="columnar tables in a folder, larger than memory, exact search or an HNSW index, many processes",
    factory="enginebay_plugins.lancedb.store:open_store",
    requires=("lancedb>=0.40", "pyarrow>=17"),
    install="pip install 'enginebay[lancedb]'",
    devices=(DeviceSupport(kind=DeviceKind.CPU),),
    concurrency=Concurrency.THREAD_SAFE,
    options="enginebay_plugins.lancedb.options:LancedbOptions",
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """One vector store."""
    return [LANCEDB]

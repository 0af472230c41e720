"""PostgreSQL with the extension pgvector, by psycopg 3."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Interface, hookimpl

api_version = 1

PGVECTOR = BackendSpec(
    name="pgvector",
    interface=Interface.VECTOR_STORE,
    summary="tables in a PostgreSQL database, exact search or an HNSW index",
    factory="enginebay_plugins.pgvector.store:open_store",
    requires=("pgvector>=0.5", "psycopg>=3.2", "psycopg-pool>=3.2"),
    install="pip install 'enginebay[pgvector]'",
    devices=(DeviceSupport(kind=DeviceKind.CPU),),
    concurrency=Concurrency.THREAD_SAFE,
    options="enginebay_plugins.pgvector.options:PgvectorOptions",
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """One vector store."""
    return [PGVECTOR]

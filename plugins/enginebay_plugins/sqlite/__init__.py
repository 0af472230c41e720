"""The embedded default store: SQLite's file, and exact search by numpy."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Interface, hookimpl

api_version = 1

SQLITE = BackendSpec(
    name="sqlite",
    interface=Interface.VECTOR_STORE,
    summary="one file on this machine, exact search, many processes",
    factory="enginebay_plugins.sqlite.store:open_store",
    devices=(DeviceSupport(kind=DeviceKind.CPU),),
    concurrency=Concurrency.THREAD_SAFE,
    options="enginebay_plugins.sqlite.options:SqliteOptions",
    default=True,
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """One vector store."""
    return [SQLITE]

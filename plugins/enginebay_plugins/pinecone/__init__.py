"""Pinecone, by its SDK."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Interface, hookimpl

api_version = 1

PINECONE = BackendSpec(
    name="pinecone",
    interface=Interface.VECTOR_STORE,
    summary="serverless or dedicated indexes of Pinecone's service, eventually consistent",
    factory="enginebay_plugins.pinecone.store:open_store",
    requires=("pinecone>=10,<11",),
    install="pip install 'enginebay[pinecone]'",
    devices=(DeviceSupport(kind=DeviceKind.REMOTE),),
    concurrency=Concurrency.THREAD_SAFE,
    options="enginebay_plugins.pinecone.options:PineconeOptions",
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """One vector store."""
    return [PINECONE]

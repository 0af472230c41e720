"""The conformance kit on every vector store that can run here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from emulators.pinecone_emulator import PineconeEmulator
from emulators.qdrant_emulator import QdrantEmulator
from emulators.weaviate_emulator import WeaviateEmulator
from enginebay import Bay
from enginebay.stores import Store
from enginebay.testing.pytest_stores import StoreConformance
from real_servers import ChromaServer, PostgresServer


class EmbeddedConformance(StoreConformance):
    """A store that keeps its files in a folder; each opening is a bay of its own."""

    backend: str

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp(cls.backend)

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, folder: Path) -> Iterator[Callable[[], Store]]:
        with ExitStack() as bays:
            yield lambda: bays.enter_context(Bay()).store(cls.backend, path=folder)


class TestSqlite(EmbeddedConformance):
    backend = "sqlite"


class PgvectorConformance(StoreConformance):
    """A database of a real PostgreSQL server; each opening is a bay of its own."""

    options: Mapping[str, object] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, postgres: PostgresServer) -> Iterator[Callable[[], Store]]:
        url = postgres.new_database()
        with ExitStack() as bays:
            yield lambda: bays.enter_context(Bay()).store("pgvector", url=url, options=cls.options)


class TestPgvector(PgvectorConformance):
    pass


class TestPgvectorByIndex(PgvectorConformance):
    options = {"index": "hnsw", "metadata_index": True}
    records = 800
    filters = 30


class TestChroma(EmbeddedConformance):
    backend = "chroma"
    filters = 100


class TestChromaServer(StoreConformance):
    """Chroma's own server; each opening is a bay of its own."""

    records = 1000
    filters = 50

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Store]]:
        with ChromaServer(tmp_path_factory.mktemp("chroma")) as server, ExitStack() as bays:
            yield lambda: bays.enter_context(Bay()).store("chroma", url=server.url)


class TestWeaviateEmulator(StoreConformance):
    """The store through Weaviate's official client, on an emulator of the server."""

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls) -> Iterator[Callable[[], Store]]:
        with WeaviateEmulator() as server, ExitStack() as bays:
            options = {"grpc_port": server.grpc_port}
            yield lambda: bays.enter_context(Bay()).store("weaviate", url=server.url, options=options)


class TestLancedb(EmbeddedConformance):
    backend = "lancedb"
    filters = 60


class TestPineconeEmulator(StoreConformance):
    """Pinecone's SDK on an emulator of Pinecone, which filters in Python; tests/live has the service itself."""

    records = 600
    filters = 60

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls) -> Iterator[Callable[[], Store]]:
        with PineconeEmulator() as emulator, ExitStack() as bays:
            yield lambda: bays.enter_context(Bay()).store("pinecone", url=emulator.url, api_key=emulator.key)


class TestQdrant(EmbeddedConformance):
    """Qdrant's embedded mode.

    It compares each record in Python, and flushes each to the disk by itself: fewer records, and memory for a disk.
    """

    backend = "qdrant"
    records = 1200
    filters = 40

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls) -> Iterator[Path]:
        memory = "/dev/shm"
        with TemporaryDirectory(dir=memory if Path(memory).is_dir() else None) as name:
            yield Path(name)


class TestQdrantEmulator(StoreConformance):
    """Qdrant's client on an emulator of its server, which is the client's own local mode again."""

    records = 120
    filters = 20

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls) -> Iterator[Callable[[], Store]]:
        with QdrantEmulator() as emulator, ExitStack() as bays:
            yield lambda: bays.enter_context(Bay()).store("qdrant", url=emulator.url)

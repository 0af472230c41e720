"""The conformance kit on every vector store that can run here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from enginebay import Bay
from enginebay.stores import Store
from enginebay.testing.pytest_stores import StoreConformance
from real_servers import PostgresServer


class EmbeddedConformance(StoreConformance):
    """A store that keeps its files in a folder; each opening is a bay of its own."""

    backend: str

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Store]]:
        folder = tmp_path_factory.mktemp(cls.backend)
        bays: list[Bay] = []

        def open_store() -> Store:
            bays.append(Bay())
            return bays[-1].store(cls.backend, path=Path(folder))

        yield open_store
        for bay in bays:
            bay.close()


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
    records = 1500
    filters = 50


class TestChroma(EmbeddedConformance):
    backend = "chroma"

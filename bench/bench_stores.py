"""Vector stores: what enginebay costs over each native client, and how fast the embedded default filters.

The native side does what the client's documentation shows, with its own library on the same kind of database: it
writes vectors, texts and metadata in the same batches, and asks for the ten nearest with text and metadata. Both take
turns; the ratio is that of the best times (ours over native, <= 1.05).

Then sqlite with 100,000 vectors of 384 numbers: the median time of a filtered query, its vectors in memory (<= 60 ms).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enginebay import Bay, F, Record

Vectors = NDArray[np.float32]
Write = Callable[[list[Record]], None]
Query = Callable[[Vectors], int]
"""Asks for the ten nearest, and tells how many came."""

SIZE, LARGE, WIDTH = 5_000, 100_000, 384
BATCH, QUERIES, ROUNDS = 1000, 100, 5
RATIO, FILTERED_MS = 1.05, 60.0
WORDS = ("de", "en", "fr", "es")


def main() -> None:
    """Measure, print, and exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", default=[*NATIVE, "sqlite"])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    missed = False
    for name in arguments.stores:
        with TemporaryDirectory() as folder, Bay() as bay:
            figures[name] = filtered(bay, Path(folder)) if name == "sqlite" else compared(bay, name, Path(folder))
        for what, value in figures[name].items():
            limit = limit_of(what)
            missed |= limit is not None and value > limit
            told = f"   limit {limit:g}{' MISSED' if value > limit else ''}" if limit else ""
            print(f"{name:9} {what:16} {value:10.3f}{told}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    sys.exit(missed)


def limit_of(what: str) -> float | None:
    """The limit of a figure, if it has one."""
    return FILTERED_MS if what == "filtered_ms" else RATIO if what.endswith("ratio") else None


def made_records(number: int, first: int = 0) -> list[Record]:
    """Records whose vectors lie in clusters, as embeddings do."""
    drawn = np.random.default_rng([3, first])
    centres = np.random.default_rng(4).normal(size=(200, WIDTH))
    vectors = centres[drawn.integers(200, size=number)] + drawn.normal(scale=0.3, size=(number, WIDTH))
    return [
        Record(
            f"record {first + row}",
            vector,
            {"lang": WORDS[row % 4], "year": 2000 + row % 25, "source": f"folder/file {row // 10}.md"},
            f"A passage of text, number {first + row}, " + "as long as passages are. " * 20,
        )
        for row, vector in enumerate(vectors.astype(np.float32))
    ]


def compared(bay: Bay, name: str, folder: Path) -> dict[str, float]:
    """Our times over the native client's, for writing and for asking."""
    with ExitStack() as stack:
        url, native = stack.enter_context(NATIVE[name](folder))
        collection = bay.store(name, path=folder / "ours", url=url).create_collection("bench-ours", WIDTH)
        write, query = native

        def ours(vector: Vectors) -> int:
            return len(collection.query(vector, limit=10))

        def write_ours(records: list[Record]) -> None:
            for start in range(0, len(records), BATCH):
                collection.upsert(records[start : start + BATCH])

        asked = [record.vector for record in made_records(QUERIES, first=10**6)]
        best: dict[str, float] = {}

        def timed(what: str, run: Callable[[], object], calls: int) -> None:
            started = time.perf_counter()
            run()
            best[what] = min(best.get(what, np.inf), (time.perf_counter() - started) / calls)

        for turn in range(ROUNDS):
            records = made_records(SIZE // ROUNDS, first=turn * SIZE)
            timed("native_write", lambda records=records: write(records), len(records))  # type: ignore[misc]
            timed("our_write", lambda records=records: write_ours(records), len(records))  # type: ignore[misc]
        for vector in asked[:10]:
            assert query(vector) == ours(vector) == 10
        for _ in range(ROUNDS):
            timed("native_query", lambda: [query(vector) for vector in asked], QUERIES)
            timed("our_query", lambda: [ours(vector) for vector in asked], QUERIES)
    return {
        "native_write_us": best["native_write"] * 1e6,
        "write_ratio": best["our_write"] / best["native_write"],
        "native_query_ms": best["native_query"] * 1e3,
        "query_ratio": best["our_query"] / best["native_query"],
    }


def filtered(bay: Bay, folder: Path) -> dict[str, float]:
    """Milliseconds of a query among 100,000 vectors, all of them and those that match."""
    collection = bay.store("sqlite", path=folder).create_collection("bench-large", WIDTH)
    started = time.perf_counter()
    for start in range(0, LARGE, BATCH):
        collection.upsert(made_records(BATCH, first=start))
    written = time.perf_counter() - started
    asked = [record.vector for record in made_records(QUERIES // 2, first=10**6)]
    where = (F.year >= 2010) & (F.lang == "en")

    def milliseconds(**choice: Any) -> float:
        collection.query(asked[0], **choice)  # reads vectors and columns into memory
        times = []
        for vector in asked:
            begun = time.perf_counter()
            assert len(collection.query(vector, limit=10, **choice)) == 10
            times.append(time.perf_counter() - begun)
        return median(times) * 1e3

    return {
        "write_us": written / LARGE * 1e6,
        "all_ms": milliseconds(),
        "filtered_ms": milliseconds(where=where),
    }


Native = tuple[str | None, tuple[Write, Query]]
"""Where the server is, if there is one, and the native side."""


@contextmanager
def native_chroma(folder: Path) -> Iterator[Native]:
    """chromadb's persistent client, with the index as enginebay makes it."""
    import chromadb
    from chromadb.config import Settings

    from enginebay_plugins.chroma.options import ChromaOptions

    options = ChromaOptions()
    index = {"space": "cosine", "max_neighbors": options.max_neighbors}
    index |= {"ef_construction": options.ef_construction, "ef_search": options.ef_search}
    client = chromadb.PersistentClient(str(folder / "native"), Settings(anonymized_telemetry=False))
    collection: Any = client.create_collection("native", embedding_function=None, configuration={"hnsw": index})  # type: ignore[typeddict-item]

    def write(records: list[Record]) -> None:
        for start in range(0, len(records), BATCH):
            part = records[start : start + BATCH]
            collection.upsert(
                ids=[one.id for one in part],
                embeddings=np.stack([one.vector for one in part]),
                metadatas=[dict(one.metadata) for one in part],
                documents=[one.text for one in part],
            )

    def query(vector: Vectors) -> int:
        found = collection.query(query_embeddings=vector[None], n_results=10)
        return len(found["ids"][0])

    yield None, (write, query)


@contextmanager
def native_lancedb(folder: Path) -> Iterator[Native]:
    """lancedb's table, exact search."""
    import lancedb
    import pyarrow as pa

    database = lancedb.connect(folder / "native")
    schema = pa.schema(
        [
            pa.field("id", pa.string()),
            pa.field("vector", pa.list_(pa.float32(), WIDTH)),
            pa.field("text", pa.string()),
            pa.field("lang", pa.string()),
            pa.field("year", pa.int64()),
            pa.field("source", pa.string()),
        ]
    )
    table = database.create_table("native", schema=schema)

    def write(records: list[Record]) -> None:
        for start in range(0, len(records), BATCH):
            part = records[start : start + BATCH]
            rows = [{"id": one.id, "vector": one.vector, "text": one.text, **one.metadata} for one in part]
            merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(rows)

    def query(vector: Vectors) -> int:
        return len(table.search(vector).distance_type("cosine").limit(10).to_list())

    yield None, (write, query)


@contextmanager
def native_qdrant(folder: Path) -> Iterator[Native]:
    """qdrant-client's local mode."""
    from uuid import NAMESPACE_URL, uuid5

    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(folder / "native"))
    client.create_collection("native", models.VectorParams(size=WIDTH, distance=models.Distance.COSINE))

    def write(records: list[Record]) -> None:
        for start in range(0, len(records), BATCH):
            points = [
                models.PointStruct(
                    id=str(uuid5(NAMESPACE_URL, one.id)),
                    vector=one.vector.tolist(),
                    payload={**one.metadata, "text": one.text, "id": one.id},
                )
                for one in records[start : start + BATCH]
            ]
            client.upsert("native", points)

    def query(vector: Vectors) -> int:
        return len(client.query_points("native", query=vector, limit=10).points)

    yield None, (write, query)
    client.close()


@contextmanager
def native_pgvector(folder: Path) -> Iterator[Native]:
    """psycopg and pgvector's types on PostgreSQL, exact search."""
    import psycopg
    from pgvector.psycopg import register_vector
    from psycopg.types.json import Jsonb

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from real_servers import PostgresServer

    statement = (
        "INSERT INTO native (id, metadata, content, vector) VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET "
        "metadata = excluded.metadata, content = excluded.content, vector = excluded.vector"
    )
    with PostgresServer() as server:
        url = server.new_database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            register_vector(connection)
            connection.execute(
                f"CREATE TABLE native (id text PRIMARY KEY, metadata jsonb, content text, vector vector({WIDTH}))"
            )

            def write(records: list[Record]) -> None:
                for start in range(0, len(records), BATCH):
                    part = records[start : start + BATCH]
                    with connection.transaction(), connection.cursor() as cursor:
                        rows = [(one.id, Jsonb(dict(one.metadata)), one.text, one.vector) for one in part]
                        cursor.executemany(statement, rows)

            def query(vector: Vectors) -> int:
                asked = "SELECT id, metadata, content, vector <=> %s AS far FROM native ORDER BY far LIMIT 10"
                return len(connection.execute(asked, [vector]).fetchall())

            yield url, (write, query)


NATIVE = {
    "chroma": native_chroma,
    "lancedb": native_lancedb,
    "qdrant": native_qdrant,
    "pgvector": native_pgvector,
}

if __name__ == "__main__":
    main()

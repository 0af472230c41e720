"""Vector stores: what enginebay costs over each native client, and how fast the embedded default filters.

Two native sides use the client's own library on the same kind of database, with the same records in the same batches;
both replace records by id, and ask for the ten nearest with id, text, metadata and distance:

- "least": the least that its documentation shows for that.
- "same": what a person writes to get what enginebay promises: a record that is replaced as a whole, values that come
  back with their types, fields by which exact filters can tell kinds and missing fields, a fixed order among equals.

All take turns, batch by batch and query by query; a ratio is the median of ours over native in each turn (<= 1.05).

Then sqlite with 100,000 vectors of 384 numbers: the median time of a filtered query, its vectors in memory (<= 60 ms).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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

LARGE, WIDTH = 100_000, 384
BATCH, BATCHES, QUERIES = 1000, 10, 300
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
            print(f"{name:9} {what:17} {value:10.3f}{told}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    sys.exit(missed)


def limit_of(what: str) -> float | None:
    """The limit of a figure, if it has one."""
    return FILTERED_MS if what == "filtered_ms" else RATIO if "_over_" in what else None


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


@dataclass(frozen=True)
class Side:
    """One way to write records and to ask for the nearest."""

    write: Write
    query: Query


@dataclass(frozen=True)
class Native:
    """The native sides.

    Attributes:
        url: where the server is, if there is one.
        settle: run between writing and asking: what a server does by itself after a while.
        batch: records of one write.
    """

    least: Side
    same: Side
    url: str | None = None
    settle: Callable[[], None] = lambda: None
    batch: int = BATCH


def compared(bay: Bay, name: str, folder: Path) -> dict[str, float]:
    """Our times over the native client's, for writing and for asking."""
    with ExitStack() as stack:
        native = stack.enter_context(NATIVE[name](folder))
        collection = bay.store(name, path=folder / "ours", url=native.url).create_collection("bench-ours", WIDTH)
        ours = Side(collection.upsert, lambda vector: len(collection.query(vector, limit=10)))
        sides = {"ours": ours, "least": native.least, "same": native.same}
        batches = [made_records(native.batch, first=turn * native.batch) for turn in range(BATCHES)]
        asked = [record.vector for record in made_records(QUERIES, first=10**6)]

        def write(side: Side, turn: int) -> float:
            return seconds(lambda: side.write(batches[turn])) / native.batch

        def query(side: Side, turn: int) -> float:
            return seconds(lambda: side.query(asked[turn]))

        written = in_turns(sides, BATCHES, write)
        native.settle()
        for vector in asked[:20]:
            assert [side.query(vector) for side in sides.values()] == [10, 10, 10]
        answered = in_turns(sides, QUERIES, query)
    return {
        "least_write_us": median(written["least"]) * 1e6,
        "write_over_least": ratio(written, "least"),
        "write_over_same": ratio(written, "same"),
        "least_query_ms": median(answered["least"]) * 1e3,
        "query_over_least": ratio(answered, "least"),
        "query_over_same": ratio(answered, "same"),
    }


def seconds(run: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def in_turns(sides: dict[str, Side], turns: int, measure: Callable[[Side, int], float]) -> dict[str, list[float]]:
    """What is measured of each side in each turn; another side begins each time."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns):
        names = list(sides)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(measure(sides[name], turn))
    return times


def ratio(times: dict[str, list[float]], native: str) -> float:
    """Ours over native in each turn: the median."""
    return median(ours / other for ours, other in zip(times["ours"], times[native], strict=True))


def filtered(bay: Bay, folder: Path) -> dict[str, float]:
    """Milliseconds of a query among 100,000 vectors, all of them and those that match."""
    collection = bay.store("sqlite", path=folder).create_collection("bench-large", WIDTH)
    started = time.perf_counter()
    for start in range(0, LARGE, BATCH):
        collection.upsert(made_records(BATCH, first=start))
    written = time.perf_counter() - started
    asked = [record.vector for record in made_records(50, first=10**6)]
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


@contextmanager
def native_chroma(folder: Path) -> Iterator[Native]:
    """chromadb's persistent client, with the index as enginebay makes it.

    "same" keeps the kind of each field in another, and removes the fields that a new version lacks.
    """
    import chromadb
    from chromadb.config import Settings

    from enginebay_plugins.chroma.options import ChromaOptions

    options = ChromaOptions()
    index = {"space": "cosine", "max_neighbors": options.max_neighbors}
    index |= {"ef_construction": options.ef_construction, "ef_search": options.ef_search}
    client = chromadb.PersistentClient(str(folder / "native"), Settings(anonymized_telemetry=False))

    def made(name: str) -> Any:
        configuration: Any = {"hnsw": index}
        return client.create_collection(name, embedding_function=None, configuration=configuration)

    def put(collection: Any, records: list[Record], metadatas: list[dict[str, Any]]) -> None:
        collection.upsert(
            ids=[one.id for one in records],
            embeddings=np.stack([one.vector for one in records]),
            metadatas=metadatas,
            documents=[one.text for one in records],
        )

    def write_same(records: list[Record]) -> None:
        known = same.get(ids=[one.id for one in records], include=["metadatas"])
        old = dict(zip(known["ids"], known["metadatas"], strict=True))
        put(same, records, [dict.fromkeys(old.get(one.id, ())) | with_kinds(one.metadata) for one in records])

    def query_same(vector: Vectors) -> int:
        found = same.query(query_embeddings=vector[None], n_results=10)
        return len([without_kinds(fields) for fields in found["metadatas"][0]])

    least, same = made("least"), made("same")
    yield Native(
        Side(
            lambda records: put(least, records, [dict(one.metadata) for one in records]),
            lambda vector: len(least.query(query_embeddings=vector[None], n_results=10)["ids"][0]),
        ),
        Side(write_same, query_same),
    )


def with_kinds(metadata: Any) -> dict[str, Any]:
    """Fields that tell each value's kind, and that it is there."""
    kinds = {f"is {type(value).__name__}:{name}": True for name, value in metadata.items()}
    return {f"{type(value).__name__}:{name}": value for name, value in metadata.items()} | kinds


def without_kinds(fields: dict[str, Any]) -> dict[str, Any]:
    """The metadata again."""
    return {field.partition(":")[2]: value for field, value in fields.items() if not field.startswith("is ")}


@contextmanager
def native_lancedb(folder: Path) -> Iterator[Native]:
    """lancedb's table, exact search.

    "same" keeps the metadata as JSON, from which it comes back with its types, beside a column of one type for each
    field, by which it is filtered.
    """
    import lancedb
    import pyarrow as pa

    database = lancedb.connect(folder / "native")
    kept = [
        pa.field("id", pa.string()),
        pa.field("vector", pa.list_(pa.float32(), WIDTH)),
        pa.field("text", pa.string()),
    ]
    fields = [pa.field("lang", pa.string()), pa.field("year", pa.int64()), pa.field("source", pa.string())]
    least = database.create_table("least", schema=pa.schema([*kept, *fields]))
    same = database.create_table("same", schema=pa.schema([*kept, *fields, pa.field("metadata", pa.string())]))

    def put(table: Any, rows: list[dict[str, Any]]) -> None:
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def row_of(one: Record) -> dict[str, Any]:
        return {"id": one.id, "vector": one.vector, "text": one.text, **one.metadata}

    def found(table: Any, vector: Vectors, columns: list[str]) -> list[dict[str, Any]]:
        search = table.search(vector).distance_type("cosine").select([*columns, "_distance"])
        return list(search.limit(10).to_list())

    def query_same(vector: Vectors) -> int:
        return len([json.loads(row["metadata"]) for row in found(same, vector, ["id", "text", "metadata"])])

    yield Native(
        Side(
            lambda records: put(least, [row_of(one) for one in records]),
            lambda vector: len(found(least, vector, ["id", "text", "lang", "year", "source"])),
        ),
        Side(
            lambda records: put(same, [{**row_of(one), "metadata": json.dumps(one.metadata)} for one in records]),
            query_same,
        ),
    )


@contextmanager
def native_qdrant(folder: Path) -> Iterator[Native]:
    """qdrant-client's local mode.

    "same" keeps the metadata as JSON, from which it comes back with its types, and fields of one kind for filters.
    """
    from uuid import NAMESPACE_URL, uuid5

    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(folder / "native"))
    for name in ("least", "same"):
        client.create_collection(name, models.VectorParams(size=WIDTH, distance=models.Distance.COSINE))

    def put(name: str, records: list[Record], payload: Callable[[Record], dict[str, Any]]) -> None:
        points = [
            models.PointStruct(
                id=str(uuid5(NAMESPACE_URL, one.id)),
                vector=one.vector.tolist(),
                payload={"id": one.id, "text": one.text, **payload(one)},
            )
            for one in records
        ]
        client.upsert(name, points)

    def query_same(vector: Vectors) -> int:
        found = client.query_points("same", query=vector, limit=10, with_payload=["id", "text", "metadata"])
        return len([json.loads((point.payload or {})["metadata"]) for point in found.points])

    yield Native(
        Side(
            lambda records: put("least", records, lambda one: dict(one.metadata)),
            lambda vector: len(client.query_points("least", query=vector, limit=10).points),
        ),
        Side(
            lambda records: put(
                "same", records, lambda one: {**with_kinds(one.metadata), "metadata": json.dumps(one.metadata)}
            ),
            query_same,
        ),
        batch=200,  # each record is flushed to the disk by itself
    )
    client.close()


@contextmanager
def native_pgvector(folder: Path) -> Iterator[Native]:
    """psycopg and pgvector's types on PostgreSQL, exact search.

    "same" orders what is equally near by id, so that a query has one answer.
    """
    import psycopg
    from pgvector.psycopg import register_vector
    from psycopg.types.json import Jsonb

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from real_servers import PostgresServer

    with PostgresServer() as server:
        url = server.new_database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            register_vector(connection)
            for name in ("least", "same"):
                connection.execute(
                    f"CREATE TABLE {name} (id text PRIMARY KEY, metadata jsonb, content text, vector vector({WIDTH}))"
                )

            def put(table: str, records: list[Record]) -> None:
                statement = (
                    f"INSERT INTO {table} (id, metadata, content, vector) VALUES (%s, %s, %s, %s) "
                    "ON CONFLICT (id) DO UPDATE SET metadata = excluded.metadata, content = excluded.content, "
                    "vector = excluded.vector"
                )
                with connection.transaction(), connection.cursor() as cursor:
                    rows = [(one.id, Jsonb(dict(one.metadata)), one.text, one.vector) for one in records]
                    cursor.executemany(statement, rows)

            def found(table: str, vector: Vectors, order: str) -> int:
                asked = f"SELECT id, metadata, content, vector <=> %s AS far FROM {table} ORDER BY {order} LIMIT 10"
                return len(connection.execute(asked, [vector]).fetchall())

            def analyze() -> None:
                connection.execute("VACUUM ANALYZE")

            yield Native(
                Side(lambda records: put("least", records), lambda vector: found("least", vector, "far")),
                Side(lambda records: put("same", records), lambda vector: found("same", vector, "far, id")),
                url,
                # Without statistics, PostgreSQL guesses how large each table is, and plans accordingly.
                settle=analyze,
            )


NATIVE = {
    "chroma": native_chroma,
    "lancedb": native_lancedb,
    "qdrant": native_qdrant,
    "pgvector": native_pgvector,
}

if __name__ == "__main__":
    main()

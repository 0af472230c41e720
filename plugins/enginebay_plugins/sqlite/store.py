"""The sqlite store: records in a file, their vectors in memory once a query has read them.

Every write makes a new version of its collection, and marks the rows it touched with it. A query reads the rows marked
since the version that it has in memory, so that it sees what any process has written, and reads nothing twice.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from enginebay.errors import CollectionNotFoundError, EngineClosedError, StoreError
from enginebay.interfaces.filters import Filter, matches
from enginebay.interfaces.vector_store import CollectionInfo, Hit, Metric, Record, VectorStore
from enginebay.opening import StoreRequest
from enginebay_plugins.sqlite.options import SqliteOptions
from enginebay_plugins.sqlite.snapshot import RowIds, Snapshot, make_segment

if TYPE_CHECKING:
    from enginebay.interfaces.vector_store import Vector

FILE_NAME = "enginebay.sqlite"
_APPLICATION_ID = 0x45424159  # "EBAY" in ASCII: what the file says it is
_SCHEMA_VERSION = 1
_CHUNK = 500
"""Values in one statement; SQLite takes 999 at least."""

_PURGE_AT = 1000
"""Marks of deleted rows are kept, for the snapshots of others, until there are as many and half of all rows."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS collections (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    dimension INTEGER NOT NULL,
    metric TEXT NOT NULL,
    embedder_fingerprint TEXT,
    version INTEGER NOT NULL DEFAULT 0,
    purged INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS records (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections (key) ON DELETE CASCADE,
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    metadata TEXT NOT NULL,
    text TEXT,
    vector BLOB NOT NULL,
    UNIQUE (collection, namespace, id)
);
CREATE INDEX IF NOT EXISTS changes ON records (collection, namespace, version, deleted);
"""

_WRITE = """
INSERT INTO records (collection, namespace, id, version, metadata, text, vector) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (collection, namespace, id) DO UPDATE SET
    version = excluded.version, deleted = 0,
    metadata = excluded.metadata, text = excluded.text, vector = excluded.vector
"""

T = TypeVar("T")
Place = tuple[int, str]
"""A collection's key and a namespace."""


def open_store(request: StoreRequest) -> SqliteStore:
    """Open the store in a folder, which is made if need be."""
    options = request.options
    assert isinstance(options, SqliteOptions)
    return SqliteStore(request.path, options)


class SqliteStore(VectorStore):
    """Exact search over one SQLite file."""

    max_batch = 1000

    def __init__(self, folder: Path, options: SqliteOptions) -> None:
        self._file = folder / FILE_NAME
        self._options = options
        self._idle: list[sqlite3.Connection] = []
        self._process = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        self._snapshots: OrderedDict[Place, Snapshot] = OrderedDict()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder {folder}: {error.strerror}", value=str(folder)) from error
        with self._connection() as connection:
            self._prepare(connection)

    def create(self, info: CollectionInfo) -> None:
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO collections (name, dimension, metric, embedder_fingerprint) VALUES (?, ?, ?, ?)",
                (info.name, info.dimension, info.metric.value, info.embedder_fingerprint),
            )

    def find(self, name: str) -> CollectionInfo | None:
        return next((info for info in self.collections() if info.name == name), None)

    def collections(self) -> list[CollectionInfo]:
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT name, dimension, metric, embedder_fingerprint FROM collections ORDER BY name"
            ).fetchall()
        return [CollectionInfo(name, width, Metric(metric), embedder) for name, width, metric, embedder in rows]

    def drop(self, name: str) -> None:
        with self._writing() as connection:
            keys = connection.execute("SELECT key FROM collections WHERE name = ?", (name,)).fetchall()
            connection.execute("DELETE FROM collections WHERE name = ?", (name,))
        with self._lock:
            for place in [place for place in self._snapshots if (place[0],) in keys]:
                del self._snapshots[place]

    def namespaces(self, collection: CollectionInfo) -> list[str]:
        with self._reading(collection) as (connection, key, _):
            rows = connection.execute(
                "SELECT DISTINCT namespace FROM records WHERE collection = ? AND NOT deleted", (key,)
            ).fetchall()
        return [name for (name,) in rows]

    def upsert(self, collection: CollectionInfo, records: Sequence[Record], namespace: str) -> None:
        with self._changing(collection) as (connection, key, version):
            connection.executemany(
                _WRITE,
                [
                    (
                        key,
                        namespace,
                        one.id,
                        version,
                        json.dumps(one.metadata, ensure_ascii=False),
                        one.text,
                        _blob(one),
                    )
                    for one in records
                ],
            )

    def query(
        self,
        collection: CollectionInfo,
        vector: Vector,
        limit: int,
        where: Filter | None,
        namespace: str,
        with_vectors: bool,
    ) -> list[Hit]:
        with self._reading(collection) as (connection, key, version):
            snapshot = self._snapshot(connection, collection, (key, namespace), version)
            nearest = snapshot.nearest(vector, limit, where)
            found = _read(connection, [row for row, _ in nearest], with_vectors=with_vectors)
        return [_hit(collection.metric, score, found[row], with_vectors) for row, score in nearest]

    def get(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> list[Record]:
        with self._reading(collection) as (connection, key, _):
            return [
                _record(*row)
                for part in _chunks(ids)
                for row in connection.execute(
                    "SELECT id, metadata, text, vector FROM records WHERE collection = ? AND namespace = ? "
                    f"AND NOT deleted AND id IN ({_marks(part)})",
                    (key, namespace, *part),
                )
            ]

    def delete(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> None:
        with self._changing(collection) as (connection, key, version):
            for part in _chunks(ids):
                connection.execute(
                    "UPDATE records SET deleted = 1, version = ?, metadata = '{}', text = NULL, vector = x'' "
                    f"WHERE collection = ? AND namespace = ? AND NOT deleted AND id IN ({_marks(part)})",
                    (version, key, namespace, *part),
                )
            self._purge(connection, key, version)

    def delete_where(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> None:
        with self._changing(collection) as (connection, key, version):
            rows = self._snapshot(connection, collection, (key, namespace), version - 1).matching(where)
            for part in _chunks(rows.tolist()):
                connection.execute(
                    "UPDATE records SET deleted = 1, version = ?, metadata = '{}', text = NULL, vector = x'' "
                    f"WHERE row IN ({_marks(part)})",
                    (version, *part),
                )
            self._purge(connection, key, version)

    def count(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> int:
        with self._reading(collection) as (connection, key, version):
            if where is not None:
                return len(self._snapshot(connection, collection, (key, namespace), version).matching(where))
            (number,) = connection.execute(
                "SELECT count(*) FROM records WHERE collection = ? AND namespace = ? AND NOT deleted", (key, namespace)
            ).fetchone()
            return int(number)

    def scan(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> Iterator[Record]:
        last = 0
        while True:
            with self._reading(collection) as (connection, key, _):
                rows = connection.execute(
                    "SELECT row, id, metadata, text, vector FROM records WHERE collection = ? AND namespace = ? "
                    "AND NOT deleted AND row > ? ORDER BY row LIMIT ?",
                    (key, namespace, last, _CHUNK),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            records = (_record(*row[1:]) for row in rows)
            yield from (record for record in records if where is None or matches(where, record.metadata))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._snapshots.clear()
        for connection in idle:
            with suppress(sqlite3.Error):
                connection.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and (application, version) != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise StoreError(
                f"{self._file} is a database of another program, or of another version of enginebay",
                value=str(self._file),
                hint="take another path",
            )
        if not tables:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID}; "
                f"PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
            )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for the one thread that asks; errors of SQLite are translated."""
        connection = self._take()
        try:
            yield connection
        except sqlite3.Error as error:
            raise StoreError(f"{self._file}: {error}", value=str(self._file), hint=_advice(error)) from error
        finally:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.rollback()
            self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise EngineClosedError("the sqlite store is closed", hint="open it again")
            if self._process != os.getpid():  # a fork must not use its parent's connections
                self._idle, self._process = [], os.getpid()
            if self._idle:
                return self._idle.pop()
        try:
            connection = sqlite3.connect(
                self._file, timeout=self._options.busy_timeout, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._options.synchronous else 'NORMAL'}")
            connection.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error as error:
            raise StoreError(f"cannot open {self._file}: {error}", value=str(self._file)) from error
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed and self._process == os.getpid():
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _changing(self, collection: CollectionInfo) -> Iterator[tuple[sqlite3.Connection, int, int]]:
        """A transaction that writes a new version of a collection: its key, and the version."""
        with self._writing() as connection:
            key, version = _key_and_version(connection, collection)
            connection.execute("UPDATE collections SET version = ? WHERE key = ?", (version + 1, key))
            yield connection, key, version + 1

    @contextmanager
    def _reading(self, collection: CollectionInfo) -> Iterator[tuple[sqlite3.Connection, int, int]]:
        """A transaction that sees one version of a collection: its key, and the version."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            yield connection, *_key_and_version(connection, collection)

    def _snapshot(
        self, connection: sqlite3.Connection, collection: CollectionInfo, place: Place, version: int
    ) -> Snapshot:
        """The namespace as of the transaction's version."""
        with self._lock:
            known = self._snapshots.get(place) or Snapshot(-1, collection.metric)
        while known.version > version:  # another thread has read what was written since: look again
            connection.execute("ROLLBACK")
            connection.execute("BEGIN")
            _, version = _key_and_version(connection, collection)
        if known.version < version:
            known = _refreshed(connection, collection, place, known, version)
            self._keep(place, known)
        return known

    def _keep(self, place: Place, snapshot: Snapshot) -> None:
        with self._lock:
            newest = self._snapshots.pop(place, None)
            self._snapshots[place] = newest if newest and newest.version > snapshot.version else snapshot
            memory = sum(kept.nbytes for kept in self._snapshots.values())
            while memory > self._options.cache_bytes and len(self._snapshots) > 1:
                _, oldest = self._snapshots.popitem(last=False)
                memory -= oldest.nbytes

    def _purge(self, connection: sqlite3.Connection, key: int, version: int) -> None:
        """Remove the marks of deleted rows when they are many; snapshots older than this are then read anew."""
        deleted, number = connection.execute(
            "SELECT coalesce(sum(deleted), 0), count(*) FROM records WHERE collection = ?", (key,)
        ).fetchone()
        if deleted >= _PURGE_AT and 2 * deleted >= number:
            connection.execute("DELETE FROM records WHERE collection = ? AND deleted", (key,))
            connection.execute("UPDATE collections SET purged = ? WHERE key = ?", (version, key))


def _refreshed(
    connection: sqlite3.Connection, collection: CollectionInfo, place: Place, known: Snapshot, version: int
) -> Snapshot:
    (purged,) = connection.execute("SELECT purged FROM collections WHERE key = ?", place[:1]).fetchone()
    if known.version < purged:
        known = Snapshot(-1, collection.metric)
    rows: list[int] = []
    gone: list[int] = []
    metadata: list[str] = []
    vectors: list[bytes] = []
    for row, deleted, entries, vector in connection.execute(
        "SELECT row, deleted, metadata, vector FROM records "
        "WHERE collection = ? AND namespace = ? AND version > ? ORDER BY row",
        (*place, known.version),
    ):
        gone.append(row)
        if not deleted:
            rows.append(row)
            metadata.append(entries)
            vectors.append(vector)
    added = make_segment(_row_ids(rows), vectors, metadata, (collection.dimension, collection.metric))
    return known.changed(version, _row_ids(gone), added)


def _key_and_version(connection: sqlite3.Connection, collection: CollectionInfo) -> tuple[int, int]:
    found = connection.execute(
        "SELECT key, version FROM collections WHERE name = ? AND dimension = ? AND metric = ?",
        (collection.name, collection.dimension, collection.metric.value),
    ).fetchone()
    if found is None:
        raise CollectionNotFoundError(
            f"collection {collection.name!r} is not there any more, or was made anew",
            value=collection.name,
            hint="open it again",
        )
    return found[0], found[1]


def _read(connection: sqlite3.Connection, rows: Sequence[int], *, with_vectors: bool) -> dict[int, tuple[str, ...]]:
    columns = "row, id, metadata, text" + (", vector" if with_vectors else "")
    return {
        row: rest
        for part in _chunks(rows)
        for row, *rest in connection.execute(f"SELECT {columns} FROM records WHERE row IN ({_marks(part)})", part)
    }


def _hit(metric: Metric, score: float, row: Sequence[object], with_vectors: bool) -> Hit:
    identity, metadata, text, *vector = row
    distance = {Metric.COSINE: 1 - score, Metric.DOT: score, Metric.EUCLIDEAN: -score}[metric]
    return Hit(
        id=str(identity),
        score=score,
        distance=distance,
        metadata=json.loads(str(metadata)),
        text=text,  # type: ignore[arg-type]
        vector=_vector(vector[0]) if with_vectors else None,  # type: ignore[arg-type]
    )


def _record(identity: str, metadata: str, text: str | None, vector: bytes) -> Record:
    return Record(identity, _vector(vector), json.loads(metadata), text)


def _vector(blob: bytes) -> Vector:
    return np.frombuffer(blob, dtype="<f4").astype(np.float32)


def _blob(record: Record) -> bytes:
    return record.vector.astype("<f4", copy=False).tobytes()


def _row_ids(rows: Sequence[int]) -> RowIds:
    return np.asarray(rows, dtype=np.int64)


def _chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _advice(error: sqlite3.Error) -> str | None:
    text = str(error)
    if "locked" in text:
        return "another process writes for long: raise the option busy_timeout"
    if "full" in text:
        return "free space on the disk; what was acknowledged is there"
    if "malformed" in text or "not a database" in text:
        return "the file is damaged: restore it, or index again into another path"
    return None

"""The lancedb store: a table for each collection.

LanceDB writes optimistically: each write makes a new version of the table, and one that another process was faster
than is tried again.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.background_loop import LOOP
from lancedb.index import BTree, HnswSq
from pydantic_core import from_json

from enginebay.errors import CollectionNotFoundError, ConfigError, EngineClosedError, StoreError
from enginebay.interfaces.filters import Filter
from enginebay.interfaces.vector_store import CollectionInfo, Hit, Metric, Record, VectorStore
from enginebay.opening import StoreRequest
from enginebay_plugins.lancedb.columns import columns_of, info_of, key_of, lacking, schema_of, table_of
from enginebay_plugins.lancedb.filters import condition, one_of
from enginebay_plugins.lancedb.options import LancedbOptions

if TYPE_CHECKING:
    from enginebay.interfaces.vector_store import Vector

T = TypeVar("T")

_METRICS = {Metric.COSINE: "cosine", Metric.DOT: "dot", Metric.EUCLIDEAN: "l2"}
_RECORD = ["key", "metadata", "text"]
_CHUNK = 1000
_ATTEMPTS = 20
"""Tries of one write beside other processes that write."""

_OVERTAKEN = ("conflict", "concurrent", "already exist", "retry")
_REFINED = 4
"""For each hit, that many candidates of an index are compared by their whole vectors."""

_PROCESS = os.getpid()
"""Where LanceDB was loaded, and its threads are."""


def open_store(request: StoreRequest) -> LancedbStore:
    """Open the store in a folder, which is made if need be, or in object storage."""
    options = request.options
    assert isinstance(options, LancedbOptions)
    if request.url is not None and request.url.startswith("db://"):
        raise ConfigError(
            "LanceDB Cloud is not supported", value="db://", hint="name a folder, or object storage: s3://bucket/folder"
        )
    return LancedbStore(request.url or str(request.path), options)


class LancedbStore(VectorStore):
    """Search by LanceDB."""

    max_batch = 10_000

    def __init__(self, place: str, options: LancedbOptions) -> None:
        self.approximate = options.index == "hnsw"
        self._place = place
        self._options = options
        # Of one process, one thread writes at a time: they would only be in one another's way.
        self._writing = threading.Lock()
        self._tables: dict[str, Any] = {}
        self._searched: dict[str, Any] = {}
        _refuse_forks()
        storage_options = {name: one.get_secret_value() for name, one in options.storage_options.items()}
        with self._translated():
            connect = {"read_consistency_interval": timedelta(0), "storage_options": storage_options or None}
            self._database: Any = lancedb.connect(place, **connect)
            self._searching: Any = LOOP.run(lancedb.connect_async(place, **connect))
            self._names()

    def create(self, info: CollectionInfo) -> None:
        with self._translated():
            if info.name in self._names():
                self._refuse_others(info.name)
                return
            try:
                self._database.create_table(info.name, schema=schema_of(info))
            except ValueError:
                if info.name not in self._names():  # another process was faster
                    raise

    def find(self, name: str) -> CollectionInfo | None:
        with self._translated():
            newest = self._newest(name)
            return None if newest is None else info_of(name, newest[1])

    def collections(self) -> list[CollectionInfo]:
        with self._translated():
            names = self._names()
        found = (self.find(name) for name in sorted(names))
        return [info for info in found if info is not None]

    def drop(self, name: str) -> None:
        with self._translated():
            if name in self._names() and self.find(name) is not None:
                self._database.drop_table(name)
                self._forget(name)

    def namespaces(self, collection: CollectionInfo) -> list[str]:
        with self._translated():
            table, schema = self._open(collection)
            if "namespace" not in schema.names:
                return [""] if table.count_rows() else []
            found = table.search().select(["namespace"]).to_arrow()
            return sorted(one or "" for one in found["namespace"].unique().to_pylist())

    def upsert(self, collection: CollectionInfo, records: Sequence[Record], namespace: str) -> None:
        columns = columns_of(records, namespace)

        def write(table: Any, schema: pa.Schema) -> int:
            new = lacking(schema, columns)
            if new:
                table.add_columns(new)
                table, schema = self._open(collection)
            rows = table_of(schema, columns)
            merge = table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
            version = int(merge.execute(rows).version)
            if self._open(collection)[1].names != rows.schema.names:
                raise _OvertakenError  # columns that another process added meanwhile are not yet replaced
            return version

        self._write(collection, write)

    def query(
        self,
        collection: CollectionInfo,
        vector: Vector,
        limit: int,
        where: Filter | None,
        namespace: str,
        with_vectors: bool,
    ) -> list[Hit]:
        with self._translated():
            _, schema = self._open(collection)
            matching = condition(where, namespace, schema.names)
            found = LOOP.run(self._nearest(collection, vector, limit, matching, with_vectors))
        return [
            _hit(collection.metric, record, distance, with_vectors)
            for record, distance in zip(_records(found, namespace), found["_distance"].to_pylist(), strict=True)
        ]

    def get(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> list[Record]:
        with self._translated():
            table, _ = self._open(collection)
            return [
                record
                for start in range(0, len(ids), _CHUNK)
                for record in _records(
                    table.search()
                    .where(one_of("key", [key_of(one, namespace) for one in ids[start : start + _CHUNK]]))
                    .select([*_RECORD, "vector"])
                    .limit(_CHUNK)
                    .to_arrow(),
                    namespace,
                )
            ]

    def delete(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> None:
        for start in range(0, len(ids), _CHUNK):
            keys = [key_of(one, namespace) for one in ids[start : start + _CHUNK]]
            self._write(collection, lambda table, _, keys=keys: int(table.delete(one_of("key", keys)).version))  # type: ignore[misc]

    def delete_where(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> None:
        self._write(
            collection,
            lambda table, schema: int(table.delete(condition(where, namespace, schema.names) or "true").version),
        )

    def count(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> int:
        with self._translated():
            table, schema = self._open(collection)
            return int(table.count_rows(condition(where, namespace, schema.names)))

    def scan(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> Iterator[Record]:
        with self._translated():
            table, schema = self._open(collection)
            search = table.search().select([*_RECORD, "vector"])
            if matching := condition(where, namespace, schema.names):
                search = search.where(matching)
            batches = iter(search.to_batches(_CHUNK))
        while True:
            with self._translated():
                batch = next(batches, None)
            if batch is None:
                return
            yield from _records(pa.Table.from_batches([batch]), namespace)

    def close(self) -> None:
        self._database = None
        self._searching.close()
        self._tables.clear()
        self._searched.clear()

    async def _nearest(
        self, collection: CollectionInfo, vector: Vector, limit: int, matching: str | None, with_vectors: bool
    ) -> pa.Table:
        """A whole search in LanceDB's own event loop, to which its blocking methods go over and back six times."""
        name = collection.name
        if name not in self._searched:
            self._searched[name] = await self._searching.open_table(name)
        search = (
            self._searched[name]
            .query()
            .nearest_to(vector)
            .column("vector")
            .distance_type(_METRICS[collection.metric])
            .select([*_RECORD, "_distance", *(["vector"] if with_vectors else [])])
            .limit(limit)
        )
        if matching:
            search = search.where(matching)
        if self.approximate:
            candidates = max(limit * _REFINED, self._options.hnsw_ef_search)
            found = await search.ef(candidates).refine_factor(_REFINED).to_arrow()
            if len(found) >= limit:
                return found
            # The index gave up, or there are no more.
        return await search.bypass_vector_index().to_arrow()

    def _names(self) -> list[str]:
        names: list[str] = []
        page = self._opened().list_tables(limit=_CHUNK)
        while page.page_token:
            names += page.tables
            page = self._opened().list_tables(page_token=page.page_token, limit=_CHUNK)
        return [*names, *page.tables]

    def _opened(self) -> Any:
        database = self._database
        if database is None:
            raise EngineClosedError("the lancedb store is closed", hint="open it again")
        _refuse_forks()
        return database

    def _newest(self, name: str) -> tuple[Any, pa.Schema] | None:
        """A table, and the schema of its newest version; None when it is not there.

        Tables are held open. LanceDB looks for the newest version at each call, and finds one that was made anew, too.
        """
        database = self._opened()
        try:
            table = self._tables.get(name)
            if table is None:
                table = self._tables[name] = database.open_table(name)
            return table, table.schema
        except (RuntimeError, ValueError) as error:
            self._forget(name)
            if "not found" in str(error).lower():
                return None
            raise

    def _forget(self, name: str) -> None:
        self._tables.pop(name, None)
        self._searched.pop(name, None)

    def _open(self, collection: CollectionInfo) -> tuple[Any, pa.Schema]:
        """The newest version of a collection's table, and its schema, for which LanceDB would be asked each time."""
        newest = self._newest(collection.name)
        found = None if newest is None else info_of(collection.name, newest[1])
        if (
            newest is None
            or found is None
            or (found.dimension, found.metric) != (collection.dimension, collection.metric)
        ):
            raise CollectionNotFoundError(
                f"collection {collection.name!r} is not there any more, or was made anew",
                value=collection.name,
                hint="open it again",
            )
        return newest

    def _refuse_others(self, name: str) -> None:
        if self.find(name) is None:
            raise StoreError(
                f"the table {name!r} in {self._place} is of another program, or of another version of enginebay",
                value=name,
                hint="take another name, or another folder",
            )

    def _write(self, collection: CollectionInfo, work: Callable[[Any, pa.Schema], int]) -> None:
        """Do work that writes and gives the version it made, until no other process was faster."""
        self._opened()
        with self._translated(), self._writing:
            version = self._made(collection, work)
            if self._options.tidy_every and version % self._options.tidy_every == 0:
                self._tidy(collection)

    def _made(self, collection: CollectionInfo, work: Callable[[Any, pa.Schema], int]) -> int:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return work(*self._open(collection))
            except (OSError, RuntimeError, ValueError) as error:
                if attempt == _ATTEMPTS or not _overtaken(error):
                    raise
                time.sleep(random.uniform(0, 0.05 * attempt))
        raise AssertionError("the last attempt returns or raises")

    def _tidy(self, collection: CollectionInfo) -> None:
        """Keep a table fast. What another process is in the way of, the next one does."""
        with suppress(OSError, RuntimeError, ValueError):
            table, _ = self._open(collection)
            there = {name for index in table.list_indices() for name in index.columns}
            if "key" not in there:
                table.create_index("key", config=BTree())
            if self.approximate and "vector" not in there and table.count_rows() >= self._options.index_from:
                table.create_index("vector", config=HnswSq(distance_type=_METRICS[collection.metric]))
            table.optimize(cleanup_older_than=timedelta(seconds=self._options.keep_versions))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:
            raise StoreError(
                f"LanceDB in {self._place}: {_told(error)}",
                value=self._place,
                hint="other processes write all the time: write fewer, larger batches" if _overtaken(error) else None,
            ) from error


def _refuse_forks() -> None:
    """LanceDB's threads do not come along, and without them it hangs or crashes."""
    if os.getpid() != _PROCESS:
        raise StoreError(
            "LanceDB was loaded before the process forked, which it does not outlive",
            hint='start processes by "spawn": multiprocessing.set_start_method("spawn")',
        )


class _OvertakenError(RuntimeError):
    """Another process changed the table meanwhile: the work is done again."""


def _overtaken(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, _OvertakenError) or any(word in text for word in _OVERTAKEN)


def _told(error: Exception) -> str:
    """The first line without the place in LanceDB's source that it ends with."""
    return str(error).strip().partition("\n")[0].partition(", /")[0] or type(error).__name__


def _records(found: pa.Table, namespace: str) -> list[Record]:
    vectors: Any = [None] * len(found)
    if "vector" in found.column_names:
        column = found["vector"].combine_chunks()
        vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
    start = len(key_of("", namespace))
    rows = zip(*(found[name].to_pylist() for name in _RECORD), vectors, strict=True)
    return [Record(key[start:], vector, from_json(metadata), text) for key, metadata, text, vector in rows]


def _hit(metric: Metric, record: Record, distance: float, with_vectors: bool) -> Hit:
    score = -float(np.sqrt(max(distance, 0))) if metric is Metric.EUCLIDEAN else 1 - distance
    return Hit(
        id=record.id,
        score=score,
        distance=distance,
        metadata=record.metadata,
        text=record.text,
        vector=record.vector if with_vectors else None,
    )

"""The pgvector store: two tables for each collection, in a schema of its own.

`collections` in the schema holds what is fixed when a collection is made; its comment says which layout the tables
have. The tables of the collection "docs" are "docs_1", with the number of its row there, and "docs_1_named": one that
was dropped and made anew has other tables, and no one writes into them by mistake. The first holds the namespace "" and
is searched without a look at the namespace, as who names none should pay for none; the second holds the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import Connection, sql
from psycopg.errors import UndefinedTable, UniqueViolation

from enginebay.errors import CollectionNotFoundError, InvalidParameterError, StoreError
from enginebay.interfaces.filters import Filter
from enginebay.interfaces.vector_store import CollectionInfo, Hit, Metric, Record, VectorStore
from enginebay.opening import StoreRequest
from enginebay_plugins.pgvector.binary_rows import copied_rows
from enginebay_plugins.pgvector.connections import Connections
from enginebay_plugins.pgvector.filters import Condition, condition
from enginebay_plugins.pgvector.metadata import metadata_text
from enginebay_plugins.pgvector.options import PgvectorOptions

if TYPE_CHECKING:
    from enginebay.interfaces.vector_store import Vector

T = TypeVar("T")

LAYOUT = "enginebay, layout 2"
"""The comment on the table of collections: what the tables are, and in which version."""

MAX_DIMENSION = 16_000
MAX_INDEXED_DIMENSION = 2_000
_PAGE = 500

_OPERATORS = {Metric.COSINE: "<=>", Metric.DOT: "<#>", Metric.EUCLIDEAN: "<->"}
_FUNCTIONS = {
    Metric.COSINE: "cosine_distance",
    Metric.DOT: "vector_negative_inner_product",
    Metric.EUCLIDEAN: "l2_distance",
}
"""What the operators call; no index is asked for these."""

_OPERATOR_CLASSES = {Metric.COSINE: "vector_cosine_ops", Metric.DOT: "vector_ip_ops", Metric.EUCLIDEAN: "vector_l2_ops"}

_CREATE_FACTS = """
CREATE TABLE {facts} (
    key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    dimension integer NOT NULL,
    metric text NOT NULL,
    embedder_fingerprint text,
    created_at timestamptz NOT NULL DEFAULT now()
)
"""

_CREATE_RECORDS = """
CREATE TABLE {table} (
    namespace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    metadata jsonb NOT NULL,
    content text,
    vector vector({dimension}) NOT NULL,
    PRIMARY KEY (namespace, id)
)
"""

_COPY = "COPY {table} (namespace, id, metadata, content, vector) FROM STDIN (FORMAT BINARY)"

_REPLACE = """
INSERT INTO {table} (namespace, id, metadata, content, vector) VALUES (%s, %s, %s::jsonb, %s, %s)
ON CONFLICT (namespace, id) DO UPDATE SET
    metadata = excluded.metadata, content = excluded.content, vector = excluded.vector
"""


def open_store(request: StoreRequest) -> PgvectorStore:
    """Open the store in a database; its schema and tables are made if need be."""
    options = request.options
    assert isinstance(options, PgvectorOptions)
    return PgvectorStore(Connections(request, options), options)


class PgvectorStore(VectorStore):
    """Search by PostgreSQL."""

    max_batch = 1000

    def __init__(self, connections: Connections, options: PgvectorOptions) -> None:
        self.approximate = options.index == "hnsw"
        self._connections = connections
        self._options = options
        self._keys: dict[CollectionInfo, int] = {}
        self._lock = threading.Lock()
        connections.run_apart(self._prepare)

    def create(self, info: CollectionInfo) -> None:
        if info.dimension > (most := MAX_INDEXED_DIMENSION if self.approximate else MAX_DIMENSION):
            raise InvalidParameterError(
                f"dimension = {info.dimension}: pgvector's {'HNSW index' if self.approximate else 'type'} holds {most}",
                value=info.dimension,
                hint='take the option index = "exact"' if self.approximate else None,
            )
        self._connections.run(lambda connection: self._create(connection, info))

    def find(self, name: str) -> CollectionInfo | None:
        return next((info for info in self.collections() if info.name == name), None)

    def collections(self) -> list[CollectionInfo]:
        statement = self._sql("SELECT name, dimension, metric, embedder_fingerprint FROM {facts} ORDER BY name")
        rows = self._connections.run(lambda connection: connection.execute(statement).fetchall())
        return [CollectionInfo(name, width, Metric(metric), embedder) for name, width, metric, embedder in rows]

    def drop(self, name: str) -> None:
        def drop(connection: Connection[Any]) -> None:
            with connection.transaction():
                gone = connection.execute(self._sql("DELETE FROM {facts} WHERE name = %s RETURNING key"), [name])
                for (key,) in gone.fetchall():
                    for named in (False, True):
                        connection.execute(self._sql("DROP TABLE {table}", _table_name(name, key, named)))

        self._connections.run(drop)

    def namespaces(self, collection: CollectionInfo) -> list[str]:
        rows = self._read(collection, False, "SELECT namespace FROM {table} LIMIT 1")
        rows += self._read(collection, True, "SELECT DISTINCT namespace FROM {table}")
        return sorted(name for (name,) in rows)

    def upsert(self, collection: CollectionInfo, records: Sequence[Record], namespace: str) -> None:
        # In one order, so that of two writers of the same records one waits for the other, not each for the other.
        ordered = sorted(records, key=lambda record: record.id)
        if self.approximate or not self._copied(collection, ordered, namespace):
            self._replaced(collection, ordered, namespace)

    def _copied(self, collection: CollectionInfo, records: Sequence[Record], namespace: str) -> bool:
        """Write records that are all new, which is faster; False when one was there, and nothing was written."""

        def copy(connection: Connection[Any], table: str) -> bool:
            try:
                with connection.cursor() as cursor, cursor.copy(self._sql(_COPY, table)) as copying:
                    for row in copied_rows(records, namespace):
                        copying.write_row(row)
            except UniqueViolation:
                return False
            return True

        return self._on(collection, namespace != "", copy)

    def _replaced(self, collection: CollectionInfo, records: Sequence[Record], namespace: str) -> None:
        rows = [(namespace, one.id, metadata_text(one.metadata), one.text, one.vector) for one in records]

        def write(connection: Connection[Any], table: str) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(self._sql(_REPLACE, table), rows)

        self._on(collection, namespace != "", write)

    def query(
        self,
        collection: CollectionInfo,
        vector: Vector,
        limit: int,
        where: Filter | None,
        namespace: str,
        with_vectors: bool,
    ) -> list[Hit]:
        if self.approximate:
            hits = self._nearest(collection, vector, limit, where, namespace, with_vectors, indexed=True)
            # The index gives its nearest, and only then are they filtered, by namespace too: too few hits may be all
            # there are, or those few that were left.
            if len(hits) == limit:
                return hits
        return self._nearest(collection, vector, limit, where, namespace, with_vectors, indexed=False)

    def get(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> list[Record]:
        rows = self._read(
            collection,
            namespace != "",
            "SELECT id, vector, metadata, content FROM {table} WHERE namespace = %s AND id = ANY(%s)",
            namespace,
            list(ids),
        )
        return [_record(*row) for row in rows]

    def delete(self, collection: CollectionInfo, ids: Sequence[str], namespace: str) -> None:
        self._write(
            collection,
            namespace != "",
            "DELETE FROM {table} WHERE namespace = %s AND id = ANY(%s)",
            namespace,
            list(ids),
        )

    def delete_where(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> None:
        matching, parameters = _matching(where)
        self._write(
            collection, namespace != "", f"DELETE FROM {{table}} WHERE namespace = %s{matching}", namespace, *parameters
        )

    def count(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> int:
        matching, parameters = _matching(where)
        rows = self._read(
            collection,
            namespace != "",
            f"SELECT count(*) FROM {{table}} WHERE namespace = %s{matching}",
            namespace,
            *parameters,
        )
        return int(rows[0][0])

    def scan(self, collection: CollectionInfo, where: Filter | None, namespace: str) -> Iterator[Record]:
        matching, parameters = _matching(where)
        last = ""
        while True:
            rows = self._read(
                collection,
                namespace != "",
                f"SELECT id, vector, metadata, content FROM {{table}} WHERE namespace = %s AND id > %s{matching} "
                f"ORDER BY id LIMIT {_PAGE}",
                namespace,
                last,
                *parameters,
            )
            yield from (_record(*row) for row in rows)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def close(self) -> None:
        self._connections.close()

    def _prepare(self, connection: Connection[Any]) -> None:
        where = self._connections.where
        (encoding,) = _only(connection, "SHOW server_encoding")
        if encoding != "UTF8":
            raise StoreError(f"{where} has the encoding {encoding}", value=encoding, hint="take a database in UTF8")
        with connection.transaction():
            # Two that open a new database at once must not both make its tables.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('enginebay'))")
            _make_extension(connection, where)
            layout = self._layout(connection)
            if layout is None:
                self._make_schema(connection)
            elif layout != LAYOUT:
                raise StoreError(
                    f"the schema {self._options.schema_name!r} in {where} is of another program, or of another version "
                    "of enginebay",
                    value=self._options.schema_name,
                    hint="take another schema by the option schema_name",
                )

    def _layout(self, connection: Connection[Any]) -> str | None:
        """What the table of collections says of itself; None when it is not there."""
        facts = sql.Identifier(self._options.schema_name, "collections").as_string(connection)
        (there,) = _only(connection, "SELECT to_regclass(%s) IS NOT NULL", facts)
        if not there:
            return None
        (comment,) = _only(connection, "SELECT obj_description(to_regclass(%s), 'pg_class')", facts)
        return str(comment)

    def _make_schema(self, connection: Connection[Any]) -> None:
        schema = sql.Identifier(self._options.schema_name)
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [self._options.schema_name])
        if found.fetchone() is None:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        connection.execute(self._sql(_CREATE_FACTS))
        connection.execute(self._sql(f"COMMENT ON TABLE {{facts}} IS '{LAYOUT}'"))

    def _create(self, connection: Connection[Any], info: CollectionInfo) -> None:
        with connection.transaction():
            made = connection.execute(
                self._sql(
                    "INSERT INTO {facts} (name, dimension, metric, embedder_fingerprint) VALUES (%s, %s, %s, %s) "
                    "ON CONFLICT (name) DO NOTHING RETURNING key"
                ),
                [info.name, info.dimension, info.metric.value, info.embedder_fingerprint],
            ).fetchone()
            if made is None:
                return
            for named in (False, True):
                self._make_table(connection, info, _table_name(info.name, made[0], named))

    def _make_table(self, connection: Connection[Any], info: CollectionInfo, table: str) -> None:
        options = self._options
        connection.execute(self._sql(_CREATE_RECORDS, table, dimension=info.dimension))
        if options.metadata_index:
            connection.execute(self._sql("CREATE INDEX ON {table} USING gin (metadata)", table))
        if options.index == "hnsw":
            connection.execute(
                self._sql(
                    "CREATE INDEX ON {table} USING hnsw (vector {operators}) "
                    "WITH (m = {m}, ef_construction = {candidates})",
                    table,
                    operators=_OPERATOR_CLASSES[info.metric],
                    m=options.hnsw_m,
                    candidates=options.hnsw_ef_construction,
                )
            )

    def _nearest(
        self,
        collection: CollectionInfo,
        vector: Vector,
        limit: int,
        where: Filter | None,
        namespace: str,
        with_vectors: bool,
        *,
        indexed: bool,
    ) -> list[Hit]:
        matching, parameters = _matching(where)
        inside, spaces = ("namespace = %s", [namespace]) if namespace else ("true", [])
        operator, function = _OPERATORS[collection.metric], _FUNCTIONS[collection.metric]
        distance = f"vector {operator} %s" if indexed else f"{function}(vector, %s)"
        order = "distance" if indexed else "distance, id"  # an index has no order among equals to offer
        # As a parameter, the limit would have PostgreSQL plan each query anew.
        statement = (
            f"SELECT id, {'vector' if with_vectors else 'NULL'}, metadata, content, {distance} AS distance "
            f"FROM {{table}} WHERE {inside}{matching} ORDER BY {order} LIMIT {limit}"
        )
        candidates = str(min(max(limit, self._options.hnsw_ef_search), 1000))

        def search(connection: Connection[Any], table: str) -> list[tuple[Any, ...]]:
            with connection.transaction() if indexed else nullcontext():
                if indexed:
                    connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", [candidates])
                found = connection.execute(self._sql(statement, table), [vector, *spaces, *parameters], binary=True)
                return list(found.fetchall())

        return [_hit(collection.metric, *row) for row in self._on(collection, namespace != "", search)]

    def _read(
        self, collection: CollectionInfo, named: bool, statement: str, *parameters: object
    ) -> list[tuple[Any, ...]]:
        return self._on(
            collection,
            named,
            lambda connection, table: connection.execute(
                self._sql(statement, table), parameters, binary=True
            ).fetchall(),
        )

    def _write(self, collection: CollectionInfo, named: bool, statement: str, *parameters: object) -> None:
        self._on(
            collection, named, lambda connection, table: connection.execute(self._sql(statement, table), parameters)
        )

    def _on(self, collection: CollectionInfo, named: bool, work: Callable[[Connection[Any], str], T]) -> T:
        """Do work on a table of a collection: that of the named namespaces, or of the one without a name."""

        def attempt(connection: Connection[Any]) -> T:
            try:
                return work(connection, self._table(connection, collection, named))
            except UndefinedTable:  # dropped, and perhaps made anew
                with self._lock:
                    self._keys.pop(collection, None)
                return work(connection, self._table(connection, collection, named))

        return self._connections.run(attempt)

    def _table(self, connection: Connection[Any], collection: CollectionInfo, named: bool) -> str:
        with self._lock:
            key = self._keys.get(collection)
        if key is None:
            key = self._key(connection, collection)
            with self._lock:
                self._keys[collection] = key
        return _table_name(collection.name, key, named)

    def _key(self, connection: Connection[Any], collection: CollectionInfo) -> int:
        found = connection.execute(
            self._sql("SELECT key FROM {facts} WHERE name = %s AND dimension = %s AND metric = %s"),
            [collection.name, collection.dimension, collection.metric.value],
        ).fetchone()
        if found is None:
            raise CollectionNotFoundError(
                f"collection {collection.name!r} is not there any more, or was made anew",
                value=collection.name,
                hint="open it again",
            )
        return int(found[0])

    def _sql(self, text: str, table: str = "", **parts: str | int) -> str:
        return _composed(text, self._options.schema_name, table, **parts)


@lru_cache(maxsize=1000)
def _composed(text: str, schema: str, table: str, **parts: str | int) -> str:
    """A statement with its tables' names, quoted, and parts that are put in as they are.

    Kept, because each call makes one of the same few statements.
    """
    names = {"facts": sql.Identifier(schema, "collections"), "table": sql.Identifier(schema, table)}
    inserted = {name: sql.SQL(str(part)) for name, part in parts.items()}
    return str(sql.SQL(text).format(**names, **inserted).as_string())


def _table_name(collection: str, key: int, named: bool) -> str:
    return f"{collection}_{key}{'_named' if named else ''}"


def _make_extension(connection: Connection[Any], where: str) -> None:
    if connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone() is not None:
        return
    try:
        connection.execute("CREATE EXTENSION vector")
    except psycopg.Error as error:
        raise StoreError(
            f"{where} lacks the extension pgvector, and it cannot be made: {str(error).strip()}",
            value=where,
            hint="install pgvector on the server, then, as a superuser of the database: CREATE EXTENSION vector",
        ) from error


def _only(connection: Connection[Any], statement: str, *parameters: object) -> tuple[Any, ...]:
    """The one row of a statement."""
    row = connection.execute(statement, parameters).fetchone()
    assert row is not None
    return tuple(row)


def _matching(where: Filter | None) -> Condition:
    """What is added to a statement's WHERE."""
    if where is None:
        return "", []
    text, parameters = condition(where)
    return f" AND ({text})", parameters


def _hit(metric: Metric, identity: str, vector: Any, metadata: Any, text: str | None, distance: float) -> Hit:
    return Hit(
        id=identity,
        score=1 - distance if metric is Metric.COSINE else -distance,
        distance=distance,
        metadata=metadata,
        text=text,
        vector=None if vector is None else vector.to_numpy(),
    )


def _record(identity: str, vector: Any, metadata: Any, text: str | None) -> Record:
    return Record(identity, vector.to_numpy(), metadata, text)

"""Search by words: BM25 in SQLite's FTS5, in a file of this machine that can always be made again.

It holds the passages of one collection, and which version of the collection that is. Whoever finds another version in
the collection brings it up to date from there.
"""

from __future__ import annotations

import json
import re
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from enginebay.errors import StoreError, UnsupportedFeatureError
from enginebay.interfaces.filters import Filter, matches
from enginebay.interfaces.vector_store import Record

_FORMAT = "1"
_WORD = re.compile(r"\w+")
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE documents (source TEXT PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE passages (row INTEGER PRIMARY KEY, source TEXT NOT NULL, id TEXT NOT NULL, metadata TEXT NOT NULL);
CREATE INDEX passages_by_source ON passages (source);
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'porter unicode61 remove_diacritics 2');
"""


def require_fts5() -> None:
    """Refuse to go on without FTS5.

    Raises:
        UnsupportedFeatureError: this Python's SQLite was built without it.
    """
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE probe USING fts5 (text)")
    except sqlite3.OperationalError as error:
        raise UnsupportedFeatureError(
            f"search by words needs SQLite with FTS5, which this Python's {sqlite3.sqlite_version} has not",
            value=sqlite3.sqlite_version,
            hint='search by vectors alone: search = "vector"',
        ) from error
    finally:
        connection.close()


class LexicalIndex:
    """The words of a collection's passages, in one file. Used by one thread at a time.

    Args:
        file: made if need be; one that is broken or of another format is made anew.

    Raises:
        UnsupportedFeatureError: there is no FTS5.
        StoreError: the file cannot be written.
    """

    def __init__(self, file: Path) -> None:
        require_fts5()
        self._file = file
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(file.with_name(file.name + ".lock")):  # one process makes it, the others find it
                self._connection = self._opened()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot open {file}: {error}", value=str(file)) from error
        weakref.finalize(self, self._connection.close)

    @property
    def version(self) -> str | None:
        """The collection's version that is held; None before the first."""
        with self._translated():
            row = self._connection.execute("SELECT value FROM facts WHERE name = 'version'").fetchone()
        return None if row is None else str(row[0])

    def states(self) -> dict[str, str]:
        """The state of each document held, by its source."""
        with self._translated():
            return dict(self._connection.execute("SELECT source, state FROM documents").fetchall())

    @contextmanager
    def changing(self) -> Iterator[None]:
        """All changes or none, and no other process's between them."""
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def replace(self, source: str, state: str, records: Iterable[Record]) -> None:
        """Put a document's passages in place of those that are held of it."""
        self.remove(source)
        self._connection.execute("INSERT INTO documents VALUES (?, ?)", (source, state))
        for record in records:
            row = self._connection.execute(
                "INSERT INTO passages (source, id, metadata) VALUES (?, ?, ?)",
                (source, record.id, json.dumps(record.metadata, ensure_ascii=False)),
            ).lastrowid
            self._connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (row, record.text or ""))

    def remove(self, source: str) -> None:
        """Forget a document. One that is not there is no error."""
        self._connection.execute(
            "DELETE FROM words WHERE rowid IN (SELECT row FROM passages WHERE source = ?)", (source,)
        )
        self._connection.execute("DELETE FROM passages WHERE source = ?", (source,))
        self._connection.execute("DELETE FROM documents WHERE source = ?", (source,))

    def set_version(self, version: str) -> None:
        """Say which version of the collection is held now."""
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES ('version', ?)", (version,))

    def search(self, text: str, limit: int, where: Filter | None = None) -> list[str]:
        """Ids of the passages with any of the words, the best by BM25 first.

        Words are compared without case, accents and (English) endings.

        Args:
            where: only passages whose metadata matches.
        """
        words = list(dict.fromkeys(_WORD.findall(text)))
        if not words:
            return []
        condition, values = "", []
        if where is not None:
            condition = "AND eb_matches(passages.metadata)"
            self._connection.create_function("eb_matches", 1, _matcher(where), deterministic=True)
        values = [" OR ".join(f'"{word}"' for word in words), limit]
        with self._translated():
            rows = self._connection.execute(
                "SELECT passages.id FROM words JOIN passages ON passages.row = words.rowid "
                f"WHERE words MATCH ? {condition} ORDER BY bm25(words), passages.row LIMIT ?",
                values,
            ).fetchall()
        return [str(identity) for (identity,) in rows]

    def close(self) -> None:
        """Close the file. Closing twice is no error."""
        self._connection.close()

    def _opened(self) -> sqlite3.Connection:
        connection = self._connect()
        if _holds_format(connection):
            return connection
        connection.close()
        for ending in ("", "-wal", "-shm"):
            self._file.with_name(self._file.name + ending).unlink(missing_ok=True)
        connection = self._connect()
        connection.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} INSERT INTO facts VALUES ('format', '{_FORMAT}'); COMMIT;"
        )
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=60, isolation_level=None, check_same_thread=False)
        with suppress(sqlite3.DatabaseError):  # told by whoever reads from it first
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"{self._file}: {error}", value=str(self._file), hint="delete the file: it is made again"
            ) from error


def _holds_format(connection: sqlite3.Connection) -> bool:
    try:
        row = connection.execute("SELECT value FROM facts WHERE name = 'format'").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise  # busy, or a full disk: no reason to throw the file away
        return False
    except sqlite3.DatabaseError:
        return False
    return bool(row == (_FORMAT,))


def _matcher(where: Filter) -> Callable[[str], bool]:
    def holds(metadata: str) -> bool:
        return matches(where, json.loads(metadata))

    return holds

"""Connections to PostgreSQL: a pool that outlives restarts of the server, and its errors translated."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from pgvector.psycopg import register_vector
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import (
    DeadlockDetected,
    DiskFull,
    InsufficientPrivilege,
    ProgramLimitExceeded,
    QueryCanceled,
    SerializationFailure,
)
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout
from pydantic_core import from_json

from enginebay.errors import ConfigError, EngineClosedError, StoreError
from enginebay.opening import StoreRequest
from enginebay_plugins.pgvector.options import PgvectorOptions

T = TypeVar("T")

_ATTEMPTS = 5
"""Tries of one piece of work that others' locks, or a restart of the server, put an end to."""


_TRY_SECONDS = 1.0


class Connections:
    """Connections to one database.

    Attributes:
        where: host and database, for messages.
    """

    def __init__(self, request: StoreRequest, options: PgvectorOptions) -> None:
        self._options = options
        self._conninfo = _conninfo(request, options)
        parts = conninfo_to_dict(self._conninfo)
        self.where = f"PostgreSQL at {parts.get('host', 'the default host')}, database {parts.get('dbname', 'default')}"
        self._pool: ConnectionPool[Any] | None = None
        self._process = os.getpid()
        self._closed = False
        self._lock = threading.Lock()

    def run_apart(self, work: Callable[[Connection[Any]], None]) -> None:
        """Do work on a connection beside the pool: on a database without the extension, perhaps.

        Raises:
            StoreError: no connection, or PostgreSQL's errors, translated.
        """
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True)
        except psycopg.Error as error:
            raise StoreError(
                f"cannot connect to {self.where}: {_told(error)}",
                value=self.where,
                hint="see the store's url; its key, if it has one, is the password",
            ) from error
        try:
            with connection:
                work(connection)
        except psycopg.Error as error:
            raise self._translated(error) from error

    def run(self, work: Callable[[Connection[Any]], T]) -> T:
        """Do work on a connection, anew where the server was restarted or another's lock was in the way.

        Work is one statement or one transaction, and doing it twice is as good as once: when the connection breaks,
        nobody knows whether it was done.

        Raises:
            StoreError: PostgreSQL's errors, translated.
            EngineClosedError: the store is closed.
        """
        give_up = time.monotonic() + self._options.connect_timeout
        attempt = 1
        while True:
            try:
                return self._tried(work)
            except _TryAgainError as again:
                attempt += 1
                if attempt > _ATTEMPTS:
                    raise self._translated(again.cause) from again.cause
            except PoolTimeout as error:
                if time.monotonic() < give_up:
                    continue
                raise StoreError(
                    f"{self.where} gives no connection within {self._options.connect_timeout:g} s",
                    value=self.where,
                    hint="the server is away, or all connections are in use: raise connect_timeout, pool_size",
                ) from error
            except psycopg.Error as error:
                raise self._translated(error) from error

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None and self._process == os.getpid():
            pool.close()

    def _tried(self, work: Callable[[Connection[Any]], T]) -> T:
        pool = self._opened_pool()
        with pool.connection() as connection:
            try:
                return work(connection)
            except (DeadlockDetected, SerializationFailure) as error:
                raise _TryAgainError(error) from error
            except psycopg.OperationalError as error:
                if not connection.closed:
                    raise
                failure = error
        pool.check()  # the others broke with it
        raise _TryAgainError(failure)

    def _opened_pool(self) -> ConnectionPool[Any]:
        with self._lock:
            if self._closed:
                raise EngineClosedError("the pgvector store is closed", hint="open it again")
            if self._process != os.getpid():  # a fork must not use its parent's connections
                self._pool, self._process = None, os.getpid()
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._conninfo,
                    min_size=0,
                    max_size=self._options.pool_size,
                    # Left to itself, it waits longer and longer between tries, while the server has long been back.
                    timeout=_TRY_SECONDS,
                    reconnect_timeout=_TRY_SECONDS,
                    kwargs={"autocommit": True},
                    configure=self._configure,
                    open=True,
                )
            return self._pool

    def _configure(self, connection: Connection[Any]) -> None:
        (place,) = connection.execute(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
        ).fetchone() or ("public",)
        # The text is quoted by PostgreSQL already where it must be.
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.SQL(place)))
        connection.execute(
            sql.SQL("SET statement_timeout TO {}").format(int(1000 * self._options.statement_timeout) or 1)
        )
        register_vector(connection)
        set_json_loads(from_json, connection)

    def _translated(self, error: psycopg.Error) -> StoreError:
        hint = None
        if isinstance(error, QueryCanceled):
            hint = "raise the option statement_timeout, or make an index: the options index, metadata_index"
        elif isinstance(error, DiskFull):
            hint = "free space on the server's disk; what was acknowledged is there"
        elif isinstance(error, InsufficientPrivilege):
            hint = "grant the role what it lacks, or name a schema that it may write by the option schema_name"
        elif isinstance(error, ProgramLimitExceeded):
            hint = "PostgreSQL takes namespaces of about 2,000 bytes, and rows with metadata of 256 MB at most"
        return StoreError(f"{self.where}: {_told(error)}", value=self.where, hint=hint)


class _TryAgainError(Exception):
    def __init__(self, cause: psycopg.Error) -> None:
        super().__init__(cause)
        self.cause = cause


def _conninfo(request: StoreRequest, options: PgvectorOptions) -> str:
    password = {} if request.api_key is None else {"password": request.api_key.get_secret_value()}
    defaults = {"connect_timeout": int(options.connect_timeout), "application_name": "enginebay"}
    try:
        return str(make_conninfo("", **(defaults | conninfo_to_dict(request.url or "") | password)))
    except psycopg.Error:
        # Neither the url nor libpq's message is shown: a password may be in them.
        raise ConfigError(
            "the store's url is no PostgreSQL URL",
            hint="postgresql://user@host:5432/database, or host=... dbname=...; the password as the store's key",
        ) from None


def _told(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

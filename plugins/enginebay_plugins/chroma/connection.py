"""Clients of Chroma: of a folder, which belongs to one process at a time, and of a server."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import chromadb
import httpx
from chromadb.api.shared_system_client import SharedSystemClient
from chromadb.config import Settings
from chromadb.errors import ChromaError
from filelock import FileLock, Timeout

from enginebay.config.settings import reveal
from enginebay.errors import ConfigError, EngineClosedError, StoreError
from enginebay.opening import StoreRequest
from enginebay_plugins.chroma.options import ChromaOptions

LOCK_NAME = "enginebay.lock"


class FolderLock(FileLock):
    """Held by the one process that has a folder open; the same object for all openings of the folder there.

    Attributes:
        writing: held by the thread that writes to the folder.
    """

    writing: threading.Lock

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.writing = threading.Lock()


class Connection:
    """A client, until it is closed.

    Attributes:
        writing: held by whoever writes; shared by all connections of this process to a folder.
    """

    def __init__(self, request: StoreRequest, options: ChromaOptions) -> None:
        self._resources = ExitStack()
        self._process = os.getpid()
        place = request.url or str(request.path.resolve())
        self._place = place
        with self._resources as opening, self._errors():
            if request.url:
                self.writing = threading.Lock()
                self._client = _server(request.url, request, options, opening)
            else:
                self.writing = _locked(Path(place), opening).writing
                self._client = _embedded(place)
            opening.callback(self._client.close)
            self._resources = opening.pop_all()
        self._closed = False

    @contextmanager
    def client(self) -> Iterator[Any]:
        """The client; its errors are translated, but for `NotFoundError`, which the caller understands.

        Raises:
            EngineClosedError: the connection is closed.
            StoreError: Chroma failed, or the process was forked since.
        """
        if self._closed:
            raise EngineClosedError("the chroma store is closed", hint="open it again")
        if self._process != os.getpid():
            raise StoreError(
                "the chroma store was opened before the process forked", hint="open it in the child, through a server"
            )
        with self._errors():
            yield self._client

    def close(self) -> None:
        """Close the client and let the folder go."""
        self._closed = True
        if self._process == os.getpid():
            self._resources.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except chromadb.errors.NotFoundError:
            raise
        except (ChromaError, httpx.HTTPError, ValueError, OSError) as error:
            raise StoreError(f"chroma at {self._place}: {type(error).__name__}: {error}", value=self._place) from error


def _locked(folder: Path, opening: ExitStack) -> FolderLock:
    """The lock of a folder, held: two processes on one folder lose records."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder / LOCK_NAME, timeout=0, thread_local=False, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreError(
            f"another process has the chroma store in {folder} open",
            value=str(folder),
            hint=f"close it there, or let all use a server: chroma run --path {folder}, and its address as url",
        ) from error
    opening.callback(lock.release)
    return lock


def _embedded(folder: str) -> Any:
    try:
        return chromadb.PersistentClient(folder, settings=_settings())
    except ChromaError:
        # chromadb keeps what did not start, and would give it out the next time.
        if folder not in SharedSystemClient._identifier_to_refcount:
            SharedSystemClient._identifier_to_system.pop(folder, None)
        raise


def _server(url: str, request: StoreRequest, options: ChromaOptions, opening: ExitStack) -> Any:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ConfigError(f"{url!r} is no address of a Chroma server", value=url, hint="http://127.0.0.1:8000")
    headers = dict(options.headers)
    if request.api_key is not None:
        headers["x-chroma-token"] = reveal(request.api_key)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 8000)
    # chromadb waits for ever: first see that somebody answers, then give its session a time limit.
    httpx.get(f"{parts.scheme}://{parts.hostname}:{port}/api/v2/heartbeat", timeout=options.timeout, headers=headers)
    client = chromadb.HttpClient(
        parts.hostname, port, secure, headers, _settings(), tenant=options.tenant, database=options.database
    )
    # chromadb gives its two sessions no time limit, and closes neither; there is no public way.
    for session in (client._server._session, client._admin_client._server._session):
        session.timeout = options.timeout
        opening.callback(session.close)
    return client


def _settings() -> Settings:
    return Settings(anonymized_telemetry=False)

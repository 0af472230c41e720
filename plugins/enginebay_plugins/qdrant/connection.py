"""Clients of Qdrant: of a folder, which belongs to one process at a time, and of a server."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from enginebay.config.settings import reveal
from enginebay.errors import ConfigError, EngineClosedError, StoreError
from enginebay.opening import StoreRequest
from enginebay_plugins.qdrant.options import QdrantOptions


@dataclass
class _Folder:
    """A folder that is open in this process, with those who use it."""

    client: Any
    lock: threading.RLock = field(default_factory=threading.RLock)
    users: int = 0


# Qdrant's client locks its folder, against a second client in this process as well: they share one.
_FOLDERS: dict[str, _Folder] = {}
_OPENING = threading.Lock()


class Connection:
    """A client, until it is closed.

    Attributes:
        embedded: there is no server.
    """

    def __init__(self, request: StoreRequest, options: QdrantOptions) -> None:
        self.embedded = request.url is None
        self._place = request.url or str(request.path.resolve())
        self._process = os.getpid()
        self._closed = False
        self._folder: _Folder | None = None
        with self.errors():
            if self.embedded:
                self._folder = _taken(self._place)
                self._client = self._folder.client
            else:
                self._client = _server(self._place, request, options)
                self._client.get_collections()  # is anybody there?

    @contextmanager
    def client(self) -> Iterator[Any]:
        """The client; embedded, for one thread at a time.

        Raises:
            EngineClosedError: the connection is closed.
            StoreError: Qdrant failed, or the process was forked since.
        """
        if self._closed:
            raise EngineClosedError("the qdrant store is closed", hint="open it again")
        if self._process != os.getpid():
            raise StoreError("the qdrant store was opened before the process forked", hint="open it in the child")
        with self._folder.lock if self._folder else nullcontext(), self.errors():
            yield self._client

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Qdrant's errors, translated."""
        try:
            yield
        except (QdrantException, ApiException, OSError, RuntimeError, ValueError) as error:
            raise StoreError(f"qdrant at {self._place}: {_told(error)}", value=self._place) from error

    def close(self) -> None:
        """Close the client; a folder's, when nobody uses it any more."""
        if self._closed or self._process != os.getpid():
            self._closed = True
            return
        self._closed = True
        if self._folder is None:
            self._client.close()
        else:
            _given_back(self._place)


def _taken(place: str) -> _Folder:
    with _OPENING:
        if place not in _FOLDERS:
            _FOLDERS[place] = _Folder(_embedded(Path(place)))
        _FOLDERS[place].users += 1
        return _FOLDERS[place]


def _given_back(place: str) -> None:
    with _OPENING:
        folder = _FOLDERS[place]
        folder.users -= 1
        if folder.users == 0:
            del _FOLDERS[place]
            with folder.lock:
                folder.client.close()


def _embedded(folder: Path) -> Any:
    try:
        return QdrantClient(path=str(folder), force_disable_check_same_thread=True)
    except RuntimeError as error:
        if "already accessed" not in str(error):
            raise
        raise StoreError(
            f"another process has the qdrant store in {folder} open",
            value=str(folder),
            hint="close it there, or let all use a Qdrant server, by its url",
        ) from error


def _server(url: str, request: StoreRequest, options: QdrantOptions) -> Any:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is no address of a Qdrant server", value=url, hint="http://127.0.0.1:6333")
    return QdrantClient(
        url=url,
        api_key=None if request.api_key is None else reveal(request.api_key),
        timeout=options.timeout,
        prefer_grpc=options.prefer_grpc,
        grpc_port=options.grpc_port,
        check_compatibility=False,
    )


def _told(error: Exception) -> str:
    if isinstance(error, UnexpectedResponse):
        return f"status {error.status_code}: {error.content.decode(errors='replace')[:500]}"
    return f"{type(error).__name__}: {error}"

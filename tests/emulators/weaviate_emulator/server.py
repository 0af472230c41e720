"""The emulator's two servers."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import grpc
from weaviate.proto.v1 import weaviate_pb2_grpc

from emulators.weaviate_emulator.database import Database
from emulators.weaviate_emulator.rest import handler_of
from emulators.weaviate_emulator.service import Service, health


class _RestServer(ThreadingHTTPServer):
    """Cuts its connections off when it is closed, as a server that has gone does."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class WeaviateEmulator:
    """An emulator of a Weaviate server on two loopback ports; not Weaviate. A context manager.

    Args:
        api_key: that clients must send; None lets all in.
        version: what it calls itself; before 1.33 it lacks `Not`.
        lag: seconds until searches see a write.

    Attributes:
        url: of REST.
        grpc_port: of gRPC.
        pause: seconds before each answer by gRPC.
        overloaded: so many of the next requests by REST are answered with 503.
        refused: UUIDs of objects that it refuses to write.
        deletes_at_once: objects that one call deletes at most.
    """

    def __init__(self, *, api_key: str | None = None, version: str = "1.34.0", lag: float = 0.0) -> None:
        self.version = version
        self.database = Database(lag)
        self.pause = 0.0
        self.overloaded = 0
        self.refused: set[str] = set()
        self.deletes_at_once = 10_000
        self._api_key = api_key
        self._rest = _RestServer(handler_of(self))
        self._grpc = grpc.server(ThreadPoolExecutor(16))
        weaviate_pb2_grpc.add_WeaviateServicer_to_server(Service(self), self._grpc)
        self._grpc.add_generic_rpc_handlers((health(),))
        self.url = f"http://127.0.0.1:{self._rest.server_port}"
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")

    @property
    def version_numbers(self) -> tuple[int, int]:
        """Major and minor."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    def allows(self, authorization: str | None) -> bool:
        """Whether a request with this header may come in."""
        return self._api_key is None or authorization == f"Bearer {self._api_key}"

    def stop(self) -> None:
        """Stop both servers, at once."""
        self._grpc.stop(None).wait()
        self._rest.shutdown()
        self._rest.server_close()

    def __enter__(self) -> Self:
        self._grpc.start()
        threading.Thread(target=self._rest.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

"""The server of the emulator."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError
from qdrant_client import QdrantClient, models

REQUEST_BYTES = 32 << 20
_OF_NO_COLLECTION = ("GET collections", "GET collections/*/exists", "PUT collections/*", "DELETE collections/*")


class RefusedError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class QdrantEmulator:
    """The emulator on a free loopback port.

    Attributes:
        url: where it is.
        key: that requests must bring, if any.
        indexes: payload indexes that were made, by collection.
        requests: methods and paths, in the order they came.
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.indexes: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.searches: list[models.SearchParams | None] = []
        self._client = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self._lock = threading.Lock()

    def __enter__(self) -> QdrantEmulator:
        emulator = self

        class Handler(_Handler):
            answer = staticmethod(emulator._answer)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._client.close()

    def _answer(self, method: str, path: str, key: str | None, body: bytes) -> Any:
        if self.key is not None and key != self.key:
            raise RefusedError(401, "Must provide an API key or an Authorization bearer token")
        if len(body) > REQUEST_BYTES:
            raise RefusedError(413, f"Payload error: JSON payload ({len(body)} bytes) is larger than allowed")
        parts = [part for part in path.split("/") if part]
        call = f"{method} {'/'.join(['*' if place == 1 else part for place, part in enumerate(parts)])}"
        name = parts[1] if len(parts) > 1 else ""
        with self._lock:
            self.requests.append(call)
            if call not in _OF_NO_COLLECTION and not self._client.collection_exists(name):
                raise RefusedError(404, f"Not found: Collection `{name}` doesn't exist!")
            try:
                return _CALLS[call](self, name, body)
            except KeyError:
                raise RefusedError(404, f"the emulator has no call {call}") from None
            except (ValidationError, ValueError) as error:
                raise RefusedError(400, f"Wrong input: {error}") from error

    def _collections(self, _name: str, _body: bytes) -> Any:
        return self._client.get_collections()

    def _exists(self, name: str, _body: bytes) -> Any:
        return {"exists": self._client.collection_exists(name)}

    def _collection(self, name: str, _body: bytes) -> Any:
        return self._client.get_collection(name)

    def _create(self, name: str, body: bytes) -> Any:
        asked = models.CreateCollection.model_validate_json(body)
        if self._client.collection_exists(name):
            raise RefusedError(409, f"Wrong input: Collection `{name}` already exists!")
        self.indexes[name] = {}
        return self._client.create_collection(name, asked.vectors, metadata=asked.metadata)

    def _drop(self, name: str, _body: bytes) -> Any:
        return self._client.delete_collection(name)

    def _index(self, name: str, body: bytes) -> Any:
        asked = models.CreateFieldIndex.model_validate_json(body)
        self.indexes[name][asked.field_name] = asked.field_schema
        return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)

    def _upsert(self, name: str, body: bytes) -> Any:
        return self._client.upsert(name, models.PointsList.model_validate_json(body).points)

    def _query(self, name: str, body: bytes) -> Any:
        asked = models.QueryRequest.model_validate_json(body)
        self.searches.append(asked.params)
        return self._client.query_points(
            name,
            asked.query,
            query_filter=asked.filter,
            limit=asked.limit or 10,
            with_payload=asked.with_payload or False,
            with_vectors=asked.with_vector or False,
        )

    def _retrieve(self, name: str, body: bytes) -> Any:
        asked = models.PointRequest.model_validate_json(body)
        return self._client.retrieve(name, asked.ids, asked.with_payload or False, asked.with_vector or False)

    def _scroll(self, name: str, body: bytes) -> Any:
        asked = models.ScrollRequest.model_validate_json(body)
        points, offset = self._client.scroll(
            name,
            asked.filter,
            limit=asked.limit or 10,
            offset=asked.offset,
            with_payload=asked.with_payload or False,
            with_vectors=asked.with_vector or False,
        )
        return models.ScrollResult(points=points, next_page_offset=offset)

    def _count(self, name: str, body: bytes) -> Any:
        asked = models.CountRequest.model_validate_json(body)
        return self._client.count(name, asked.filter, exact=bool(asked.exact))

    def _delete(self, name: str, body: bytes) -> Any:
        selector = TypeAdapter(models.PointsSelector).validate_json(body)
        return self._client.delete(name, selector)

    def _facet(self, name: str, body: bytes) -> Any:
        asked = models.FacetRequest.model_validate_json(body)
        if asked.key not in self.indexes[name]:
            raise RefusedError(400, f"Bad request: Index required but not found for {asked.key!r}")
        return self._client.facet(name, asked.key, asked.filter, asked.limit or 10, bool(asked.exact))


_CALLS: dict[str, Callable[[QdrantEmulator, str, bytes], Any]] = {
    "GET collections": QdrantEmulator._collections,
    "GET collections/*": QdrantEmulator._collection,
    "GET collections/*/exists": QdrantEmulator._exists,
    "PUT collections/*": QdrantEmulator._create,
    "DELETE collections/*": QdrantEmulator._drop,
    "PUT collections/*/index": QdrantEmulator._index,
    "PUT collections/*/points": QdrantEmulator._upsert,
    "POST collections/*/points": QdrantEmulator._retrieve,
    "POST collections/*/points/query": QdrantEmulator._query,
    "POST collections/*/points/scroll": QdrantEmulator._scroll,
    "POST collections/*/points/count": QdrantEmulator._count,
    "POST collections/*/points/delete": QdrantEmulator._delete,
    "POST collections/*/facet": QdrantEmulator._facet,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answer: Callable[[str, str, str | None, bytes], Any]

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            result = self.answer(self.command, urlsplit(self.path).path, self.headers.get("api-key"), body)
            status, told = (
                200,
                {"result": TypeAdapter(Any).dump_python(result, mode="json"), "status": "ok", "time": 0.0},
            )
        except RefusedError as error:
            status, told = error.status, {"status": {"error": str(error)}, "time": 0.0}
        answer = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815 - names that http.server gives

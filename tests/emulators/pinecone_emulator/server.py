"""The emulator's HTTP server: control plane, data plane, keys and faults."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from emulators.pinecone_emulator.errors import RefusedError, require
from emulators.pinecone_emulator.index import DEFAULT, Index

MAX_REQUEST_BYTES = 2 * 1024 * 1024
MAX_RESULT_BYTES = 4 * 1024 * 1024
Answer = tuple[int, dict[str, Any], dict[str, str]]


@dataclass(frozen=True)
class Fault:
    """What happens to one request in place of its answer.

    Attributes:
        path: the end of the path that it happens to.
        status: answered, unless None.
        seconds: waited before.
        done: the request is done all the same, and only its answer lost.
    """

    path: str
    status: int | None = None
    seconds: float = 0.0
    done: bool = False


class PineconeEmulator:
    """The emulator on a free loopback port, until the context ends.

    Args:
        delay: seconds until a write is seen by queries; statistics need as long again.
        most_indexes: of the project.
        ne_matches_missing: whether `$ne` and `$nin` match a record without the field.
    """

    key = "key-of-a-test"

    def __init__(self, *, delay: float = 0.05, most_indexes: int = 20, ne_matches_missing: bool = False) -> None:
        self.delay = delay
        self.most_indexes = most_indexes
        self.ne_matches_missing = ne_matches_missing
        self.indexes: dict[str, Index] = {}
        self.requests: list[tuple[str, str]] = []
        self._faults: deque[Fault] = deque()
        self._lock = threading.Lock()

    def __enter__(self) -> PineconeEmulator:
        handler = type("Handler", (_Handler,), {"emulator": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fail(self, *faults: Fault) -> None:
        """Let these happen to the next requests for their paths, in order."""
        with self._lock:
            self._faults.extend(faults)

    def next_fault(self, path: str) -> Fault | None:
        """The fault that happens to a request now."""
        with self._lock:
            if self._faults and path.endswith(self._faults[0].path):
                return self._faults.popleft()
        return None

    def answer(self, method: str, target: str, body: dict[str, Any], key: str | None, version: str | None) -> Answer:
        """The answer to a request: status, body and headers."""
        require(key == self.key, "Invalid API Key", 401)
        require(version == "2026-07", f"API version {version} is not emulated")
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        with self._lock:
            self.requests.append((method, parts.path))
            if found := re.fullmatch(r"/at/([^/]+)(/.+)", parts.path):
                return self._data_plane(method, unquote(found[1]), found[2], query, body)
            return self._control_plane(method, parts.path, body)

    def _control_plane(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        if path == "/indexes":
            if method == "POST":
                return 201, self._create(body), {}
            return 200, {"indexes": [index.facts for index in self.indexes.values()]}, {}
        name = unquote(path.removeprefix("/indexes/"))
        require(path.startswith("/indexes/") and name in self.indexes, f"Resource {name} not found", 404)
        if method == "DELETE":
            del self.indexes[name]
            return 202, {}, {}
        return 200, self.indexes[name].facts, {}

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        name, fields, tags = body["name"], body["schema"]["fields"], body.get("tags") or {}
        plain = re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) and len(name) <= 45
        require(bool(plain), f"{name!r} is no index name")
        require(name not in self.indexes, f"Resource {name} already exists", 409)
        require(len(self.indexes) < self.most_indexes, "you have reached the max number of serverless indexes", 403)
        require(set(fields) == {"_values"}, "the emulator has dense vectors only")
        vector = fields["_values"]
        require(vector["type"] == "dense_vector" and 1 <= vector["dimension"] <= 20_000, "dimension is 1 to 20000")
        require(vector["metric"] in ("cosine", "dotproduct", "euclidean"), f"unknown metric {vector['metric']}")
        require(len(tags) <= 20, "at most 20 tags")
        for tag, value in tags.items():
            require(bool(re.fullmatch(r"[a-zA-Z0-9_-]{1,80}", tag)), f"tag {tag!r} is impossible")
            require(len(value) <= 120 and value.isascii() and value.isprintable(), f"value of tag {tag!r}")
        facts = {
            "name": name,
            "host": f"{self.url}/at/{name}",
            "status": {"ready": True, "state": "Ready"},
            "schema": body["schema"],
            "deployment": {"environment": "aped-0000-emulated", **body["deployment"]},
            "read_capacity": {**body.get("read_capacity", {"mode": "OnDemand"}), "status": {"state": "Ready"}},
            "deletion_protection": body.get("deletion_protection", "disabled"),
            "tags": tags or None,
        }
        self.indexes[name] = Index(facts, vector["dimension"], vector["metric"], self.delay, self.ne_matches_missing)
        return facts

    def _data_plane(
        self, method: str, name: str, path: str, query: dict[str, list[str]], body: dict[str, Any]
    ) -> Answer:
        require(name in self.indexes, f"Index {name} not found", 404)
        index = self.indexes[name]
        match method, path:
            case "POST", "/vectors/upsert":
                return 200, *index.upsert(body)
            case "POST", "/vectors/delete":
                return 200, *index.delete(body)
            case "POST", "/query":
                return 200, *index.query(body)
            case "GET", "/vectors/fetch":
                return 200, *index.fetch(query.get("namespace", [DEFAULT])[0], query.get("ids", []))
            case "POST", "/vectors/fetch_by_metadata":
                return 200, *index.fetch_by_metadata(body)
            case "POST", "/describe_index_stats":
                return 200, *index.stats()
            case "GET", "/namespaces":
                return 200, *index.namespaces(
                    int(query.get("limit", ["100"])[0]), query.get("paginationToken", [""])[0]
                )
        raise RefusedError(404, f"{method} {path} is not emulated")


class _Handler(BaseHTTPRequestHandler):
    emulator: PineconeEmulator
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        fault = self.emulator.next_fault(urlsplit(self.path).path)
        if fault is not None:
            time.sleep(fault.seconds)
            if fault.done:
                self._answered(content)
            if fault.status is None:
                self.close_connection = True  # hang up without a word
                return
            self._send(fault.status, {"error": {"code": "FAULT", "message": "a fault of the test"}}, {})
            return
        self._send(*self._answered(content))

    def _answered(self, content: bytes) -> Answer:
        try:
            require(len(content) <= MAX_REQUEST_BYTES, f"request of {len(content)} bytes; 2 MB at most", 413)
            body = json.loads(content) if content else {}
            key, version = self.headers.get("api-key"), self.headers.get("x-pinecone-api-version")
            return self.emulator.answer(self.command, self.path, body, key, version)
        except RefusedError as error:
            return error.status, {"error": {"code": "REFUSED", "message": error.message}, "status": error.status}, {}

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        if len(content) > MAX_RESULT_BYTES and self.path.endswith("/query"):
            status, content = 400, b'{"error":{"code":"REFUSED","message":"the result exceeds 4 MB"}}'
        with suppress(ConnectionError):
            self.send_response(status)
            for name, value in {**headers, "content-type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

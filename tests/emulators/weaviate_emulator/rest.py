"""The emulator's REST interface: meta, schema and tenants."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from emulators.weaviate_emulator.errors import RefusedError
from emulators.weaviate_emulator.schema import add_property

if TYPE_CHECKING:
    from emulators.weaviate_emulator.server import WeaviateEmulator


def handler_of(emulator: WeaviateEmulator) -> type[BaseHTTPRequestHandler]:
    """The handler class of one emulator."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer("GET")

        def do_HEAD(self) -> None:
            self._answer("HEAD")

        def do_POST(self) -> None:
            self._answer("POST")

        def do_DELETE(self) -> None:
            self._answer("DELETE")

        def _answer(self, method: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            try:
                status, value = _answered(emulator, method, self.path, self.headers.get("Authorization"), body)
            except RefusedError as error:
                status, value = error.status, {"error": [{"message": str(error)}]}
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if method != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _answered(emulator: WeaviateEmulator, method: str, path: str, key: str | None, body: Any) -> tuple[int, Any]:
    if emulator.overloaded > 0:
        emulator.overloaded -= 1
        raise RefusedError("overloaded", 503)
    parts = path.partition("?")[0].strip("/").split("/")[1:]
    if parts[0] == ".well-known":
        return (200, {}) if parts[1] in ("ready", "live") else (404, {})
    if not emulator.allows(key):
        return 401, {"code": 401, "message": "unauthorized: invalid api key: invalid api key provided"}
    database = emulator.database
    with database.lock:
        match method, parts:
            case "GET", ["meta"]:
                return 200, {"hostname": "http://[::]:8080", "modules": {}, "version": emulator.version}
            case "GET", ["schema"]:
                return 200, {"classes": list(database.classes.values())}
            case "POST", ["schema"]:
                return 200, database.add_class(body)
            case "GET", ["schema", name]:
                return 200, database.owner(name)
            case "DELETE", ["schema", name]:
                return 200, database.drop(name)
            case "POST", ["schema", name, "properties"]:
                return 200, add_property(database.owner(name), body)
            case "HEAD", ["schema", name, "tenants", tenant]:
                database.owner(name)
                return (200 if tenant in database.shards[name] else 404), {}
            case "POST", ["schema", name, "tenants"]:
                return 200, database.add_tenants(name, [one["name"] for one in body])
            case "DELETE", ["schema", name, "tenants"]:
                database.owner(name)
                for tenant in body:
                    database.shards[name].pop(tenant, None)
                return 200, {}
    raise RefusedError(f"the emulator has no {method} {path}", 501)

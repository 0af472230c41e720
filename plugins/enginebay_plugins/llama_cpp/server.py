"""What generator and embedder share of llama.cpp's own server in process."""

from __future__ import annotations

import http.client
import json
import secrets
import threading
from typing import Any
from urllib.parse import urlsplit

import xllamacpp

from enginebay import OpenRequest
from enginebay.errors import EngineOpenError
from enginebay_plugins.llama_cpp.opening import device_index, device_layers, model_path, threads
from enginebay_plugins.llama_cpp.options import ModelOptions

_FLASH = {
    "auto": xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


def server_params(request: OpenRequest, options: ModelOptions) -> xllamacpp.CommonParams:
    """Parameters of a server, all but its slots and context."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model_path(request))
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = threads(request, options)
    params.n_gpu_layers = device_layers(request, options)
    params.main_gpu = device_index(request)
    params.split_mode = xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_NONE
    params.fit_params = False
    params.flash_attn_type = _FLASH[options.flash_attention]
    params.load_mode = _load_mode(options)
    params.rope_freq_base, params.rope_freq_scale = options.rope_freq_base, options.rope_freq_scale
    # It listens whether wanted or not: on loopback, on a free port, behind a key that nobody else knows.
    params.port = 0
    params.api_keys = [secrets.token_urlsafe(24)]
    params.n_threads_http = 2
    params.endpoint_slots = params.ui = False
    params.verbosity = -1
    return params


def start_server(params: xllamacpp.CommonParams) -> Any:
    """Load the model.

    Raises:
        EngineOpenError: the server refuses the model, an adapter, or the parameters.
    """
    try:
        return xllamacpp.Server(params)
    except Exception as error:
        raise EngineOpenError(
            f"llama.cpp did not open {params.model.path}: {error}",
            value=str(params.model.path),
            hint="verify the file (enginebay models verify), or ask for less context",
        ) from error


class Loopback:
    """The server's loopback port, for what the library has no other way in.

    Args:
        address: where it listens.
        key: the server's own API key.
    """

    def __init__(self, address: str, key: str) -> None:
        self._address = urlsplit(address)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._local = threading.local()

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids; special tokens written in the text are parsed as such.

        Args:
            special: put the model's special tokens around the text.
        """
        body = json.dumps({"content": text, "add_special": special, "parse_special": True})
        answer = self._ask("POST", "/tokenize", body)
        return [int(token) for token in answer["tokens"]]

    def free(self, servers: list[Any]) -> None:
        """Drop the last reference to a server.

        One whose listener or queue has not begun to run would miss its stop, and its destructor wait for ever with the
        GIL held: the server answers a request that goes through both first.
        """
        self._ask("GET", "/lora-adapters")
        servers.clear()

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        for fresh in (False, True):
            connection = self._connection(fresh)
            try:
                connection.request(method, path, body, self._headers)
                return json.loads(connection.getresponse().read())
            except (OSError, http.client.HTTPException):
                # The server closes connections that were idle for long: once more on a new one.
                if fresh:
                    raise
        raise AssertionError("unreachable")

    def _connection(self, fresh: bool) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None or fresh:
            connection = http.client.HTTPConnection(
                self._address.hostname or "127.0.0.1", self._address.port, timeout=60
            )
            self._local.connection = connection
        return connection


def _load_mode(options: ModelOptions) -> Any:
    name = {(True, True): "MMAP_MLOCK", (True, False): "MMAP", (False, True): "MLOCK", (False, False): "NONE"}
    return getattr(xllamacpp.llama_load_mode, f"LLAMA_LOAD_MODE_{name[options.mmap, options.mlock]}")

"""Embedding on llama.cpp's own server in process: each text takes a slot, calls of many threads run together."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import xllamacpp

from enginebay import Embedded, Embedder, OpenRequest
from enginebay.errors import EmbeddingError, EngineClosedError
from enginebay.models.token_cutting import TextCutter
from enginebay_plugins.llama_cpp.opening import longest_batch, options_of
from enginebay_plugins.llama_cpp.options import ModelOptions
from enginebay_plugins.llama_cpp.server import Loopback, server_params, start_server
from enginebay_plugins.llama_cpp.wordpiece import word_limit

_POOLING = {
    "mean": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN,
    "cls": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_CLS,
    "last": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST,
}
_NOT_NORMALISED = -1


def open_engine(request: OpenRequest) -> Embedder:
    """Open the server on a model, with `request.streams` slots.

    Raises:
        EngineOpenError: the server refuses the model, the parameters, or to embed with it.
    """
    params = _params(request, options_of(request, ModelOptions))
    server = start_server(params)
    engine = XllamacppEmbedder(server, Loopback(server.listening_address, params.api_keys[0]), request)
    del server  # the engine holds the only reference, by which it frees the model
    return engine


def _params(request: OpenRequest, options: ModelOptions) -> xllamacpp.CommonParams:
    params = server_params(request, options)
    params.embedding = True
    if request.embedding is not None and request.embedding.pooling is not None:
        params.pooling_type = _POOLING[request.embedding.pooling]
    params.n_parallel = request.streams
    params.n_ctx = params.n_batch = params.n_ubatch = longest_batch(request, options)
    params.kv_unified = True  # the context is for all texts together
    params.cache_ram_mib = 0
    return params


class XllamacppEmbedder(Embedder):
    """A server with its slots.

    Args:
        server: the library's server; the caller gives its reference away.
        loopback: its port.
        request: what the engine was opened for.
    """

    def __init__(self, server: Any, loopback: Loopback, request: OpenRequest) -> None:
        self.max_batch = request.streams
        self.context_length: int = request.context_length
        self._architecture = request.model.architecture
        self._servers = [server]
        self._loopback = loopback
        self._cutter = TextCutter(self._tokenize, request.context_length)
        self._lock = threading.Condition()
        self._running = 0
        self._closed = False

    @cached_property
    def dimension(self) -> int:
        """Width of a vector."""
        return int(self.embed(["a"]).vectors.shape[1])

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embedded:
        """Embed texts; see `Embedder.embed`."""
        with self._call():
            inputs, truncated = self._cutter.read([self._limited(text) for text in texts], truncate=truncate)
            return self._embed(inputs, truncated)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included; see `Embedder.count_tokens`."""
        with self._call():
            return [len(self._tokenize(self._limited(text), True)) for text in texts]

    def close(self) -> None:
        """Free the model, after the calls that are under way."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._lock.wait_for(lambda: not self._running)
        self._loopback.free(self._servers)

    @contextmanager
    def _call(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise EngineClosedError("the engine was closed", hint="open it again")
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._lock.notify_all()

    @cached_property
    def _limited(self) -> Callable[[str], str]:
        return word_limit(self._architecture, self._tokenize)

    def _tokenize(self, text: str, special: bool) -> list[int]:
        return self._loopback.tokenize(text, special=special)

    def _embed(self, inputs: Sequence[str | list[int]], truncated: tuple[int, ...]) -> Embedded:
        body = {"input": list(inputs), "encoding_format": "base64", "embd_normalize": _NOT_NORMALISED}
        answer = self._servers[0].handle_embeddings(body)
        if "error" in answer:
            error = answer["error"]
            raise EmbeddingError(f"llama.cpp failed: {error.get('message', 'no reason given')}", value=error)
        rows = sorted(answer["data"], key=lambda entry: entry["index"])
        vectors = np.stack([np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4") for row in rows])
        return Embedded(vectors, int(answer["usage"]["prompt_tokens"]), truncated)

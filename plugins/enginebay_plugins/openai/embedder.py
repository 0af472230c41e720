"""Embedding on a server elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from tenacity import Retrying

from enginebay import Embedded, Embedder, OpenRequest
from enginebay.errors import ContextLengthError, EmbeddingError, EnginebayError, EngineClosedError, EngineOpenError
from enginebay.models.token_cutting import TextCutter
from enginebay_plugins.openai.options import EmbeddingOptions, ServerOptions
from enginebay_plugins.openai.wire import (
    RefusedError,
    connection,
    json_of,
    listed_context,
    listed_model,
    retrying,
    tokenize_request,
    tokenizes,
    translated,
)

_CONNECTIONS = 8
_MOST_BYTES = {"openai": 300_000}
"""Of the texts of one request: OpenAI takes 300,000 tokens, none of which is shorter than a byte."""

_BASE64 = frozenset({"openai", "openai_vllm", "openai_llama_cpp"})
"""Servers that write vectors so when asked to: a third of the bytes, and no rounding."""


def open_engine(request: OpenRequest) -> Embedder:
    """Reach the server, find the model there, and embed one text.

    Raises:
        EngineOpenError: it cannot be reached, refuses the key, does not have the model or cannot embed with it.
        ConfigError: the environment lacks the variable with the key.
    """
    options = request.options
    if not isinstance(options, ServerOptions):
        raise EngineOpenError("a server's engine needs options", hint="set base_url")
    engine = ServerEmbedder(request.model.name, request.backend, options, request.streams)
    try:
        engine.connect()
    except BaseException:
        engine.close()
        raise
    return engine


class ServerEmbedder(Embedder):
    """A model on a server. Many threads may call it.

    Args:
        model: the server's name for it.
        backend: kind of server.
        streams: texts sent in one request.
    """

    def __init__(self, model: str, backend: str, options: ServerOptions, streams: int) -> None:
        self.max_batch = streams
        self.context_length = options.context_length
        self._model = model
        self._backend = backend
        self._options = options
        self._dimensions = options.dimensions if isinstance(options, EmbeddingOptions) else None
        self._width = 0
        self._client = httpx.Client(**connection(options, _CONNECTIONS))

    def connect(self) -> None:
        """Find the model, and learn the width of its vectors.

        Raises:
            EngineOpenError: see `open_engine`.
        """
        if self._options.check_model:
            found = listed_model(lambda: self._ask("GET", "models"), self._model, self._options)
            self.context_length = self.context_length or listed_context(found)
        try:
            self._width = self.embed(["a"]).vectors.shape[1]
        except EnginebayError as error:
            raise EngineOpenError(
                f"{self._model!r} at {self._options.base_url} does not embed: {error.message}",
                value=self._model,
                hint=error.hint or "take a model for embedding, and a server that was started for it",
            ) from error
        if self._dimensions not in (None, self._width):
            raise EngineOpenError(
                f"the server gives vectors of {self._width} numbers, not {self._dimensions}",
                value=self._dimensions,
                hint="leave out dimensions: the model was not trained to be cut short",
            )

    @property
    def dimension(self) -> int:
        """Width of a vector."""
        return self._width

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embedded:
        """Embed texts; see `Embedder.embed`. Only servers that tokenize have texts cut."""
        self._check_open()
        inputs: Sequence[str | list[int]] = texts
        truncated: tuple[int, ...] = ()
        if self.context_length is not None and tokenizes(self._backend):
            inputs, truncated = TextCutter(self._tokenize, self.context_length).read(texts, truncate=truncate)
        answers = [self._request(group) for group in self._groups(inputs)]
        counts = [count for _, count in answers]
        tokens = None if None in counts else sum(count or 0 for count in counts)
        return Embedded(np.concatenate([vectors for vectors, _ in answers]), tokens, truncated)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, from servers that tokenize; see `Embedder.count_tokens`."""
        self._check_open()
        if not tokenizes(self._backend):
            return super().count_tokens(texts)
        return [len(self._tokenize(text, True)) for text in texts]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _check_open(self) -> None:
        if self._client.is_closed:
            raise EngineClosedError("the engine was closed", hint="open it again")

    def _groups(self, inputs: Sequence[str | list[int]]) -> Iterator[list[str | list[int]]]:
        """What goes into one request, in order."""
        most = _MOST_BYTES.get(self._backend)
        group: list[str | list[int]] = []
        size = 0
        for one in inputs:
            bytes_of_one = len(one.encode()) if isinstance(one, str) else len(one)
            if group and most is not None and size + bytes_of_one > most:
                yield group
                group, size = [], 0
            group.append(one)
            size += bytes_of_one
        yield group

    def _request(self, inputs: Sequence[str | list[int]]) -> tuple[NDArray[np.float32], int | None]:
        """Vectors of one request's texts, and the tokens that the server counts."""
        path, body = self._body(inputs)
        try:
            answer = self._post(path, body)
        except ContextLengthError as error:
            raise ContextLengthError(error.prompt_tokens, error.context_length, text=self._place(inputs)) from error
        vectors, tokens = _vectors(answer)
        if vectors.ndim != 2 or len(vectors) != len(inputs):
            raise EmbeddingError(f"the server gave {len(vectors)} vectors for {len(inputs)} texts", value=len(vectors))
        return vectors, tokens

    def _body(self, inputs: Sequence[str | list[int]]) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {"model": self._model, "input": list(inputs)}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        if self._backend == "openai_ollama":
            # Through OpenAI's protocol it cuts long texts in silence.
            return str(httpx.URL(self._options.base_url).copy_with(path="/api/embed")), body | {"truncate": False}
        return "embeddings", body | {"encoding_format": "base64" if self._backend in _BASE64 else "float"}

    def _place(self, inputs: Sequence[str | list[int]]) -> int | None:
        """Which text is too long, where the longest one is also alone."""
        place = max(range(len(inputs)), key=lambda row: len(inputs[row]))
        if len(inputs) > 1:
            try:
                self._post(*self._body([inputs[place]]))
            except ContextLengthError:
                return place
            return None
        return place

    def _tokenize(self, text: str, special: bool) -> list[int]:
        url, body = tokenize_request(self._backend, self._model, self._options, text, special=special)
        return [int(token) for token in self._post(url, body)["tokens"]]

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._ask("POST", path, body)
        except (httpx.HTTPError, RefusedError, RuntimeError) as error:
            self._check_open()
            if isinstance(error, RuntimeError):
                raise
            raise translated(error, self._options, self.context_length or 0, _failure) from error

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        for attempt in Retrying(**retrying(self._options)):
            with attempt:
                return json_of(self._client.request(method, path, json=body))
        raise AssertionError("unreachable")


def _failure(message: str, hint: str | None) -> Exception:
    return EmbeddingError(message, hint=hint)


def _vectors(answer: Mapping[str, Any]) -> tuple[NDArray[np.float32], int | None]:
    """The rows of an answer in order, and the tokens read; of OpenAI's form or Ollama's.

    Raises:
        EmbeddingError: it is of neither.
    """
    try:
        if "embeddings" in answer:
            return np.array(answer["embeddings"], dtype=np.float32), answer.get("prompt_eval_count")
        rows = sorted(answer["data"], key=lambda row: int(row["index"]))
        vectors = np.array([_row(row["embedding"]) for row in rows], dtype=np.float32)
        return vectors, (answer.get("usage") or {}).get("prompt_tokens")
    except (KeyError, TypeError, ValueError) as error:
        raise EmbeddingError(
            f"the server's answer has no vectors: {str(answer)[:80]}", value=error, hint="is it a server that embeds?"
        ) from error


def _row(vector: str | list[float]) -> NDArray[np.float32]:
    if isinstance(vector, str):
        return np.frombuffer(base64.b64decode(vector, validate=True), dtype="<f4")
    return np.array(vector, dtype=np.float32)

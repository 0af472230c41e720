"""Embedding on llama.cpp through llama-cpp-python's bindings of its C API: texts as sequences of one batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from enginebay import Embedded, Embedder, OpenRequest
from enginebay.errors import (
    ContextLengthError,
    EmbeddingError,
    EngineClosedError,
    EngineOpenError,
    InvalidParameterError,
)
from enginebay.models.token_cutting import cut, end_tokens
from enginebay_plugins.llama_cpp.logs import LOG
from enginebay_plugins.llama_cpp.native import context_params, load_model, token_ids
from enginebay_plugins.llama_cpp.opening import longest_batch, options_of
from enginebay_plugins.llama_cpp.options import ModelOptions
from enginebay_plugins.llama_cpp.wordpiece import word_limit

_MODELS_OWN = -1
_POOLING = {"mean": 1, "cls": 2, "last": 3}
"""By enginebay's names, llama.cpp's `enum llama_pooling_type`."""


def open_engine(request: OpenRequest) -> Embedder:
    """Open a model and a context for `request.streams` texts.

    Raises:
        EngineOpenError: llama.cpp refuses the model or the context, or nothing says how to pool.
    """
    options = options_of(request, ModelOptions)
    model = load_model(request, options)
    context = llama_cpp.llama_init_from_model(model, _context_params(request, options))
    if not context:
        llama_cpp.llama_model_free(model)
        raise EngineOpenError(
            f"llama.cpp made no context of {longest_batch(request, options)} tokens: {LOG.reason()}",
            value=request.context_length,
            hint="ask for less context_length, or a smaller batch_size",
        )
    engine = LlamaCppEmbedder(model, context, request, options.batch_size)
    if llama_cpp.llama_pooling_type(context) not in _POOLING.values():
        engine.close()
        raise EngineOpenError(
            f"{request.model.path} does not say how its tokens' vectors become one",
            value=request.model.reference,
            hint="take a model made for embedding",
        )
    return engine


def _context_params(request: OpenRequest, options: ModelOptions) -> Any:
    params = context_params(request, options)
    params.n_ctx = params.n_batch = params.n_ubatch = longest_batch(request, options)
    params.n_seq_max = request.streams
    params.kv_unified = True  # the context is for all texts together
    params.embeddings = True
    pooling = request.embedding.pooling if request.embedding is not None else None
    params.pooling_type = _POOLING.get(pooling or "", _MODELS_OWN)
    return params


class LlamaCppEmbedder(Embedder):
    """A model with one context. Calls from several threads wait for one another.

    Args:
        model, context: llama.cpp's handles, freed by `close`.
        request: what the engine was opened for.
        batch_size: tokens of short texts that are read together.
    """

    def __init__(self, model: Any, context: Any, request: OpenRequest, batch_size: int) -> None:
        self.max_batch = request.streams
        self.context_length: int = request.context_length
        self._architecture = request.model.architecture
        self._model = model
        self._context = context
        self._batch_size = batch_size
        self._vocabulary = llama_cpp.llama_model_get_vocab(model)
        self._memory = llama_cpp.llama_get_memory(context)
        self._dimension = int(llama_cpp.llama_model_n_embd_out(model))
        self._batch = llama_cpp.llama_batch_init(int(llama_cpp.llama_n_batch(context)), 0, 1)
        self._native = threading.Lock()
        self._closed = False

    @property
    def dimension(self) -> int:
        """Width of a vector."""
        return self._dimension

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embedded:
        """Embed texts; see `Embedder.embed`."""
        with self._native:
            self._check_open()
            sequences, truncated = self._sequences(texts, truncate)
            vectors = np.empty((len(texts), self._dimension), dtype=np.float32)
            for rows in self._groups(sequences):
                vectors[rows.start : rows.stop] = self._evaluate(sequences[rows.start : rows.stop])
        return Embedded(vectors, sum(map(len, sequences)), tuple(truncated))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included; see `Embedder.count_tokens`."""
        with self._native:
            self._check_open()
            return [len(self._tokens(text)) for text in texts]

    def close(self) -> None:
        """Free context and model, after the call that is under way."""
        with self._native:
            if self._closed:
                return
            self._closed = True
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._context)
            llama_cpp.llama_model_free(self._model)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosedError("the engine was closed", hint="open it again")

    def _sequences(self, texts: Sequence[str], truncate: bool) -> tuple[list[list[int]], list[int]]:
        sequences, truncated = [], []
        for row, text in enumerate(texts):
            ids = self._tokens(text)
            if not ids:
                raise InvalidParameterError(f"text {row} has no tokens", value=text, hint="leave out empty texts")
            if len(ids) > self.context_length:
                if not truncate:
                    raise ContextLengthError(len(ids), self.context_length, text=row)
                ids = cut(ids, self.context_length, self._end)
                truncated.append(row)
            sequences.append(ids)
        return sequences, truncated

    @cached_property
    def _end(self) -> tuple[int, ...]:
        return end_tokens(self._tokenize)

    @cached_property
    def _limited(self) -> Callable[[str], str]:
        return word_limit(self._architecture, self._tokenize)

    def _tokens(self, text: str) -> list[int]:
        return self._tokenize(self._limited(text), True)

    def _tokenize(self, text: str, special: bool) -> list[int]:
        return token_ids(self._vocabulary, text, special=special)

    def _groups(self, sequences: Sequence[Sequence[int]]) -> Iterator[range]:
        """Rows that are read together: as many as `batch_size` holds, one at least."""
        start = count = 0
        for row, sequence in enumerate(sequences):
            if row > start and count + len(sequence) > self._batch_size:
                yield range(start, row)
                start, count = row, 0
            count += len(sequence)
        if start < len(sequences):
            yield range(start, len(sequences))

    def _evaluate(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self._fill(sequences)
        if self._memory:
            llama_cpp.llama_memory_clear(self._memory, True)
            code = llama_cpp.llama_decode(self._context, self._batch)
        else:
            code = llama_cpp.llama_encode(self._context, self._batch)
        if code:
            raise EmbeddingError(f"llama.cpp failed with code {code}: {LOG.reason()}", value=code)
        found = (llama_cpp.llama_get_embeddings_seq(self._context, number) for number in range(len(sequences)))
        return np.stack([np.ctypeslib.as_array(vector, (self._dimension,)) for vector in found])

    def _fill(self, sequences: Sequence[Sequence[int]]) -> None:
        batch = self._batch
        lengths = [len(sequence) for sequence in sequences]
        count = batch.n_tokens = sum(lengths)
        np.ctypeslib.as_array(batch.token, (count,))[:] = np.concatenate(sequences)
        np.ctypeslib.as_array(batch.pos, (count,))[:] = np.concatenate([np.arange(length) for length in lengths])
        np.ctypeslib.as_array(batch.n_seq_id, (count,))[:] = 1
        np.ctypeslib.as_array(batch.logits, (count,))[:] = 1
        for place, number in enumerate(np.repeat(np.arange(len(lengths)), lengths)):
            batch.seq_id[place][0] = number

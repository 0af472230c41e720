"""The CTranslate2 embedder: the encoder's last hidden states, pooled by the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from enginebay import DeviceKind, Embedded, Embedder, OpenRequest, Pooling
from enginebay.embedding.pooling import pool, pooling_of
from enginebay.embedding.tokens import EncoderTokenizer, TokenBatch
from enginebay.errors import EngineClosedError
from enginebay_plugins.ctranslate2.loading import load, model_folder
from enginebay_plugins.ctranslate2.options import CTranslate2EmbedderOptions
from enginebay_plugins.ctranslate2.views import as_array

_CPU_BATCH = 1024
"""Tokens, padding included, that are computed together: a wider batch leaves the processor's cache."""

_NO_LIMIT = 1 << 30


def open_embedder(request: OpenRequest) -> Embedder:
    """Load a converted encoder.

    Raises:
        EngineOpenError: CTranslate2 refuses the model or the compute type.
        ModelFormatError: the folder has no tokenizer.json.
    """
    given = request.options
    options = given if isinstance(given, CTranslate2EmbedderOptions) else CTranslate2EmbedderOptions()
    pooling = pooling_of(request)
    tokenizer = EncoderTokenizer(model_folder(request), request.context_length)
    encoder = load(ctranslate2.Encoder, request, options)
    return CTranslate2Embedder(encoder, tokenizer, pooling, request)


class CTranslate2Embedder(Embedder):
    """An encoder in memory. Calls of several threads are queued by CTranslate2 itself."""

    def __init__(self, encoder: Any, tokenizer: EncoderTokenizer, pooling: Pooling, request: OpenRequest) -> None:
        self.max_batch = request.streams
        self.context_length = request.context_length
        self._encoder = encoder
        self._tokenizer = tokenizer
        self._pooling = pooling
        self._dimension = request.model.embedding_length
        self._batch_tokens = _CPU_BATCH if request.device.kind is DeviceKind.CPU else _NO_LIMIT

    @property
    def dimension(self) -> int:
        """Width of a vector."""
        return self._dimension

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embedded:
        """Embed a batch; see `Embedder.embed`."""
        encoder = self._open()
        batch = self._tokenizer.encode(texts, truncate=truncate)
        return batch.embedded(self._batch_tokens, lambda part: self._run(encoder, part))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text; see `Embedder.count_tokens`."""
        self._open()
        return self._tokenizer.count(texts)

    def close(self) -> None:
        """Free the model, when the calls that are under way have ended."""
        self._encoder = None

    def _run(self, encoder: Any, batch: TokenBatch) -> NDArray[np.float32]:
        _, mask = batch.padded(self._tokenizer.pad)
        return pool(as_array(encoder.forward_batch(batch.ids).last_hidden_state), mask, self._pooling)

    def _open(self) -> Any:
        if self._encoder is None:
            raise EngineClosedError("the engine was closed", hint="open it again")
        return self._encoder

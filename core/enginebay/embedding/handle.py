"""The friendly side of an embedder."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from enginebay.embedding.similarity import cosine, nearest
from enginebay.embedding.texts import checked_text, checked_texts
from enginebay.errors import EmbeddingError, EnginebayError, InvalidParameterError, TruncationWarning
from enginebay.hookspecs import RequestEvent
from enginebay.interfaces.embedder import Embedded, Embedder, Progress
from enginebay.interfaces.generator import Timing, Usage
from enginebay.models.identity import weights_identity
from enginebay.models.info import ModelInfo
from enginebay.opened import Handle, OpenEngine

if TYPE_CHECKING:
    from enginebay.matching.decision import Decision, Match
    from enginebay.spec import BackendSpec

Vectors = NDArray[np.float32]
TextsOrVectors = str | Sequence[str] | NDArray[Any]
"""One text, several, or vectors of shape (dimension,) or (n, dimension)."""


def hold_embedder(
    engine: object, spec: BackendSpec, match: Match, model: ModelInfo, decision: Decision
) -> OpenEngine[Embedder]:
    """What a factory gave, as an open embedder.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(engine, Embedder):
        raise TypeError(f"the factory returned {type(engine).__name__}, not an Embedder")
    return OpenEngine(engine, spec, match, model, decision)


@dataclass(frozen=True)
class EmbedderHandle(Handle[Embedder]):
    """An open embedder as users hold it; made by `Bay.embedder`. Many threads may use it.

    Attributes:
        query_prefix, document_prefix: put before queries, and before documents.
        truncate: cut texts that are too long, with a `TruncationWarning`, unless a call says otherwise.
        normalise: vectors have length 1.
    """

    query_prefix: str = ""
    document_prefix: str = ""
    truncate: bool = False
    normalise: bool = True

    def embed_documents(
        self, texts: Iterable[str], *, truncate: bool | None = None, progress: Progress | None = None
    ) -> Vectors:
        """Embed texts that are to be found.

        Args:
            truncate: cut texts that are too long, in place of the configured choice.
            progress: told how many texts are embedded, of how many, after each batch.

        Returns:
            float32 array of shape (texts, dimension), rows in the order given; (0, dimension) for no texts.

        Raises:
            InvalidParameterError: something in `texts` is no text.
            ContextLengthError: a text is longer than the model reads; it names the text, and nothing was embedded
                for the caller.
            EmbeddingError: the engine failed.
            EngineClosedError: the engine or its bay was closed.
        """
        return self._embed([self.document_prefix + text for text in checked_texts(texts)], truncate, progress)

    def embed_query(self, text: str, *, truncate: bool | None = None) -> Vectors:
        """Embed a text that is to find others; float32 array of shape (dimension,). Raises as `embed_documents`."""
        vectors: Vectors = self._embed([self.query_prefix + checked_text(text, "the query")], truncate)[0]
        return vectors

    async def aembed_documents(
        self, texts: Iterable[str], *, truncate: bool | None = None, progress: Progress | None = None
    ) -> Vectors:
        """Async twin of `embed_documents`; cancelled, it ends with the batch that is under way."""
        return await self._aembed([self.document_prefix + text for text in checked_texts(texts)], truncate, progress)

    async def aembed_query(self, text: str, *, truncate: bool | None = None) -> Vectors:
        """Async twin of `embed_query`."""
        vectors = await self._aembed([self.query_prefix + checked_text(text, "the query")], truncate)
        one: Vectors = vectors[0]
        return one

    def count_tokens(self, texts: Iterable[str]) -> list[int]:
        """Tokens of each text as a document: with its prefix and special tokens, nothing cut.

        Raises:
            UnsupportedFeatureError: the engine does not tell.
        """
        self.check_open()
        prefixed = [self.document_prefix + text for text in checked_texts(texts)]
        with self._translating():
            return self.engine.count_tokens(prefixed) if prefixed else []

    def similarity(self, left: TextsOrVectors, right: TextsOrVectors) -> Vectors | float:
        """Cosine similarity, -1 to 1. Texts are embedded as documents.

        Returns:
            A number for two single texts or vectors; else an array with an axis for each side that has several.
        """
        (first, one), (second, other) = self._rows(left), self._rows(right)
        scores = cosine(first, second)
        if one and other:
            return float(scores[0, 0])
        if one:
            return np.asarray(scores[0])
        return np.asarray(scores[:, 0]) if other else scores

    def search(
        self, query: str | NDArray[Any], among: Sequence[str] | NDArray[Any], limit: int = 10
    ) -> list[tuple[int, float]]:
        """The texts or vectors nearest to a query, best first, as (index, cosine similarity).

        Args:
            query: a text, embedded as a query, or a vector.
            among: texts, embedded as documents, or vectors of shape (n, dimension).
        """
        vector = self.embed_query(query) if isinstance(query, str) else query
        rows, _ = self._rows(among)
        return nearest(cosine(self._rows(vector)[0], rows)[0], limit)

    @property
    def dimension(self) -> int:
        """Width of a vector."""
        return self.engine.dimension

    @property
    def context_length(self) -> int | None:
        """Tokens of one text that are read, prefix and special ones included; None when the engine does not say."""
        return self.engine.context_length

    @cached_property
    def fingerprint(self) -> str:
        """Equal for embedders whose vectors may be compared: of weights, width, pooling, normalisation and prefixes.

        It is the same on every backend, and for a model that was quantised from these weights here: such vectors
        differ a little (cosine similarity of 0.98 and more) but lie in one space. How much of a long text is read is
        not in it.
        """
        source = self._source
        pooling = source.embedding.pooling if source.embedding is not None else None
        how = (self.dimension, pooling, self.normalise, self.query_prefix, self.document_prefix)
        return sha256(repr((weights_identity(source), *how)).encode()).hexdigest()[:16]

    @property
    def _source(self) -> ModelInfo:
        """The model as it was asked for, before any conversion."""
        return self.decision.requirement.model or self.model

    def _embed(self, texts: Sequence[str], truncate: bool | None, progress: Progress | None = None) -> Vectors:
        self.check_open()
        with self._translating() as started:
            choices = self._choices(truncate, progress)
            embedded = self.engine.embed_all(texts, gate=self.opened.gate, **choices)
        return self._told(embedded, started)

    async def _aembed(self, texts: Sequence[str], truncate: bool | None, progress: Progress | None = None) -> Vectors:
        self.check_open()
        with self._translating() as started:
            choices = self._choices(truncate, progress)
            embedded = await self.engine.aembed_all(texts, gate=self.opened.gate, **choices)
        return self._told(embedded, started)

    def _choices(self, truncate: bool | None, progress: Progress | None) -> dict[str, Any]:
        cut = self.truncate if truncate is None else truncate
        return {"truncate": cut, "normalise": self.normalise, "progress": progress}

    @contextmanager
    def _translating(self) -> Iterator[float]:
        """Let no engine's own exception out, and tell observers of failures; gives the time it began."""
        try:
            yield time.perf_counter()
        except BaseException as error:
            self.tell(RequestEvent(*self.opened.names(), usage=None, timing=None, error=str(error)))
            if isinstance(error, EnginebayError) or not isinstance(error, Exception):
                raise
            raise EmbeddingError(
                f"backend {self.spec.name!r} failed: {type(error).__name__}: {error}", value=error
            ) from error

    def _told(self, embedded: Embedded, started: float) -> Vectors:
        """The vectors, when observers and, where texts were cut, the caller have been told."""
        seconds, tokens = time.perf_counter() - started, embedded.tokens or 0
        timing = Timing(seconds, seconds, tokens / seconds)
        self.tell(RequestEvent(*self.opened.names(), usage=Usage(prompt_tokens=tokens), timing=timing))
        cut = embedded.truncated
        if cut:
            warnings.warn(
                f"{len(cut)} of {len(embedded.vectors)} texts were cut to {self.context_length} tokens, "
                f"text {cut[0]} the first of them",
                TruncationWarning,
                stacklevel=4,
            )
        return embedded.vectors

    def _rows(self, given: TextsOrVectors) -> tuple[Vectors, bool]:
        """Vectors of shape (n, dimension), and whether it was a single text or vector."""
        if isinstance(given, str):
            return self.embed_documents([given]), True
        if not isinstance(given, np.ndarray):
            return self.embed_documents(given), False
        rows = np.atleast_2d(np.asarray(given, dtype=np.float32))
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise InvalidParameterError(
                f"an array of shape {given.shape} is neither a vector of dimension {self.dimension} nor several",
                value=given.shape,
            )
        return rows, given.ndim == 1

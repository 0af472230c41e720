"""The embedder interface: vectors out of texts."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enginebay.errors import ContextLengthError, UnsupportedFeatureError
from enginebay.interfaces._threads import settled

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from enginebay.gate import Gate

    Vectors = npt.NDArray[np.float32]

Progress = Callable[[int, int], None]
"""Told how many texts are embedded, of how many."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What an engine makes of some texts.

    Attributes:
        vectors: float32 array of shape (texts, dimension), rows in the order of the texts.
        tokens: tokens read in all, special ones included; None when the engine does not tell.
        truncated: rows whose text was cut, in order.
    """

    vectors: Vectors
    tokens: int | None = None
    truncated: tuple[int, ...] = ()


class Embedder(ABC):
    """An engine that embeds text.

    A backend implements `embed` and `dimension`, and sets the attributes that are not as below. Texts come checked,
    with their prefixes before them; the vectors are pooled as the request to open the engine says.

    Attributes:
        max_batch: texts that `embed` takes in one call.
        context_length: tokens of one text that the engine reads, special ones included; None when it does not say.
        normalised: `embed` gives vectors of length 1 by itself.
    """

    max_batch: int = 64
    context_length: int | None = None
    normalised: bool = False

    @abstractmethod
    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embedded:
        """Embed at least one and at most `max_batch` texts. An empty text embeds its special tokens.

        Args:
            truncate: read the first `context_length` tokens of a longer text, special ones included, and say so.

        Raises:
            ContextLengthError: a text is longer, and may not be cut; `text` is its row.
            EngineClosedError: after `close`.
        """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Width of a vector."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as `embed` would read it, special ones included, nothing cut.

        It may be called while `embed` runs in another thread.

        Raises:
            UnsupportedFeatureError: the engine does not tell.
            EngineClosedError: after `close`.
        """
        raise UnsupportedFeatureError(
            f"{type(self).__name__} does not tell how many tokens a text has",
            value=type(self).__name__,
            hint="take a backend that runs the model on this machine",
        )

    def close(self) -> None:
        """Free weights and memory. Closing twice is no error."""

    async def aembed(self, texts: Sequence[str], *, truncate: bool = False) -> Embedded:
        """Async twin of `embed`, in a worker thread; cancelled, it returns when the thread has ended."""
        work = asyncio.ensure_future(asyncio.to_thread(self.embed, texts, truncate=truncate))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await settled(work)
            raise

    def embed_all(
        self,
        texts: Sequence[str],
        *,
        truncate: bool = False,
        normalise: bool = True,
        progress: Progress | None = None,
        gate: Gate | None = None,
    ) -> Embedded:
        """Embed any number of texts in batches of like length, the longest first, rows in the order given.

        Args:
            truncate: see `embed`.
            normalise: scale each row to Euclidean length 1; a zero row stays zero.
            progress: called after each batch.
            gate: held during each batch, so that calls of other threads come in between.

        Raises:
            ContextLengthError: see `embed`; `text` counts in `texts`.
        """
        work = _Batches(self, texts)
        for rows in work:
            with gate or nullcontext(), work.naming(rows):
                work.take(rows, self.embed([texts[row] for row in rows], truncate=truncate))
            if progress is not None:
                progress(work.done, len(texts))
        return work.result(normalise)

    async def aembed_all(
        self,
        texts: Sequence[str],
        *,
        truncate: bool = False,
        normalise: bool = True,
        progress: Progress | None = None,
        gate: Gate | None = None,
    ) -> Embedded:
        """Async twin of `embed_all`; cancelled, it ends with the batch that is under way."""
        work = _Batches(self, texts)
        for rows in work:
            async with gate or nullcontext():
                with work.naming(rows):
                    work.take(rows, await self.aembed([texts[row] for row in rows], truncate=truncate))
            if progress is not None:
                progress(work.done, len(texts))
        return work.result(normalise)


class _Batches:
    """The batches of many texts, and the place where their vectors are gathered."""

    def __init__(self, engine: Embedder, texts: Sequence[str]) -> None:
        import numpy as np

        self._engine = engine
        self._order = sorted(range(len(texts)), key=lambda row: len(texts[row]), reverse=True)
        self._vectors = np.empty((len(texts), engine.dimension), dtype=np.float32)
        self._tokens: int | None = 0
        self._truncated: list[int] = []
        self.done = 0

    def __iter__(self) -> Iterator[list[int]]:
        size = self._engine.max_batch
        return (self._order[start : start + size] for start in range(0, len(self._order), size))

    @contextmanager
    def naming(self, rows: Sequence[int]) -> Iterator[None]:
        """Let an error about a row of a batch name the text by its place among all."""
        try:
            yield
        except ContextLengthError as error:
            if error.text is None:
                raise
            raise ContextLengthError(error.prompt_tokens, error.context_length, text=rows[error.text]) from error

    def take(self, rows: Sequence[int], embedded: Embedded) -> None:
        self._vectors[rows] = embedded.vectors
        self._truncated += [rows[row] for row in embedded.truncated]
        if self._tokens is not None:
            self._tokens = None if embedded.tokens is None else self._tokens + embedded.tokens
        self.done += len(rows)

    def result(self, normalise: bool) -> Embedded:
        if normalise and not self._engine.normalised:
            scale_to_one(self._vectors)
        return Embedded(self._vectors, self._tokens, tuple(sorted(self._truncated)))


def scale_to_one(vectors: Vectors) -> None:
    """Scale each row to Euclidean length 1, in place; a zero row stays zero."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 0)

"""The embedder interface: vectors out of texts."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]


class Embedder(ABC):
    """An engine that embeds text.

    A backend implements `embed` and `dimension`.

    Attributes:
        max_batch: texts that `embed` takes in one call.
        context_length: tokens of one text that the model reads; None when the engine does not say.
        normalised: `embed` gives vectors of length 1 by itself.
    """

    max_batch: int = 64
    context_length: int | None = None
    normalised: bool = False

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed at most `max_batch` texts.

        Returns:
            float32 array of shape (len(texts), dimension), rows in the order of the texts.

        Raises:
            ContextLengthError: a text is longer than the model reads; nothing is cut in silence.
            EngineClosedError: after `close`.
        """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Width of a vector."""

    def close(self) -> None:
        """Free weights and memory. Closing twice is no error."""

    def embed_all(self, texts: Sequence[str], *, normalise: bool = True) -> Vectors:
        """Embed any number of texts in batches of like length, rows in the order given.

        Args:
            normalise: scale each row to Euclidean length 1; a zero row stays zero.

        Returns:
            float32 array of shape (len(texts), dimension); (0, dimension) for no texts.
        """
        import numpy as np

        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), self.max_batch):
            rows = order[start : start + self.max_batch]
            vectors[rows] = self.embed([texts[row] for row in rows])
        if normalise and not self.normalised:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors

    async def aembed_all(self, texts: Sequence[str], *, normalise: bool = True) -> Vectors:
        """Async twin of `embed_all`, in a worker thread."""
        return await asyncio.to_thread(self.embed_all, texts, normalise=normalise)

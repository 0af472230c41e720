"""An enginebay embedder as LangChain's `Embeddings`."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

from langchain_core.embeddings import Embeddings

from enginebay import Bay
from enginebay.embedding.handle import EmbedderHandle


class EnginebayEmbeddings(Embeddings):
    """Embeds by a configured embedder or a model; it is opened on first use.

    Args:
        model: a configured name (`[embedders.NAME]`) or a model reference; None takes the default.
        bay: the bay to open it in, which is its owner's to close; a bay of its own when None.
        changes: fields of the embedder's configuration over the configured ones: backend, device, truncate, …
    """

    def __init__(self, model: str | None = None, *, bay: Bay | None = None, **changes: Any) -> None:
        self._model = model
        self._changes = changes
        self._given = bay

    @cached_property
    def embedder(self) -> EmbedderHandle:
        """The open embedder. Raises as `Bay.embedder` does."""
        return self._bay.embedder(self._model, **self._changes)

    @cached_property
    def _bay(self) -> Bay:
        return self._given or Bay()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text."""
        return cast("list[list[float]]", self.embedder.embed_documents(texts).tolist())

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return cast("list[float]", self.embedder.embed_query(text).tolist())

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Async twin of `embed_documents`."""
        vectors = await self.embedder.aembed_documents(texts)
        return cast("list[list[float]]", vectors.tolist())

    async def aembed_query(self, text: str) -> list[float]:
        """Async twin of `embed_query`."""
        vector = await self.embedder.aembed_query(text)
        return cast("list[float]", vector.tolist())

"""An index on the real sqlite store with a fake embedder, which runs no model: a text's vector counts its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from enginebay import Bay, Embedded, Embedder
from enginebay.config.settings import CollectionConfig
from enginebay.errors import ContextLengthError
from enginebay.paths import cache_dir
from enginebay.retrieval import Index
from enginebay.stores import Store
from fake_embedder import fake_embedder_handle

WORD = re.compile(r"\w+")


class WordEmbedder(Embedder):
    """Counts words in `width` boxes; a word is a token, and there are two special ones."""

    max_batch = 64
    context_length = 64

    def __init__(self, width: int = 256) -> None:
        self.width = width
        self.embedded: list[str] = []

    @property
    def dimension(self) -> int:
        return self.width

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embedded:
        self.embedded += texts
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            words = WORD.findall(text.lower())
            if len(words) + 2 > self.context_length:
                raise ContextLengthError(len(words) + 2, self.context_length, text=row)
            for word in words or ["nothing"]:
                vectors[row, int.from_bytes(sha256(word.encode()).digest()[:4]) % self.width] += 1
        return Embedded(vectors)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(WORD.findall(text)) + 2 for text in texts]

    def close(self) -> None:
        """Nothing to free."""


def fake_index(bay: Bay, folder: Path, embedder: Embedder | None = None, **settings: Any) -> Index:
    """An index whose store is in `folder`."""
    return fake_index_in(bay.store("sqlite", path=folder), embedder, **settings)


def fake_index_in(store: Store, embedder: Embedder | None = None, **settings: Any) -> Index:
    """An index in a store."""
    handle = fake_embedder_handle(embedder or WordEmbedder())
    collection = store.create_collection("documents", handle.dimension)
    given = {"passage_tokens": 20, **settings}
    return Index("documents", collection, handle, CollectionConfig.model_validate(given), cache_dir() / "index")

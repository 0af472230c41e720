"""A fake embedder for tests of the core. It runs no model: a text's vector counts the letters that it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from enginebay import (
    BackendSpec,
    Concurrency,
    DeviceKind,
    DeviceSupport,
    Embedded,
    Embedder,
    EmbeddingFacts,
    Interface,
    ModelFormat,
    ModelInfo,
    Pooling,
)
from enginebay.embedding.handle import EmbedderHandle
from enginebay.errors import ContextLengthError, EngineClosedError
from enginebay.hookspecs import RequestEvent
from enginebay.matching.decision import Decision, Match
from enginebay.matching.requirement import Requirement
from enginebay.opened import OpenEngine
from fake_engine import fake_model, fake_spec

LETTERS = "abcdefgh"


class FakeEmbedder(Embedder):
    """Embeds a text as how often it has each of `LETTERS`; a letter is a token, and there is one special token.

    Args:
        fail: raise RuntimeError.
        pause: seconds that a batch takes.
    """

    max_batch = 4
    context_length = 16

    def __init__(self, *, fail: bool = False, pause: float = 0) -> None:
        self.fail = fail
        self.pause = pause
        self.batches: list[list[str]] = []
        self.running = 0
        self.most_running = 0
        self.closed = 0

    @property
    def dimension(self) -> int:
        return len(LETTERS)

    def embed(self, texts: Sequence[str], *, truncate: bool = False) -> Embedded:
        if self.closed:
            raise EngineClosedError("the fake embedder was closed")
        if self.fail:
            raise RuntimeError("the fake embedder broke")
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.batches.append(list(texts))
        if self.pause:
            time.sleep(self.pause)
        self.running -= 1
        counts = self.count_tokens(texts)
        long = tuple(row for row, count in enumerate(counts) if count > self.context_length)
        if long and not truncate:
            raise ContextLengthError(counts[long[0]], self.context_length, text=long[0])
        read = [text[: self.context_length - 1] for text in texts]
        vectors = np.array([[text.count(letter) for letter in LETTERS] for text in read], dtype=np.float32)
        return Embedded(vectors, sum(len(text) + 1 for text in read), long)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) + 1 for text in texts]

    def close(self) -> None:
        self.closed += 1


def fake_embedder_spec(name: str = "fake", **fields: Any) -> BackendSpec:
    """A spec for fakes: CPU, GGUF."""
    given: dict[str, Any] = {
        "interface": Interface.EMBEDDER,
        "factory": "fake_embedder:FakeEmbedder",
        "devices": (DeviceSupport(kind=DeviceKind.CPU),),
        "features": frozenset(),
        "sampling": frozenset(),
        "concurrency": Concurrency.SERIAL,
        "max_streams": 64,
    }
    return fake_spec(name, **(given | fields))


def fake_embedding_model(**fields: Any) -> ModelInfo:
    """Facts of a model that does not exist."""
    given: dict[str, Any] = {
        "reference": "fake-embedding-model",
        "format": ModelFormat.REMOTE,
        "embedding": EmbeddingFacts(pooling=Pooling.MEAN),
    }
    return fake_model(**(given | fields))


def fake_embedder_handle(
    engine: Embedder | None = None,
    *,
    spec: BackendSpec | None = None,
    model: ModelInfo | None = None,
    tell: Callable[[RequestEvent], None] = lambda event: None,
    **fields: Any,
) -> EmbedderHandle:
    """A handle on a fake embedder, as a bay would make it."""
    spec, model = spec or fake_embedder_spec(), model or fake_embedding_model()
    match = Match(backend=spec.name, device="cpu")
    requirement = Requirement(interface=Interface.EMBEDDER, model=model)
    decision = Decision(
        requirement=requirement, created=datetime.now(UTC), matches=(match,), chosen=match, why="a fake"
    )
    opened = OpenEngine[Embedder](engine or FakeEmbedder(), spec, match, model, decision)
    return EmbedderHandle("fake", opened, tell=tell, **fields)

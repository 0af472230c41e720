"""A fake generator engine for tests of the core. It runs no model: it plays back a script."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from enginebay import (
    BackendSpec,
    Chunk,
    Concurrency,
    DeviceKind,
    DeviceSupport,
    Feature,
    FinishReason,
    GenerationRequest,
    Generator,
    Interface,
    ModelFormat,
    ModelInfo,
    Usage,
)
from enginebay.errors import EngineClosedError
from enginebay.generation.handle import GeneratorHandle, OpenGenerator
from enginebay.hookspecs import RequestEvent
from enginebay.matching.decision import Decision, Match
from enginebay.matching.requirement import Requirement

CHATML = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"


class FakeGenerator(Generator):
    """Plays back `pieces`, one token each, to every request.

    Args:
        fail_after: raise RuntimeError after that many pieces.
        pause: seconds between pieces.
    """

    def __init__(
        self, pieces: Sequence[str] = ("Hel", "lo"), *, fail_after: int | None = None, pause: float = 0
    ) -> None:
        self.pieces = tuple(pieces)
        self.fail_after = fail_after
        self.pause = pause
        self.requests: list[GenerationRequest] = []
        self.running = 0
        self.most_running = 0
        self.given = 0
        self.closed = 0
        self._lock = threading.Lock()

    @property
    def context_length(self) -> int:
        return 128

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        return [0] * add_bos + [ord(letter) for letter in text]

    def stream(self, request: GenerationRequest) -> Iterator[Chunk]:
        if self.closed:
            raise EngineClosedError("the fake engine was closed")
        with self._lock:
            self.requests.append(request)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            pieces = self.pieces[: request.params.max_tokens]
            for place, piece in enumerate(pieces):
                if self.fail_after == place:
                    raise RuntimeError("the fake engine broke")
                if self.pause:
                    time.sleep(self.pause)
                self.given += 1
                yield Chunk(piece, (place,))
            whole = len(pieces) == len(self.pieces)
            reason = FinishReason.STOP if whole else FinishReason.LENGTH
            yield Chunk("", finish_reason=reason, usage=Usage(len(request.prompt), len(pieces), 1))
        finally:
            with self._lock:
                self.running -= 1

    def close(self) -> None:
        self.closed += 1


def fake_spec(name: str = "fake", **fields: Any) -> BackendSpec:
    """A spec for fakes: CPU, GGUF, the most usual parameters."""
    given: dict[str, Any] = {
        "name": name,
        "interface": Interface.GENERATOR,
        "factory": "fake_engine:FakeGenerator",
        "devices": (DeviceSupport(kind=DeviceKind.CPU),),
        "formats": frozenset({ModelFormat.GGUF}),
        "features": frozenset({Feature.STREAMING, Feature.CHAT_TEMPLATE}),
        "sampling": frozenset({"temperature", "seed", "max_tokens"}),
        "concurrency": Concurrency.CONTINUOUS_BATCHING,
        "max_streams": 8,
    }
    return BackendSpec.model_validate(given | fields)


def fake_model(**fields: Any) -> ModelInfo:
    """Facts of a model that does not exist."""
    given: dict[str, Any] = {
        "reference": "fake-model",
        "format": ModelFormat.GGUF,
        "architecture": "llama",
        "parameters": 1000,
        "weight_bytes": 1000,
        "layers": 2,
        "kv_heads": 1,
        "head_dim": 8,
        "context_length": 128,
        "chat_template": CHATML,
    }
    return ModelInfo.model_validate(given | fields)


def fake_handle(
    engine: Generator | None = None,
    *,
    spec: BackendSpec | None = None,
    model: ModelInfo | None = None,
    others: Sequence[BackendSpec] = (),
    tell: Callable[[RequestEvent], None] = lambda event: None,
    **fields: Any,
) -> GeneratorHandle:
    """A handle on a fake engine, as a bay would make it."""
    spec = spec or fake_spec()
    model = model or fake_model()
    match = Match(backend=spec.name, device="cpu")
    decision = Decision(
        requirement=Requirement(model=model), created=datetime.now(UTC), matches=(match,), chosen=match, why="a fake"
    )
    opened = OpenGenerator(engine or FakeGenerator(), spec, match, model, decision)
    return GeneratorHandle("fake", opened, others=lambda: others, tell=tell, **fields)

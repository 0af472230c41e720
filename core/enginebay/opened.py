"""An engine with what the core knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from enginebay.errors import EngineClosedError
from enginebay.gate import Gate
from enginebay.spec import BackendSpec, Concurrency

if TYPE_CHECKING:
    from enginebay.matching.decision import Decision, Match
    from enginebay.models.info import ModelInfo

EngineT = TypeVar("EngineT")


@dataclass
class OpenEngine(Generic[EngineT]):
    """An open engine. One may serve many handles."""

    engine: EngineT
    spec: BackendSpec
    match: Match
    model: ModelInfo
    decision: Decision
    gate: Gate | None = None
    closed: bool = False

    def __post_init__(self) -> None:
        if self.spec.concurrency in (Concurrency.SERIAL, Concurrency.BATCHED):
            self.gate = Gate()

    def check_open(self, name: str) -> None:
        """Raise EngineClosedError when the engine of the handle `name` was closed."""
        if self.closed:
            raise EngineClosedError(
                f"the engine of {name!r} was closed",
                value=name,
                hint=f"ask the bay for it again: bay.{self.spec.interface}(…)",
            )

    def names(self) -> tuple[str, str, str]:
        """Backend, device and model, as events name them."""
        return self.spec.name, self.match.device, self.model.reference

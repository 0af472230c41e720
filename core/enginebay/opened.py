"""An engine with what the core knows of it, and what its users' handles have in common."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from enginebay.errors import EngineClosedError
from enginebay.gate import Gate
from enginebay.spec import BackendSpec, Concurrency

if TYPE_CHECKING:
    from collections.abc import Callable

    from enginebay.hookspecs import RequestEvent
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


@dataclass(frozen=True)
class Handle(Generic[EngineT]):
    """An open engine as users hold it.

    Attributes:
        name: the configured name, or the model reference.
        tell: told of each request that ended.
    """

    name: str
    opened: OpenEngine[EngineT]
    _: KW_ONLY
    tell: Callable[[RequestEvent], None] = lambda event: None

    @property
    def engine(self) -> EngineT:
        """The backend's own object."""
        return self.opened.engine

    @property
    def spec(self) -> BackendSpec:
        """The backend's declaration."""
        return self.opened.spec

    @property
    def model(self) -> ModelInfo:
        """Facts of the model, as it was opened."""
        return self.opened.model

    @property
    def device(self) -> str:
        """Id of the device it runs on."""
        return self.opened.match.device

    @property
    def decision(self) -> Decision:
        """Why this backend on this device."""
        return self.opened.decision

    @property
    def gate(self) -> Gate | None:
        """The queue before an engine that takes one call at a time."""
        return self.opened.gate

    def names(self) -> tuple[str, str, str]:
        """Backend, device and model, as events name them."""
        return self.opened.names()

    def check_open(self) -> None:
        """Raise EngineClosedError when the engine was closed."""
        self.opened.check_open(self.name)

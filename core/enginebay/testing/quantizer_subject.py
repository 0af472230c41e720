"""What the checks of a quantizer work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginebay.interfaces.jobs import JobEvent
from enginebay.models.headers import read_info
from enginebay.sampling.plan import given_features
from enginebay.spec import BackendSpec, Feature, Interface
from enginebay.testing.checks import require

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.interfaces.quantizer import QuantizedModel
    from enginebay.models.info import ModelInfo

LOSS = {8.0: 0.05, 6.0: 0.05, 4.0: 0.35}
"""Share by which the perplexity may rise, for types of at least so many bits: some engines compute in 8 bits, too."""


@dataclass
class QuantizerSubject:
    """A quantizer, a bay, and a model to quantise.

    Attributes:
        model: reference of the model, in 16 or 32 bits.
        types: types to make; the first of them in every check that needs one.
        folder: for results; each has a folder of its own in it.
        engine: backend that runs the results; None takes the first that the type names.
        kills: how often a job is killed.
        packs: False for a stand-in that leaves the weights as they are: their size is not looked at.
        changes: further arguments of `Bay.quantize`, as JSON values.
        events: what jobs told, by type.
        perplexities: what was measured, by model.
        before: names, sizes and times of the model's files.
    """

    bay: Bay
    spec: BackendSpec
    model: str
    types: tuple[str, ...]
    folder: Path
    engine: str | None = None
    kills: int = 3
    packs: bool = True
    changes: dict[str, Any] = field(default_factory=dict)
    events: dict[str, list[JobEvent]] = field(default_factory=dict)
    perplexities: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._places = count()
        self.before = state_of(Path(self.model))

    def place(self) -> Path:
        """A path in a folder of its own, where nothing is."""
        folder = self.folder / f"result-{next(self._places)}"
        folder.mkdir(parents=True)
        return folder / ("model.gguf" if self.spec.types[0].format.value == "gguf" else "model")

    def quantize(self, to: str | None = None, **changes: Any) -> QuantizedModel:
        """Quantise the model, to the first type when none is named."""
        to = to or self.types[0]
        told = self.events.setdefault(to, [])
        given: dict[str, Any] = {"backend": self.spec.name, "events": told.append, **self.changes, **changes}
        return self.bay.quantize(given.pop("model", self.model), to, **given)

    @cached_property
    def source(self) -> ModelInfo:
        """Facts of the model."""
        return read_info(Path(self.model))

    @cached_property
    def made(self) -> dict[str, QuantizedModel]:
        """Each type, made once."""
        return {name: self.quantize(name, output=self.place()) for name in self.types}

    @property
    def embeds(self) -> bool:
        """The model is an embedder."""
        return self.source.embedding is not None

    def engine_of(self, to: str) -> str:
        """The backend that runs results of a type: the first that is installed."""
        interface = Interface.EMBEDDER if self.embeds else Interface.GENERATOR
        made = self.spec.type(to)
        assert made is not None
        known = {spec.name for spec in self.bay.plugins.specs(interface)}
        usable = [
            name
            for name in made.engines
            if name in known and self.bay.plugins.availability(self.bay.plugins.spec(interface, name)).code is None
        ]
        require(bool(usable), f"no engine of {', '.join(made.engines)} is installed for {to}")
        return self.engine if self.engine in usable else usable[0]

    def scores(self, to: str) -> bool:
        """An engine that loads results of a type tells probabilities of given tokens, as their specs declare."""
        made = self.spec.type(to)
        assert made is not None
        engines = (spec for spec in self.bay.plugins.specs(Interface.GENERATOR) if spec.name in made.engines)
        return any(Feature.SCORING in given_features(spec) for spec in engines)

    def left_over(self, place: Path) -> list[str]:
        """What stands in the folder of a result that was not made."""
        return sorted(file.name for file in place.parent.iterdir())


def state_of(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a model's files."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]

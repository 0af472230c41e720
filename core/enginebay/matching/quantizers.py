"""Which quantizer makes which type of a model, and how the result would run: a pure function, as the matcher is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from enginebay.errors import JobError
from enginebay.hardware.profile import HardwareProfile
from enginebay.matching.decision import Availability, Estimate, Reason, RefusalCode
from enginebay.matching.match import match
from enginebay.matching.requirement import Converting, Requirement
from enginebay.models.conversion import Conversion, ConverterSpec, shortest_path
from enginebay.models.info import ModelInfo
from enginebay.spec import BackendSpec, Interface, QuantizationType
from enginebay.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Candidate:
    """One type that one quantizer makes, in one engine that would load it.

    Attributes:
        backend: the quantizer.
        conversion: what must be done to the model first; None when the quantizer reads it as it is.
        engine, device: where the result would run fastest; device is "" when it would not run.
        weight_bytes: expected size of the result's weights.
        estimate: of the result in the engine; None when nothing could be estimated.
        making: why the result cannot be made here; empty when it can.
        running: why the engine would not run it; empty when it would.
    """

    backend: str
    type: QuantizationType
    conversion: Conversion | None
    engine: str
    device: str
    weight_bytes: int
    estimate: Estimate | None
    making: tuple[Reason, ...] = ()
    running: tuple[Reason, ...] = ()

    @property
    def accepted(self) -> bool:
        """It can be made here and would run there."""
        return not self.making and not self.running

    @property
    def speed(self) -> float:
        """Estimated tokens per second of one stream; 0 without an estimate."""
        return self.estimate.tokens_per_second if self.estimate is not None else 0.0


def candidates(
    requirement: Requirement,
    hardware: HardwareProfile,
    quantizers: Sequence[BackendSpec],
    engines: Sequence[BackendSpec],
    *,
    quantizer_availability: Mapping[str, Availability],
    engine_availability: Mapping[str, Availability],
    converters: Sequence[ConverterSpec] = (),
    assume_installed: bool = False,
) -> list[Candidate]:
    """Every type of every quantizer in every engine that loads it: accepted ones first, fastest first.

    Args:
        requirement: how the result is to run: its model is the one to quantise, its backend the engine, if one is asked
            for. Device, context length, streams and memory limit count.
        hardware: the machine that the result is to run on.
        engines: specs of the interface that the model is for.
        converters: installed ones.
        assume_installed: the engines of the other machine are taken to be installed there.
    """
    model = requirement.model
    assert model is not None
    judge = _Judge(requirement, model, hardware, engines, engine_availability, assume_installed)
    found = [
        candidate
        for spec in quantizers
        if spec.interface is Interface.QUANTIZER
        for candidate in judge.candidates(spec, quantizer_availability.get(spec.name), converters)
    ]
    return sorted(found, key=lambda one: (not one.accepted, bool(one.making), -one.speed, one.backend, one.type.bits))


def choose(found: Sequence[Candidate], to: str, *, backend: str | None = None) -> Candidate:
    """The candidate that makes a type: the one whose result runs fastest, of those that can be made here.

    A result that would not run on the machine is made all the same when no other is: the caller named the type.

    Raises:
        JobError: no quantizer makes the type, or none can here.
    """
    named = [one for one in found if one.type.name == to.lower() and backend in (None, one.backend)]
    if not named:
        known = list(dict.fromkeys(one.type.name for one in found if backend in (None, one.backend)))
        by = f"the quantizer {backend!r}" if backend else "no quantizer"
        raise JobError(
            f"{by} {'does not make' if backend else 'makes'} the type {to!r}",
            value=to,
            hint=did_you_mean(to.lower(), known) if known else "see: enginebay quantize --list",
        )
    possible = [one for one in named if not one.making]
    if not possible:
        reason = named[0].making[0]
        raise JobError(f"{named[0].backend} cannot make {to} here: {reason.message}", value=to, hint=reason.hint)
    return possible[0]


class _Judge:
    def __init__(
        self,
        requirement: Requirement,
        model: ModelInfo,
        hardware: HardwareProfile,
        engines: Sequence[BackendSpec],
        availability: Mapping[str, Availability],
        assume_installed: bool,
    ) -> None:
        self.requirement = requirement
        self.model = model
        self.hardware = hardware
        self.engines = {spec.name: spec for spec in engines}
        self.availability = availability
        self.assume_installed = assume_installed

    def candidates(
        self, spec: BackendSpec, known: Availability | None, converters: Sequence[ConverterSpec]
    ) -> Iterator[Candidate]:
        path = None
        reasons: list[Reason] = []
        if known is not None and known.code is not None:
            reasons.append(Reason(known.code, known.message, known.hint))
        if self.model.format not in spec.formats:
            path = shortest_path(self.model, spec.formats, converters)
            if path is None:
                reads = ", ".join(sorted(spec.formats))
                text = f"it reads {reads}, and no installed converter makes that out of {self.model.format.value}"
                reasons.append(Reason(RefusalCode.FORMAT, text, "see: enginebay convert --list"))
        elif self.model.quantization_method:
            text = f"the weights are packed by {self.model.quantization_method}"
            reasons.append(Reason(RefusalCode.FORMAT, text, "start from the model as it was before"))
        if spec.architectures and self.model.architecture not in spec.architectures:
            text = f"it does not know the architecture {self.model.architecture or '(none named)'}"
            reasons.append(Reason(RefusalCode.ARCHITECTURE, text, "take another quantizer"))
        for each in spec.types:
            for name in each.engines:
                if name in self.engines:
                    yield self._candidate(spec, each, self.engines[name], path, tuple(reasons))

    def _candidate(
        self,
        spec: BackendSpec,
        made: QuantizationType,
        engine: BackendSpec,
        path: Conversion | None,
        making: tuple[Reason, ...],
    ) -> Candidate:
        size = int(self.model.parameters * made.bits / 8) or self.model.weight_bytes
        update = {
            "format": made.format, "quantization": made.name, "quantization_method": "", "weight_bytes": size,
        }  # fmt: skip
        result = self.model.model_copy(update=update)
        wanted = self.requirement.model_copy(update={"model": result, "conversion": Converting.NEVER})
        devices = self.hardware.devices
        if made.devices:
            devices = tuple(device for device in devices if device.kind in made.devices)
        decision = match(
            wanted,
            self.hardware.model_copy(update={"devices": devices}),
            [engine],
            availability=self.availability,
            assume_installed=self.assume_installed,
        )
        best = decision.chosen or decision.matches[0]
        return Candidate(spec.name, made, path, engine.name, best.device, size, best.estimate, making, best.reasons)

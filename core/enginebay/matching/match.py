"""The matcher: a pure function from what is needed, what the machine has and what backends declare to a decision."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from enginebay.hardware.profile import RUNTIME_PROBE, Device, HardwareProfile
from enginebay.matching.decision import (
    Availability,
    Decision,
    Estimate,
    Match,
    Measurement,
    Reason,
    RefusalCode,
)
from enginebay.matching.estimate import Estimator
from enginebay.matching.estimate_embedding import EmbeddingEstimator
from enginebay.matching.requirement import Converting, Requirement, Workload
from enginebay.matching.sums import memory_sum, size, told_conversion
from enginebay.models.conversion import Conversion, ConverterSpec, shortest_path
from enginebay.models.info import ModelInfo
from enginebay.sampling.plan import EMULATED, given_features
from enginebay.spec import BackendSpec, DeviceKind, DeviceSupport, Feature, Interface, ModelFormat

REMOTE = Device(id="remote", kind=DeviceKind.REMOTE, name="a server", memory_total=0, memory_available=0)
"""Where a server's model runs: a device of no machine, judged for such models only."""

LEVEL = 1.05
"""Two speeds nearer than this ratio are called level: no estimate is better than that."""

_ELSEWHERE = "do without it, or take a backend that has it"


def match(
    requirement: Requirement,
    hardware: HardwareProfile,
    specs: Sequence[BackendSpec],
    *,
    availability: Mapping[str, Availability] | None = None,
    measurements: Sequence[Measurement] = (),
    assume_installed: bool = False,
    converters: Sequence[ConverterSpec] = (),
    now: datetime | None = None,
) -> Decision:
    """Judge every backend on every device of a machine, and choose.

    Accepted matches are ranked by estimated speed: of one stream for the latency workload, of all streams together for
    throughput. Equal speeds are ordered by backend name, then device id.

    Args:
        availability: whether each backend is installed, by name; one that is missing here counts as installed.
        measurements: speeds measured on this machine; they replace estimates.
        assume_installed: leave out every refusal that an installation would lift: for asking about another machine.
        converters: installed steps between model formats; a backend behind some of them can match, at their cost.
        now: time written into the decision.
    """
    judge = _Judge(requirement, hardware, availability or {}, measurements, assume_installed, converters)
    wanted = [spec for spec in specs if spec.interface is requirement.interface]
    matches = sorted(
        (found for spec in wanted for found in judge.matches(spec)), key=lambda found: _rank(found, requirement)
    )
    accepted = [found for found in matches if found.accepted]
    chosen = accepted[0] if accepted else None
    better = next(
        (
            found
            for found in matches
            if found.installable
            and (found.conversion is None or requirement.conversion is Converting.AUTO)
            and (chosen is None or _speed(found, requirement) > _speed(chosen, requirement))
        ),
        None,
    )
    return Decision(
        requirement=requirement,
        machine=hardware.name,
        created=now or datetime.now(UTC),
        matches=tuple(matches),
        chosen=chosen,
        best_if_installed=better,
        why=_why(requirement, hardware.devices, matches, accepted),
    )


class _Judge:
    """Judges specs against one requirement on one machine."""

    def __init__(
        self,
        requirement: Requirement,
        hardware: HardwareProfile,
        availability: Mapping[str, Availability],
        measurements: Sequence[Measurement],
        assume_installed: bool,
        converters: Sequence[ConverterSpec],
    ) -> None:
        self.requirement = requirement
        self.hardware = hardware
        self.availability = availability
        self.assume_installed = assume_installed
        self.by_kind: dict[DeviceKind, list[Device]] = {}
        devices = hardware.devices
        if requirement.model is not None and requirement.model.format is ModelFormat.REMOTE:
            devices = (*devices, REMOTE)
        for device in devices:
            self.by_kind.setdefault(device.kind, []).append(device)
        self.of_device = {device.id: tuple(self._device_reasons(device)) for device in devices}
        self.broken = {
            warning.probe.removeprefix(RUNTIME_PROBE): warning.message
            for warning in hardware.warnings
            if warning.probe.startswith(RUNTIME_PROBE)
        }
        measured: dict[tuple[str, str, str, str], list[Measurement]] = {}
        for entry in measurements:
            key = (entry.backend, entry.device, entry.version, entry.model_digest)
            measured.setdefault(key, []).append(entry)
        self.measured = measured
        self.estimators: dict[ModelFormat | None, Estimator] = {}
        self.converters = () if requirement.conversion is Converting.NEVER else converters
        self.paths: dict[frozenset[ModelFormat], Conversion | None] = {}

    def matches(self, spec: BackendSpec) -> Iterable[Match]:
        """The spec on every device it could use; on none, one refusal."""
        model = self.requirement.model
        conversion = self._conversion(spec, model) if model is not None else None
        of_spec = tuple(self._spec_reasons(spec, readable=conversion is not None))
        usable = [support for support in spec.devices if support.kind in self.by_kind]
        for support in usable:
            of_support = tuple(self._support_reasons(spec, support))
            for device in self.by_kind[support.kind]:
                reasons = [*of_spec, *self.of_device[device.id], *_limits(support, device), *of_support]
                yield self._judge(spec, support, device, reasons, conversion)
        if not usable:
            kinds = ", ".join(support.kind.value for support in spec.devices)
            reason = Reason(
                RefusalCode.NO_DEVICE,
                f"it runs on {kinds}; this machine has no such device",
                "enginebay probe shows what this machine has",
            )
            yield Match(spec.name, "", "", (*of_spec, reason), conversion=conversion)

    def _conversion(self, spec: BackendSpec, model: ModelInfo) -> Conversion | None:
        """The way to a format that the backend reads; None when it reads the model's own, or there is none."""
        if model.format in spec.formats or not self.converters:
            return None
        if spec.formats not in self.paths:
            self.paths[spec.formats] = shortest_path(model, spec.formats, self.converters)
        return self.paths[spec.formats]

    def _estimator(self, spec: BackendSpec, conversion: Conversion | None) -> Estimator | None:
        """Estimates for the model as the backend would read it; None when it cannot read it."""
        model = self.requirement.model
        if model is None:
            return None
        if conversion is not None:
            made = {"format": conversion.target, "weight_bytes": conversion.weight_bytes, "quantization": ""}
            model = model.model_copy(update=made)
        elif model.format not in spec.formats:
            # Sizes and speeds in a format that the backend does not read would be another file's.
            return None
        key = conversion.target if conversion is not None else None
        if key not in self.estimators:
            kind = EmbeddingEstimator if self.requirement.interface is Interface.EMBEDDER else Estimator
            self.estimators[key] = kind(self.requirement, model, self.hardware, self.measured, (REMOTE,))
        return self.estimators[key]

    def _judge(
        self,
        spec: BackendSpec,
        support: DeviceSupport,
        device: Device,
        reasons: list[Reason],
        conversion: Conversion | None,
    ) -> Match:
        estimate: Estimate | None = None
        estimator = self._estimator(spec, conversion)
        if estimator is not None:
            known = self.availability.get(spec.name)
            estimate, fits = estimator.estimate(spec, device, support, known.version if known else None)
            if not fits:
                reasons.append(_memory_reason(estimate, device, estimator.model))
        return Match(spec.name, device.id, device.name, tuple(reasons), estimate, conversion)

    def _spec_reasons(self, spec: BackendSpec, *, readable: bool) -> Iterable[Reason]:
        requirement, model = self.requirement, self.requirement.model
        if requirement.backend is not None and spec.name != requirement.backend:
            yield Reason(
                RefusalCode.OTHER_BACKEND_ASKED,
                f"the backend {requirement.backend} was asked for",
                "name no backend to have all of them considered",
            )
        if not self.assume_installed:
            yield from self._installation_reasons(spec)
        if model is not None:
            yield from _model_reasons(spec, model, readable)
            if model.context_length and requirement.wanted_context_length > model.context_length:
                yield Reason(
                    RefusalCode.CONTEXT_LENGTH,
                    f"a context of {requirement.wanted_context_length} tokens is more than the {model.context_length} "
                    "that the model was trained for",
                    f"ask for at most {model.context_length}",
                )
        for feature in sorted(requirement.features - given_features(spec)):
            yield Reason(RefusalCode.FEATURE, f"it lacks the feature {feature.value}", _ELSEWHERE)
        lacking = frozenset() if Feature.LOGITS in spec.features else requirement.sampling - spec.sampling - EMULATED
        for name in sorted(lacking):
            yield Reason(RefusalCode.PARAMETER, f"it lacks the sampling parameter {name}", _ELSEWHERE)

    def _installation_reasons(self, spec: BackendSpec) -> Iterable[Reason]:
        known = self.availability.get(spec.name)
        if known is not None and known.code is not None:
            yield Reason(known.code, known.message, known.hint or spec.install or None)
        elif spec.name in self.broken:
            yield Reason(
                RefusalCode.NOT_LOADABLE,
                f"its library does not load: {self.broken[spec.name]}",
                f"install it anew: {spec.install}" if spec.install else "install its library anew",
            )

    def _device_reasons(self, device: Device) -> Iterable[Reason]:
        asked = self.requirement.device
        if asked is not None and asked not in (device.id, device.kind.value):
            yield Reason(
                RefusalCode.OTHER_DEVICE_ASKED,
                f"the device {asked} was asked for",
                "name no device to have all of them considered",
            )
        if device.software and not self.requirement.allow_software_devices:
            yield Reason(
                RefusalCode.SOFTWARE_DEVICE,
                f"{device.name} is emulated on the CPU",
                "allow it with allow_software_devices, for tests",
            )

    def _support_reasons(self, spec: BackendSpec, support: DeviceSupport) -> Iterable[Reason]:
        system = self.hardware.system
        for needed, present in ((support.systems, system.system), (support.machines, system.machine)):
            if needed and present not in needed:
                yield Reason(
                    RefusalCode.SYSTEM,
                    f"its {support.kind.value} needs {' or '.join(needed)}, this is {present}",
                    f"run it on {' or '.join(needed)}, or take another backend",
                )
        report = self.hardware.runtimes.get(spec.name)
        if report is not None and support.kind not in report.device_kinds and not self.assume_installed:
            yield Reason(
                RefusalCode.BUILD_LACKS_DEVICE,
                f"the installed build ({report.version}) cannot use {support.kind.value}",
                support.install or f"install a build with {support.kind.value}, or take another backend",
            )


def _model_reasons(spec: BackendSpec, model: ModelInfo, readable: bool) -> Iterable[Reason]:
    if model.format not in spec.formats and not readable:
        reads = ", ".join(sorted(spec.formats)) or "no model files"
        yield Reason(
            RefusalCode.FORMAT,
            f"it reads {reads}; the model is {model.format.value}",
            f"give it the model as {reads}" if spec.formats else "take another backend",
        )
    if model.quantization_method and model.quantization_method not in spec.quantization_methods:
        yield Reason(
            RefusalCode.FORMAT,
            f"it does not load weights quantised by {model.quantization_method}",
            "take a backend that does, or the model as it was before",
        )
    if spec.architectures and model.architecture not in spec.architectures:
        yield Reason(
            RefusalCode.ARCHITECTURE,
            f"it does not know the architecture {model.architecture or '(none named)'}",
            f"take another backend, or a model of {', '.join(sorted(spec.architectures))}",
        )


def _limits(support: DeviceSupport, device: Device) -> Iterable[Reason]:
    least, found = support.min_compute_capability, device.compute_capability
    if least is not None and found is not None and found < least:
        yield Reason(
            RefusalCode.COMPUTE_CAPABILITY,
            f"{device.name} has compute capability {found[0]}.{found[1]}, it needs {least[0]}.{least[1]}",
            "take another backend, or a newer GPU",
        )
    if support.min_driver and _older(device.driver, support.min_driver):
        yield Reason(
            RefusalCode.DRIVER,
            f"the driver of {device.name} is {device.driver}, it needs {support.min_driver}",
            f"update the driver to {support.min_driver} or newer",
        )
    if support.min_api_version and _older(device.api_version, support.min_api_version):
        yield Reason(
            RefusalCode.API_VERSION,
            f"{device.name} speaks {device.kind.value} {device.api_version}, it needs {support.min_api_version}",
            "update the driver",
        )


@lru_cache(maxsize=1024)
def version_key(text: str) -> tuple[int, ...]:
    """The numbers of a version, for comparison: "550.54.14" -> (550, 54, 14), and "1.2.0" -> (1, 2) as "1.2" does."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _older(found: str | None, least: str) -> bool:
    """Whether a version is known, and lower than the least that will do."""
    return found is not None and () < version_key(found) < version_key(least)


def _memory_reason(estimate: Estimate, device: Device, model: ModelInfo) -> Reason:
    more = estimate.total_bytes - estimate.available_bytes
    smaller = "a smaller context_length" if estimate.kv_cache_bytes > more else "a smaller or more quantised model"
    return Reason(
        RefusalCode.MEMORY,
        f"does not fit: {memory_sum(estimate)}; {device.name or device.id} has {size(estimate.available_bytes)} free",
        f"{size(more)} are missing: take {smaller}",
    )


def _speed(found: Match, requirement: Requirement) -> float:
    if found.estimate is None:
        return 0.0
    by_throughput = requirement.workload is Workload.THROUGHPUT
    return found.estimate.throughput if by_throughput else found.estimate.tokens_per_second


def _rank(found: Match, requirement: Requirement) -> tuple[int, float, str, str]:
    if found.accepted:
        group = 0 if found.conversion is None or requirement.conversion is Converting.AUTO else 1
    else:
        group = 2 if found.installable else 3
    return group, -_speed(found, requirement), found.backend, found.device


def _why(
    requirement: Requirement, devices: Sequence[Device], matches: Sequence[Match], accepted: Sequence[Match]
) -> str:
    what = requirement.model.reference if requirement.model else requirement.interface.value
    if not accepted:
        asked = requirement.device
        if asked is not None and not any(asked in (device.id, device.kind.value) for device in devices):
            here = ", ".join(device.id for device in devices)
            return f"no backend can run {what} on {asked}: this machine has no such device, but {here}"
        nearest = next((found for found in matches if not found.asked_otherwise), None)
        if nearest is None:
            return f"no backend can run {what} here"
        where = f"{nearest.backend} on {nearest.device}" if nearest.device else nearest.backend
        told = "; ".join(reason.message for reason in nearest.reasons)
        return f"no backend can run {what} here; the nearest, {where}: {told}"
    best, second = accepted[0], accepted[1] if len(accepted) > 1 else None
    ratio = _speed(best, requirement) / _speed(second, requirement) if second and best.estimate else None
    passed_by = ratio is not None and ratio < 1 / LEVEL
    kind = "the fastest" if second else "the only one"
    why = f"{_place(best)} is {kind} that can run {what}{' as it is' if passed_by else ''}"
    if best.conversion is not None:
        why += f" after a conversion ({told_conversion(best.conversion)})"
    if best.estimate is not None:
        why += f": {_told_speed(best.estimate, requirement)}"
    if second is not None and ratio is not None:
        if passed_by:
            why += f"; {_place(second)} would be {1 / ratio:.1f} times as fast after a conversion"
        else:
            why += f", {ratio:.1f} times {_place(second)}" if ratio >= LEVEL else f", level with {_place(second)}"
    return why


def _place(found: Match) -> str:
    return f"{found.backend} on {found.device}"


def _told_speed(estimate: Estimate, requirement: Requirement) -> str:
    if requirement.workload is Workload.THROUGHPUT:
        return f"about {estimate.throughput:.0f} tokens/s over {estimate.streams} {estimate.unit}s ({estimate.source})"
    return f"about {estimate.tokens_per_second:.0f} tokens/s for one {estimate.unit} ({estimate.source})"

"""Splitting a request: what the engine does itself, what the core does for it, what nobody can."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from enginebay.errors import InvalidParameterError, UnsupportedParameterError
from enginebay.sampling.params import SamplingParams
from enginebay.spec import BackendSpec, Feature
from enginebay.suggest import did_you_mean

EMULATED = frozenset({"stop", "n"})
"""Parameters that the core gives every engine, with the same meaning."""

CONSTRAINT_KINDS = ("choices", "regex", "json_schema", "grammar")


class Handling(StrEnum):
    """Who honours a parameter."""

    NATIVE = "native"
    EMULATED = "emulated"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One parameter that is not off, and who honours it."""

    parameter: str
    value: Any
    handling: Handling


@dataclass(frozen=True, slots=True)
class Plan:
    """A request split.

    Attributes:
        native: what the engine is given; for `by_logits`, what the core's sampler over its logits is given.
        stop: stop strings the core looks for.
        n: outputs the core repeats for; 1 when the engine does it or nobody asked.
        by_logits: the core samples from the engine's logits, because a parameter is not native.
        ledger: every parameter that is not off, in the order of `SamplingParams`.
    """

    native: SamplingParams
    stop: tuple[str, ...] = ()
    n: int = 1
    by_logits: bool = False
    ledger: tuple[LedgerEntry, ...] = ()


def plan(params: SamplingParams, spec: BackendSpec, others: Callable[[], Iterable[BackendSpec]] = tuple) -> Plan:
    """Split `params` for the backend of `spec`.

    Args:
        others: gives the specs of the installed backends, for the way out in an error.

    Raises:
        UnsupportedParameterError: a parameter is neither native nor emulated; nothing is dropped.
    """
    active = params.active()
    if active.keys() <= spec.sampling and "constraint" not in active:
        ledger = tuple(LedgerEntry(name, value, Handling.NATIVE) for name, value in active.items())
        return Plan(params, ledger=ledger)
    ledger_entries = []
    by_logits = Feature.LOGITS in spec.features and any(
        name not in EMULATED and not supports(spec, name, params) for name in active
    )
    for name, value in active.items():
        if by_logits:
            ledger_entries.append(LedgerEntry(name, value, Handling.EMULATED))
        elif supports(spec, name, params):
            ledger_entries.append(LedgerEntry(name, value, Handling.NATIVE))
        elif name in EMULATED:
            ledger_entries.append(LedgerEntry(name, value, Handling.EMULATED))
        else:
            shown = f"constraint ({value.kind})" if name == "constraint" else name
            having = [other.name for other in others() if other is not spec and gives(other, name, params)]
            raise UnsupportedParameterError(shown, spec.name, having)
    emulated = {entry.parameter for entry in ledger_entries if entry.handling is Handling.EMULATED}
    off = {name: SamplingParams.model_fields[name].default for name in emulated & EMULATED}
    return Plan(
        native=params.model_copy(update=off),
        stop=params.stop if "stop" in emulated else (),
        n=params.n if "n" in emulated else 1,
        by_logits=by_logits,
        ledger=tuple(ledger_entries),
    )


def supports(spec: BackendSpec, name: str, params: SamplingParams) -> bool:
    """Whether the backend honours the parameter natively; a constraint by its kind among the features."""
    if name == "constraint":
        return params.constraint is not None and Feature(params.constraint.kind) in spec.features
    return name in spec.sampling


def gives(spec: BackendSpec, name: str, params: SamplingParams) -> bool:
    """Whether a request for the parameter succeeds on the backend: natively or by the core over its logits."""
    return name in EMULATED or Feature.LOGITS in spec.features or supports(spec, name, params)


def given_features(spec: BackendSpec) -> frozenset[Feature]:
    """The backend's features, with those that the core adds over its logits."""
    if Feature.LOGITS not in spec.features:
        return spec.features
    return spec.features | {Feature.LOGPROBS, Feature.SCORING, *map(Feature, CONSTRAINT_KINDS)}


def constraint_features(params: SamplingParams) -> frozenset[Feature]:
    """The feature that an engine needs for the constraint, if there is one."""
    return frozenset() if params.constraint is None else frozenset({Feature(params.constraint.kind)})


def make_params(defaults: dict[str, Any], given: dict[str, Any]) -> SamplingParams:
    """Sampling parameters out of keyword arguments over configured defaults.

    `choices`, `regex`, `json_schema` and `grammar` are short for a `constraint` of that kind.

    Raises:
        InvalidParameterError: an unknown name (with a suggestion) or an impossible value.
    """
    merged = {**defaults, **given}
    kinds = [kind for kind in (*CONSTRAINT_KINDS, "constraint") if merged.get(kind) is not None]
    if len(kinds) > 1:
        raise InvalidParameterError(
            f"one output cannot obey {' and '.join(kinds)}",
            value=kinds,
            hint="give one; one that is configured is put off by None",
        )
    for kind in CONSTRAINT_KINDS:
        value = merged.pop(kind, None)
        if value is not None:
            merged["constraint"] = {kind: value}
    try:
        return SamplingParams.model_validate(merged)
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError) -> InvalidParameterError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return InvalidParameterError(
            f"sampling parameter {name} = {first['input']!r}: {first['msg']}", value=first["input"]
        )
    hint = did_you_mean(name, [*SamplingParams.model_fields, *CONSTRAINT_KINDS])
    return InvalidParameterError(f"unknown sampling parameter {name!r}", value=name, hint=hint)

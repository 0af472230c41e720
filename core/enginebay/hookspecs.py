"""The hooks a plugin may implement. A plugin is a module with `api_version` and any of these functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from enginebay.hardware.profile import Device, HardwareProfile
    from enginebay.interfaces.generator import Timing, Usage
    from enginebay.matching.decision import Decision
    from enginebay.models.catalogue import CatalogueEntry
    from enginebay.models.conversion import ConverterSpec
    from enginebay.spec import BackendSpec

PROJECT = "enginebay"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """An engine was opened, failed to open, or was closed."""

    backend: str
    device: str
    model: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A request ended, well or not. Prompts and outputs are not in it."""

    backend: str
    device: str
    model: str
    usage: Usage | None
    timing: Timing | None
    error: str | None = None


@hookspec
def backends() -> Iterable[BackendSpec]:  # type: ignore[empty-body]
    """Specs of the backends this plugin brings."""


@hookspec
def probe_devices(profile: HardwareProfile) -> Iterable[Device]:  # type: ignore[empty-body]
    """Devices the core's own probes cannot see; runs in a child process with a time limit."""


@hookspec
def models() -> Iterable[CatalogueEntry]:  # type: ignore[empty-body]
    """Entries for the model catalogue."""


@hookspec
def converters() -> Iterable[ConverterSpec]:  # type: ignore[empty-body]
    """Steps from one model format to another."""


@hookspec
def prompt_templates() -> Iterable[tuple[str, str]]:  # type: ignore[empty-body]
    """Named prompt templates, as (name, Jinja source)."""


@hookspec
def cli(app: typer.Typer) -> None:
    """Add commands to the command line."""


@hookspec
def decided(decision: Decision) -> None:
    """The matcher has chosen, or refused all."""


@hookspec
def engine_opened(event: EngineEvent) -> None:
    """An engine was opened, or failed to open."""


@hookspec
def engine_closed(event: EngineEvent) -> None:
    """An engine was closed."""


@hookspec
def request_finished(event: RequestEvent) -> None:
    """A request ended."""

"""What `enginebay doctor` looks at. Each look gives findings and never raises."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from enginebay import paths
from enginebay._version import __version__
from enginebay.cli._output import format_bytes
from enginebay.errors import EnginebayError
from enginebay.hardware.isolate import run_isolated
from enginebay.matching.decision import RefusalCode
from enginebay.plugins import BackendState, PluginRecord, Plugins, PluginState
from enginebay.plugins.inspection import inspect_backend
from enginebay.spec import BackendSpec, FrozenModel

CHECK_SECONDS = 120.0
"""What importing a backend's library may take; the largest need half a minute on a cold disk."""
LOW_DISK = 1 << 30
"""Bytes free below which the smallest models no longer fit."""
SCARCE_DISK = 10 << 30


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"
    """A person should act; `enginebay doctor` ends with exit code 1."""


class Finding(FrozenModel):
    """One thing that was looked at.

    Attributes:
        topic: heading it is shown under.
        hint: the way out.
    """

    topic: str
    level: Level
    text: str
    hint: str | None = None


def look_at_python() -> Iterator[Finding]:
    """The interpreter and this package."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(topic="python", level=Level.OK, text=f"{sys.implementation.name} {version}, {sys.executable}")
    home = Path(__file__).parent.parent
    yield Finding(topic="enginebay", level=Level.OK, text=f"{__version__}, {home}")


def look_at_configuration() -> Iterator[Finding]:
    """Which files were read, and whether they are valid."""
    from enginebay.config import load_settings

    topic = "configuration"
    try:
        loaded = load_settings()
    except EnginebayError as error:
        yield Finding(topic=topic, level=Level.PROBLEM, text=error.message, hint=error.hint)
        return
    files = ", ".join(map(str, loaded.files))
    yield Finding(topic=topic, level=Level.OK, text=f"valid: {files}" if files else "no file; defaults hold")


def look_at_plugins(plugins: Plugins) -> Iterator[Finding]:
    """Every plugin, its hooks exercised."""
    import typer

    from enginebay.cli.main import COMMANDS

    # Asking brings to light what is wrong with these hooks; it is then in the records.
    plugins.catalogue_entries(), plugins.converters(), plugins.prompt_templates()
    plugins.extend_cli(typer.Typer(), reserved=COMMANDS)
    for record in plugins.records:
        yield from _findings_of(record)
    for name in plugins.unknown_names:
        yield Finding(
            topic="plugins",
            level=Level.PROBLEM,
            text=f"{name}: named to be switched on or off, but no such plugin is installed",
            hint="correct ENGINEBAY_PLUGINS, or [plugins] in the configuration",
        )


def _findings_of(record: PluginRecord) -> Iterator[Finding]:
    origin = f"{record.name} ({record.distribution} {record.version})"
    if record.state is PluginState.QUARANTINED:
        yield Finding(
            topic="plugins", level=Level.PROBLEM, text=f"{origin} is quarantined: {record.reason}", hint=record.hint
        )
    elif record.state is PluginState.DISABLED:
        yield Finding(topic="plugins", level=Level.NOTE, text=f"{origin} is switched off: {record.reason}")
    else:
        backends = ", ".join(record.backends) or "no backends"
        yield Finding(
            topic="plugins", level=Level.OK, text=f"{origin}: {backends}; {record.load_seconds * 1000:.0f} ms"
        )
    for warning in record.warnings:
        yield Finding(topic="plugins", level=Level.NOTE, text=f"{record.name}: {warning}")


def look_at_backends(plugins: Plugins, tell: Callable[[str], None] = lambda _: None) -> Iterator[Finding]:
    """Every backend; of the installed ones, whether the library imports and the factory is there.

    Args:
        tell: called with the name of the backend whose library is being imported.
    """
    seen: dict[tuple[str | None, ...], dict[str, Any] | str] = {}
    for spec in plugins.backends:
        availability = plugins.availability(spec)
        if availability.code is not None:
            level = Level.PROBLEM if availability.code is RefusalCode.TOO_OLD else Level.NOTE
            yield _of(spec, level, f"declared: {availability.message}", availability.hint)
            continue
        targets = (spec.factory, spec.options, spec.check)
        if targets not in seen:
            tell(spec.name)
            seen[targets] = _inspected(targets)
        yield from _judged(plugins, spec, seen[targets])
        failure = plugins.failure(spec)
        if failure is not None:
            when = f"{failure.when:%Y-%m-%d %H:%M} UTC"
            yield _of(
                spec,
                Level.PROBLEM,
                f"did not open when it was last asked to ({when}): {failure.reason}",
                "open it again once the cause is gone; to forget it: enginebay doctor --refresh",
            )


def _inspected(targets: tuple[str | None, ...]) -> dict[str, Any] | str:
    """What the child process found, or how it ended."""
    target = f"{inspect_backend.__module__}:{inspect_backend.__name__}"
    try:
        found: dict[str, Any] = run_isolated(target, *targets, timeout=CHECK_SECONDS)
    except EnginebayError as error:
        return f"importing it in a child process: {error.message.removeprefix(target).strip()}"
    return found


def _judged(plugins: Plugins, spec: BackendSpec, found: dict[str, Any] | str) -> Iterator[Finding]:
    problems = [found] if isinstance(found, str) else found["problems"]
    for problem in problems:
        yield _of(
            spec,
            Level.PROBLEM,
            f"installed, but not loadable: {problem}",
            f"reinstall it: {spec.install}" if spec.install else None,
        )
    if problems:
        plugins.record_state(spec, BackendState.INSTALLED)
        return
    if plugins.backend_state(spec) is BackendState.INSTALLED:
        plugins.record_state(spec, BackendState.LOADABLE)
    report = found["report"] if isinstance(found, dict) else None
    state = plugins.backend_state(spec)
    if report is None:
        yield _of(spec, Level.OK, f"{state}, {plugins.availability(spec).version}")
        return
    devices = ", ".join(sorted(report["device_kinds"])) or "no device"
    details = f"; {report['details']}" if report["details"] else ""
    level = Level.OK if report["device_kinds"] else Level.NOTE
    yield _of(spec, level, f"{state}, {report['version']} on {devices}{details}")


def _of(spec: BackendSpec, level: Level, text: str, hint: str | None = None) -> Finding:
    return Finding(topic=f"{spec.interface} backends", level=level, text=f"{spec.name}: {text}", hint=hint)


def look_at_hardware(plugins: Plugins) -> Iterator[Finding]:
    """What the probe sees, read anew; what hung, crashed or was refused is a note."""
    from enginebay.hardware.probe import probe

    try:
        profile = probe(refresh=True, device_hooks=plugins.probe_modules())
    except EnginebayError as error:
        yield Finding(topic="hardware", level=Level.PROBLEM, text=error.message, hint=error.hint)
        return
    for device in profile.devices:
        kind = ", emulated on the CPU" if device.software else ""
        room = f"{format_bytes(device.memory_available)} free of {format_bytes(device.memory_total)}"
        yield Finding(topic="hardware", level=Level.OK, text=f"{device.id}: {device.name}{kind}, {room}")
    for warning in profile.warnings:
        yield Finding(topic="hardware", level=Level.NOTE, text=f"{warning.probe}: {warning.message}")


def look_at_folders() -> Iterator[Finding]:
    """Whether the folders can be written, and how much room is left."""
    for label, folder, variable in (
        ("cache", paths.cache_dir(), "ENGINEBAY_CACHE_DIR"),
        ("data", paths.data_dir(), "ENGINEBAY_DATA_DIR"),
    ):
        trouble = _trouble_writing(folder)
        if trouble:
            yield Finding(
                topic="folders",
                level=Level.PROBLEM,
                text=f"{label}: {folder} cannot be written: {trouble}",
                hint=f"make it writable, or name another folder in {variable}",
            )
            continue
        free = shutil.disk_usage(folder).free
        level = Level.PROBLEM if free < LOW_DISK else Level.NOTE if free < SCARCE_DISK else Level.OK
        hint = None if level is Level.OK else f"make room, or name a folder on another disk in {variable}"
        yield Finding(topic="folders", level=level, text=f"{label}: {folder}, {format_bytes(free)} free", hint=hint)


def _trouble_writing(folder: Path) -> str | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".doctor-", dir=folder)
        os.close(handle)
        Path(name).unlink()
    except OSError as error:
        return error.strerror or str(error)
    return None

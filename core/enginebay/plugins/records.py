"""What is known of plugins and backends, as data for listings."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from enginebay.spec import FrozenModel


class PluginState(StrEnum):
    """What became of a plugin."""

    OK = "ok"
    QUARANTINED = "quarantined"
    DISABLED = "disabled"


class BackendState(StrEnum):
    """How far a backend is known to work here; each state includes the ones before."""

    DECLARED = "declared"
    """A plugin offers it."""
    INSTALLED = "installed"
    """The distributions it needs are there."""
    LOADABLE = "loadable"
    """Its library imports: its check passed in a child process with these versions."""
    VERIFIED = "verified"
    """The conformance kit passed on this machine with these versions."""


class PluginRecord(FrozenModel):
    """One plugin, loaded or not.

    Attributes:
        name: name of the entry point.
        module: the module it names; "" when the metadata cannot be read.
        distribution, version: where it came from; "" when the metadata cannot be read.
        reason: why it is quarantined or disabled; None when it is ok.
        hint: what to do about it.
        warnings: what is wrong with it although it works.
        load_seconds: wall-clock time of its import and its `backends` hook.
        backends: names of the backends it brings, in order.
    """

    name: str
    module: str
    distribution: str
    version: str
    state: PluginState
    reason: str | None = None
    hint: str | None = None
    warnings: tuple[str, ...] = ()
    load_seconds: float = 0.0
    backends: tuple[str, ...] = ()


class Failure(FrozenModel):
    """The last time a backend's factory raised; forgotten when it succeeds or its versions change."""

    backend: str
    interface: str
    reason: str
    when: datetime
    versions: str

"""The plugins that loaded, and what the rest of enginebay asks of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel

from enginebay.errors import BackendUnavailableError, PluginError, UnknownBackendError
from enginebay.models.conversion import ConverterSpec
from enginebay.plugins.availability import judge, judge_distributions
from enginebay.plugins.guard import call_guarded
from enginebay.plugins.memory import Memory, Proof, with_entry, without_entry
from enginebay.plugins.quarantine import clean, describe, way_out
from enginebay.plugins.records import BackendState, Failure, PluginRecord, PluginState
from enginebay.spec import BackendSpec, Interface
from enginebay.suggest import did_you_mean

if TYPE_CHECKING:
    import typer

    from enginebay.matching.decision import Availability
    from enginebay.models.catalogue import CatalogueEntry

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin that keeps the rules. `hooks` holds its implementations by hook name, called by keyword."""

    name: str
    module: str
    distribution: str
    version: str
    fingerprint: str
    specs: tuple[BackendSpec, ...]
    hooks: Mapping[str, Callable[..., Any]]


class Plugins:
    """The plugins of this environment. Safe to use from many threads; made by `load_plugins`.

    Attributes:
        backends: the specs of all accepted backends, by interface, then by name.
        unknown_names: names in the allow or deny list that no installed plugin has.
    """

    def __init__(
        self,
        records: tuple[PluginRecord, ...],
        loaded: tuple[LoadedPlugin, ...],
        memory: Memory,
        limit: float,
        unknown_names: tuple[str, ...] = (),
    ) -> None:
        self._records = records
        self._loaded = loaded
        self._memory = memory
        self._limit = limit
        self._lock = threading.Lock()
        self._late_warnings: dict[str, tuple[str, ...]] = {}
        self._owner = {(spec.interface, spec.name): plugin for plugin in loaded for spec in plugin.specs}
        self.backends: tuple[BackendSpec, ...] = tuple(
            sorted((spec for plugin in loaded for spec in plugin.specs), key=lambda spec: (spec.interface, spec.name))
        )
        self.unknown_names = unknown_names

    @property
    def records(self) -> tuple[PluginRecord, ...]:
        """Every plugin that was found, in order of name, with what has been learned of it up to now."""
        with self._lock:
            late = dict(self._late_warnings)
        return tuple(
            record.model_copy(update={"warnings": record.warnings + late[record.name]})
            if record.state is PluginState.OK and record.name in late
            else record
            for record in self._records
        )

    def specs(self, interface: Interface) -> tuple[BackendSpec, ...]:
        """The backends for one interface, by name."""
        return tuple(spec for spec in self.backends if spec.interface == interface)

    def spec(self, interface: Interface, name: str) -> BackendSpec:
        """The backend of that name.

        Raises:
            UnknownBackendError: no plugin that loaded offers it.
        """
        for spec in self.specs(interface):
            if spec.name == name:
                return spec
        raise UnknownBackendError(
            f"no plugin offers a {interface} backend {name!r}", value=name, hint=self._hint_for_unknown(interface, name)
        )

    def _hint_for_unknown(self, interface: Interface, name: str) -> str:
        for record in self._records:
            if record.name == name and record.state is not PluginState.OK:
                return f"the plugin {name!r} is {record.state}: {record.reason}"
        elsewhere = sorted({spec.interface for spec in self.backends if spec.name == name})
        if elsewhere:
            return f"it is a backend for: {', '.join(elsewhere)}"
        names = [spec.name for spec in self.specs(interface)]
        hint = did_you_mean(name, names)
        return f"{hint} known are: {', '.join(names)}" if hint.startswith("did") else hint

    def owner(self, spec: BackendSpec) -> PluginRecord:
        """The record of the plugin that brings the backend."""
        name = self._plugin_of(spec).name
        return next(record for record in self.records if record.name == name and record.state is PluginState.OK)

    def _plugin_of(self, spec: BackendSpec) -> LoadedPlugin:
        plugin = self._owner.get((spec.interface, spec.name))
        if plugin is None:
            raise UnknownBackendError(
                f"no plugin offers a {spec.interface} backend {spec.name!r}",
                value=spec.name,
                hint=self._hint_for_unknown(spec.interface, spec.name),
            )
        return plugin

    @cached_property
    def _availabilities(self) -> dict[tuple[Interface, str], Availability]:
        return {(spec.interface, spec.name): judge(spec, self._plugin_of(spec).version) for spec in self.backends}

    def availability(self, spec: BackendSpec) -> Availability:
        """Whether the backend is installed, from metadata alone; read once for the life of this object."""
        self._plugin_of(spec)
        return self._availabilities[spec.interface, spec.name]

    def availabilities(self, interface: Interface) -> dict[str, Availability]:
        """`availability` of every backend for one interface, by backend name."""
        return {spec.name: self.availability(spec) for spec in self.specs(interface)}

    def factory(self, spec: BackendSpec) -> Callable[[Any], Any]:
        """Import the module that implements the backend and give its factory: of an `OpenRequest` or `StoreRequest`.

        Raises:
            BackendUnavailableError: it is not installed, or its library does not import.
            PluginError: the import string leads to nothing that can be called.
        """
        unavailable = self.availability(spec)
        if unavailable.code is not None or spec.factory is None:
            raise BackendUnavailableError(
                f"backend {spec.name!r} cannot be used: {unavailable.message}", value=spec.name, hint=unavailable.hint
            )
        factory = self._resolve(spec, spec.factory)
        if not callable(factory):
            raise PluginError(f"the factory {spec.factory!r} of backend {spec.name!r} cannot be called", value=factory)
        return factory

    def options_model(self, spec: BackendSpec) -> type[BaseModel] | None:
        """The pydantic model of the backend's options, or None when it has none.

        Raises:
            BackendUnavailableError: its module does not import.
            PluginError: the import string leads to no pydantic model.
        """
        if spec.options is None:
            return None
        model = self._resolve(spec, spec.options)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise PluginError(
                f"the options {spec.options!r} of backend {spec.name!r} are no pydantic model", value=model
            )
        return model

    def _resolve(self, spec: BackendSpec, target: str) -> object:
        module_name, _, attribute = target.partition(":")
        plugin = self._plugin_of(spec)
        hint = way_out(plugin.distribution, plugin.name)
        try:
            module = import_module(module_name)
        except (Exception, SystemExit) as error:
            raise BackendUnavailableError(
                f"backend {spec.name!r} is installed but does not import: {describe(error)}",
                value=target,
                hint=f"reinstall it: {spec.install}" if spec.install else hint,
            ) from error
        try:
            return getattr(module, attribute)
        except AttributeError:
            raise PluginError(
                f"backend {spec.name!r} names {target!r}, and {module_name!r} has no {attribute!r}",
                value=target,
                hint=hint,
            ) from None

    def checks(self) -> dict[str, str]:
        """Import string of the check by backend name, of the installed backends that have one."""
        return {
            spec.name: spec.check
            for spec in reversed(self.backends)
            if spec.check is not None and self.availability(spec).code is None
        }

    def probe_modules(self) -> tuple[str, ...]:
        """Modules of the plugins that probe devices of their own."""
        return tuple(plugin.module for plugin in self._loaded if "probe_devices" in plugin.hooks)

    def catalogue_entries(self) -> tuple[CatalogueEntry, ...]:
        """Entries that plugins add to the model catalogue."""
        return self._catalogue_entries

    def converters(self, *, installed: bool = False) -> tuple[ConverterSpec, ...]:
        """Steps from one model format to another that plugins add; all, or those whose libraries are installed."""
        if not installed:
            return self._converters
        return tuple(spec for spec in self._converters if self.converter_availability(spec).code is None)

    def converter_availability(self, spec: ConverterSpec) -> Availability:
        """Whether the converter's libraries are installed, from metadata alone."""
        known = self._converter_availabilities
        if spec.name not in known:
            known[spec.name] = judge_distributions(spec.name, spec.requires, spec.requires_any, spec.install)
        return known[spec.name]

    @cached_property
    def _converter_availabilities(self) -> dict[str, Availability]:
        return {}

    def prompt_templates(self) -> tuple[tuple[str, str], ...]:
        """Prompt templates that plugins add, as (name, Jinja source)."""
        return self._prompt_templates

    @cached_property
    def _catalogue_entries(self) -> tuple[CatalogueEntry, ...]:
        if not any("models" in plugin.hooks for plugin in self._loaded):
            return ()
        from enginebay.models.catalogue import CatalogueEntry

        return self._collect("models", lambda item: isinstance(item, CatalogueEntry), "a CatalogueEntry")

    @cached_property
    def _converters(self) -> tuple[ConverterSpec, ...]:
        return self._collect("converters", lambda item: isinstance(item, ConverterSpec), "a ConverterSpec")

    @cached_property
    def _prompt_templates(self) -> tuple[tuple[str, str], ...]:
        return self._collect("prompt_templates", _is_template, "a pair (name, Jinja source)")

    def _collect(self, hook: str, fits: Callable[[object], bool], what: str) -> tuple[Any, ...]:
        """Ask each plugin in turn; what one gives wrong is left out and noted on that plugin."""
        gathered: list[Any] = []
        for plugin in self._loaded:
            given = self._ask(plugin, hook)
            gathered.extend(item for item in given if fits(item))
            if not all(map(fits, given)):
                self._warn(plugin, f"the hook {hook} gives something that is not {what}")
        return tuple(gathered)

    def _ask(self, plugin: LoadedPlugin, hook: str) -> list[object]:
        call = plugin.hooks.get(hook)
        if call is None:
            return []
        outcome = call_guarded(lambda: list(cast("Iterable[object]", call())), self._limit)
        if outcome.hung:
            self._condemn(plugin, hook)
        elif outcome.error is not None:
            self._warn(plugin, f"the hook {hook} raises {describe(outcome.error)}")
        return outcome.value or []

    def extend_cli(self, app: typer.Typer, *, reserved: Collection[str] = ()) -> None:
        """Let plugins add commands to `app`; a plugin whose commands cannot be built or take a name adds none.

        Args:
            reserved: names of commands that no plugin may take.
        """
        import typer

        taken = dict.fromkeys(reserved, "enginebay itself")
        for plugin in self._loaded:
            hook = plugin.hooks.get("cli")
            if hook is None:
                continue
            own = typer.Typer()
            outcome = call_guarded(partial(_build_commands, hook, own), self._limit)
            if outcome.hung:
                self._condemn(plugin, "cli")
            elif outcome.error is not None:
                self._warn(plugin, f"the hook cli raises {describe(outcome.error)}")
            elif clash := sorted(taken.keys() & outcome.result):
                self._warn(plugin, f"its command {clash[0]!r} is taken by {taken[clash[0]]}")
            else:
                taken.update(dict.fromkeys(outcome.result, f"the plugin {plugin.name!r}"))
                app.registered_commands.extend(own.registered_commands)
                app.registered_groups.extend(own.registered_groups)

    def notify(self, hook: str, **arguments: Any) -> None:
        """Tell observers of an event, in this thread. One that raises is noted on its plugin and costs nothing else.

        Args:
            hook: `decided`, `engine_opened`, `engine_closed` or `request_finished`.
            arguments: the hook's arguments, by name.
        """
        for plugin in self._loaded:
            call = plugin.hooks.get(hook)
            if call is None:
                continue
            try:
                call(**arguments)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - an observer decides nothing
                self._warn(plugin, f"the hook {hook} raises {describe(error)}")

    def _condemn(self, plugin: LoadedPlugin, hook: str) -> None:
        reason = f"the hook {hook} did not end within {self._limit:g} s"
        self._warn(plugin, reason)
        self._memory.condemn(plugin.fingerprint, reason)

    def _warn(self, plugin: LoadedPlugin, text: str) -> None:
        with self._lock:
            said = self._late_warnings.get(plugin.name, ())
            if text not in said and len(said) < 20:
                self._late_warnings[plugin.name] = (*said, text)

    def record_failure(self, spec: BackendSpec, reason: str) -> None:
        """Remember that the backend's factory raised, for later runs of `enginebay plugins` and `doctor`."""
        failure = Failure(
            backend=spec.name,
            interface=spec.interface,
            reason=clean(reason),
            when=datetime.now(UTC),
            versions=self._versions(spec),
        )
        self._memory.change(
            lambda notes: notes.model_copy(update={"failures": with_entry(notes.failures, _key(spec), failure)})
        )

    def record_success(self, spec: BackendSpec) -> None:
        """Forget an earlier failure of the backend, now that an engine has opened."""
        if _key(spec) in self._memory.read().failures:
            self._memory.change(
                lambda notes: notes.model_copy(update={"failures": without_entry(notes.failures, _key(spec))})
            )

    def failure(self, spec: BackendSpec) -> Failure | None:
        """The failure that is remembered for the backend as it is installed now."""
        failure = self._memory.read().failures.get(_key(spec))
        return failure if failure is not None and failure.versions == self._versions(spec) else None

    def record_state(self, spec: BackendSpec, state: BackendState) -> None:
        """Remember how far the backend was proven: `LOADABLE` by its check, `VERIFIED` by the conformance kit.

        Any lower state takes an earlier proof back.
        """
        proven = state in (BackendState.LOADABLE, BackendState.VERIFIED)
        proof = Proof(state=state, versions=self._versions(spec))
        self._memory.change(
            lambda notes: notes.model_copy(
                update={
                    "proofs": with_entry(notes.proofs, _key(spec), proof)
                    if proven
                    else without_entry(notes.proofs, _key(spec))
                }
            )
        )

    def backend_state(self, spec: BackendSpec) -> BackendState:
        """How far the backend is known to work here, with the versions that are installed now."""
        if self.availability(spec).code is not None:
            return BackendState.DECLARED
        proof = self._memory.read().proofs.get(_key(spec))
        if proof is None or proof.versions != self._versions(spec):
            return BackendState.INSTALLED
        return proof.state

    def _versions(self, spec: BackendSpec) -> str:
        plugin = self._plugin_of(spec)
        return f"{plugin.distribution} {plugin.version}, {self.availability(spec).version or 'nothing else'}"


def _key(spec: BackendSpec) -> str:
    return f"{spec.interface}:{spec.name}"


def _is_template(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)


def _build_commands(hook: Callable[..., Any], app: typer.Typer) -> set[str]:
    """Let a plugin fill `app` and name its commands, built as they will be: a signature typer cannot read raises."""
    import typer

    hook(app=app)
    if not app.registered_commands and not app.registered_groups:
        return set()
    return set(typer.main.get_group(app).commands)

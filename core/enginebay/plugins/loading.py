"""Loads plugins one at a time; one that breaks a rule is quarantined and the others go on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from types import MappingProxyType, ModuleType
from typing import Any

import pluggy
from pydantic import ValidationError

from enginebay import hookspecs
from enginebay.plugins.availability import judge
from enginebay.plugins.discovery import Found, discover
from enginebay.plugins.guard import Outcome, call_guarded
from enginebay.plugins.journal import Journal, death_of_import
from enginebay.plugins.locate import locate
from enginebay.plugins.memory import Memory, Notes
from enginebay.plugins.quarantine import Quarantine, bad_spec, clean, describe, import_failed, way_out
from enginebay.plugins.records import PluginRecord, PluginState
from enginebay.plugins.registry import LoadedPlugin, Plugins
from enginebay.spec import API_VERSION, BackendSpec, Interface

SLOW_SECONDS = 0.5
"""A plugin that takes longer than this to load carries a warning."""
MOST_BACKENDS = 1000
RESERVED_NAMES = frozenset({"all", "any", "auto", "default", "none"})
"""Names that mean something else in configuration and in ENGINEBAY_PLUGINS."""
VARIABLE = "ENGINEBAY_PLUGINS"
RETRY = "upgrade or remove it; to try this version again: enginebay doctor --refresh"

_PLUGIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def load_plugins(
    *, allow: Collection[str] | None = None, deny: Collection[str] = (), import_limit: float = 5.0
) -> Plugins:
    """Find and load the installed plugins.

    Args:
        allow: names of the plugins to load; others are not imported. None asks the environment variable
            `ENGINEBAY_PLUGINS` (comma-separated names, or `none`), and without that takes all.
        deny: names of plugins not to import, whatever `allow` says.
        import_limit: seconds that one plugin's import, and each of its hooks, may take.

    Raises:
        PluginError: called by a plugin while it is being loaded or asked. A plugin's own faults never raise: they are
            in `Plugins.records`.
    """
    switches = _Switches.of(allow, deny)
    found = discover()
    loader = _Loader(switches, import_limit, Memory())
    try:
        for entry in found:
            loader.take(entry)
    finally:
        loader.close()
    return loader.plugins(unknown_names=switches.unknown(entry.name for entry in found))


def load_modules(modules: Mapping[str, ModuleType], *, import_limit: float = 5.0) -> Plugins:
    """Load plugins from modules at hand, by the same rules and without looking at what is installed.

    For tests of a plugin, and for applications that bring a backend of their own.

    Args:
        modules: the modules by plugin name.
        import_limit: seconds that each hook may take.
    """
    loader = _Loader(_Switches(None, "", frozenset()), import_limit, Memory())
    for name, module in sorted(modules.items()):
        loader.take(Found(name, module.__name__, "", ""), module)
    return loader.plugins()


@dataclass(frozen=True, slots=True)
class _Switches:
    """Which plugins may be imported."""

    allow: frozenset[str] | None
    source: str
    deny: frozenset[str]

    @classmethod
    def of(cls, allow: Collection[str] | None, deny: Collection[str]) -> _Switches:
        denied = _names(deny)
        variable = _names_in_environment()
        if allow is None:
            return cls(variable, VARIABLE, denied)
        allowed = _names(allow)
        return cls(allowed, VARIABLE if allowed == variable else "the allow list", denied)

    def reason_against(self, name: str) -> str | None:
        if name in self.deny:
            return "switched off by the deny list"
        if self.allow is not None and name not in self.allow:
            return f"not named by {self.source}"
        return None

    def unknown(self, known: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(((self.allow or frozenset()) | self.deny) - frozenset(known)))


def _names(given: Collection[str]) -> frozenset[str]:
    return frozenset((given,) if isinstance(given, str) else given)


def _names_in_environment() -> frozenset[str] | None:
    """The names in `ENGINEBAY_PLUGINS`; None when it is not set or empty."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    return frozenset() if text.lower() == "none" else frozenset(name.strip() for name in text.split(",")) - {""}


@dataclass(slots=True)
class _Draft:
    """A record in the making."""

    found: Found
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def record(self, state: PluginState, reason: str | None, hint: str | None, backends: Sequence[str]) -> PluginRecord:
        found = self.found
        return PluginRecord(
            name=found.name,
            module=found.module,
            distribution=found.distribution,
            version=found.version,
            state=state,
            reason=reason,
            hint=hint,
            warnings=tuple(self.warnings),
            load_seconds=round(self.seconds, 4),
            backends=tuple(dict.fromkeys(backends)),
        )


class _Loader:
    """Gathers records and accepted plugins while it goes through the entry points."""

    def __init__(self, switches: _Switches, limit: float, memory: Memory) -> None:
        self._switches = switches
        self._limit = limit
        self._memory = memory
        self._notes: Notes = memory.read()
        self._journal = Journal(memory.path)
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._records: list[PluginRecord] = []
        self._loaded: list[LoadedPlugin] = []
        self._plugin_owners: dict[str, Found] = {}
        self._backend_owners: dict[tuple[Interface, str], Found] = {}

    def plugins(self, unknown_names: tuple[str, ...] = ()) -> Plugins:
        """What has been gathered."""
        return Plugins(tuple(self._records), tuple(self._loaded), self._memory, self._limit, unknown_names)

    def close(self) -> None:
        """All imports have ended."""
        self._journal.close()

    def take(self, found: Found, module: ModuleType | None = None) -> None:
        """Load one plugin, or quarantine it."""
        draft = _Draft(found)
        off = self._switches.reason_against(found.name)
        if off is not None:
            self._records.append(draft.record(PluginState.DISABLED, off, None, ()))
            return
        try:
            loaded = self._load(draft, module)
        except Quarantine as verdict:
            hint = verdict.hint or way_out(found.distribution, found.name)
            self._records.append(draft.record(PluginState.QUARANTINED, verdict.reason, hint, ()))
            return
        self._loaded.append(loaded)
        self._records.append(draft.record(PluginState.OK, None, None, [spec.name for spec in loaded.specs]))

    def _load(self, draft: _Draft, module: ModuleType | None) -> LoadedPlugin:
        found = draft.found
        self._check_entry(found)
        key = _fingerprint(found)
        module = module or self._import(draft, key)
        _check_api_version(module)
        hooks = self._register(found, module)
        try:
            specs = self._specs(draft, hooks, key)
            _check_for_twins(specs)
            for spec in specs:
                self._check_spec(spec, found)
        except Quarantine:
            self._manager.unregister(module)
            raise
        if draft.seconds >= SLOW_SECONDS:
            draft.warnings.append(
                f"slow: it took {draft.seconds:.1f} s to load; a plugin's module imports nothing heavy"
            )
        self._backend_owners.update({(spec.interface, spec.name): found for spec in specs})
        return LoadedPlugin(found.name, found.module, found.distribution, found.version, key, specs, hooks)

    def _check_entry(self, found: Found) -> None:
        owner = self._plugin_owners.setdefault(found.name, found)
        if owner is not found:
            raise Quarantine(
                f"the plugin name {found.name!r} is taken: {owner.owner} has it, {found.owner} declares it too",
                f"uninstall one of them: pip uninstall {found.distribution}, or pip uninstall {owner.distribution}",
            )
        if found.problem:
            raise Quarantine(
                found.problem, f"reinstall it: pip install --force-reinstall {found.distribution}" * bool(found.version)
            )
        if not _PLUGIN_NAME.fullmatch(found.name) or found.name.lower() in RESERVED_NAMES:
            raise Quarantine(f"{found.name!r} is no plugin name: letters, digits, '.', '_' and '-', and none reserved")

    def _import(self, draft: _Draft, key: str) -> ModuleType:
        found = draft.found
        if key in self._notes.condemned:
            raise Quarantine(self._notes.condemned[key], RETRY)
        if key in self._journal.suspects:
            death = death_of_import(found.module, self._limit)
            if death is not None:
                raise self._condemn(key, f"ends the process at import ({death})")
        if found.module not in sys.modules:
            self._journal.begin(key)
        outcome = call_guarded(lambda: import_module(found.module), self._limit)
        self._account(draft, outcome, "at import")
        if outcome.hung:
            raise self._condemn(key, f"endless import: it did not end within {self._limit:g} s")
        if outcome.error is not None:
            raise import_failed(outcome.error, found.module, found.distribution)
        return outcome.result

    def _condemn(self, key: str, reason: str) -> Quarantine:
        self._memory.condemn(key, reason)
        return Quarantine(reason, RETRY)

    def _account(self, draft: _Draft, outcome: Outcome[Any], when: str) -> None:
        draft.seconds += outcome.seconds
        if outcome.printed.strip():
            line = clean(outcome.printed.strip().splitlines()[0], 120)
            draft.warnings.append(f"writes to stdout {when}: {line!r}")
        if outcome.replaced_stdout:
            draft.warnings.append(f"replaced sys.stdout {when}; that was undone")

    def _register(self, found: Found, module: ModuleType) -> Mapping[str, Callable[..., Any]]:
        """Let pluggy validate the plugin's hooks; each is then called by itself, so that a fault has one owner."""
        if self._manager.is_registered(module):
            name = self._manager.get_name(module)
            raise Quarantine(f"the module {found.module!r} is already loaded as the plugin {name!r}")
        try:
            self._manager.register(module, name=found.name)
        except Exception as error:
            raise Quarantine(f"broken hooks: {clean(error)}") from error
        try:
            self._manager.check_pending()
            return _hooks_of(self._manager, module)
        except (pluggy.PluginValidationError, Quarantine) as error:
            self._manager.unregister(module)
            raise Quarantine(f"broken hooks: {clean(error)}") from error

    def _specs(self, draft: _Draft, hooks: Mapping[str, Callable[..., Any]], key: str) -> tuple[BackendSpec, ...]:
        hook = hooks.get("backends")
        if hook is None:
            return ()
        outcome = call_guarded(lambda: _listed(hook()), self._limit)
        self._account(draft, outcome, "in the hook backends")
        if outcome.hung:
            raise self._condemn(key, f"the hook backends did not end within {self._limit:g} s")
        if isinstance(outcome.error, Quarantine):
            raise outcome.error
        if isinstance(outcome.error, ValidationError):
            raise Quarantine(bad_spec(outcome.error))
        if outcome.error is not None:
            raise Quarantine(f"the hook backends raises {describe(outcome.error)}")
        return tuple(_checked(item) for item in outcome.result)

    def _check_spec(self, spec: BackendSpec, found: Found) -> None:
        if spec.name in RESERVED_NAMES:
            raise Quarantine(f"bad spec: the backend name {spec.name!r} is reserved")
        owner = self._backend_owners.get((spec.interface, spec.name))
        if owner is not None:
            raise Quarantine(
                f"the {spec.interface} backend {spec.name!r} is taken: {owner.owner} (plugin {owner.name!r}) has it, "
                f"{found.owner} (plugin {found.name!r}) declares it too",
                f"switch one of them off with {VARIABLE}, or uninstall it",
            )
        for role in ("factory", "check", "options"):
            _check_import_string(spec, role, found)


def _hooks_of(manager: pluggy.PluginManager, module: ModuleType) -> Mapping[str, Callable[..., Any]]:
    hooks: dict[str, Callable[..., Any]] = {}
    for caller in manager.get_hookcallers(module) or ():
        for impl in caller.get_hookimpls():
            if impl.plugin is not module:
                continue
            if impl.hookwrapper or impl.wrapper:
                raise Quarantine(f"{caller.name} is a hook wrapper: enginebay calls each plugin's hooks by themselves")
            hooks[caller.name] = _by_name(impl)
    return MappingProxyType(hooks)


def _by_name(impl: pluggy.HookImpl) -> Callable[..., Any]:
    """The function, called with those of the arguments that it takes."""

    def call(**arguments: Any) -> Any:
        return impl.function(*(arguments[name] for name in impl.argnames))

    return call


def _check_api_version(module: ModuleType) -> None:
    declared = getattr(module, "__dict__", {}).get("api_version")
    if declared is None:
        raise Quarantine(
            f"it declares no api_version; this enginebay speaks {API_VERSION}",
            f"its author adds: api_version = {API_VERSION}",
        )
    if type(declared) is not int:
        raise Quarantine(
            f"its api_version is {clean(repr(declared), 60)}, not an int; this enginebay speaks {API_VERSION}"
        )
    if declared < API_VERSION:
        raise Quarantine(
            f"too old: it speaks api_version {declared}, this enginebay {API_VERSION}",
            "upgrade the plugin",
        )
    if declared > API_VERSION:
        raise Quarantine(
            f"too new: it speaks api_version {declared}, this enginebay {API_VERSION}",
            "upgrade enginebay: pip install --upgrade enginebay",
        )


def _listed(given: object) -> list[object]:
    if isinstance(given, BackendSpec):
        raise Quarantine("bad spec: the hook backends gives one BackendSpec, not a list of them")
    if not isinstance(given, Iterable):
        raise Quarantine(f"bad spec: the hook backends gives {type(given).__name__}, not a list of BackendSpec")
    items = list(islice(given, MOST_BACKENDS + 1))
    if len(items) > MOST_BACKENDS:
        raise Quarantine(f"bad spec: the hook backends gives more than {MOST_BACKENDS} backends")
    return items


def _checked(item: object) -> BackendSpec:
    """The spec, validated anew: `model_construct` and friends let anything through."""
    if not isinstance(item, BackendSpec):
        raise Quarantine(f"bad spec: the hook backends gives {clean(repr(item), 80)}, not a BackendSpec")
    try:
        return BackendSpec.model_validate(dict(item.__dict__))
    except ValidationError as error:
        raise Quarantine(bad_spec(error)) from error


def _check_for_twins(specs: Sequence[BackendSpec]) -> None:
    seen: set[tuple[Interface, str]] = set()
    for spec in specs:
        if (spec.interface, spec.name) in seen:
            raise Quarantine(f"bad spec: it declares the {spec.interface} backend {spec.name!r} twice")
        seen.add((spec.interface, spec.name))


def _check_import_string(spec: BackendSpec, role: str, found: Found) -> None:
    """Refuse a spec whose module is missing from the plugin's own package, or although all it requires is there."""
    target: str | None = getattr(spec, role)
    if target is None:
        return
    module = target.partition(":")[0]
    if locate(module) is not None:
        return
    own = module.partition(".")[0] == found.module.partition(".")[0]
    if own or judge(spec, "").code is None:
        raise Quarantine(
            f"missing {role}: the backend {spec.name!r} names {target!r}, and there is no module {module!r}"
        )


def _fingerprint(found: Found) -> str:
    """What must stay the same for a remembered verdict to hold: version, file and time of the file's last change."""
    spec = locate(found.module)
    origin = (spec.origin if spec else None) or ""
    try:
        changed = os.stat(origin).st_mtime_ns  # noqa: PTH116 - an origin need not be a path
    except (OSError, ValueError):
        changed = 0
    python = ".".join(map(str, sys.version_info[:2]))
    return f"{found.name}={found.module} {found.distribution}=={found.version} {origin}@{changed} python{python}"

"""The runtime object: configuration, plugins, the probe and open engines."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from enginebay.config import EmbedderConfig, GeneratorConfig, LoadedSettings, Settings, StoreConfig, load_settings
from enginebay.conversions import conversion_path, run_conversion
from enginebay.engines import EnginePool, check_options
from enginebay.errors import ConfigError, ModelNotFoundError, UnsupportedFeatureError
from enginebay.generation.handle import GeneratorHandle, hold_generator
from enginebay.interfaces.jobs import Events, reporter
from enginebay.matching.match import match
from enginebay.matching.measurements import load_measurements
from enginebay.matching.requirement import Converting, Requirement, Workload
from enginebay.models.catalogue import Catalogue
from enginebay.models.embedding import EmbeddingFacts, Pooling
from enginebay.models.headers import read_info
from enginebay.models.reference import RemoteReference, parse_reference
from enginebay.models.store import ModelStore, remote_info
from enginebay.plugins import Plugins, load_plugins
from enginebay.sampling.plan import constraint_features, make_params
from enginebay.spec import Feature, Interface, ModelFormat
from enginebay.suggest import did_you_mean

if TYPE_CHECKING:
    from enginebay.embedding.handle import EmbedderHandle
    from enginebay.hardware.profile import HardwareProfile
    from enginebay.interfaces.embedder import Embedder
    from enginebay.interfaces.quantizer import QuantizedModel
    from enginebay.matching.decision import Decision
    from enginebay.matching.quantizers import Candidate
    from enginebay.models.conversion import Conversion, Report
    from enginebay.models.info import ModelInfo
    from enginebay.opened import OpenEngine
    from enginebay.sampling.params import SamplingParams
    from enginebay.spec import BackendSpec
    from enginebay.stores import Store
    from enginebay.stores.pool import StorePool

ConfigT = TypeVar("ConfigT", bound=BaseModel)

AUTO = "auto"

BATCH_SIZE = 32
"""Texts that an embedder takes together when nobody says how many."""

FRESH = 5.0
"""Seconds for which a bay does not look at free memory again."""


class Bay:
    """Opens engines for what a host application names.

    A bay is a context manager; leaving it closes its engines. It may be used from many threads.

    Args:
        config: configuration file in place of the discovered ones.
        profile: name of a configuration profile to lay over.
        plugins: loaded plugins in place of the installed ones.
        hardware: hardware profile in place of a probe of this machine.
        flags: values of command-line flags, as a nested mapping.
        overrides: configuration values, above every other source, as a nested mapping.

    Raises:
        ConfigError: the configuration is wrong; the text says in which file and line.
    """

    def __init__(
        self,
        *,
        config: Path | str | None = None,
        profile: str | None = None,
        plugins: Plugins | None = None,
        hardware: HardwareProfile | None = None,
        flags: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.loaded: LoadedSettings = load_settings(
            file=Path(config) if config is not None else None, profile=profile, flags=flags, overrides=overrides
        )
        self._hardware = hardware
        self._hardware_until = 0.0 if hardware is None else math.inf
        self._lock = threading.RLock()
        # A bay that nobody closed still frees its engines, at the latest when the interpreter ends.
        self._holder = _Holder(self.settings, plugins)
        convert = _Converter(self._holder.get)
        self._engines = EnginePool(self._holder.get, convert, hold_generator)
        self._embedders = EnginePool(self._holder.get, convert, _hold_embedder)
        weakref.finalize(self, self._engines.close)
        weakref.finalize(self, self._embedders.close)

    @property
    def settings(self) -> Settings:
        """The configuration."""
        return self.loaded.settings

    @property
    def plugins(self) -> Plugins:
        """The installed plugins, loaded on first use."""
        return self._holder.get()

    @cached_property
    def models(self) -> ModelStore:
        """The models on this machine, and the catalogue of those that can be fetched."""
        catalogue = Catalogue.with_plugins(self.plugins.catalogue_entries())
        return ModelStore(self.settings.models.directory, catalogue)

    @cached_property
    def _stores(self) -> StorePool:
        from enginebay.stores.pool import StorePool

        return StorePool(self._holder.get)

    def hardware(self, *, refresh: bool = False) -> HardwareProfile:
        """This machine's hardware profile; free memory is at most `FRESH` seconds old, the rest is kept on disk."""
        from enginebay.hardware.probe import probe

        with self._lock:
            if self._hardware is None or refresh or time.monotonic() > self._hardware_until:
                checks = self.plugins.checks()
                self._hardware = probe(
                    refresh=refresh,
                    checks=checks,
                    device_hooks=self.plugins.probe_modules(),
                    expiry=self.settings.probe.expiry,
                    timeout=self.settings.probe.timeout,
                    key=self._versions(checks),
                )
                self._hardware_until = time.monotonic() + FRESH
            return self._hardware

    def decide(
        self,
        requirement: Requirement,
        *,
        hardware: HardwareProfile | None = None,
        assume_installed: bool = False,
    ) -> Decision:
        """Match a requirement with the installed backends.

        Args:
            hardware: another machine's profile; this one's when None.
            assume_installed: judge as if every declared backend were installed.

        Raises:
            UnknownBackendError: the requirement names a backend that no plugin offers.
        """
        if requirement.backend is not None:
            self.plugins.spec(requirement.interface, requirement.backend)
        decision = match(
            requirement,
            hardware or self.hardware(),
            self.plugins.specs(requirement.interface),
            availability=self.plugins.availabilities(requirement.interface),
            measurements=load_measurements() if hardware is None else (),
            assume_installed=assume_installed,
            converters=self.plugins.converters(installed=not assume_installed),
        )
        self.plugins.notify("decided", decision=decision)
        return decision

    def explain(
        self,
        model: str,
        *,
        hardware: HardwareProfile | None = None,
        workload: Workload | str | None = None,
        features: Collection[Feature | str] = (),
        sampling: Collection[str] = (),
        context_length: int | None = None,
        streams: int | None = None,
        backend: str | None = None,
        device: str | None = None,
        memory_limit: int | None = None,
        allow_software_devices: bool = False,
        conversion: Converting | str | None = None,
        assume_installed: bool = False,
        interface: Interface | str | None = None,
    ) -> Decision:
        """Which backend on which device would run a model, and why; nothing is opened or fetched.

        Args:
            interface: what the model is to be; None takes an embedder for a model whose files say how it embeds, and a
                generator for the others.
            workload: what to rank by; None means the latency of generators, the throughput of embedders.
            conversion: None means "if_needed" for generators, "auto" for embedders.

        Raises:
            ModelNotFoundError: the reference leads nowhere, or to a model that is not fetched and whose
                facts no catalogue has.
        """
        info = self.models.info(model)
        embeds = info.embedding is not None if interface is None else Interface(interface) is Interface.EMBEDDER
        needed = frozenset(Feature(feature) for feature in features)
        requirement = Requirement(
            interface=Interface.EMBEDDER if embeds else Interface(interface or Interface.GENERATOR),
            model=info,
            workload=Workload(workload or (Workload.THROUGHPUT if embeds else Workload.LATENCY)),
            features=needed | _embedding_features(info) if embeds else needed,
            sampling=frozenset(sampling),
            context_length=context_length or (_longest_text(info) if embeds else None),
            streams=streams or (BATCH_SIZE if embeds else None),
            backend=_unless_auto(backend),
            device=_unless_auto(device),
            memory_limit=memory_limit,
            allow_software_devices=allow_software_devices,
            conversion=Converting(conversion or (Converting.AUTO if embeds else Converting.IF_NEEDED)),
        )
        return self.decide(requirement, hardware=hardware, assume_installed=assume_installed)

    def pull(self, reference: str, *, progress: Callable[[int, int | None], None] | None = None) -> Path:
        """Fetch a model, or find it already here.

        Args:
            progress: called with bytes done and bytes in all (None when not known).

        Raises:
            ModelNotFoundError: the reference leads nowhere.
            FetchError: no mirror gave it.
        """
        return self.models.pull(reference, progress=progress)

    def convert(
        self,
        reference: str,
        target: ModelFormat | str,
        *,
        options: Mapping[str, Any] | None = None,
        report: Report = lambda what, share: None,
    ) -> Path:
        """Convert a model on this machine to another format, by the shortest path of installed converters.

        Converted models are kept: the same source and options are converted once.

        Args:
            options: options of the converters on the path, such as `quantization`.
            report: told what is going on, and the share of the work that is done, 0 to 1.

        Returns:
            The file (GGUF) or folder.

        Raises:
            ConversionError: no path leads there, no converter on it has the option, or a step failed.
            ModelNotFoundError, ModelFormatError: the model is not here, or a converter cannot read it.
        """
        model = self._local_info(reference)
        path = conversion_path(model, {ModelFormat(target)}, self.plugins)
        return run_conversion(model, path, self.plugins, options or {}, report)

    def quantizations(
        self,
        model: str | ModelInfo,
        *,
        hardware: HardwareProfile | None = None,
        engine: str | None = None,
        device: str | None = None,
        context_length: int | None = None,
        memory_limit: int | None = None,
    ) -> list[Candidate]:
        """Every type that a model could be quantised to, in every engine that would load it; nothing is made.

        Args:
            model: its reference, or its facts as read before.
            hardware: the machine that is to run the result, its engines taken to be installed; this one when None.
            engine: only this backend.
            device: only this device id or kind of the machine.
            context_length: tokens of the result's context, for the memory that it takes.
            memory_limit: bytes that the engine may take.

        Returns:
            Candidates: those that can be made here and would run there first, by estimated speed; refused ones with
            their reasons last.
        """
        from enginebay.matching.quantizers import candidates

        info = self._local_info(model) if isinstance(model, str) else model
        interface = Interface.EMBEDDER if info.embedding is not None else Interface.GENERATOR
        engines = self.plugins.specs(interface) if engine is None else (self.plugins.spec(interface, engine),)
        requirement = Requirement(
            interface=interface,
            model=info,
            device=device,
            context_length=context_length,
            memory_limit=memory_limit,
        )
        return candidates(
            requirement,
            hardware or self.hardware(),
            self.plugins.specs(Interface.QUANTIZER),
            engines,
            quantizer_availability=self.plugins.availabilities(Interface.QUANTIZER),
            engine_availability=self.plugins.availabilities(interface),
            converters=self.plugins.converters(installed=True),
            assume_installed=hardware is not None,
        )

    def quantize(
        self,
        model: str,
        to: str,
        *,
        output: Path | str | None = None,
        backend: str | None = None,
        calibration: Path | str | None = None,
        requantize: bool = False,
        overwrite: bool = False,
        options: Mapping[str, Any] | None = None,
        events: Events = lambda event: None,
        **where: Any,
    ) -> QuantizedModel:
        """Quantise a model on this machine. The same model, type and options are quantised once.

        Args:
            to: type ("q4_k_m", "int8", "nf4"); the quantizer is the one whose result runs fastest.
            output: file (GGUF) or folder to make, whole or not at all; None keeps it in enginebay's data folder.
            backend: only this quantizer.
            calibration: text file for activations, or "shipped" for the one that enginebay brings; None takes that for
                types that cannot do without. Others get better by it, and take longer.
            requantize: accept a model that is quantised already.
            overwrite: replace what stands under the output's name.
            options: the quantizer's own options.
            events: told of progress; raising `JobCancelled` in it ends the job.
            where: what is to run the result, as `quantizations` takes it: engine, device, hardware, context_length,
                memory_limit.

        Raises:
            JobError: nothing makes the type here, the source is quantised already, there is no room, the output exists,
                or the quantizer failed; nothing stands under the output's name.
            ConversionError: the model could not be brought into a format that the quantizer reads.
            OptionError: the options do not suit the quantizer.
            ModelNotFoundError, ModelFormatError: the model is not here, or broken.
        """
        from enginebay.matching.quantizers import choose
        from enginebay.quantizing import check_source

        asked = self._local_info(model)
        check_source(asked, requantize)
        found = self.quantizations(asked, **where)
        return self.quantize_as(
            asked,
            choose(found, to, backend=backend),
            output=output,
            calibration=calibration,
            requantize=requantize,
            overwrite=overwrite,
            options=options,
            events=events,
        )

    def quantize_as(
        self,
        model: str | ModelInfo,
        candidate: Candidate,
        *,
        output: Path | str | None = None,
        calibration: Path | str | None = None,
        requantize: bool = False,
        overwrite: bool = False,
        options: Mapping[str, Any] | None = None,
        events: Events = lambda event: None,
    ) -> QuantizedModel:
        """Quantise as one of `quantizations` says. Arguments and errors as of both."""
        from enginebay import quantizing

        asked = self._local_info(model) if isinstance(model, str) else model
        quantizing.check_source(asked, requantize)
        spec = self.plugins.spec(Interface.QUANTIZER, candidate.backend)
        checked = check_options(spec, self.plugins.options_model(spec), options or {})
        source = asked
        if candidate.conversion is not None:
            path = run_conversion(asked, candidate.conversion, self.plugins, {}, reporter(events, "convert"))
            source = read_info(path, asked.reference)
        hardware = self.hardware()
        work = quantizing.QuantizationWork(
            asked=asked,
            source=source,
            spec=spec,
            candidate=candidate,
            output=Path(output) if output is not None else None,
            calibration=quantizing.calibration_text(calibration, candidate.type),
            requantize=requantize,
            overwrite=overwrite,
            options=checked.model_dump(mode="json") if checked is not None else {},
            version=self.plugins.availability(spec).version or "",
            available=hardware.memory.available,
            threads=max(1, int(hardware.cpu.usable_cores)),
        )
        return quantizing.run_quantization(work, events)

    def generator(self, name: str | None = None, **changes: Any) -> GeneratorHandle:
        """Open a generator, or find it open.

        Args:
            name: a configured name (`[generators.NAME]`), or a model reference; None takes
                `default_generator`, or the only one configured.
            changes: fields of `GeneratorConfig` over the configured ones: model, backend, device,
                context_length, streams, workload, features, options, sampling, system, fallback, …

        Raises:
            ConfigError: no such name, or a wrong change.
            ModelNotFoundError: the model is not on this machine (`bay.pull` fetches it).
            UnknownBackendError, NoMatchError, OptionError, EngineOpenError: see there.
        """
        name, config = self.generator_config(name, **changes)
        # A backend that is named is asked as it is: what it lacks is an error of the request, with the alternatives.
        sampling = make_params({}, config.sampling if config.backend == AUTO else {})
        requirement = Requirement(
            model=self._local_info(config.model),
            features=frozenset(config.features) | constraint_features(sampling),
            sampling=frozenset(sampling.active().keys() - {"constraint"}),
            context_length=config.context_length,
            workload=config.workload,
            streams=config.streams,
            backend=_unless_auto(config.backend),
            device=_unless_auto(config.device),
            memory_limit=config.memory_limit,
            allow_software_devices=config.allow_software_devices,
            conversion=config.conversion,
        )
        opened = self._engines.open(
            self.decide(requirement), self.hardware(), options=config.options, fallback=config.fallback
        )
        return GeneratorHandle(
            name=name,
            opened=opened,
            defaults=dict(config.sampling),
            system=config.system,
            others=self._available_generators,
            elsewhere=self._elsewhere(name, changes) if config.backend == AUTO else None,
            tell=lambda event: self.plugins.notify("request_finished", event=event),
        )

    def embedder(self, name: str | None = None, **changes: Any) -> EmbedderHandle:
        """Open an embedder, or find it open.

        Args:
            name: a configured name (`[embedders.NAME]`), or a model reference; None takes `default_embedder`, or the
                only one configured.
            changes: fields of `EmbedderConfig` over the configured ones: model, backend, device, context_length,
                query_prefix, document_prefix, truncate, normalise, pooling, options, …

        Raises:
            ConfigError: no such name, or a wrong change.
            ModelNotFoundError: the model is not on this machine (`bay.pull` fetches it).
            UnsupportedFeatureError: its files do not say how it pools, and neither does the configuration.
            UnknownBackendError, NoMatchError, OptionError, EngineOpenError: see there.
        """
        from enginebay.embedding.handle import EmbedderHandle

        name, config = self.embedder_config(name, **changes)
        model = _with_pooling(self._local_info(config.model), config.pooling)
        facts = model.embedding or EmbeddingFacts()
        opened = self._embedders.open(
            self.decide(_embedder_requirement(config, model)),
            self.hardware(),
            options=config.options,
            fallback=config.fallback,
        )
        return EmbedderHandle(
            name=name,
            opened=opened,
            query_prefix=facts.query_prefix if config.query_prefix is None else config.query_prefix,
            document_prefix=facts.document_prefix if config.document_prefix is None else config.document_prefix,
            truncate=config.truncate,
            normalise=config.normalise or facts.normalise,
            tell=lambda event: self.plugins.notify("request_finished", event=event),
        )

    def store(self, name: str | None = None, **changes: Any) -> Store:
        """Open a vector store, or find it open.

        Args:
            name: a configured name (`[stores.NAME]`), or the name of a backend; None takes the only one configured, or
                without any the installed backend that declares itself the default.
            changes: fields of `StoreConfig` over the configured ones: backend, url, path, api_key, options.

        Raises:
            ConfigError: no such name, or a wrong change.
            UnknownBackendError, BackendUnavailableError, OptionError, StoreError: see there.
        """
        return self._stores.open(*self.store_config(name, **changes))

    def store_config(self, name: str | None = None, **changes: Any) -> tuple[str, StoreConfig]:
        """The name and configuration that `store` would use with the same arguments. Raises as it does."""
        name = self._default_store() if name is None else name
        configured = self.settings.stores
        backends = [spec.name for spec in self.plugins.specs(Interface.VECTOR_STORE)]
        if name in configured:
            base: dict[str, Any] = configured[name].model_dump(exclude_unset=True)
        elif name in backends or "backend" in changes:
            base = {"backend": name}
        else:
            raise ConfigError(
                f"{name!r} is neither a configured store nor a backend",
                value=name,
                hint=did_you_mean(name, [*configured, *backends]),
            )
        return name, _changed(StoreConfig, f"store {name!r}", {**base, **changes})

    def _default_store(self) -> str:
        configured = self.settings.stores
        if len(configured) == 1:
            return next(iter(configured))
        defaults = [spec for spec in self.plugins.specs(Interface.VECTOR_STORE) if spec.default]
        usable = [spec.name for spec in defaults if self.plugins.availability(spec).code is None]
        if configured or not usable:
            raise ConfigError(
                "no store is named and several are configured" if configured else "no store is named or configured",
                hint=f"name one of: {', '.join(configured)}" if configured else 'name a backend: bay.store("BACKEND")',
            )
        return usable[0]

    def _elsewhere(self, name: str, changes: Mapping[str, Any]) -> Callable[[SamplingParams], GeneratorHandle]:
        """Opens the same generator on a backend that has what a request needs."""

        def find(params: SamplingParams) -> GeneratorHandle:
            needed = params.model_dump(exclude_defaults=True)
            return self.generator(name, **{**changes, "sampling": needed})

        return find

    def release(self, handle: GeneratorHandle | EmbedderHandle) -> None:
        """Close one engine; other handles that share it are closed with it."""
        if isinstance(handle, GeneratorHandle):
            self._engines.close_one(handle.opened)
        else:
            self._embedders.close_one(handle.opened)

    def close(self) -> None:
        """Close every engine and store this bay has open. Closing twice is no error."""
        self._engines.close()
        self._embedders.close()
        if "_stores" in self.__dict__:
            self._stores.close()

    def __enter__(self) -> Bay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def generator_config(self, name: str | None = None, **changes: Any) -> tuple[str, GeneratorConfig]:
        """The name and configuration that `generator` would use with the same arguments. Raises as it does."""
        settings = self.settings
        name, base = self._named("generator", settings.generators, settings.default_generator, name, changes)
        return name, _changed(GeneratorConfig, f"generator {name!r}", {**base, **changes})

    def embedder_config(self, name: str | None = None, **changes: Any) -> tuple[str, EmbedderConfig]:
        """The name and configuration that `embedder` would use with the same arguments. Raises as it does."""
        settings = self.settings
        name, base = self._named("embedder", settings.embedders, settings.default_embedder, name, changes)
        return name, _changed(EmbedderConfig, f"embedder {name!r}", {**base, **changes})

    def _named(
        self,
        kind: str,
        configured: Mapping[str, BaseModel],
        default: str | None,
        name: str | None,
        changes: Mapping[str, Any],
    ) -> tuple[str, dict[str, Any]]:
        """The name of a configured engine or a model, and what is configured for it."""
        if name is None and "model" not in changes:
            name = _default(kind, configured, default)
        if name is None:
            return str(changes["model"]), {}
        if name in configured:
            return name, configured[name].model_dump(exclude_unset=True)
        if self.models.knows(name):
            return name, {"model": name}
        raise ConfigError(
            f"{name!r} is neither a configured {kind} nor a known model",
            value=name,
            hint=did_you_mean(name, [*configured, *self.models.catalogue.names()]),
        )

    def _local_info(self, reference: str) -> ModelInfo:
        """Facts of a model that is on this machine; fetched first if the configuration says so."""
        if self.models.locate(reference) is None:
            info = self._remote_info(reference)
            if info is not None:
                return info
            if not self.settings.models.auto_pull:
                self.models.info(reference)
                raise ModelNotFoundError(
                    f"the model {reference!r} is not on this machine",
                    value=reference,
                    hint=f"fetch it: enginebay pull {reference}",
                )
            self.models.pull(reference)
        return self.models.info(reference)

    def _remote_info(self, reference: str) -> ModelInfo | None:
        """Facts of a server's model; None for one that must be on this machine."""
        parsed = parse_reference(reference)
        return remote_info(parsed) if isinstance(parsed, RemoteReference) else None

    def _available_generators(self) -> Sequence[BackendSpec]:
        plugins = self.plugins
        return [spec for spec in plugins.specs(Interface.GENERATOR) if plugins.availability(spec).code is None]

    def _versions(self, checks: Mapping[str, str]) -> str:
        """Backends with the versions of what they need: what `checks` report changes with these."""
        needed = {requirement for spec in self.plugins.backends if spec.name in checks for requirement in spec.requires}
        return ",".join(sorted(f"{name}={_version(name)}" for name in needed))


def _hold_embedder(engine: object, *given: Any) -> OpenEngine[Embedder]:
    """What a factory gave, as an open embedder; its module needs numpy, which not every bay does."""
    from enginebay.embedding.handle import hold_embedder

    return hold_embedder(engine, *given)


class _Holder:
    """Loads plugins once, on first use, for the bay and for the engines that outlive a reference to it."""

    def __init__(self, settings: Settings, plugins: Plugins | None) -> None:
        self._settings = settings
        self._plugins = plugins
        self._lock = threading.Lock()

    def get(self) -> Plugins:
        with self._lock:
            if self._plugins is None:
                allow, deny = self._settings.plugins.allow, self._settings.plugins.deny
                self._plugins = load_plugins(allow=allow, deny=deny)
            return self._plugins


class _Converter:
    """Converts a model on the way to opening it; holds no bay, which is then free to go."""

    def __init__(self, plugins: Callable[[], Plugins]) -> None:
        self._plugins = plugins

    def __call__(self, model: ModelInfo, path: Conversion) -> ModelInfo:
        return read_info(run_conversion(model, path, self._plugins(), {}), model.reference)


def _default(kind: str, configured: Mapping[str, BaseModel], default: str | None) -> str:
    """What is opened when no name is given."""
    if default is not None:
        return default
    if len(configured) == 1:
        return next(iter(configured))
    raise ConfigError(
        f"no {kind} is named and no single one is configured"
        if configured
        else f"no {kind} is named and none is configured",
        hint=f"name one of: {', '.join(configured)}" if configured else f'give a model: bay.{kind}("MODEL")',
    )


def _with_pooling(model: ModelInfo, stated: Pooling | None) -> ModelInfo:
    """The model with the pooling that is stated, or with its files' own.

    Raises:
        UnsupportedFeatureError: neither says.
    """
    facts = model.embedding
    if stated is not None:
        facts = (facts or EmbeddingFacts()).model_copy(update={"pooling": stated})
        return model.model_copy(update={"embedding": facts})
    if facts is None and model.format is not ModelFormat.REMOTE:
        raise UnsupportedFeatureError(
            f"the files of {model.reference!r} do not say how it makes one vector of a text: it may be no embedder",
            value=model.reference,
            hint=f"if it is one, state its pooling: pooling = one of {', '.join(Pooling)}",
        )
    return model


def _embedder_requirement(config: EmbedderConfig, model: ModelInfo) -> Requirement:
    return Requirement(
        interface=Interface.EMBEDDER,
        model=model,
        features=_embedding_features(model),
        context_length=config.context_length or _longest_text(model),
        workload=config.workload,
        streams=config.batch_size or BATCH_SIZE,
        backend=_unless_auto(config.backend),
        device=_unless_auto(config.device),
        memory_limit=config.memory_limit,
        allow_software_devices=config.allow_software_devices,
        conversion=config.conversion,
    )


def _embedding_features(model: ModelInfo) -> frozenset[Feature]:
    """What an engine must have to run all that follows the transformer."""
    plain = model.embedding is None or model.embedding.plain
    return frozenset() if plain else frozenset({Feature.EMBEDDING_MODULES})


def _longest_text(model: ModelInfo) -> int | None:
    """Tokens of a text that are read: as many as the model's authors say, and it has positions for."""
    told = model.embedding.max_length if model.embedding is not None else 0
    return min((limit for limit in (told, model.context_length) if limit), default=None)


def _version(requirement: str) -> str:
    from packaging.requirements import Requirement as Needed

    try:
        return metadata.version(Needed(requirement).name)
    except metadata.PackageNotFoundError:
        return ""


def _changed(model: type[ConfigT], what: str, values: Mapping[str, Any]) -> ConfigT:
    """A part of the configuration with changes.

    Raises:
        ConfigError: an unknown field (with a suggestion), or an impossible value.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        raise ConfigError(
            f"{what}: {field}: {first['msg']}",
            value=first["input"],
            hint=did_you_mean(field, model.model_fields) if unknown else None,
        ) from error


def _unless_auto(name: str | None) -> str | None:
    return None if name == AUTO else name

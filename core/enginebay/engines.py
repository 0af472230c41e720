"""Opening engines: the chosen match first, the next ones if the configuration allows it."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from enginebay.errors import (
    BackendUnavailableError,
    ConversionError,
    EnginebayError,
    EngineOpenError,
    FallbackWarning,
    ModelFormatError,
    NoMatchError,
    OptionError,
    UnsupportedFeatureError,
)
from enginebay.generation.handle import OpenEngine
from enginebay.hookspecs import EngineEvent
from enginebay.interfaces.generator import Generator
from enginebay.interfaces.logits import LogitsModel
from enginebay.matching.match import REMOTE
from enginebay.opening import OpenRequest
from enginebay.sampling.logits_generator import LogitsGenerator
from enginebay.spec import ModelFormat
from enginebay.suggest import did_you_mean

if TYPE_CHECKING:
    from enginebay.hardware.profile import HardwareProfile
    from enginebay.matching.decision import Decision, Match
    from enginebay.models.conversion import Conversion
    from enginebay.models.info import ModelInfo
    from enginebay.plugins import Plugins
    from enginebay.spec import BackendSpec

Key = tuple[object, ...]


class EnginePool:
    """Open engines of one bay. The same backend, device, model and options share one engine."""

    def __init__(self, plugins: Callable[[], Plugins], convert: Callable[[ModelInfo, Conversion], ModelInfo]) -> None:
        self._plugins = plugins
        self._convert = convert
        self._open: dict[Key, OpenEngine] = {}
        self._lock = threading.RLock()

    def open(
        self,
        decision: Decision,
        hardware: HardwareProfile,
        *,
        options: Mapping[str, Any],
        fallback: bool,
    ) -> OpenEngine:
        """An engine for the decision's best match that opens.

        Raises:
            NoMatchError: nothing was accepted.
            OptionError: the options do not suit the backend.
            EngineOpenError: no accepted match opened; the text has every failure.
        """
        accepted = [match for match in decision.matches if match.accepted]
        if not accepted or decision.chosen is None:
            raise NoMatchError(decision.why, decision=decision, hint=_way_out(decision))
        failures: list[str] = []
        with self._lock:
            for match in accepted if fallback else accepted[:1]:
                try:
                    return self._open_match(match, decision, failures, hardware, options)
                except OptionError as error:
                    if not failures:
                        raise
                    failures.append(f"{match.backend} on {match.device}: {error.message}")
                except (EngineOpenError, ConversionError, ModelFormatError, BackendUnavailableError) as error:
                    if not fallback:
                        raise
                    failures.append(f"{match.backend} on {match.device}: {error.message}")
        raise EngineOpenError(
            "no engine opened: " + "; ".join(failures),
            value=failures,
            hint="see: enginebay doctor",
        )

    def close(self) -> None:
        """Close every engine; one that fails to close does not keep the others open."""
        with self._lock:
            engines, self._open = list(self._open.values()), {}
        for opened in engines:
            self._close(opened)

    def close_one(self, opened: OpenEngine) -> None:
        """Close one engine; handles that share it are closed with it."""
        with self._lock:
            self._open = {key: kept for key, kept in self._open.items() if kept is not opened}
        self._close(opened)

    def _close(self, opened: OpenEngine) -> None:
        if opened.closed:
            return
        opened.closed = True
        started = time.perf_counter()
        error: str | None = None
        try:
            opened.engine.close()
        except Exception as caught:  # noqa: BLE001 - told to observers; the engine is given up either way
            error = f"{type(caught).__name__}: {caught}"
        event = EngineEvent(
            opened.spec.name, opened.match.device, opened.model.reference, time.perf_counter() - started, error
        )
        self._plugins().notify("engine_closed", event=event)

    def _open_match(
        self,
        match: Match,
        decision: Decision,
        failures: list[str],
        hardware: HardwareProfile,
        options: Mapping[str, Any],
    ) -> OpenEngine:
        plugins = self._plugins()
        spec = plugins.spec(decision.requirement.interface, match.backend)
        checked = check_options(spec, plugins.options_model(spec), options)
        model = local_model(decision.requirement.model)
        if match.conversion is not None:
            model = self._convert(model, match.conversion)
        request = _open_request(match, model, hardware, checked)
        key = _key(match, request)
        if key in self._open:
            return self._open[key]
        engine = self._make(plugins, spec, match, request)
        if failures:
            decision = decision.model_copy(update={"chosen": match, "failures": tuple(failures)})
            warnings.warn(
                f"{failures[0]}; fell back to {match.backend} on {match.device}", FallbackWarning, stacklevel=5
            )
        opened = OpenEngine(engine, spec, match, request.model, decision)
        self._open[key] = opened
        return opened

    def _make(self, plugins: Plugins, spec: BackendSpec, match: Match, request: OpenRequest) -> Generator:
        """Call the factory, translating whatever comes out of it."""
        started = time.perf_counter()
        model = request.model.reference
        try:
            engine = plugins.factory(spec)(request)
            if isinstance(engine, LogitsModel):
                engine = LogitsGenerator(engine)
            if not isinstance(engine, Generator):
                raise TypeError(f"the factory returned {type(engine).__name__}, not a Generator or a LogitsModel")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a factory that calls sys.exit must not end the application
            message = error.message if isinstance(error, EnginebayError) else f"{type(error).__name__}: {error}"
            event = EngineEvent(spec.name, match.device, model, time.perf_counter() - started, message)
            plugins.notify("engine_opened", event=event)
            if isinstance(error, OptionError):
                raise
            plugins.record_failure(spec, message)
            if isinstance(error, EngineOpenError):
                raise
            raise EngineOpenError(
                f"backend {spec.name!r} did not open {model!r} on {match.device}: {message}",
                value=model,
                hint=getattr(error, "hint", None) or "see: enginebay doctor",
            ) from error
        event = EngineEvent(spec.name, match.device, model, time.perf_counter() - started)
        plugins.notify("engine_opened", event=event)
        plugins.record_success(spec)
        return engine


def check_options(spec: BackendSpec, model: type[BaseModel] | None, options: Mapping[str, Any]) -> BaseModel | None:
    """The options as an instance of the backend's own model.

    Raises:
        OptionError: an unknown option (with a suggestion), or an impossible value.
    """
    if model is None:
        if options:
            raise OptionError(f"backend {spec.name!r} has no options", value=sorted(options), hint="remove them")
        return None
    try:
        return model.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise OptionError(
                f"backend {spec.name!r} has no option {name!r}",
                value=name,
                hint=did_you_mean(name, model.model_fields),
            ) from error
        raise OptionError(
            f"option {name!r} of backend {spec.name!r} = {first['input']!r}: {first['msg']}", value=first["input"]
        ) from error


def local_model(model: ModelInfo | None) -> ModelInfo:
    """The model, if it is on this machine, or a server's."""
    if model is None or (model.path is None and model.format is not ModelFormat.REMOTE):
        raise UnsupportedFeatureError("a generator needs a model on this machine", value=model)
    return model


def _open_request(match: Match, model: ModelInfo, hardware: HardwareProfile, options: BaseModel | None) -> OpenRequest:
    device = REMOTE if match.device == REMOTE.id else hardware.device(match.device)
    estimate = match.estimate
    if device is None or estimate is None:
        raise EngineOpenError(f"the decision's device {match.device!r} is not on this machine", value=match.device)
    return OpenRequest(
        model=model,
        device=device,
        cpu=hardware.cpu,
        context_length=estimate.context_length,
        streams=estimate.streams,
        device_layers=estimate.device_layers,
        options=options,
        backend=match.backend,
    )


def _key(match: Match, request: OpenRequest) -> Key:
    options = request.options.model_dump_json() if request.options is not None else ""
    return (
        match.backend,
        match.device,
        request.model.path or request.model.reference,
        request.context_length,
        request.streams,
        request.device_layers,
        options,
    )


def _way_out(decision: Decision) -> str:
    """The nearest thing a person can do: install what would do, or what the first refusal advises."""
    best = decision.best_if_installed
    for match in (best, *decision.matches) if best else decision.matches:
        for reason in match.reasons:
            if reason.hint:
                return f"{match.backend}: {reason.hint}"
    return "see: enginebay explain"

"""Opening engines: the chosen match first, the next ones if the configuration allows it."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

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
from enginebay.hookspecs import EngineEvent
from enginebay.matching.match import REMOTE
from enginebay.opened import OpenEngine
from enginebay.opening import OpenRequest
from enginebay.spec import Interface, ModelFormat
from enginebay.suggest import did_you_mean

if TYPE_CHECKING:
    from enginebay.hardware.profile import HardwareProfile
    from enginebay.matching.decision import Decision, Match
    from enginebay.models.conversion import Conversion
    from enginebay.models.info import ModelInfo
    from enginebay.plugins import Plugins
    from enginebay.spec import BackendSpec

Key = tuple[object, ...]
OpenT = TypeVar("OpenT", bound=OpenEngine[Any])


class EnginePool(Generic[OpenT]):
    """Open engines of one interface. The same backend, device, model and options share one engine.

    Args:
        hold: makes an open engine of what a factory gives; TypeError says that it is none of the interface.
    """

    def __init__(
        self,
        plugins: Callable[[], Plugins],
        convert: Callable[[ModelInfo, Conversion], ModelInfo],
        hold: Callable[[object, BackendSpec, Match, ModelInfo, Decision], OpenT],
    ) -> None:
        self._plugins = plugins
        self._convert = convert
        self._hold = hold
        self._open: dict[Key, OpenT] = {}
        self._lock = threading.RLock()

    def open(
        self,
        decision: Decision,
        hardware: HardwareProfile,
        *,
        options: Mapping[str, Any],
        fallback: bool,
    ) -> OpenT:
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

    def close_one(self, opened: OpenT) -> None:
        """Close one engine; handles that share it are closed with it."""
        with self._lock:
            self._open = {key: kept for key, kept in self._open.items() if kept is not opened}
        self._close(opened)

    def _close(self, opened: OpenT) -> None:
        if opened.closed:
            return
        opened.closed = True
        started = time.perf_counter()
        error: str | None = None
        try:
            opened.engine.close()
        except Exception as caught:  # noqa: BLE001 - told to observers; the engine is given up either way
            error = f"{type(caught).__name__}: {caught}"
        event = EngineEvent(*opened.names(), time.perf_counter() - started, error)
        self._plugins().notify("engine_closed", event=event)

    def _open_match(
        self,
        match: Match,
        decision: Decision,
        failures: list[str],
        hardware: HardwareProfile,
        options: Mapping[str, Any],
    ) -> OpenT:
        plugins = self._plugins()
        spec = plugins.spec(decision.requirement.interface, match.backend)
        checked = check_options(spec, plugins.options_model(spec), options)
        source = local_model(decision.requirement.model)
        model = source if match.conversion is None else self._convert(source, match.conversion)
        request = _open_request(match, model, hardware, checked)
        if spec.interface is Interface.EMBEDDER:
            # Of the model as it was asked for: what was stated of it holds for what was made of it.
            request = replace(request, embedding=source.embedding)
        key = _key(match, request)
        if key in self._open:
            return self._open[key]
        if failures:
            decision = decision.model_copy(update={"chosen": match, "failures": tuple(failures)})
        opened = self._make(plugins, spec, match, request, decision)
        if failures:
            warnings.warn(
                f"{failures[0]}; fell back to {match.backend} on {match.device}", FallbackWarning, stacklevel=5
            )
        self._open[key] = opened
        return opened

    def _make(
        self, plugins: Plugins, spec: BackendSpec, match: Match, request: OpenRequest, decision: Decision
    ) -> OpenT:
        """Call the factory, translating whatever comes out of it."""
        started = time.perf_counter()
        model = request.model.reference
        try:
            opened = self._hold(plugins.factory(spec)(request), spec, match, request.model, decision)
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
        return opened


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
        raise UnsupportedFeatureError("the engine needs a model on this machine", value=model)
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
        request.embedding,
    )


def _way_out(decision: Decision) -> str:
    """The nearest thing a person can do: install what would do, or what the first refusal advises."""
    best = decision.best_if_installed
    for match in (best, *decision.matches) if best else decision.matches:
        for reason in match.reasons:
            if reason.hint:
                return f"{match.backend}: {reason.hint}"
    return "see: enginebay explain"

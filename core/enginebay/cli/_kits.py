"""Opening a backend for the conformance kit of its interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from enginebay.cli import _engine
from enginebay.errors import ConfigError
from enginebay.spec import Interface
from enginebay.suggest import did_you_mean
from enginebay.testing.checks import Checks

if TYPE_CHECKING:
    from enginebay.bay import Bay
    from enginebay.spec import BackendSpec
    from enginebay.stores import Store

NEEDED_CONTEXT = 512
GENERATOR_MODEL, EMBEDDER_MODEL = "smollm2-135m-instruct", "all-minilm-l6-v2"

QUANTIZED = 3
"""Types that the kit of quantizers makes."""

FULL_PRECISION, QUANTISED = 0.999, 0.98
"""Least cosine similarity of vectors of an embedder that ought to be equal."""


@dataclass(frozen=True)
class Wanted:
    """What the flags of `verify` say."""

    backend: str
    model: str | None = None
    device: str | None = None
    options: list[str] | None = None
    streams: int = 4
    schemas: int = 200
    draws: int = 300
    url: str | None = None
    path: Path | None = None
    api_key: str | None = None


@dataclass(frozen=True)
class OpenKit:
    """A backend that is open for the checks of its interface.

    Attributes:
        where: device, or the place of a store.
        model: reference; None for stores.
        checks, subject: the rules and what they work on.
        tidy: called after each check.
    """

    spec: BackendSpec
    where: str
    model: str | None
    checks: Checks[Any]
    subject: Any
    tidy: Callable[[], None] = lambda: None


def interfaces_of(bay: Bay, wanted: Wanted, interface: Interface | None) -> list[Interface]:
    """The interfaces to verify a backend of: the one that is named, or that the model is for, or all.

    Raises:
        ConfigError: no backend of that name has a kit.
    """
    if interface is not None:
        bay.plugins.spec(interface, wanted.backend)
        return [interface]
    named = [kind for kind in _OPENERS if wanted.backend in _names(bay, kind)]
    if not named:
        known = sorted({name for kind in _OPENERS for name in _names(bay, kind)})
        raise ConfigError(
            f"there is no backend {wanted.backend!r} to verify",
            value=wanted.backend,
            hint=did_you_mean(wanted.backend, known),
        )
    by_model = {Interface.GENERATOR, Interface.EMBEDDER}
    if wanted.model is not None and by_model <= set(named):
        _engine.ensure_pulled(bay, wanted.model)
        embeds = bay.models.info(wanted.model).embedding is not None
        return [Interface.EMBEDDER if embeds else Interface.GENERATOR]
    return named


@contextmanager
def open_kit(bay: Bay, interface: Interface, wanted: Wanted) -> Iterator[OpenKit]:
    """Open a backend as one of its interfaces. Raises as opening it does."""
    with _OPENERS[interface](bay, wanted) as kit:
        yield kit


@contextmanager
def _generator(bay: Bay, wanted: Wanted) -> Iterator[OpenKit]:
    from enginebay.testing.generator_checks import GENERATOR_CHECKS
    from enginebay.testing.generator_subject import GeneratorSubject

    model = wanted.model or GENERATOR_MODEL
    _engine.ensure_pulled(bay, model)
    changes = {"context_length": NEEDED_CONTEXT, "streams": wanted.streams}
    handle = bay.generator(model, **changes, **_choices(wanted))
    subject = GeneratorSubject(handle, schemas=wanted.schemas, draws=wanted.draws)
    yield OpenKit(handle.spec, handle.device, model, GENERATOR_CHECKS, subject)


@contextmanager
def _embedder(bay: Bay, wanted: Wanted) -> Iterator[OpenKit]:
    from enginebay.testing.embedder_checks import EMBEDDER_CHECKS
    from enginebay.testing.embedder_subject import EmbedderSubject

    model = wanted.model or EMBEDDER_MODEL
    _engine.ensure_pulled(bay, model)
    subject = EmbedderSubject(lambda **changes: bay.embedder(model, **_choices(wanted), **changes))
    handle = subject.handle
    if handle.model.quantization.lower().startswith(("int", "i8", "u8", "q", "iq")):
        subject.alike = QUANTISED
    yield OpenKit(handle.spec, handle.device, model, EMBEDDER_CHECKS, subject)


@contextmanager
def _store(bay: Bay, wanted: Wanted) -> Iterator[OpenKit]:
    from enginebay.bay import Bay
    from enginebay.testing.store_checks import STORE_CHECKS
    from enginebay.testing.store_subject import StoreSubject

    given = {"url": wanted.url, "path": wanted.path, "api_key": wanted.api_key}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if wanted.options:
        changes["options"] = _engine.parse_options(wanted.options)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, ExitStack() as bays:
        if wanted.url is None and wanted.path is None:
            changes["path"] = Path(folder)

        def open_anew() -> Store:
            return bays.enter_context(Bay(plugins=bay.plugins)).store(wanted.backend, **changes)

        subject = StoreSubject(open_anew(), open_anew)
        spec = bay.plugins.spec(Interface.VECTOR_STORE, wanted.backend)
        where = wanted.url or str(wanted.path or "a folder of its own")
        yield OpenKit(spec, where, None, STORE_CHECKS, subject, subject.tidy)


@contextmanager
def _quantizer(bay: Bay, wanted: Wanted) -> Iterator[OpenKit]:
    from enginebay.testing.quantizer_checks import QUANTIZER_CHECKS
    from enginebay.testing.quantizer_subject import QuantizerSubject

    spec = bay.plugins.spec(Interface.QUANTIZER, wanted.backend)
    engines = {name for each in spec.types for name in each.engines}
    generates = bool(engines & set(_names(bay, Interface.GENERATOR)))
    model = wanted.model or (GENERATOR_MODEL if generates else EMBEDDER_MODEL)
    _engine.ensure_pulled(bay, model)
    source = bay.models.locate(model)
    if wanted.model is None or bay.models.info(model).format not in spec.formats:
        source = _in_16_bits(bay, model, spec)
    types = tuple(each.name for each in spec.types if not each.calibration)[:QUANTIZED] or (spec.types[0].name,)
    changes: dict[str, Any] = {"options": _engine.parse_options(wanted.options)} if wanted.options else {}
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        subject = QuantizerSubject(bay, spec, str(source), types, Path(folder), changes=changes)
        yield OpenKit(spec, "the CPU", model, QUANTIZER_CHECKS, subject)


def _in_16_bits(bay: Bay, model: str, spec: BackendSpec) -> Path:
    """The model in a format that the quantizer reads; one that is quantised is dequantised on the way."""
    from enginebay.spec import ModelFormat

    info, source = bay.models.info(model), model
    if info.quantized and info.format is not ModelFormat.SAFETENSORS:
        source = str(bay.convert(model, ModelFormat.SAFETENSORS))
    path = bay.models.locate(source)
    if bay.models.info(source).format not in spec.formats:
        path = bay.convert(source, min(spec.formats))
    assert path is not None
    return path


_OPENERS: dict[Interface, Callable[[Bay, Wanted], Any]] = {
    Interface.GENERATOR: _generator,
    Interface.EMBEDDER: _embedder,
    Interface.VECTOR_STORE: _store,
    Interface.QUANTIZER: _quantizer,
}


def _names(bay: Bay, interface: Interface) -> list[str]:
    return [spec.name for spec in bay.plugins.specs(interface)]


def _choices(wanted: Wanted) -> dict[str, Any]:
    choices: dict[str, Any] = {"backend": wanted.backend}
    if wanted.device is not None:
        choices["device"] = wanted.device
    if wanted.options:
        choices["options"] = _engine.parse_options(wanted.options)
    return choices

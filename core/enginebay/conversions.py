"""Finding and running conversions with what plugins offer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from enginebay.errors import ConversionError, UnsupportedFeatureError
from enginebay.models.conversion import Conversion, ConverterSpec, Report, shortest_path
from enginebay.models.converting import ConvertedModels
from enginebay.suggest import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from enginebay.models.info import ModelInfo
    from enginebay.plugins import Plugins
    from enginebay.spec import ModelFormat


def conversion_path(model: ModelInfo, targets: Collection[ModelFormat], plugins: Plugins) -> Conversion:
    """The shortest path of installed converters to one of some formats.

    Raises:
        ConversionError: there is none; the text says what would have to be installed, if that would do.
    """
    target = " or ".join(sorted(targets))
    if model.format in targets:
        raise ConversionError(f"{model.reference} is in the format {model.format} already", value=model.reference)
    path = shortest_path(model, targets, plugins.converters(installed=True))
    if path is not None:
        return path
    wider = shortest_path(model, targets, plugins.converters())
    hint = "installed converters: enginebay convert --list"
    if wider is not None:
        needed = [converter_named(name, plugins) for name in wider.converters]
        missing = [spec for spec in needed if plugins.converter_availability(spec).code is not None]
        hint = "; ".join(dict.fromkeys(spec.install for spec in missing))
    raise ConversionError(
        f"no installed converter makes {target} out of {model.format} ({model.architecture or 'unknown architecture'})",
        value=model.reference,
        hint=hint,
    )


def run_conversion(
    model: ModelInfo,
    path: Conversion,
    plugins: Plugins,
    options: Mapping[str, Any],
    report: Report = lambda what, share: None,
) -> Path:
    """Convert step by step; each step is kept.

    Raises:
        ConversionError: an option that no step has, or a step failed.
    """
    if model.path is None:
        raise UnsupportedFeatureError("only a model on this machine can be converted", value=model.reference)
    steps = [converter_named(name, plugins) for name in path.converters]
    known = {name for step in steps for name in step.defaults}
    for name in options:
        if name not in known:
            raise ConversionError(
                f"no converter of {' -> '.join(path.formats)} has an option {name!r}",
                value=name,
                hint=did_you_mean(name, sorted(known)),
            )
    store, source = ConvertedModels(), model.path
    for place, step in enumerate(steps):
        given = {name: options.get(name, default) for name, default in step.defaults.items()}

        def told(what: str, share: float, place: int = place, name: str = step.name) -> None:
            report(f"{name}: {what}", (place + share) / len(steps))

        source = store.make(source, step, given, told)
    return source


def converter_named(name: str, plugins: Plugins) -> ConverterSpec:
    """The converter of that name."""
    return next(spec for spec in plugins.converters() if spec.name == name)

"""Putting the sources together: each overrides the one before, and every value keeps its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from enginebay.config.settings import Settings
from enginebay.config.sources import (
    Key,
    Layer,
    Source,
    SourceKind,
    discover,
    environment,
    layer,
    read_environment,
    read_file,
)
from enginebay.errors import ConfigError
from enginebay.suggest import did_you_mean

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The configuration with its history.

    Attributes:
        provenance: where each value that is no default came from, by dotted key.
        files: files that were read, weakest first.
        profile: the profile laid over, or None.
        profiles: names of all profiles.
    """

    settings: Settings
    provenance: Mapping[str, Source]
    files: tuple[Path, ...] = ()
    profile: str | None = None
    profiles: tuple[str, ...] = ()


def load_settings(
    *,
    file: Path | None = None,
    profile: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> LoadedSettings:
    """Read the configuration.

    Order, each overriding the one before: defaults, the user's file, the project's enginebay.toml, [tool.enginebay] of
    its pyproject.toml, the profile, ENGINEBAY_* variables, `flags`, `overrides`. Tables merge; all else replaces.

    Args:
        file: read this file in place of the discovered ones; ENGINEBAY_CONFIG does the same.
        profile: name under [profiles]; ENGINEBAY_PROFILE does the same.
        flags, overrides: nested mappings.

    Raises:
        ConfigError: a file is unreadable or no TOML, a key unknown, a value impossible; says where it stands.
    """
    environ = environment(environ)
    if file is None and environ.get("ENGINEBAY_CONFIG"):
        file = Path(environ["ENGINEBAY_CONFIG"])
    places = discover((cwd or Path.cwd()).absolute()) if file is None else [_explicit(file)]
    merged = merge(read_file(path, table, kind) for path, table, kind in places)
    merged, profiles = _split_profiles(merged)
    profile = profile or environ.get("ENGINEBAY_PROFILE") or None
    layers = [merged]
    if profile is not None:
        if profile not in profiles:
            raise ConfigError(
                f"there is no profile {profile!r}",
                value=profile,
                hint=did_you_mean(profile, profiles),
                file=_first(places),
            )
        layers.append(profiles[profile])
    layers.append(read_environment(environ, merged.values))
    layers.append(layer(flags or {}, SourceKind.FLAG, "command line"))
    layers.append(layer(overrides or {}, SourceKind.ARGUMENT, "argument"))
    whole = merge(layers)
    settings = validated(whole, Settings)
    provenance = MappingProxyType({".".join(key): source for key, source in whole.sources.items()})
    return LoadedSettings(settings, provenance, tuple(path for path, _, _ in places), profile, tuple(sorted(profiles)))


def merge(layers: Iterable[Layer]) -> Layer:
    """One layer out of many: a later leaf replaces what stands at, under or over its key."""
    values: dict[Key, Any] = {}
    sources: dict[Key, Source] = {}
    for upper in layers:
        for key, value in upper.values.items():
            if not (value == {} and any(other[: len(key)] == key for other in values)):
                for other in [other for other in values if _conflict(other, key)]:
                    del values[other], sources[other]
                values[key] = value
                sources[key] = upper.sources[key]
    return Layer(values, sources)


def _conflict(old: Key, new: Key) -> bool:
    shorter = min(len(old), len(new))
    return old[:shorter] == new[:shorter]


def nested(values: Mapping[Key, Any]) -> dict[str, Any]:
    """Nested tables out of leaves."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        branch = tree
        for part in key[:-1]:
            branch = branch.setdefault(part, {})
        branch[key[-1]] = value
    return tree


def _explicit(file: Path) -> tuple[Path, Key, SourceKind]:
    if file.name == "pyproject.toml":
        return file, ("tool", "enginebay"), SourceKind.PYPROJECT
    return file, (), SourceKind.PROJECT_FILE


def _first(places: list[tuple[Path, Key, SourceKind]]) -> str | None:
    return str(places[-1][0]) if places else None


def _split_profiles(whole: Layer) -> tuple[Layer, dict[str, Layer]]:
    """The layer without [profiles.*], and each of these as a layer of its own."""
    base = {key: value for key, value in whole.values.items() if key[0] != "profiles"}
    profiles: dict[str, Layer] = {}
    for name in {key[1] for key in whole.values if key[0] == "profiles" and len(key) > 1}:
        keys = {key: key[2:] for key in whole.values if key[:2] == ("profiles", name) and len(key) > 2}
        told = {
            short: Source(SourceKind.PROFILE, whole.sources[key].name, whole.sources[key].line)
            for key, short in keys.items()
        }
        profiles[name] = Layer({short: whole.values[key] for key, short in keys.items()}, told)
    return Layer(base, {key: whole.sources[key] for key in base}), profiles


def validated(whole: Layer, model: type[ModelT]) -> ModelT:
    """The values as a model.

    Raises:
        ConfigError: a key is unknown or missing, a value impossible; says where it stands.
    """
    try:
        return model.model_validate(nested(whole.values))
    except ValidationError as error:
        first = error.errors()[0]
    key = tuple(str(part) for part in first["loc"])
    source = _source(whole, key)
    dotted = ".".join(key)
    file, line = (source.name or None, source.line) if source else (None, None)
    if first["type"] == "extra_forbidden":
        raise ConfigError(
            f"unknown key {dotted!r}",
            value=dotted,
            hint=did_you_mean(key[-1], _fields_around(model, key)),
            file=file,
            line=line,
        )
    if first["type"] == "missing":
        raise ConfigError(f"{dotted!r} is missing", value=dotted, hint=f"add {key[-1]} = …", file=file, line=line)
    message = first["msg"].removeprefix("Value error, ")
    raise ConfigError(f"{dotted} = {first['input']!r}: {message}", value=first["input"], file=file, line=line)


def _source(whole: Layer, key: Key) -> Source | None:
    """Source of a key, of the first one under it, or of its nearest neighbour."""
    for length in range(len(key), 0, -1):
        for other, source in whole.sources.items():
            if other[:length] == key[:length]:
                return source
    return None


def _fields_around(root: type[BaseModel], key: Key) -> list[str]:
    """Names that could stand where the last part of `key` does."""
    model: Any = root
    for part in key[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[part].annotation
            if isinstance(model, UnionType):  # a table that may be left out
                model = get_args(model)[0]
        else:
            model = next(iter(get_args(model)[1:]), None)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return list(model.model_fields) + (["profiles"] if model is Settings else [])
    return []

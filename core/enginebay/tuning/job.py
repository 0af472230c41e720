"""The file that describes a tuning job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from enginebay.config.loading import validated
from enginebay.config.sources import Key, Layer, read_file
from enginebay.errors import ConfigError, ModelNotFoundError
from enginebay.interfaces.tuner import TuningJob
from enginebay.models.reference import PathReference, parse_reference

_FILES: tuple[Key, ...] = (("data",), ("output",), ("evaluation", "data"))
_MODELS: tuple[Key, ...] = (("model",), ("reinforcement", "reward_model"))


def load_job(path: Path) -> TuningJob:
    """Read a job from a TOML file. Paths in it are relative to its folder; "~" is the home folder.

    A model's name is a path if it is written as one, or if something of that name stands in the folder.

    Raises:
        ConfigError: the file cannot be read or is no TOML, a key is unknown or missing, a value impossible or at odds
            with another; says where it stands.
    """
    layer = read_file(path)
    values = dict(layer.values)
    folder = path.absolute().parent
    for key in _FILES:
        if isinstance(values.get(key), str):
            values[key] = _beside(folder, values[key])
    for key in _MODELS:
        if isinstance(values.get(key), str):
            values[key] = _reference(folder, layer, key)
    try:
        return validated(replace(layer, values=values), TuningJob)
    except ConfigError as error:
        if error.file is not None:
            raise
        raise ConfigError(error.message, value=error.value, hint=error.hint, file=str(path)) from None


def _beside(folder: Path, text: str) -> str:
    return str(folder / Path(text).expanduser())


def _reference(folder: Path, layer: Layer, key: Key) -> Any:
    text = layer.values[key]
    try:
        is_path = isinstance(parse_reference(text), PathReference)
    except ModelNotFoundError as error:
        source = layer.sources[key]
        raise ConfigError(
            error.message, value=error.value, hint=error.hint, file=source.name, line=source.line
        ) from None
    return _beside(folder, text) if is_path or (folder / text).exists() else text

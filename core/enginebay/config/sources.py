"""Where configuration may stand: files, the environment, flags, arguments."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from enginebay import paths
from enginebay.config.locate import locate_keys
from enginebay.errors import ConfigError

Key = tuple[str, ...]
FILE_NAME = "enginebay.toml"
PREFIX = "ENGINEBAY_"

SPECIAL = frozenset({"CONFIG", "PROFILE", "PLUGINS", "OFFLINE", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR", "TEST_MODELS"})
"""Variables that are no configuration keys."""


class SourceKind(StrEnum):
    """Kinds of source, weakest first."""

    DEFAULT = "default"
    USER_FILE = "user file"
    PROJECT_FILE = "project file"
    PYPROJECT = "pyproject"
    PROFILE = "profile"
    ENVIRONMENT = "environment"
    FLAG = "flag"
    ARGUMENT = "argument"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value came from: a file and line, a variable, a flag."""

    kind: SourceKind
    name: str = ""
    line: int | None = None

    def __str__(self) -> str:
        if self.kind is SourceKind.DEFAULT:
            return "default"
        place = f"{self.name}:{self.line}" if self.line else self.name or self.kind.value
        return f"{place} ({self.kind})" if self.kind is SourceKind.PROFILE else place


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one source: leaves by key, each with its own source."""

    values: Mapping[Key, Any]
    sources: Mapping[Key, Source]


def leaves(tree: Mapping[str, Any], prefix: Key = ()) -> Iterator[tuple[Key, Any]]:
    """The leaves of nested tables; an empty table is a leaf."""
    for name, value in tree.items():
        key = (*prefix, str(name))
        if isinstance(value, Mapping) and value:
            yield from leaves(value, key)
        else:
            yield key, value


def layer(tree: Mapping[str, Any], kind: SourceKind, name: str, lines: Mapping[Key, int] | None = None) -> Layer:
    """A layer out of nested tables."""
    values = dict(leaves(tree))
    return Layer(values, {key: Source(kind, name, _line(lines or {}, key)) for key in values})


def _line(lines: Mapping[Key, int], key: Key) -> int | None:
    """Line of a key, or of the nearest table around it: an inline table stands on its key's line."""
    for length in range(len(key), 0, -1):
        if key[:length] in lines:
            return lines[key[:length]]
    return None


def read_file(path: Path, table: Key = (), kind: SourceKind = SourceKind.PROJECT_FILE) -> Layer:
    """The configuration in one TOML file.

    Args:
        table: where in the file it stands, such as ("tool", "enginebay").

    Raises:
        ConfigError: the file cannot be read or is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree: Any = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path), value=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is no UTF-8", file=str(path), value=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else len(text.splitlines()) or None
        raise ConfigError(f"no TOML: {error}", file=str(path), line=line) from error
    for part in table:
        tree = tree.get(part, {}) if isinstance(tree, Mapping) else {}
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{'.'.join(table)} is no table", file=str(path), value=tree)
    skip = len(table)
    lines = {key[skip:]: line for key, line in locate_keys(text).items() if key[:skip] == table and len(key) > skip}
    return layer(tree, kind, str(path), lines)


def discover(cwd: Path) -> list[tuple[Path, Key, SourceKind]]:
    """Configuration files, weakest first: the user's, then the nearest project's.

    The project's folder is the first one, from `cwd` upwards to the repository's root or the home folder, that has
    an enginebay.toml or a pyproject.toml with [tool.enginebay]. In one folder, pyproject.toml overrides.
    """
    found: list[tuple[Path, Key, SourceKind]] = []
    user = paths.config_dir() / FILE_NAME
    if user.is_file():
        found.append((user, (), SourceKind.USER_FILE))
    home = Path.home()
    for folder in (cwd, *cwd.parents):
        here: list[tuple[Path, Key, SourceKind]] = []
        if (folder / FILE_NAME).is_file():
            here.append((folder / FILE_NAME, (), SourceKind.PROJECT_FILE))
        if _has_table(folder / "pyproject.toml"):
            here.append((folder / "pyproject.toml", ("tool", "enginebay"), SourceKind.PYPROJECT))
        if here:
            return found + here
        if (folder / ".git").exists() or folder == home:
            break
    return found


def _has_table(path: Path) -> bool:
    """Whether a pyproject.toml speaks of enginebay; a broken one that does is reported when it is read."""
    try:
        return re.search(r"^\s*\[{1,2}tool\.enginebay\b", path.read_text(encoding="utf-8"), re.MULTILINE) is not None
    except (OSError, UnicodeDecodeError):
        return False


def read_environment(environ: Mapping[str, str], known: Mapping[Key, Any]) -> Layer:
    """Values of ENGINEBAY_* variables: `__` between the parts of a key, in any case.

    Args:
        known: keys that files have, whose spelling is taken for names that differ only in case or "-" against "_".
    """
    values: dict[Key, Any] = {}
    sources: dict[Key, Source] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable.removeprefix(PREFIX) in SPECIAL:
            continue
        key = _spelled(tuple(variable.removeprefix(PREFIX).lower().split("__")), known)
        for leaf, value in leaves({"": parse_value(text)}):
            values[key + leaf[1:]] = value
            sources[key + leaf[1:]] = Source(SourceKind.ENVIRONMENT, variable)
    if text := environ.get("ENGINEBAY_PLUGINS", "").strip():
        allowed = () if text.lower() == "none" else tuple(name.strip() for name in text.split(",") if name.strip())
        values["plugins", "allow"] = allowed
        sources["plugins", "allow"] = Source(SourceKind.ENVIRONMENT, "ENGINEBAY_PLUGINS")
    return Layer(values, sources)


def _spelled(key: Key, known: Mapping[Key, Any]) -> Key:
    spelled: Key = ()
    for place, part in enumerate(key):
        names = {other[place] for other in known if len(other) > place and other[:place] == spelled}
        alike = sorted(name for name in names if name.lower().replace("-", "_") == part)
        spelled += (alike[0] if alike else part,)
    return spelled


def parse_value(text: str) -> Any:
    """A TOML value where the text is one, else the text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def environment(environ: Mapping[str, str] | None) -> Mapping[str, str]:
    """The given environment, or the process's."""
    return os.environ if environ is None else environ

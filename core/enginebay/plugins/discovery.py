"""Entry points of the group `enginebay`, read so that broken metadata of any distribution costs nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, MetadataPathFinder, distributions

from enginebay.plugins.quarantine import clean

GROUP = "enginebay"

_ENTRY = re.compile(r"(?P<name>[^=]+?)\s*=\s*(?P<module>\w+(\.\w+)*)(?P<attribute>\s*:\s*[\w.]+)?\s*(\[.*\])?")


@dataclass(frozen=True, slots=True)
class Found:
    """One entry point, not yet imported.

    Attributes:
        problem: why it cannot be loaded whatever the module holds; None when nothing is wrong so far.
    """

    name: str
    module: str
    distribution: str
    version: str
    problem: str | None = None

    @property
    def owner(self) -> str:
        """The distribution and its version, for messages."""
        return f"{self.distribution} {self.version}".strip()


def discover() -> list[Found]:
    """All entry points in a total order: by name, then by distribution.

    A distribution that lies on `sys.path` twice (editable and installed) counts once, as Python's import would
    take it: the first.
    """
    found: dict[str, list[Found]] = {}
    for distribution in _distributions():
        entries = _entries_of(distribution)
        if entries:
            found.setdefault(_normalized(entries[0].distribution), entries)
    return sorted(
        (entry for entries in found.values() for entry in entries),
        key=lambda entry: (entry.name, _normalized(entry.distribution), entry.module),
    )


def _distributions() -> Iterator[Distribution]:
    try:
        yield from distributions()
    except Exception:  # noqa: BLE001 - some finder on sys.meta_path is broken; the standard one is not
        yield from MetadataPathFinder.find_distributions()


def _entries_of(distribution: Distribution) -> list[Found]:
    try:
        text = distribution.read_text("entry_points.txt")
    except UnicodeDecodeError as error:
        if GROUP.encode() not in error.object:
            return []
        name, version, _ = _identity(distribution)
        return [Found(name, "", name, version, f"unloadable metadata: entry_points.txt: {clean(error)}")]
    except Exception:  # noqa: BLE001 - nothing says that it is a plugin of ours
        return []
    if not text or GROUP not in text:
        return []
    if not any(_lines_of_group(text)):
        return []
    return entries_in(text, *_identity(distribution))


def entries_in(text: str, distribution: str, version: str, problem: str | None) -> list[Found]:
    """The entries of our group in the text of an entry_points.txt; `problem` is what is wrong with all of them."""
    return [_entry(line, distribution, version, problem) for line in _lines_of_group(text)]


def _lines_of_group(text: str) -> Iterator[str]:
    inside = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            inside = line.strip("[] ") == GROUP
        elif inside and line and not line.startswith(("#", ";")):
            yield line


def _entry(line: str, distribution: str, version: str, problem: str | None) -> Found:
    match = _ENTRY.fullmatch(line)
    if match is None:
        name = clean(line.split("=")[0], 60) or distribution
        wrong = f"unloadable metadata: the entry point {clean(line, 80)!r} is not of the form 'name = module'"
        return Found(name, "", distribution, version, problem or wrong)
    if match["attribute"]:
        problem = problem or f"the entry point {clean(line, 80)!r} names an object: a plugin is a module"
    return Found(clean(match["name"], 60), match["module"], distribution, version, problem)


def _identity(distribution: Distribution) -> tuple[str, str, str | None]:
    """Name, version and what is wrong with METADATA."""
    try:
        metadata = distribution.metadata
        name, version = metadata["Name"], metadata["Version"]
    except Exception as error:  # noqa: BLE001 - anything can stand in that file
        return _label(distribution), "", f"unloadable metadata: METADATA: {clean(error)}"
    if not name or not version:
        missing = "Version" if name else "Name"
        return clean(name or _label(distribution), 100), "", f"unloadable metadata: METADATA has no {missing}"
    return clean(name, 100), clean(version, 60), None


def _label(distribution: Distribution) -> str:
    """A name for a distribution that does not tell its own: that of its folder."""
    folder = getattr(getattr(distribution, "_path", None), "name", "")
    return clean(folder.partition("-")[0].replace("_", "-") or "unknown distribution", 100)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

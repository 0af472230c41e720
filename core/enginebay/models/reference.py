"""Model references: a path, `hf:org/name`, `pypi:distribution`, or a catalogue name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from enginebay.errors import ModelNotFoundError


@dataclass(frozen=True, slots=True)
class PathReference:
    """A file or folder on this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class HubReference:
    """Files of a repository of the Hugging Face hub: `hf:org/name[@revision][:file]`; `file` may be a glob."""

    repository: str
    revision: str = "main"
    file: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision != "main" else ""
        return f"hf:{self.repository}{revision}" + (f":{self.file}" if self.file else "")


@dataclass(frozen=True, slots=True)
class PackageReference:
    """A file or folder in a wheel: `pypi:distribution[==version][:path]`."""

    distribution: str
    version: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        version = f"=={self.version}" if self.version else ""
        return f"pypi:{self.distribution}{version}" + (f":{self.path}" if self.path else "")


@dataclass(frozen=True, slots=True)
class NameReference:
    """A name of the catalogue."""

    name: str


@dataclass(frozen=True, slots=True)
class RemoteReference:
    """A model that a server runs: `remote:NAME`, by the server's name for it."""

    name: str

    def __str__(self) -> str:
        return f"remote:{self.name}"


Reference = PathReference | HubReference | PackageReference | NameReference | RemoteReference

_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<file>.+))?")
_PACKAGE = re.compile(r"(?P<distribution>[A-Za-z0-9][\w.-]*)(==(?P<version>[\w.+!-]+))?(:(?P<path>.+))?")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def parse_reference(text: str) -> Reference:
    """Tell what kind of reference `text` is.

    What has a separator, begins with "~" or ".", ends like a model file or exists is a path.

    Raises:
        ModelNotFoundError: it is none of the five kinds.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "remote" and rest.strip():
        return RemoteReference(rest.strip())
    if colon and scheme in ("hf", "pypi"):
        _check_inside(text, rest)
        if scheme == "hf" and (found := _HUB.fullmatch(rest)):
            return HubReference(found["repository"], found["revision"] or "main", found["file"])
        if scheme == "pypi" and (found := _PACKAGE.fullmatch(rest)):
            return PackageReference(found["distribution"], found["version"], found["path"])
    elif _NAME.fullmatch(text) and not text.endswith((".gguf", ".safetensors")) and not Path(text).exists():
        return NameReference(text)
    elif text and "\0" not in text:
        return PathReference(Path(text).expanduser())
    raise ModelNotFoundError(
        f"{text!r} is no model reference",
        value=text,
        hint="write a path, a catalogue name, hf:org/name[@revision][:file], pypi:distribution[==version][:path] "
        "or remote:NAME",
    )


def _check_inside(text: str, rest: str) -> None:
    if ".." in rest.replace("\\", "/").replace(":", "/").split("/"):
        raise ModelNotFoundError(f"{text!r} leads outside its source", value=text)

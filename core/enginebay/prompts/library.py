"""Prompt files: Jinja sources by name, the user's own before those of plugins before the built-in ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

from enginebay import paths
from enginebay.errors import PromptError
from enginebay.suggest import did_you_mean

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

BUILT_IN = Path(__file__).parent / "files"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Templates = Iterable[tuple[str, str]]


class Origin(StrEnum):
    """Where a prompt file comes from, first wins."""

    USER = "user"
    PLUGIN = "plugin"
    BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class PromptFile:
    """One prompt file.

    Attributes:
        file: path of the file, for a plugin's template words in place of it.
    """

    name: str
    source: str
    origin: Origin
    file: str


class PromptLibrary:
    """Prompt files by name, rendered in an immutable sandbox in which a missing variable is an error.

    A file may include others by their name (`{% include "zero_shot" %}`). User's files are read when they are asked
    for, so that a change is seen at once.

    Args:
        folder: the user's folder; None is `prompts` in the configuration folder.
        plugin_templates: pairs (name, Jinja source) that plugins bring, or a function that gives them when first asked.
    """

    def __init__(self, folder: Path | None = None, plugin_templates: Templates | Callable[[], Templates] = ()) -> None:
        self._folder = folder
        self._plugin_templates = plugin_templates

    @property
    def folder(self) -> Path:
        """The user's folder; it need not be there."""
        return self._folder or paths.config_dir() / "prompts"

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*_in(self.folder), *self._from_plugins, *_in(BUILT_IN)})

    def find(self, name: str) -> PromptFile:
        """The prompt file of that name.

        Raises:
            PromptError: there is none, or it cannot be read.
        """
        if not _NAME.fullmatch(name):
            raise PromptError(f"{name!r} is no name of a prompt file", value=name)
        own = self.folder / f"{name}.jinja"
        if own.is_file():
            return PromptFile(name, _read(own), Origin.USER, str(own))
        if name in self._from_plugins:
            return PromptFile(name, self._from_plugins[name], Origin.PLUGIN, f"a plugin's prompt {name!r}")
        built_in = BUILT_IN / f"{name}.jinja"
        if built_in.is_file():
            return PromptFile(name, _read(built_in), Origin.BUILT_IN, str(built_in))
        raise PromptError(f"there is no prompt file {name!r}", value=name, hint=did_you_mean(name, self.names()))

    def source(self, name: str) -> str:
        """The Jinja source. Raises as `find` does."""
        return self.find(name).source

    def where(self, name: str) -> str:
        """The path of the file, or that a plugin brings it. Raises as `find` does."""
        return self.find(name).file

    def render(self, name: str, **variables: Any) -> str:
        """The prompt, without blank lines around it.

        Raises:
            PromptError: there is no such file, it is broken, or it reads a variable that is not given; the text names
                the file and the line.
        """
        from jinja2 import TemplateError, TemplateSyntaxError

        prompt = self.find(name)
        try:
            return self._environment.get_template(name).render(variables).strip()
        except TemplateSyntaxError as error:
            where = f"{error.filename or prompt.file}:{error.lineno}"
            raise PromptError(f"{where}: the prompt file is broken: {error.message}", value=name) from error
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            where = f"{prompt.file}:{self._line(error, prompt.file)}"
            hint = f"given are: {', '.join(sorted(variables)) or 'none'}"
            raise PromptError(f"{where}: the prompt file {name!r}: {error}", value=name, hint=hint) from error
        except RecursionError as error:
            raise PromptError(f"{prompt.file}: the prompt file includes itself", value=name) from error

    @cached_property
    def _from_plugins(self) -> dict[str, str]:
        given = self._plugin_templates
        known: dict[str, str] = {}
        for name, source in given() if callable(given) else given:
            known.setdefault(name, source)
        return known

    @cached_property
    def _environment(self) -> ImmutableSandboxedEnvironment:
        from jinja2 import FunctionLoader, StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        from enginebay.prompts.chat_template import to_json

        environment = ImmutableSandboxedEnvironment(
            loader=FunctionLoader(self._load), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.filters["tojson"] = to_json
        return environment

    def _load(self, name: str) -> tuple[str, str, Callable[[], bool]] | None:
        """What Jinja's loader asks for: source, file, and whether both still hold."""
        try:
            prompt = self.find(name)
        except PromptError:
            return None
        return prompt.source, prompt.file, lambda: self._still(prompt)

    def _still(self, prompt: PromptFile) -> bool:
        try:
            return self.find(prompt.name) == prompt
        except PromptError:
            return False

    @staticmethod
    def _line(error: Exception, file: str) -> int | str:
        """Line of the prompt file at which an error arose."""
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
        return next((line for line in reversed(lines) if line is not None), "?")


def _in(folder: Path) -> list[str]:
    return [file.stem for file in folder.glob("*.jinja")] if folder.is_dir() else []


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"cannot read the prompt file {file}: {error}", value=str(file)) from error

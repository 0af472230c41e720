"""Tools: Python functions that a model may ask for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from textwrap import dedent
from typing import Any, cast

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs

from enginebay.errors import InvalidParameterError
from enginebay.prompts.json_schema import tidy_schema

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BLOCK = re.compile(r"^(?=\w+:[ \t]*$|:\w+)", re.MULTILINE)
_SECTION = re.compile(r"(args|arguments|parameters):", re.IGNORECASE)
_ARGUMENT = re.compile(r"^(\w+(?:, ?\w+)*)(?:[ ]*\([^)\n]*\))?:(.*(?:\n[ \t]+.*)*)", re.MULTILINE)
_SPHINX = re.compile(r"\A:param\s+(?:[^:\n]*\s)?(\w+):(.*(?:\n[ \t]+.*)*)")


@dataclass(frozen=True)
class Tool:
    """A function that a model may ask for.

    Attributes:
        name: what the model calls it: a letter, then letters, digits, `_`, `.` and `-`, at most 64.
        description: what it does and when to use it, for the model.
        parameters: JSON schema of its arguments, an object.
        function: what runs; it gets the arguments by name and may be async.

    Raises:
        InvalidParameterError: the name or the schema is none.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., Any] = field(repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidParameterError(f"{self.name!r} is no name for a tool", value=self.name)
        if self.parameters.get("type") != "object":
            raise InvalidParameterError(
                f"the parameters of the tool {self.name!r} are no JSON schema of an object",
                value=self.parameters,
                hint='such as {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
            )

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], *, name: str | None = None, description: str | None = None
    ) -> Tool:
        """A tool out of a function: schema by its type hints, descriptions by its docstring.

        The docstring may name arguments in Google's form (`Args:`) or Sphinx's (`:param`). Arguments that a model gives
        are checked and converted by pydantic before the function sees them.

        Raises:
            InvalidParameterError: the function has no name, takes `*args` or `**kwargs`, or has hints without a schema.
        """
        title = name or str(getattr(function, "__name__", ""))
        text, arguments = _read_docstring(inspect.getdoc(function) or "")
        checked = _Checked(function, title)
        schema = checked.schema()
        for parameter, explained in arguments.items():
            if parameter in schema["properties"]:
                schema["properties"][parameter].setdefault("description", explained)
        return cls(title, text if description is None else description, schema, checked)

    @property
    def definition(self) -> dict[str, Any]:
        """The definition that chat templates and chat APIs take."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

    def call(self, arguments: Mapping[str, Any]) -> Any | Awaitable[Any]:
        """Run it; gives what the function gives, for an async function an awaitable.

        Raises:
            InvalidParameterError: the arguments do not fit, in words that a model can act on.
        """
        if isinstance(self.function, _Checked):
            return self.function(**arguments)
        try:
            inspect.signature(self.function).bind(**arguments)
        except TypeError as error:
            raise InvalidParameterError(f"{self.name}: {error}", value=dict(arguments)) from error
        return self.function(**arguments)

    @property
    def is_async(self) -> bool:
        """The function is a coroutine function."""
        function = self.function.function if isinstance(self.function, _Checked) else self.function
        return inspect.iscoroutinefunction(function)


class _Checked:
    """A function behind pydantic's check of its arguments."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function = function
        self.name = name
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind not in _BY_NAME:
                raise InvalidParameterError(
                    f"the tool {name!r} takes {parameter}, which a model cannot give by name", value=name
                )

    def __call__(self, **arguments: Any) -> Any:
        try:
            checked = self._arguments.validate_python(ArgsKwargs((), arguments))
        except ValidationError as error:
            raise InvalidParameterError(f"{self.name}: {told(error)}", value=arguments) from error
        return self.function(**checked)

    def schema(self) -> dict[str, Any]:
        """JSON schema of the arguments."""
        if not inspect.signature(self.function).parameters:
            return {"type": "object", "properties": {}}
        try:
            return tidy_schema(self._arguments.json_schema())
        except PydanticUserError as error:
            text = f"the tool {self.name!r} has no JSON schema: {error}"
            raise InvalidParameterError(text, value=self.name) from error

    @cached_property
    def _arguments(self) -> TypeAdapter[dict[str, Any]]:
        # pydantic checks the arguments of a twin that only gives them back: an error of the function itself
        # can then not be taken for one of the arguments.
        @wraps(self.function)
        def given(**arguments: Any) -> dict[str, Any]:
            return arguments

        try:
            return TypeAdapter(cast("Any", given))
        except (PydanticSchemaGenerationError, PydanticUserError, NameError, TypeError) as error:
            raise InvalidParameterError(
                f"pydantic cannot read the type hints of the tool {self.name!r}: {str(error).splitlines()[0]}",
                value=self.name,
                hint="give Tool(name, description, parameters, function) the schema yourself",
            ) from error


def told(error: ValidationError) -> str:
    """A validation error in words for a model: each place and what is wrong there."""
    return "; ".join(
        f"{'.'.join(str(part) for part in one['loc']) or 'the value'}: {one['msg']}" for one in error.errors()
    )


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of the function, and of each argument."""
    intro, *blocks = _BLOCK.split(text)
    arguments: dict[str, str] = {}
    for block in blocks:
        head, _, body = block.partition("\n")
        found = _ARGUMENT.findall(dedent(body)) if _SECTION.match(head) else _SPHINX.findall(block)
        for names, explained in found:
            arguments.update((name.strip(), " ".join(explained.split())) for name in names.split(","))
    return intro.strip(), arguments

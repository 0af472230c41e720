"""Tools out of functions: their definitions and the check of their arguments."""

from __future__ import annotations

import asyncio
import functools
import socket
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from enginebay.errors import InvalidParameterError
from enginebay.prompts.tools import Tool


class Point(BaseModel):
    x: int


def weather(
    city: str, days: int = 1, unit: Literal["c", "f"] = "c", json: Annotated[str, Field(description="d")] = ""
) -> str:
    """Forecast for a city.

    Two paragraphs.

    Args:
        city: its name,
            in English
        days (int): how many
        unit, json: of all

    Returns:
        city: not an argument
    """
    return f"{city} {days!r} {unit}"


def distance(a: Point, b: Point) -> int:
    """Distance.

    :param a: from
        here
    :param Point b: to
    :returns: a number
    """
    return abs(a.x - b.x)


def bare(anything):  # type: ignore[no-untyped-def]
    return anything


def test_the_definition_of_a_function() -> None:
    assert Tool.from_function(weather).definition == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Forecast for a city.\n\nTwo paragraphs.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "its name, in English"},
                    "days": {"type": "integer", "default": 1, "description": "how many"},
                    "unit": {"type": "string", "enum": ["c", "f"], "default": "c", "description": "of all"},
                    "json": {"type": "string", "default": "", "description": "d"},
                },
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }


def test_sphinx_docstrings_and_models() -> None:
    tool = Tool.from_function(distance, name="far", description="How far.")
    assert (tool.name, tool.description) == ("far", "How far.")
    properties = tool.parameters["properties"]
    assert [properties[name]["description"] for name in ("a", "b")] == ["from here", "to"]
    assert "title" not in str(tool.parameters)
    assert tool.call({"a": {"x": 1}, "b": {"x": "4"}}) == 3


def test_arguments_are_converted_or_refused_in_words() -> None:
    tool = Tool.from_function(weather)
    assert tool.call({"city": "Bonn", "days": "3"}) == "Bonn 3 c"
    with pytest.raises(InvalidParameterError, match="city: Missing required argument"):
        tool.call({})
    with pytest.raises(InvalidParameterError, match=r"days: .*integer.*; foo: Unexpected"):
        tool.call({"city": "Bonn", "days": "x", "foo": 1})


def test_a_functions_own_validation_error_is_not_taken_for_one_of_its_arguments() -> None:
    def breaks(x: int) -> Point:
        return Point.model_validate({"x": "no"})

    with pytest.raises(ValueError, match="Point"):
        Tool.from_function(breaks).call({"x": 1})


def test_functions_without_hints_without_arguments_and_methods() -> None:
    assert Tool.from_function(bare).call({"anything": [1]}) == [1]
    assert Tool.from_function(lambda: 7, name="seven").call({}) == 7
    assert Tool.from_function(Point(x=3).model_copy, name="copy").parameters["type"] == "object"


def test_async_functions() -> None:
    async def double(x: int) -> int:
        return 2 * x

    tool = Tool.from_function(double)
    assert tool.is_async
    assert not Tool.from_function(bare).is_async

    async def main() -> Any:
        return await tool.call({"x": "4"})

    assert asyncio.run(main()) == 8


def takes_all(*values: int) -> None: ...
def takes_socket(it: socket.socket) -> None: ...
def takes_unknown(it: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("function", [takes_all, takes_socket, takes_unknown, functools.partial(weather)])
def test_functions_that_make_no_tool(function: Any) -> None:
    with pytest.raises(InvalidParameterError, match=r"tool"):
        Tool.from_function(function)


def test_tools_by_schema() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    tool = Tool("twice", "Doubles.", schema, lambda x: 2 * x)
    assert tool.call({"x": 4}) == 8
    with pytest.raises(InvalidParameterError, match="twice: got an unexpected keyword argument 'y'"):
        tool.call({"x": 1, "y": 2})
    with pytest.raises(InvalidParameterError, match="no name for a tool"):
        Tool("two words", "", schema, lambda x: x)
    with pytest.raises(InvalidParameterError, match="no JSON schema of an object"):
        Tool("twice", "", {"x": "integer"}, lambda x: x)

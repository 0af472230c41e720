"""Tool calls: their form in a conversation, and how they are read out of a model's text.

Formats read: Hermes and Qwen (`<tool_call>{"name": …, "arguments": {…}}</tool_call>`), Mistral
(`[TOOL_CALLS] [{"name": …, "arguments": {…}}]` and `[TOOL_CALLS]name[ARGS]{…}`) and Llama 3.1
(`{"name": …, "parameters": {…}}` as the whole text, several parted by `;` or line breaks).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import model_serializer, model_validator

from enginebay.prompts.json_text import DECODER, load_json
from enginebay.spec import FrozenModel

_HERMES = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
_MISTRAL = "[TOOL_CALLS]"
_MISTRAL_NAMED = re.compile(r"\s*(?:\[TOOL_CALLS\])?\s*([\w.-]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?\[ARGS\]\s*")
_LLAMA_TAG = re.compile(r"<\|python_tag\|>|<\|eom_id\|>|<\|eot_id\|>")
_PARTING = re.compile(r"[\s;,]*")
_MANTLE = frozenset({"type", "id"})


class ToolCall(FrozenModel):
    """One call that the model asks for.

    Takes the chat APIs' form too, `{"type": "function", "function": {"name": …, "arguments": …}}` with the arguments
    as an object or as JSON text, and is dumped in that form, which is what chat templates expect.

    Attributes:
        name: the tool's name.
        arguments: by parameter name.
        id: ties the tool's answer to the call, "" for none; Mistral's templates want nine letters or digits.
    """

    name: str
    arguments: dict[str, Any] = {}
    id: str = ""

    @model_validator(mode="before")
    @classmethod
    def _unwrapped(cls, value: object) -> object:
        if not isinstance(value, Mapping) or not isinstance(value.get("function"), Mapping):
            return value
        flat: dict[str, Any] = {"id": value.get("id") or "", **value["function"]}
        if isinstance(flat.get("arguments"), str):
            flat["arguments"] = load_json(flat["arguments"] or "{}")
        return flat

    @model_serializer
    def _wrapped(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": self.arguments}
        return {"type": "function", **({"id": self.id} if self.id else {}), "function": function}


@dataclass(frozen=True, slots=True)
class ParsedText:
    """A model's text, read.

    Attributes:
        content: the text without the calls.
        calls: the calls, in their order.
        broken: pieces that were meant as calls but cannot be read.
    """

    content: str
    calls: tuple[ToolCall, ...] = ()
    broken: tuple[str, ...] = ()


def parse_tool_calls(text: str, *, first: int = 0) -> ParsedText:
    """Read tool calls out of a model's text; a text without any is given back as the content.

    Args:
        first: number of the first call; ids are made of it ("call00000", …), so that they differ in a conversation.
    """
    if "<tool_call>" in text:
        content, found = _HERMES.sub("", text), _hermes(text)
    elif _MISTRAL in text or (_MISTRAL_NAMED.match(text) is not None):
        before = text.partition(_MISTRAL)[0] if _MISTRAL in text else ""
        content, found = before, _mistral(text[len(before) :])
    else:
        return _bare(text, first)
    return _numbered(content.strip(), list(found), first)


def _hermes(text: str) -> Iterator[ToolCall | str]:
    for inner in _HERMES.findall(text):
        yield _call_of(_json_or_none(inner)) or inner.strip()


def _mistral(text: str) -> Iterator[ToolCall | str]:
    for part in text.split(_MISTRAL):
        named = _MISTRAL_NAMED.match(part)
        if named is not None:
            rest = part[named.end() :]
            yield _call_of({"name": named[1], "arguments": _json_or_none(rest)}) or part.strip()
        elif part.strip():
            values = _values(part)
            calls = [_call_of(value) for value in _flat(values)] if values else []
            yield from (call or part.strip() for call in calls or [None])


def _bare(text: str, first: int) -> ParsedText:
    """Llama's form, and Mistral's when its marker, a special token, is not in the text."""
    values = _values(_LLAMA_TAG.sub("", text))
    calls = [_call_of(value, strict=True) for value in _flat(values)] if values else []
    whole = [call for call in calls if call is not None]
    if calls and len(whole) == len(calls):
        return _numbered("", whole, first)
    if "<|python_tag|>" in text and '"name"' in text:
        return ParsedText("", broken=(_LLAMA_TAG.sub("", text).strip(),))
    return ParsedText(text)


def _numbered(content: str, found: list[ToolCall] | list[ToolCall | str], first: int) -> ParsedText:
    calls = [item for item in found if isinstance(item, ToolCall)]
    named = tuple(call.model_copy(update={"id": f"call{first + place:05d}"}) for place, call in enumerate(calls))
    return ParsedText(content, named, tuple(item for item in found if isinstance(item, str)))


def _call_of(value: Any, *, strict: bool = False) -> ToolCall | None:
    """The call that a JSON value stands for; `strict` refuses objects that have other keys as well."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("function"), dict):
        value = value["function"]
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = _json_or_none(arguments or "{}")
    if strict and not value.keys() <= _MANTLE | {"name", "arguments", "parameters"}:
        return None
    name = value.get("name")
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    return ToolCall(name=name, arguments=arguments)


def _values(text: str) -> list[Any] | None:
    """The JSON objects and arrays that make up the whole text, or None when there is something else in it."""
    values: list[Any] = []
    place = _skip(text, 0)
    while place < len(text):
        if text[place] not in "{[":
            return None
        try:
            value, place = DECODER.raw_decode(text, place)
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            return None
        values.append(value)
        place = _skip(text, place)
    return values or None


def _skip(text: str, place: int) -> int:
    parting = _PARTING.match(text, place)
    return parting.end() if parting else place


def _flat(values: list[Any]) -> list[Any]:
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _json_or_none(text: str) -> Any:
    try:
        return load_json(text)
    except ValueError:
        return None

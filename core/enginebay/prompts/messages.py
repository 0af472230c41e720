"""Messages of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from enginebay.errors import PromptError
from enginebay.prompts.tool_calls import ToolCall
from enginebay.spec import FrozenModel

Role = Literal["system", "user", "assistant", "tool"]
_OPTIONAL = ("tool_calls", "tool_call_id", "name")


class Message(FrozenModel):
    """One message: who says what. What is not set is left out of its dump, as chat templates expect.

    Attributes:
        content: the text; an assistant's message with tool calls may be without.
        tool_calls: calls that the assistant asks for.
        tool_call_id: of a tool's message, the call that it answers.
        name: of a tool's message, the tool.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _calls_need_no_text(cls, value: object) -> object:
        if isinstance(value, Mapping):
            kept = {key: item for key, item in value.items() if item is not None or key not in _OPTIONAL}
            if kept.get("tool_calls") and kept.get("content") is None:
                kept["content"] = ""
            return kept
        return value

    @model_validator(mode="after")
    def _only_the_assistant_calls(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only the assistant calls tools")
        if self.tool_call_id is not None and self.role != "tool":
            raise ValueError("only a tool's message answers a call")
        return self

    @model_serializer(mode="wrap")
    def _without_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = dump(self)
        fields["tool_calls"] = list(fields["tool_calls"])
        return {name: value for name, value in fields.items() if value or name not in _OPTIONAL}


Messages = str | Sequence[Message | Mapping[str, Any]]
"""What callers may write: one user message as text, or a list of messages."""


def as_messages(messages: Messages, system: str | None = None) -> list[Message]:
    """The messages as models; `system` is put first unless they begin with a system message.

    Raises:
        PromptError: a message has no role or content, or an unknown role; or there is none.
    """
    if isinstance(messages, str):
        result = [Message(role="user", content=messages)]
    else:
        result = [_as_message(index, message) for index, message in enumerate(messages)]
    if not result:
        raise PromptError("there is no message to answer", hint="give a text or a list of messages")
    if system and result[0].role != "system":
        result.insert(0, Message(role="system", content=system))
    return result


def _as_message(index: int, message: Message | Mapping[str, Any]) -> Message:
    if isinstance(message, Message):
        return message
    try:
        return Message.model_validate(message)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise PromptError(
            f"message {index}: {where}: {first['msg']}",
            value=message,
            hint='a message looks like {"role": "user", "content": "…"}',
        ) from error

"""Messages of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from enginebay.errors import PromptError
from enginebay.spec import FrozenModel

Role = Literal["system", "user", "assistant", "tool"]


class Message(FrozenModel):
    """One message: who says what."""

    role: Role
    content: str


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

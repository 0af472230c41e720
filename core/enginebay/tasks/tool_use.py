"""One use of a tool: what was called, what it gave, what the model is told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pydantic_core import to_json

from enginebay.prompts.messages import Message
from enginebay.prompts.tool_calls import ToolCall
from enginebay.suggest import did_you_mean


@dataclass(frozen=True)
class ToolUse:
    """One call and its outcome.

    Attributes:
        content: what the model is told: the tool's answer as text or JSON, or its error.
        error: what the tool raised, or why it was not run; None when all went well.
    """

    call: ToolCall
    content: str
    error: Exception | None = None

    @classmethod
    def answered(cls, call: ToolCall, value: object) -> ToolUse:
        """The tool gave `value`."""
        return cls(call, value if isinstance(value, str) else to_json(value, fallback=str).decode())

    @classmethod
    def failed(cls, call: ToolCall, error: Exception) -> ToolUse:
        """The tool, or the check of its arguments, raised."""
        from enginebay.errors import EnginebayError

        text = error.message if isinstance(error, EnginebayError) else f"{type(error).__name__}: {error}"
        return cls(call, f"error: {text}", error)

    @classmethod
    def unknown(cls, call: ToolCall, known: Collection[str]) -> ToolUse:
        """There is no such tool."""
        from enginebay.errors import InvalidParameterError

        error = InvalidParameterError(f"there is no tool {call.name!r}", value=call.name)
        return cls(call, f"error: {error.message}; {did_you_mean(call.name, known)}", error)

    def message(self, note: str = "") -> Message:
        """The tool's message in the conversation, with a further note to the model."""
        content = f"{self.content}\n\n{note}" if note else self.content
        return Message(role="tool", content=content, tool_call_id=self.call.id or None, name=self.call.name)

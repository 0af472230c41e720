"""What tasks give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from enginebay.interfaces.generator import Usage

if TYPE_CHECKING:
    from enginebay.generation.results import Result
    from enginebay.prompts.messages import Message
    from enginebay.prompts.passages import Citation
    from enginebay.tasks.tool_use import ToolUse

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What a task gave, and how.

    Attributes:
        text: the answer.
        results: of the requests that were made, in their order.
        left_out: whole parts (examples, passages, messages) for which the context had no room.
    """

    text: str
    results: tuple[Result, ...]
    left_out: tuple[Any, ...] = ()

    @property
    def usage(self) -> Usage:
        """Tokens of all requests together."""
        used = [result.usage for result in self.results]
        return Usage(
            sum(one.prompt_tokens for one in used),
            sum(one.completion_tokens for one in used),
            sum(one.cached_tokens for one in used),
        )

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Reply(Answer):
    """The answer to one question; `reasoning` is what a chain of thought wrote before it."""

    reasoning: str = ""


@dataclass(frozen=True)
class Turn(Answer):
    """One turn of a conversation; `left_out` are the messages that went out of its memory in this turn.

    Attributes:
        summary: what stands in the prompt for messages that went, None when they were dropped.
    """

    summary: str | None = None


@dataclass(frozen=True)
class Summary(Answer):
    """A summary.

    Attributes:
        pieces: for each round before the last request, into how many pieces the text was cut; empty when it fitted.
    """

    pieces: tuple[int, ...] = ()


@dataclass(frozen=True)
class Classification(Answer):
    """The label of a text.

    Attributes:
        label: one of the labels given.
        constrained: the engine could write nothing else; otherwise the label was found in its free text.
    """

    label: str = ""
    constrained: bool = False


@dataclass(frozen=True)
class Extraction(Answer, Generic[T]):
    """Data out of a text.

    Attributes:
        value: the data, valid.
        constrained: the engine could write only JSON under the schema.
    """

    value: T = None  # type: ignore[assignment]
    constrained: bool = False


@dataclass(frozen=True)
class CitedAnswer(Answer):
    """An answer from passages; `left_out` are the passages for which there was no room.

    Attributes:
        citations: where the answer cites a passage.
        unknown: numbers that the answer cites and that stand for no passage shown: made up by the model.
    """

    citations: tuple[Citation, ...] = ()
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True)
class ToolAnswer(Answer):
    """What came out of a conversation with tools.

    Attributes:
        messages: the whole conversation, to go on with.
        uses: every call of a tool and what it gave.
        finished: the model ended by itself; False when it still asked for tools after the last round.
    """

    messages: tuple[Message, ...] = ()
    uses: tuple[ToolUse, ...] = ()
    finished: bool = True

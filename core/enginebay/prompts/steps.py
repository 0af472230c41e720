"""Tasks as generators of steps: what is asked of an engine, apart from how it is run.

A task yields steps and is sent their results. One driver runs them blocking, another one async, so that each task is
written once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from enginebay.prompts.budget import Budget
from enginebay.prompts.library import PromptLibrary
from enginebay.prompts.messages import Message
from enginebay.prompts.tool_calls import ToolCall
from enginebay.prompts.tools import Tool

if TYPE_CHECKING:
    from enginebay.generation.results import Result

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chat:
    """Answer conversations that do not wait for one another; gives a list of results."""

    conversations: Sequence[Sequence[Message]]
    sampling: Mapping[str, Any]
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class Complete:
    """Continue a text; gives a result."""

    text: str
    sampling: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a tool; gives a `ToolUse`."""

    tool: Tool
    call: ToolCall


Step = Chat | Complete | RunTool
Steps = Generator[Step, Any, T]


@dataclass(frozen=True)
class Setup:
    """What every task works with.

    Attributes:
        sampling: sampling parameters for each request, by name.
    """

    budget: Budget
    library: PromptLibrary
    sampling: dict[str, Any] = field(default_factory=dict)

    def user(self, prompt: str, **variables: Any) -> list[Message]:
        """A prompt file rendered as one user message."""
        return [Message(role="user", content=self.library.render(prompt, **variables))]

    def turns(self, prompt: str, examples: Sequence[tuple[str, str]], question: str, **variables: Any) -> list[Message]:
        """Examples as earlier turns of the conversation, which chat models follow better than examples in one message.

        Args:
            prompt: renders what the user says in each turn, from `question` and whether it is the `first`.
            examples: pairs (what the user said, what the assistant answered).
        """
        messages: list[Message] = []
        for said, answer in examples:
            messages += self.user(prompt, question=said, first=not messages, **variables)
            messages.append(Message(role="assistant", content=answer))
        return [*messages, *self.user(prompt, question=question, first=not messages, **variables)]

    def chat(self, messages: Sequence[Message], tools: tuple[Tool, ...] = (), **changes: Any) -> Steps[Result]:
        """Answer one conversation that is known to fit, with changed sampling parameters."""
        (result,) = yield Chat([messages], {**self.sampling, **changes}, tools)
        answer: Result = result
        return answer

    def checked_chat(self, messages: Sequence[Message], **changes: Any) -> Steps[Result]:
        """Answer one conversation, which must fit.

        Raises:
            ContextLengthError: it leaves no room for the answer.
        """
        self.budget.check(messages)
        return (yield from self.chat(messages, **changes))

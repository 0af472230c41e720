"""A conversation with memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from enginebay.errors import InvalidParameterError
from enginebay.prompts.library import PromptLibrary
from enginebay.prompts.messages import Message, Messages, as_messages
from enginebay.prompts.steps import Setup, Steps
from enginebay.tasks.answers import Turn
from enginebay.tasks.driver import arun, begin, run
from enginebay.tasks.summarising import joined, shorten

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle
    from enginebay.generation.results import Result

WhenFull = Literal["drop", "summarise"]
MOST_SUMMARY_TOKENS = 256


class Conversation:
    """A chat that remembers its turns as long as they fit into the context.

    When they no longer fit, the oldest turns go: dropped, or put into a summary that stands in the system message.
    Each `Turn` says which messages went; `forgotten` holds all of them. One thread or task at a time may use it.

    Args:
        system: system prompt; None is the configured one.
        when_full: "drop" the oldest turns, or "summarise" them, which costs requests of its own.
        messages: a conversation to go on with; its system message takes the place of `system`.
        sampling: sampling parameters for every turn.

    Attributes:
        messages: what is remembered, without the system message.
        forgotten: the messages that went, oldest first.
        summary: what stands for them, None when they were dropped.
    """

    def __init__(
        self,
        handle: GeneratorHandle,
        *,
        system: str | None = None,
        when_full: WhenFull = "drop",
        messages: Messages = (),
        library: PromptLibrary | None = None,
        **sampling: Any,
    ) -> None:
        if when_full not in ("drop", "summarise"):
            raise InvalidParameterError(f"when_full = {when_full!r} is neither 'drop' nor 'summarise'", value=when_full)
        given = as_messages(messages) if messages else []
        self.system = handle.system if system is None else system
        if given and given[0].role == "system":
            self.system = given.pop(0).content
        self.messages: tuple[Message, ...] = tuple(given)
        self.forgotten: tuple[Message, ...] = ()
        self.summary: str | None = None
        self.when_full = when_full
        self._handle = handle
        self._library = library
        self._sampling = sampling

    def say(self, text: str, **sampling: Any) -> Turn:
        """Say something and get the answer. When it fails, the conversation is as it was before.

        Raises:
            ContextLengthError: the text does not fit, even without any earlier turn.
            Beside it, what `GeneratorHandle.chat` raises.
        """
        return run(self._handle, self._steps(text, sampling))

    async def asay(self, text: str, **sampling: Any) -> Turn:
        """Async twin of `say`."""
        return await arun(self._handle, self._steps(text, sampling))

    def _steps(self, text: str, sampling: dict[str, Any]) -> Steps[Turn]:
        setup = begin(self._handle, self._library, {**self._sampling, **sampling})
        memory = [*self.messages, Message(role="user", content=text)]
        summary = self.summary
        gone = self._gone(setup, memory, summary)
        results: list[Result] = []
        if gone and self.when_full == "summarise":
            setup.budget.check(self._prompt(setup, memory[gone:], None))
            summary, gone, results = yield from self._summarise(setup, memory)
        prompt = self._prompt(setup, memory[gone:], summary)
        setup.budget.check(prompt)
        result = yield from setup.chat(prompt)
        answer = result.text.strip()
        left_out = tuple(memory[:gone])
        self.messages = (*memory[gone:], Message(role="assistant", content=answer))
        self.forgotten, self.summary = self.forgotten + left_out, summary
        return Turn(answer, (*results, result), left_out, summary)

    def _prompt(self, setup: Setup, memory: Sequence[Message], summary: str | None) -> list[Message]:
        system = self.system or ""
        if summary:
            system = setup.library.render("conversation_system", system=system, summary=summary)
        return [*([Message(role="system", content=system)] if system else []), *memory]

    def _gone(self, setup: Setup, memory: Sequence[Message], summary: str | None, *, more: int = 0) -> int:
        """How many of the oldest messages must go, whole turns, each beginning with what the user says."""
        starts = [place for place, message in enumerate(memory) if message.role == "user"]
        if starts[0] != 0:
            starts.insert(0, 0)
        turns = setup.budget.latest(
            lambda number: self._prompt(setup, memory[starts[number] :], summary), len(starts) - 1, more=more
        )
        return starts[turns]

    def _summarise(self, setup: Setup, memory: Sequence[Message]) -> Steps[tuple[str, int, list[Result]]]:
        """A summary of what was before and of the turns that go, with room for the summary itself."""
        eighth = max(1, setup.budget.handle.context_length // 8)
        room = min(MOST_SUMMARY_TOKENS, eighth)
        # With an eighth of the context to spare, the next turns need no summary again.
        gone = self._gone(setup, memory, "…", more=room + eighth)
        transcript = "\n".join(f"{message.role}: {message.content}" for message in memory[:gone])
        results: list[Result] = []
        brief = Setup(type(setup.budget)(setup.budget.handle, room), setup.library, setup.sampling)
        while not brief.budget.fits(
            asked := brief.user("conversation_summary", transcript=transcript, summary=self.summary or "")
        ):
            round_results = yield from shorten(brief, transcript)
            results += round_results
            transcript = joined(brief, transcript, round_results)
        result = yield from brief.chat(asked, max_tokens=room)
        return result.text.strip(), gone, [*results, result]

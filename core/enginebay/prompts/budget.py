"""Fitting prompts into the context, by counting the engine's own tokens of what the model will read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from enginebay.errors import ContextLengthError
from enginebay.prompts.chat_template import RenderedPrompt
from enginebay.prompts.messages import Message, Messages
from enginebay.prompts.tools import Tool

PartT = TypeVar("PartT")

DEFAULT_ROOM = 512
"""Tokens kept for an answer without `max_tokens`; at most a quarter of the context."""


class Countable(Protocol):
    """What counting needs of a generator's handle."""

    @property
    def context_length(self) -> int:
        """Tokens of prompt and output together."""

    def render(self, messages: Messages, *, tools: Sequence[Tool] = ()) -> RenderedPrompt:
        """The prompt as the model reads it."""

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids."""


@dataclass(frozen=True, slots=True)
class Fitted(Generic[PartT]):
    """Messages that fit, and which parts are in them.

    Attributes:
        kept: the parts that are in, in the order given.
        left_out: the parts that are not, in the order given.
    """

    messages: tuple[Message, ...]
    kept: tuple[PartT, ...]
    left_out: tuple[PartT, ...]


@dataclass(frozen=True, slots=True)
class Budget:
    """The tokens of one context.

    Attributes:
        handle: a generator's handle.
        room: tokens kept for the answer.
    """

    handle: Countable
    room: int

    @classmethod
    def for_answer(cls, handle: Countable, max_tokens: int | None) -> Budget:
        """A budget with room for `max_tokens`; for None, `DEFAULT_ROOM` or a quarter of the context."""
        return cls(handle, max_tokens or max(1, min(DEFAULT_ROOM, handle.context_length // 4)))

    def count(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> int:
        """Tokens of a conversation as the model's chat template renders it."""
        prompt = self.handle.render(messages, tools=tools)
        return len(self.handle.tokenize(prompt.text, add_bos=prompt.add_bos))

    def count_text(self, text: str) -> int:
        """Tokens of a bare text, with a begin token where the model wants one."""
        return len(self.handle.tokenize(text, add_bos=True))

    def fits(self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, more: int = 0) -> bool:
        """Whether a conversation leaves room for the answer, and for `more` tokens besides."""
        return self.count(messages, tools) + self.room + more <= self.handle.context_length

    def check(self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, more: int = 0) -> None:
        """Refuse a conversation that leaves no room for the answer, and for `more` tokens besides.

        Raises:
            ContextLengthError: it does not fit.
        """
        self._check(self.count(messages, tools), more)

    def check_text(self, text: str) -> None:
        """Refuse a bare text that leaves no room for its continuation. Raises as `check` does."""
        self._check(self.count_text(text), 0)

    def fit(
        self,
        build: Callable[[Sequence[PartT]], Sequence[Message]],
        parts: Sequence[PartT],
        *,
        at_least: int = 0,
        more: int = 0,
    ) -> Fitted[PartT]:
        """Put in as many whole parts as fit, each in its turn if there is still room for it.

        Args:
            build: makes the conversation out of parts.
            parts: the most important first.
            at_least: fewer parts than this are an error.
            more: tokens kept free beside those for the answer.

        Raises:
            ContextLengthError: the conversation does not fit even with the fewest parts.
        """
        whole = tuple(build(parts))
        if self.fits(whole, more=more):
            return Fitted(whole, tuple(parts), ())
        kept: list[PartT] = []
        left_out: list[PartT] = []
        for part in parts:
            fits = self.fits(build([*kept, part]), more=more)
            (kept if fits else left_out).append(part)
        messages = tuple(build(kept if len(kept) >= at_least else parts[:at_least]))
        self.check(messages, more=more)
        return Fitted(messages, tuple(kept), tuple(left_out))

    def latest(self, build: Callable[[int], Sequence[Message]], parts: int, *, more: int = 0) -> int:
        """How many of the oldest parts must go so that the conversation fits; `parts` when it never does.

        Args:
            build: makes the conversation without the given number of oldest parts.
            parts: how many parts there are.
        """
        low, high = 0, parts
        while low < high:
            middle = (low + high) // 2
            if self.fits(build(middle), more=more):
                high = middle
            else:
                low = middle + 1
        return low

    def _check(self, tokens: int, more: int) -> None:
        context = self.handle.context_length
        kept = self.room + more
        if tokens + kept > context:
            error = ContextLengthError(tokens, context)
            error.hint = (
                f"{kept} tokens are kept for the answer: shorten the prompt, lower max_tokens, "
                "or open the engine with a larger context_length"
            )
            raise error

"""Strategies: ways of asking one question.

ZeroShot                  the question as it is
FewShot                   with worked examples (Brown et al. 2020, arXiv:2005.14165)
ChainOfThought            with examples that reason (Wei et al. 2022, arXiv:2201.11903)
ZeroShotChainOfThought    "Let's think step by step." (Kojima et al. 2022, arXiv:2205.11916)
RetrievalAugmented        with numbered passages (Lewis et al. 2020, arXiv:2005.11401)

Each has a prompt file of its own; `enginebay.tasks.ask` runs them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginebay.errors import GenerationError
from enginebay.prompts.examples import Embed, Example, choose
from enginebay.prompts.messages import Message
from enginebay.prompts.passages import Passage, Passages, as_passages
from enginebay.prompts.steps import Setup, Steps

if TYPE_CHECKING:
    from enginebay.generation.results import Result

DEFAULT_MARKER = "The answer is"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a strategy gave: the answer, the reasoning before it, the results, whole parts left out of the prompt."""

    text: str
    results: tuple[Result, ...]
    reasoning: str = ""
    left_out: tuple[Any, ...] = ()


class Strategy(ABC):
    """A way of asking one question."""

    @abstractmethod
    def steps(self, setup: Setup, question: str) -> Steps[Outcome]:
        """Ask it.

        Raises:
            ContextLengthError: the prompt does not fit, even without the parts that may be left out.
        """


@dataclass(frozen=True)
class ZeroShot(Strategy):
    """Ask the question as it is, after an instruction if there is one."""

    instruction: str = ""

    def steps(self, setup: Setup, question: str) -> Steps[Outcome]:
        """Ask; see `Strategy.steps`."""
        messages = setup.user("zero_shot", instruction=self.instruction, question=question)
        result = yield from setup.checked_chat(messages)
        return Outcome(result.text.strip(), (result,))


@dataclass(frozen=True)
class FewShot(Strategy):
    """Show worked examples first, as earlier turns. Those for which there is no room are left out whole, and named.

    Attributes:
        k: how many examples; None shows all.
        embed: texts -> float32 array (n, dim); the k most similar to the question are shown, the nearest last.
            None takes the first k.
    """

    examples: Sequence[Example]
    instruction: str = ""
    k: int | None = None
    embed: Embed | None = None

    def steps(self, setup: Setup, question: str) -> Steps[Outcome]:
        """Ask; see `Strategy.steps`."""

        def build(shown: Sequence[Example]) -> list[Message]:
            ordered = shown if self.embed is None else shown[::-1]
            pairs = [(example.input, example.output) for example in ordered]
            return setup.turns("few_shot", pairs, question, instruction=self.instruction)

        fitted = setup.budget.fit(build, choose(self.examples, question, self.k, self.embed))
        result = yield from setup.chat(fitted.messages)
        return Outcome(result.text.strip(), (result,), left_out=fitted.left_out)


@dataclass(frozen=True)
class ChainOfThought(Strategy):
    """Show worked examples with their reasoning; the answer is what the model writes after a marker.

    Attributes:
        marker: words before the answer, in the examples and in the model's text.
        k, embed: as in `FewShot`.
    """

    examples: Sequence[Example]
    instruction: str = ""
    k: int | None = None
    embed: Embed | None = None
    marker: str = DEFAULT_MARKER

    def steps(self, setup: Setup, question: str) -> Steps[Outcome]:
        """Ask; see `Strategy.steps`.

        Raises:
            GenerationError: the text has no answer after the marker; carries the text.
        """

        def build(shown: Sequence[Example]) -> list[Message]:
            ordered = shown if self.embed is None else shown[::-1]
            pairs = [(example.input, self._reply(setup, example)) for example in ordered]
            return setup.turns("chain_of_thought", pairs, question, instruction=self.instruction, marker=self.marker)

        fitted = setup.budget.fit(build, choose(self.examples, question, self.k, self.embed))
        result = yield from setup.chat(fitted.messages)
        reasoning, answer = split_at_marker(result.text, self.marker)
        return Outcome(answer, (result,), reasoning, fitted.left_out)

    def _reply(self, setup: Setup, example: Example) -> str:
        return setup.library.render("chain_of_thought_reply", example=example, marker=self.marker)


@dataclass(frozen=True)
class ZeroShotChainOfThought(Strategy):
    """Let the model reason first, then ask it for the answer: two requests.

    Attributes:
        answer_format: what the answer is to be, such as "arabic numerals".
        answer_tokens: most tokens of the answer; `max_tokens` is for the reasoning.
    """

    instruction: str = ""
    answer_format: str = ""
    answer_tokens: int = 64

    def steps(self, setup: Setup, question: str) -> Steps[Outcome]:
        """Ask; see `Strategy.steps`."""
        first = setup.user("zero_shot_chain_of_thought", instruction=self.instruction, question=question)
        second = setup.user("zero_shot_chain_of_thought_answer", answer_format=self.answer_format)
        # The reasoning will stand in the second prompt, so there must be room for it there before it is begun.
        silent = [*first, Message(role="assistant", content=""), *second]
        setup.budget.check(silent, more=self.answer_tokens)
        thought = yield from setup.chat(first, max_tokens=setup.budget.room)
        said = Message(role="assistant", content=thought.text.strip())
        answer = yield from setup.chat([*first, said, *second], max_tokens=self.answer_tokens)
        return Outcome(answer.text.strip(), (thought, answer), said.content)


@dataclass(frozen=True)
class RetrievalAugmented(Strategy):
    """Show numbered passages first. Those for which there is no room are left out whole, and named.

    Attributes:
        passages: the most relevant first.
    """

    passages: Passages
    instruction: str = ""

    def steps(self, setup: Setup, question: str) -> Steps[Outcome]:
        """Ask; see `Strategy.steps`."""

        def build(shown: Sequence[Passage]) -> list[Message]:
            return setup.user("retrieval_augmented", instruction=self.instruction, passages=shown, question=question)

        fitted = setup.budget.fit(build, as_passages(self.passages), at_least=min(1, len(self.passages)))
        result = yield from setup.chat(fitted.messages)
        return Outcome(result.text.strip(), (result,), left_out=fitted.left_out)


def split_at_marker(text: str, marker: str) -> tuple[str, str]:
    """The reasoning before the last marker and the answer after it, without the full stop.

    Raises:
        GenerationError: there is no marker, or nothing after it; carries the text.
    """
    places = list(re.finditer(re.escape(marker) + r"\s*:?", text, re.IGNORECASE))
    answer = text[places[-1].end() :].strip().removesuffix(".").strip() if places else ""
    if not answer:
        raise GenerationError(
            f"the text has no answer after {marker!r}",
            partial_text=text,
            value=marker,
            hint="give max_tokens more room, or use ZeroShotChainOfThought, which asks for the answer",
        )
    return text[: places[-1].start()].strip(), answer

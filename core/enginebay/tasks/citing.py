"""Answering from passages, with citations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from enginebay.errors import PromptError
from enginebay.prompts.library import PromptLibrary
from enginebay.prompts.messages import Message
from enginebay.prompts.passages import Passage, Passages, as_passages, read_citations
from enginebay.prompts.steps import Steps
from enginebay.tasks.answers import CitedAnswer
from enginebay.tasks.driver import arun, begin, run

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle


def answer_with_citations(
    handle: GeneratorHandle,
    question: str,
    passages: Passages,
    *,
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> CitedAnswer:
    """Answer a question from passages, citing them as [1].

    Args:
        passages: the most relevant first; those for which there is no room are left out.

    Raises:
        ContextLengthError: not even one passage fits.
        PromptError: there are no passages, or one has no text.
        Beside these, what `GeneratorHandle.chat` raises.
    """
    return run(handle, citing_steps(handle, question, passages, library, sampling))


async def aanswer_with_citations(
    handle: GeneratorHandle,
    question: str,
    passages: Passages,
    *,
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> CitedAnswer:
    """Async twin of `answer_with_citations`."""
    return await arun(handle, citing_steps(handle, question, passages, library, sampling))


def citing_steps(
    handle: GeneratorHandle,
    question: str,
    passages: Passages,
    library: PromptLibrary | None,
    sampling: dict[str, Any],
    *,
    greedy: bool = False,
) -> Steps[CitedAnswer]:
    """The steps of `answer_with_citations`; `greedy` takes temperature 0 where none is given or configured."""
    given = list(enumerate(as_passages(passages)))
    if not given:
        raise PromptError("there are no passages to answer from", hint="use ask() for a question without passages")
    setup = begin(handle, library, sampling, greedy=greedy)

    def build(shown: Sequence[tuple[int, Passage]]) -> list[Message]:
        return setup.user("answer_with_citations", question=question, passages=[passage for _, passage in shown])

    fitted = setup.budget.fit(build, given, at_least=1)
    result = yield from setup.chat(fitted.messages)
    text = result.text.strip()
    citations, unknown = read_citations(text, fitted.kept)
    left_out = tuple(passage for _, passage in fitted.left_out)
    return CitedAnswer(text, (result,), left_out, tuple(citations), tuple(unknown))

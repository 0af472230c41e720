"""Asking one question by a strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from enginebay.prompts.library import PromptLibrary
from enginebay.prompts.steps import Steps
from enginebay.prompts.strategies import Strategy, ZeroShot
from enginebay.tasks.answers import Reply
from enginebay.tasks.driver import arun, begin, run

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle


def ask(
    handle: GeneratorHandle,
    question: str,
    strategy: Strategy | None = None,
    *,
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Reply:
    """Ask one question.

    Args:
        strategy: how; None is `ZeroShot()`.
        library: prompt files in place of the configured ones.
        sampling: sampling parameters by name.

    Raises:
        ContextLengthError: the prompt does not fit, even without the parts that may be left out.
        GenerationError: the strategy finds no answer in the text; carries the text.
        Beside these, what `GeneratorHandle.chat` raises.
    """
    return run(handle, _steps(handle, question, strategy, library, sampling))


async def aask(
    handle: GeneratorHandle,
    question: str,
    strategy: Strategy | None = None,
    *,
    library: PromptLibrary | None = None,
    **sampling: Any,
) -> Reply:
    """Async twin of `ask`."""
    return await arun(handle, _steps(handle, question, strategy, library, sampling))


def _steps(
    handle: GeneratorHandle,
    question: str,
    strategy: Strategy | None,
    library: PromptLibrary | None,
    sampling: dict[str, Any],
) -> Steps[Reply]:
    setup = begin(handle, library, sampling)
    outcome = yield from (strategy or ZeroShot()).steps(setup, question)
    return Reply(outcome.text, outcome.results, outcome.left_out, outcome.reasoning)

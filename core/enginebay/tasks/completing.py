"""Continuing a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from enginebay.prompts.steps import Complete, Steps
from enginebay.tasks.answers import Answer
from enginebay.tasks.driver import arun, begin, run

if TYPE_CHECKING:
    from enginebay.generation.handle import GeneratorHandle


def complete(handle: GeneratorHandle, text: str, **sampling: Any) -> Answer:
    """Continue a text as it stands, without a chat template; the answer is the continuation alone.

    Raises:
        ContextLengthError: the text leaves no room for `max_tokens`, or for 512 tokens (at most a quarter of the
            context) without it.
        Beside it, what `GeneratorHandle.complete` raises.
    """
    return run(handle, _steps(handle, text, sampling))


async def acomplete(handle: GeneratorHandle, text: str, **sampling: Any) -> Answer:
    """Async twin of `complete`."""
    return await arun(handle, _steps(handle, text, sampling))


def _steps(handle: GeneratorHandle, text: str, sampling: dict[str, Any]) -> Steps[Answer]:
    setup = begin(handle, None, sampling)
    setup.budget.check_text(text)
    result = yield Complete(text, setup.sampling)
    return Answer(result.text, (result,))
